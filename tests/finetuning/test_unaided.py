"""What was accepted once need not be accepted again, and nobody's files are taken for a run's."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.checkpoint.conftest import forge
from tests.conftest import Command
from tests.finetuning.conftest import Listener, Train, press_ctrl_c, rows_of, same_weights
from zoo.checkpoint import reading
from zoo.checkpoint import writing as checkpoints
from zoo.errors import Stopped
from zoo.finetuning import saving


class Killed(BaseException):
    """What a kill looks like from within: nothing more is done."""


def kill(*_: Any, **__: Any) -> None:
    raise Killed


@pytest.fixture
def run(train: Train) -> zoo.Run:
    return train(epochs=2, keep="best,last,every:1")


def killed_before_the_first_save(run: zoo.Run, monkeypatch: pytest.MonkeyPatch, **given: Any) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write", kill)
        with pytest.raises(Killed):
            zoo.resume(run.folder, **given)


def test_more_epochs_survive_a_kill_before_a_checkpoint_has_them(run: zoo.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_before_the_first_save(run, monkeypatch, epochs=4)
    assert zoo.resume(run.folder).epochs == 4


def test_changed_pictures_that_were_allowed_are_allowed_after_a_kill(
    train: Train, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Stopped):
        train(epochs=3, reporter=Listener(at_step={6: press_ctrl_c}))
    stopped = tmp_path / "runs" / "run"
    (pictures / "ant" / "0.png").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write", kill)
        with pytest.raises(Killed):
            zoo.resume(stopped, allow=["data"])
    assert zoo.resume(stopped).epochs == 3
    (pictures / "ant" / "1.png").unlink()
    shutil.rmtree(stopped / "epoch-0003")
    with pytest.raises(zoo.CheckpointError, match="1 removed"):
        zoo.resume(stopped)


def test_a_setting_that_was_allowed_is_allowed_as_it_was_and_no_further(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Stopped):
        train(epochs=3, reporter=Listener(at_step={6: press_ctrl_c}))
    recipe = tmp_path / "runs" / "run" / "run.toml"
    recipe.write_text(recipe.read_text().replace("label-smoothing = 0.1", "label-smoothing = 0.2"))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write", kill)
        with pytest.raises(Killed):
            zoo.resume(recipe.parent, allow=["label-smoothing"])
    recipe.write_text(recipe.read_text().replace("label-smoothing = 0.2", "label-smoothing = 0.3"))
    with pytest.raises(zoo.CheckpointError, match="label-smoothing"):
        zoo.resume(recipe.parent)
    recipe.write_text(recipe.read_text().replace("label-smoothing = 0.3", "label-smoothing = 0.2"))
    assert zoo.resume(recipe.parent).epochs == 3


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("training.json", b'"epoch": 2', b'"epoch": 1'),
        ("training.json", b"{", b"x"),
        ("config.json", b"tests", b"texts"),
    ],
)
def test_a_damaged_small_file_puts_nothing_into_another_order(run: zoo.Run, name: str, old: bytes, new: bytes) -> None:
    place = run.folder / "epoch-0002" / name
    content = place.read_bytes()
    assert old in content
    place.write_bytes(content.replace(old, new, 1))
    assert [each.folder.name for each in reading.checkpoints_of(run.folder)] == ["epoch-0001"]
    with pytest.raises(zoo.CheckpointError, match="epoch-0002 is damaged"):
        zoo.load_checkpoint(run.folder)
    heard = Listener()
    zoo.resume(run.folder, reporter=heard)
    assert any("epoch-0002" in note and "passed over" in note for note in heard.notes)
    assert "going on from epoch-0001" in heard.notes


def test_a_damaged_old_checkpoint_does_not_keep_a_run_from_going_on(run: zoo.Run) -> None:
    (run.folder / "epoch-0001" / "training.json").write_text("{")
    assert zoo.resume(run.folder, epochs=3).epochs == 3


def test_after_another_batch_size_the_newest_is_the_one_that_was_saved_last(train: Train, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "run"
    with pytest.raises(Stopped):
        train(epochs=2, batch_size=2, reporter=Listener(at_step={5: press_ctrl_c}))
    recipe = folder / "run.toml"
    recipe.write_text(recipe.read_text().replace("batch-size = 2", "batch-size = 4"))
    with pytest.raises(Stopped):
        zoo.resume(folder, allow=["batch-size"], reporter=Listener(at_step={1: press_ctrl_c}))
    assert [each.folder.name for each in reading.checkpoints_of(folder)] == ["epoch-0001-step-0003"]
    heard = Listener()
    zoo.resume(folder, reporter=heard)
    assert "going on from epoch-0001-step-0003" in heard.notes


def test_nothing_is_written_behind_the_back_of_who_left_at_once(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C while a checkpoint is written in the background: it comes to nothing, and the lock is free."""
    monkeypatch.setattr(saving, "LARGE", 0)
    begun, may_go = threading.Event(), threading.Event()
    pieces = checkpoints.safetensors

    def slowly(tensors: Any) -> Any:
        for piece in pieces(tensors):
            begun.set()
            may_go.wait(10)
            yield piece

    monkeypatch.setattr(checkpoints, "safetensors", slowly)

    def leave() -> None:
        assert begun.wait(10)
        press_ctrl_c()
        threading.Timer(0.2, may_go.set).start()
        press_ctrl_c()

    with pytest.raises(KeyboardInterrupt):
        train(epochs=2, save_every="1steps", reporter=Listener(at_step={2: leave}))
    folder = tmp_path / "runs" / "run"
    assert [thread.name for thread in threading.enumerate() if thread.name == "zoo-saver"] == []
    assert list(folder.glob("epoch-*")) == []
    assert list(folder.glob(".*.tmp")) == []


def test_a_folder_of_the_users_is_not_taken_for_a_run_that_ended_early(train: Train, tmp_path: Path) -> None:
    mine = tmp_path / "runs" / "mine"
    mine.mkdir(parents=True)
    for name in ("data.json", "metrics.csv"):
        (mine / name).write_text("mine")
    with pytest.raises(zoo.UsageError, match="exists already"):
        train("mine", resume=True)
    assert sorted(each.name for each in mine.iterdir()) == ["data.json", "metrics.csv"]
    with pytest.raises(zoo.UsageError, match="is no name of a folder"):
        train("../mine", resume=True)


@pytest.mark.parametrize("begin_again", [{"overwrite": True}, {"resume": True}], ids=["overwrite", "resume"])
@pytest.mark.parametrize("left", [(), (".lock",), (".lock", ".lock.json", ".run.toml.0.tmp"), (".lock", "run.toml")])
def test_what_a_run_leaves_that_was_killed_at_once_is_not_in_the_way(
    train: Train, tmp_path: Path, left: tuple[str, ...], begin_again: dict[str, bool]
) -> None:
    folder = tmp_path / "runs" / "run"
    folder.mkdir(parents=True)
    for name in left:
        (folder / name).write_text("")
    run = train(epochs=1, **begin_again)
    assert (run.folder, run.last.name) == (folder, "epoch-0001")
    assert not [each for each in folder.parent.iterdir() if each != folder]


def test_a_hidden_folder_of_the_users_stays(tmp_path: Path) -> None:
    for name in (".mine.v1.old", ".mine.best.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes").write_text("mine")
    model = zoo.load("squeezenet1_1", 2, weights=None)
    for _ in range(2):
        zoo.save_checkpoint(tmp_path / "mine", model)
    assert sorted(path.name for path in tmp_path.rglob("notes")) == ["notes", "notes"]


def test_a_run_that_cannot_be_read_is_not_in_the_way_of_another(train: Train, tmp_path: Path) -> None:
    (tmp_path / "runs" / "broken").mkdir(parents=True)
    (tmp_path / "runs" / "broken" / "run.toml").write_text("= broken")
    assert train(None, resume=True).epochs == 2
    heard = Listener()
    train(None, resume=True, reporter=heard)
    assert any("finished" in note for note in heard.notes)


PROGRESS: dict[str, Any] = {
    "stage": 99,
    "stage_epoch": None,
    "step_in_epoch": 10**9,
    "epoch": -1,
    "rows": 7,
    "tally": {"x": 1},
    "step": True,
    "unknown": 1,
}


def spoil(folder: Path, change: Any) -> None:
    values = json.loads((folder / "training.json").read_text())
    change(values)
    forge(folder, "training.json", json.dumps(values))


@pytest.mark.parametrize("key", PROGRESS)
def test_a_position_that_no_run_can_have_is_refused(train: Train, tmp_path: Path, key: str) -> None:
    with pytest.raises(Stopped):
        train(epochs=2, reporter=Listener(at_step={2: press_ctrl_c}))
    (folder,) = (tmp_path / "runs" / "run").glob("epoch-*")
    spoil(folder, lambda values: values["progress"].update({key: PROGRESS[key]}))
    with pytest.raises((zoo.CheckpointError, zoo.UsageError)):
        zoo.resume(tmp_path / "runs" / "run")


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.update(settings=3),
        lambda values: values["settings"].update(recipe=7),
        lambda values: values["settings"]["recipe"].update(stages=5),
        lambda values: values["settings"]["recipe"].update(stages=[7]),
        lambda values: values.update(optimizer={}),
        lambda values: values["optimizer"]["groups"][0].update(peak="abc"),
        lambda values: values.update(progress=5),
        lambda values: values.update(metrics=5),
    ],
)
def test_settings_and_states_of_wrong_types_are_refused(train: Train, tmp_path: Path, change: Any) -> None:
    with pytest.raises(Stopped):
        train(epochs=2, reporter=Listener(at_step={2: press_ctrl_c}))
    (folder,) = (tmp_path / "runs" / "run").glob("epoch-*")
    spoil(folder, change)
    with pytest.raises(zoo.CheckpointError):
        zoo.resume(tmp_path / "runs" / "run")


@pytest.mark.parametrize("machine", [7, {"threads": True}, {"threads": 20_000}, {}])
def test_a_number_of_threads_that_no_machine_has_is_not_taken_and_ours_is_put_back(
    train: Train, tmp_path: Path, machine: Any
) -> None:
    unbroken = train("unbroken", epochs=2)
    with pytest.raises(Stopped):
        train(epochs=2, reporter=Listener(at_step={2: press_ctrl_c}))
    run = tmp_path / "runs" / "run"
    (folder,) = run.glob("epoch-*")
    spoil(folder, lambda values: values.update(machine=machine))
    before = torch.get_num_threads()
    zoo.resume(run)
    assert torch.get_num_threads() == before
    assert rows_of(run) == rows_of(unbroken.folder)
    assert same_weights(run / "epoch-0002", unbroken.last)


def test_the_threads_of_the_run_are_those_of_the_run_that_goes_on_and_ours_are_put_back(
    train: Train, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        train(epochs=2, reporter=Listener(at_step={2: press_ctrl_c}))
    run = tmp_path / "runs" / "run"
    (folder,) = run.glob("epoch-*")
    before, seen = torch.get_num_threads(), []
    spoil(folder, lambda values: values["machine"].update(threads=before + 1))
    zoo.resume(run, reporter=Listener(at_step={1: lambda: seen.append(torch.get_num_threads())}))
    assert (seen, torch.get_num_threads()) == ([before + 1], before)


def test_a_base_that_has_moved_can_be_told_to_a_run_that_goes_on(tmp_path: Path, pictures: Path) -> None:
    torch.save(zoo.load("squeezenet1_1", weights=None).state_dict(), tmp_path / "weights.pth")
    same: dict[str, Any] = {"freeze": "backbone", "img_size": 32, "batch_size": 8, "workers": 0, "save": "delta"}
    given: dict[str, Any] = {**same, "weights": tmp_path / "weights.pth", "epochs": 1, "out": tmp_path, "name": "run"}
    zoo.finetune("squeezenet1_1", pictures, **given)
    moved = (tmp_path / "weights.pth").rename(tmp_path / "moved.pth")
    with pytest.raises(zoo.CheckpointError, match=r"weights\.pth is missing(?s:.)*--base FILE"):
        zoo.resume(tmp_path / "run", epochs=2)
    zoo.resume(tmp_path / "run", epochs=2, base=moved)
    assert zoo.resume(tmp_path / "run", epochs=3).epochs == 3
    torch.save(zoo.load("squeezenet1_1", weights=None).state_dict(), tmp_path / "another.pth")
    with pytest.raises(zoo.CheckpointError, match="another file"):
        zoo.resume(tmp_path / "run", epochs=4, base=tmp_path / "another.pth")


def test_texts_out_of_files_move_no_cursor(train: Train, tmp_path: Path, pictures: Path, zoo_command: Command) -> None:
    run = train(epochs=1)
    config = json.loads((run.best / "config.json").read_text())
    config["spec"]["head"]["classes"] = config["classes"] = ["da\x1b[2Jisy", "b\x07ee"]
    forge(run.best, "config.json", json.dumps(config))
    told = [zoo_command("predict", run.best, pictures / "ant"), zoo_command("inspect", run.best)]
    told.append(zoo_command("evaluate", run.best, "--data", pictures))
    manifest = json.loads((run.best / "MANIFEST.json").read_text())
    manifest["files"]["x\x1b]0;title\x07"] = {"sha256": "0", "size": 0}
    (run.best / "MANIFEST.json").write_text(json.dumps(manifest))
    told.append(zoo_command("predict", run.best, pictures / "ant"))
    assert not [each for each in told if "\x1b" in each.out + each.err or "\x07" in each.out + each.err]


def test_a_word_of_trust_where_there_is_no_pickle_is_a_mistake(train: Train) -> None:
    run = train(epochs=1)
    with pytest.raises(zoo.UsageError, match="nothing to trust"):
        zoo.load_checkpoint(run.best, trust="0" * 64)


def test_the_log_tells_of_going_on_and_of_errors(train: Train, tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("the cat")

    with pytest.raises(RuntimeError):
        train(epochs=2, reporter=Listener(at_step={3: fail}))
    zoo.resume(tmp_path / "runs" / "run")
    events = [json.loads(line) for line in (tmp_path / "runs" / "run" / "log.jsonl").read_text().splitlines()]
    assert [each["what"] for each in events if each["event"] == "error"] == ["RuntimeError: the cat"]
    assert [each["checkpoint"] for each in events if each["event"] == "resume"] == ["epoch-0001-step-0003"]


def test_fewer_epochs_than_are_begun_are_refused(train: Train, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(epochs=4, reporter=Listener(at_step={6: press_ctrl_c}))
    with pytest.raises(zoo.UsageError, match=r"epochs is 1; 2 are done or begun(?s:.)*give 2 or more"):
        zoo.resume(tmp_path / "runs" / "run", epochs=1)
    assert zoo.resume(tmp_path / "runs" / "run", epochs=2).epochs == 2


def test_a_best_checkpoint_that_is_lost_is_told(train: Train) -> None:
    # A rate of almost nothing: the first epoch stays the best.
    run = train(epochs=3, keep="best,every:1", lr=1e-12)
    assert run.best.name == "epoch-0001"
    (run.best / "MANIFEST.json").unlink()
    heard = Listener()
    zoo.resume(run.folder, epochs=4, reporter=heard)
    assert any("epoch-0001 is damaged or not complete" in note for note in heard.notes)
    assert any("at epoch 1, is damaged or gone" in note for note in heard.notes)


def test_a_change_is_refused_before_anything_is_verified(train: Train, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(epochs=3, reporter=Listener(at_step={6: press_ctrl_c}))
    recipe = tmp_path / "runs" / "run" / "run.toml"
    recipe.write_text(recipe.read_text().replace("label-smoothing = 0.1", "label-smoothing = 0.2"))
    heard = Listener()
    with pytest.raises(zoo.CheckpointError, match="label-smoothing"):
        zoo.resume(recipe.parent, verify=True, reporter=heard)
    assert not any("verif" in note for note in heard.notes)
