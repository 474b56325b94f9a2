"""What is not as it was: refused with a table of before and now, or taken over where the user says so."""

import json
import re
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch

import zoo
from tests.checkpoint.conftest import changed as forged
from tests.conftest import Command
from tests.finetuning.conftest import Listener, rows_of, same_weights
from tests.resuming.conftest import (
    TINY,
    VIT,
    contents,
    finetune_arguments,
    run_stopped,
    stopped,
    tiny,
    unlike,
)
from zoo.errors import Stopped, UsageError
from zoo.finetuning.plan import Plan
from zoo.training import loop
from zoo.training.devices import Device

SETTINGS = {"dropout": 0.3, "label-smoothing": 0.1, "momentum": 0.5}
GIVEN: dict[str, Any] = {"opt": "sgd", "wd": 0.01, "img_size": 24, "freeze": "norm.*", "keep": "best,every:1"}
STAGES = {"recipe": "probe-then-fine-tune", "freeze": None}


def given(imgs: Path, out: Path, name: str = "run", **more: Any) -> dict[str, Any]:
    return tiny(imgs, out, name, **{**GIVEN, "settings": SETTINGS, **more})


@pytest.fixture(scope="module")
def unbroken(imgs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo.finetune(**given(imgs, tmp_path_factory.mktemp("unbroken"))).folder


@pytest.fixture(scope="module")
def begun(imgs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_stopped(given(imgs, tmp_path_factory.mktemp("begun")), at_step=5)


@pytest.fixture
def run(begun: Path, tmp_path: Path) -> Path:
    """A run that was stopped in its second epoch of three, to be changed."""
    return Path(shutil.copytree(begun, tmp_path / "runs" / "run"))


def set_in_recipe(run: Path, **values: Any) -> None:
    """Set keys of `run.toml` to other values, a stage's in every stage; None takes a key out."""
    recipe = tomllib.loads((run / "run.toml").read_text(encoding="utf-8"))
    in_stages = {"freeze", "unfreeze", "epochs", "lr", "backbone-lr", "sched", "warmup-epochs"}
    for name, value in values.items():
        key = name.replace("_", "-")
        for place in recipe["stages"] if key in in_stages else [recipe]:
            place.pop(key, None)
            if value is not None:
                place[key] = value
    (run / "run.toml").write_text(tomli_w.dumps(recipe), encoding="utf-8")


@dataclass(frozen=True)
class Case:
    """One key, what the table shows of it, and a look at whether the new value is used."""

    key: str
    value: Any
    before: str
    now: str
    used: Callable[[Plan, Path], bool]

    def __str__(self) -> str:
        return f"{self.key}={self.value}"


def last_row(run: Path) -> dict[str, str]:
    return rows_of(run)[-1]


def drops(plan: Plan) -> float:
    share: float = plan.model.drop.p
    return share


def steps_of(run: Path) -> int:
    return int(last_row(run)["step"])


def dotted(name: str) -> Callable[[Plan, Path], bool]:
    """Whether a weight is trained now."""
    return lambda plan, _: bool(plan.model.get_parameter(name).requires_grad)


ANY: Callable[[Plan, Path], bool] = lambda *_: True  # noqa: E731 - what is compared for every case says enough
CASES = [
    Case("lr", 0.02, "0.01", "0.02", ANY),
    Case("backbone-lr", 0.05, "0.000666667", "0.05", ANY),
    Case("wd", 0.3, "0.01", "0.3", ANY),
    Case("momentum", 0.9, "0.5", "0.9", ANY),
    Case("opt", "adamw", "sgd", "adamw", ANY),
    Case("batch-size", 6, "4", "6", lambda plan, run: plan.steps == 2 and steps_of(run) == 5 + 1 + 2),
    Case("seed", 7, "0", "7", ANY),
    Case("label-smoothing", 0.4, "0.1", "0.4", ANY),
    Case("dropout", 0.9, "0.3", "0.9", lambda plan, _: drops(plan) == 0.9),
    Case("dropout", None, "0.3", "–", lambda plan, _: drops(plan) == 0.2),
    Case("augment", "none", "standard", "none", ANY),
    Case("img-size", 32, "24", "32", lambda plan, _: plan.spec.preprocessing.size == (32, 32)),
    Case("img-size", [24, 32], "24", "24, 32", lambda plan, _: plan.spec.preprocessing.size == (24, 32)),
    Case("freeze", "none", "norm.*", "none", dotted("norm.weight")),
    Case("unfreeze", "norm.bias", "–", "norm.bias", dotted("norm.bias")),
    Case("sched", "constant", "cosine", "constant", lambda _, run: float(last_row(run)["lr"]) == 0.01),
    Case("warmup-epochs", 2.0, "0.5", "2", ANY),
    Case("epochs", 4, "3", "4", lambda _, run: len(rows_of(run)) == 4 and steps_of(run) == 12),
]
FIXED = [
    ("model", VIT, TINY, VIT),
    ("weights", "none", "default", "none"),
    ("head", "mlp", "linear", "mlp"),
    ("mode", "append", "replace", "append"),
    ("classes", ["bee", "ant"], "ant, bee", "bee, ant"),
    ("channels", 1, "–", "1"),
]


def assert_table(text: str, key: str, before: str, now: str) -> None:
    line = rf"^ *{re.escape(key)} +{re.escape(before)} +→ {re.escape(now)}$"
    assert re.search(line, text, re.MULTILINE), text


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_changed_setting_is_refused_and_with_a_word_it_is_used(
    run: Path, unbroken: Path, zoo_command: Command, case: Case
) -> None:
    set_in_recipe(run, **{case.key: case.value})
    before = contents(run)
    result = zoo_command("resume", run)
    assert result.code == 4
    assert_table(result.err, case.key, case.before, case.now)
    assert f"--allow {case.key}" in result.err
    assert contents(run) == before
    heard = Listener()
    resumed = zoo.resume(run, allow=[case.key], reporter=heard)
    assert heard.plan is not None
    assert case.used(heard.plan, run)
    assert f"changed: {case.key} {case.before} → {case.now}" in heard.notes
    kept = json.loads((resumed.last / "training.json").read_text(encoding="utf-8"))["settings"]["recipe"]
    assert {**kept, **kept["stages"][0]}.get(case.key) == case.value
    assert not same_weights(run / "epoch-0003", unbroken / "epoch-0003")
    assert zoo.resume(run).epochs == resumed.epochs, "what was allowed once need not be allowed again"


@pytest.mark.parametrize(("key", "value", "before", "now"), FIXED, ids=[each[0] for each in FIXED])
def test_what_makes_another_run_of_it_is_refused_with_any_word(
    run: Path, zoo_command: Command, key: str, value: Any, before: str, now: str
) -> None:
    set_in_recipe(run, **{key: value})
    files = contents(run)
    result = zoo_command("resume", run)
    assert result.code == 4
    assert_table(result.err, key, before, now)
    assert "it is another run" in result.err
    result = zoo_command("resume", run, "--allow", key)
    assert result.code == 2
    assert contents(run) == files


def test_another_number_of_stages_is_refused(run: Path, zoo_command: Command) -> None:
    recipe = tomllib.loads((run / "run.toml").read_text(encoding="utf-8"))
    (run / "run.toml").write_text(tomli_w.dumps({**recipe, "stages": recipe["stages"] * 2}), encoding="utf-8")
    result = zoo_command("resume", run)
    assert result.code == 4
    assert_table(result.err, "stages", "1", "2")


def test_a_stage_is_named_with_its_number(imgs: Path, tmp_path: Path, zoo_command: Command) -> None:
    run = run_stopped(given(imgs, tmp_path, **STAGES), at_step=5)
    text = (run / "run.toml").read_text(encoding="utf-8")
    (run / "run.toml").write_text(text.replace('freeze = "none"', 'freeze = "conv.*"'), encoding="utf-8")
    result = zoo_command("resume", run)
    assert result.code == 4
    assert_table(result.err, "stages.1.freeze", "none", "conv.*")
    heard = Listener()
    zoo.resume(run, allow=["freeze"], reporter=heard)
    assert heard.plan is not None
    assert not heard.plan.model.conv.weight.requires_grad
    assert heard.plan.model.norm.weight.requires_grad


def test_several_changes_are_told_together_and_each_needs_its_word(run: Path, zoo_command: Command) -> None:
    set_in_recipe(run, lr=0.02, seed=3)
    result = zoo_command("resume", run)
    assert_table(result.err, "lr", "0.01", "0.02")
    assert_table(result.err, "seed", "0", "3")
    assert "2 things are not as before" in result.err
    assert "--allow seed,lr" in result.err
    result = zoo_command("resume", run, "--allow", "lr")
    assert result.code == 4
    assert re.search(r"^ *lr ", result.err, re.MULTILINE) is None
    assert zoo_command("resume", run, "--allow", "lr,seed").code == 0


def test_the_same_values_written_anew_are_no_change(run: Path, unbroken: Path) -> None:
    set_in_recipe(run, lr=0.01, seed=0, wd=0.01)
    zoo.resume(run)
    assert unlike(run, unbroken) == []


@pytest.mark.parametrize(
    ("key", "value", "of_group"),
    [("lr", 0.02, "peak"), ("wd", 0.3, "weight_decay"), ("momentum", 0.9, "momentum")],
)
def test_an_allowed_setting_is_used_from_the_next_step_and_what_was_learned_stays(
    imgs: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: float, of_group: str
) -> None:
    """The same as if the optimizer of a run that never stopped had been changed at that step."""
    set_in_recipe(run, **{key: value})
    zoo.resume(run, allow=[key])
    set_rates, calls = loop.set_rates, iter(range(100))

    def changed_later(optimizer: Any, share: float) -> None:
        if next(calls) == 5:
            for group in optimizer.param_groups:
                # The decay of norms and biases, and the rate of the backbone, are not what the setting says.
                if group[of_group] == {"lr": 0.01, "wd": 0.01, "momentum": 0.5}[key]:
                    group[of_group] = value
        set_rates(optimizer, share)

    monkeypatch.setattr(loop, "set_rates", changed_later)
    zoo.finetune(**given(imgs, tmp_path, "oracle"))
    assert same_weights(run / "epoch-0003", tmp_path / "oracle" / "epoch-0003")


def order(listing: dict[str, Any]) -> None:
    listing["classes"].reverse()


def other_names(listing: dict[str, Any]) -> None:
    listing["classes"] = ["ant", "cat"]


def labels(listing: dict[str, Any]) -> None:
    for row in listing["train"]:
        row[1] = 1 - row[1]


def halves(listing: dict[str, Any]) -> None:
    listing["train"].append(listing["val"].pop())


@pytest.mark.parametrize("change", [order, other_names, labels, halves])
def test_a_list_of_pictures_that_was_edited_is_refused(
    run: Path, zoo_command: Command, change: Callable[[dict[str, Any]], None]
) -> None:
    listing = json.loads((run / "data.json").read_text(encoding="utf-8"))
    change(listing)
    (run / "data.json").write_text(json.dumps(listing), encoding="utf-8")
    before = contents(run)
    result = zoo_command("resume", run)
    assert result.code == 4, result.out + result.err
    assert "data" in result.err
    assert contents(run) == before


def test_free_settings_need_no_word_and_change_no_weight(run: Path, unbroken: Path) -> None:
    # Where there is a GPU, auto would be another machine.
    same = {} if torch.cuda.is_available() else {"device": "auto", "amp": "off"}
    set_in_recipe(run, workers=1, keep="every:1", save_every="1steps", **same)
    heard = Listener()
    zoo.resume(run, reporter=heard)
    assert heard.plan is not None
    assert heard.plan.workers == 1
    assert "epoch-0003-step-0001" in heard.checkpoints
    assert same_weights(run / "epoch-0003", unbroken / "epoch-0003")
    assert rows_of(run) == rows_of(unbroken)


@pytest.mark.slow
def test_how_a_checkpoint_is_saved_is_free(run: Path, unbroken: Path) -> None:
    set_in_recipe(run, save="full")
    zoo.resume(run)
    assert (run / "epoch-0003" / "model.pt").is_file()
    assert same_weights(run / "epoch-0003", unbroken / "epoch-0003")


@pytest.mark.parametrize(
    ("key", "value", "told"), [("torch", "1.0.0", "torch was 1.0.0"), ("device", "cuda:9", "device was cuda:9")]
)
def test_another_machine_is_told_and_not_refused(run: Path, key: str, value: str, told: str) -> None:
    def change(training: dict[str, Any]) -> None:
        training["machine"][key] = value

    forged(run / "epoch-0002-step-0002", "training.json", change)
    heard = Listener()
    assert zoo.resume(run, reporter=heard).epochs == 3
    (note,) = [note for note in heard.notes if "not bit-exact" in note]
    assert told in note


def test_a_device_that_may_not_repeat_itself_is_told(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "repeats", False)
    heard = Listener()
    zoo.resume(run, reporter=heard)
    (note,) = [note for note in heard.notes if "bit-exact" in note]
    assert note.startswith("perhaps not bit-exact: a GPU repeats itself bit for bit only where deterministic is set")


def test_the_number_of_threads_is_put_back(run: Path) -> None:
    def change(training: dict[str, Any]) -> None:
        training["machine"]["threads"] = 2

    forged(run / "epoch-0002-step-0002", "training.json", change)
    seen: list[int] = []
    heard = Listener(at_step={1: lambda: seen.append(torch.get_num_threads())})
    zoo.resume(run, reporter=heard)
    assert seen == [2]
    assert not [note for note in heard.notes if "bit-exact" in note]


@pytest.mark.parametrize(("size", "error"), [(48, UsageError), (64, None)])
def test_a_model_that_cannot_take_another_size_says_so(
    imgs: Path, tmp_path: Path, size: int, error: type[Exception] | None
) -> None:
    run = run_stopped(tiny(imgs, tmp_path, model=VIT, img_size=64), at_step=2)
    set_in_recipe(run, img_size=size)
    if error is None:
        assert zoo.resume(run).epochs == 3
        return
    before = contents(run)
    with pytest.raises(error, match="cannot take pictures of 48 × 48"):
        zoo.resume(run, allow=["img-size"])
    assert contents(run) == before


def test_an_input_size_that_was_taken_out_is_asked_for(run: Path, zoo_command: Command) -> None:
    """The model of a checkpoint knows the size that it was trained with, and no other one."""
    set_in_recipe(run, img_size=None)
    before = contents(run)
    result = zoo_command("resume", run)
    assert result.code == 4
    assert_table(result.err, "img-size", "24", "–")
    result = zoo_command("resume", run, "--allow", "img-size")
    assert result.code == 2
    assert "which size" in result.err
    assert contents(run) == before


@pytest.mark.parametrize("where", [{"at_epoch": 2}, {"at_step": 5}, {"at_step": 8}], ids=["end", "within", "after"])
def test_fewer_epochs_than_a_stage_has_done_are_refused(imgs: Path, tmp_path: Path, where: dict[str, int]) -> None:
    run = run_stopped(given(imgs, tmp_path, **{**STAGES, "epochs": 5, "keep": "last"}), **where)
    text = (run / "run.toml").read_text(encoding="utf-8")
    assert "epochs = 2" in text
    (run / "run.toml").write_text(text.replace("epochs = 2", "epochs = 1"), encoding="utf-8")
    before = contents(run)
    with pytest.raises(UsageError, match="epochs than are done"):
        zoo.resume(run, allow=["epochs"])
    assert contents(run) == before
    (run / "run.toml").write_text(text.replace("epochs = 3", "epochs = 4"), encoding="utf-8")
    resumed = zoo.resume(run, allow=["epochs"])
    assert (resumed.epochs, resumed.last.name, len(rows_of(run))) == (6, "epoch-0006", 6)


def test_a_word_that_is_no_key_is_told(run: Path, zoo_command: Command) -> None:
    result = zoo_command("resume", run, "--allow", "rate")
    assert result.code == 2
    assert "--allow 'rate' cannot be meant" in result.err
    assert "lr" in result.err


def test_the_same_command_begins_where_there_is_nothing_and_goes_on_where_there_is(
    imgs: Path, tmp_path: Path, zoo_command: Command, begun: Path
) -> None:
    arguments = [each for each in finetune_arguments(imgs, tmp_path, "run") if each not in ("--name", "run")]
    assert zoo_command(*arguments, "--resume").code == 0
    (run,) = tmp_path.iterdir()
    shutil.rmtree(run / "epoch-0003")
    before = rows_of(run)
    result = zoo_command(*arguments, "--resume")
    assert result.code == 0
    assert f"{run} was begun before" in result.out
    assert [*tmp_path.iterdir()] == [run]
    assert rows_of(run) == before


def test_of_several_runs_the_newest_of_that_model_and_data_goes_on(imgs: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(imgs, tmp_path / "other"))
    out = tmp_path / "runs"

    def begin(**more: Any) -> None:
        with pytest.raises(Stopped):
            zoo.finetune(**{**given(imgs, out), "name": None, **more}, reporter=stopped(at_step=2))

    begin()
    begin()
    for more in ({"model": VIT, "img_size": None}, {"data": other}, {"name": "named"}):
        begin(**more)
    before = {path.name: contents(path) for path in out.iterdir()}
    resumed = zoo.finetune(**{**given(imgs, out), "name": None}, resume=True)
    assert resumed.folder.name == "resuming-tiny-imgs-2"
    now = {path.name: contents(path) for path in out.iterdir()}
    assert now.keys() == before.keys()
    assert [name for name in now if now[name] != before[name]] == ["resuming-tiny-imgs-2"]


def test_a_run_that_was_killed_before_it_wrote_its_list_of_pictures_begins_again(imgs: Path, tmp_path: Path) -> None:
    usual = {**given(imgs, tmp_path), "name": None}
    with pytest.raises(Stopped):
        zoo.finetune(**usual, reporter=stopped(at_step=2))
    (run,) = tmp_path.iterdir()
    shutil.rmtree(run / "epoch-0001-step-0002")
    (run / "data.json").unlink()
    heard = Listener()
    assert zoo.finetune(**usual, resume=True, reporter=heard).folder == run
    assert any("begins again" in note for note in heard.notes)


@pytest.mark.parametrize(("flag", "value", "now"), [("--lr", "0.05", "0.05"), ("--seed", "4", "4"), ("-b", "5", "5")])
def test_the_same_command_with_another_flag_is_refused(
    imgs: Path, tmp_path: Path, zoo_command: Command, flag: str, value: str, now: str
) -> None:
    run = run_stopped(tiny(imgs, tmp_path), at_step=2)
    before = contents(run)
    arguments = finetune_arguments(imgs, tmp_path, "run", "--resume", flag, value)
    result = zoo_command(*arguments)
    assert result.code == 4
    assert f"→ {now}" in result.err
    assert contents(run) == before
    # The rate of the backbone goes with that of the head.
    key = {"-b": "batch-size", "--lr": "lr,backbone-lr"}.get(flag, flag[2:])
    assert zoo_command(*arguments, "--allow", key).code == 0


def test_a_run_that_is_going_on_cannot_be_begun_again(imgs: Path, tmp_path: Path, zoo_command: Command) -> None:
    """Another process may be about to save its first checkpoint."""
    results = []
    arguments = finetune_arguments(imgs, tmp_path, "run", "--resume")
    heard = Listener(at_step={1: lambda: results.append(zoo_command(*arguments))})
    zoo.finetune(**tiny(imgs, tmp_path), reporter=heard)
    assert results[0].code == 5
    assert "is in use" in results[0].err
    assert len(rows_of(tmp_path / "run")) == 3


def test_a_folder_of_somebody_else_is_never_cleared(imgs: Path, tmp_path: Path, zoo_command: Command) -> None:
    for name in ("notes.txt", ".git"):
        folder = tmp_path / f"with{name}"
        folder.mkdir()
        (folder / name).write_text("mine", encoding="utf-8")
        result = zoo_command(*finetune_arguments(imgs, tmp_path, folder.name, "--resume"))
        assert result.code in (2, 4)
        assert (folder / name).read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("at_step", [5, None])
def test_more_epochs_are_those_of_a_run_that_had_them_from_the_start(
    imgs: Path, tmp_path: Path, zoo_command: Command, at_step: int | None
) -> None:
    constant = {"sched": "constant", "keep": "every:1"}
    if at_step is None:
        zoo.finetune(**given(imgs, tmp_path, **constant))
    else:
        run_stopped(given(imgs, tmp_path, **constant), at_step=at_step)
    run, longer = tmp_path / "run", zoo.finetune(**given(imgs, tmp_path, "longer", **{**constant, "epochs": 5}))
    assert zoo_command("resume", run, "--epochs", 5).code == 0
    assert rows_of(run) == rows_of(longer.folder)
    assert same_weights(run / "epoch-0005", longer.last)
    assert zoo_command("resume", run).code == 0, "it stays so long without being told again"
    assert len(rows_of(run)) == 5


def test_a_finished_run_says_so_and_ends_well(imgs: Path, tmp_path: Path, zoo_command: Command) -> None:
    run = zoo.finetune(**given(imgs, tmp_path)).folder
    before = contents(run)
    for more in ([], ["--epochs", 3], ["--verify"]):
        result = zoo_command("resume", run, *more)
        assert result.code == 0
        assert "finished: 3 of 3 epochs are done" in result.out
    result = zoo_command("resume", run, "--epochs", 2)
    assert result.code == 2
    assert "3 are done" in result.err
    heard = Listener()
    zoo.finetune(**given(imgs, tmp_path, epochs=1), resume=True, reporter=heard)
    assert any("the run is finished: 3 epochs are done, and 1 asked for" in note for note in heard.notes)
    assert contents(run) == before


@pytest.mark.parametrize("more", [[], ["--verify"]], ids=["plain", "verified"])
def test_the_same_pictures_in_another_place_give_the_same_run(
    mine: tuple[Path, Path], unbroken: Path, tmp_path: Path, zoo_command: Command, more: list[str]
) -> None:
    run, pictures = mine
    elsewhere = Path(shutil.copytree(pictures, tmp_path / "elsewhere", copy_function=shutil.copyfile))
    shutil.rmtree(pictures)
    result = zoo_command("resume", run)
    assert result.code == 3
    assert "--data" in result.err
    result = zoo_command("resume", run, "--data", elsewhere, *more)
    assert result.code == 0, result.err
    assert same_weights(run / "epoch-0003", unbroken / "epoch-0003")
    assert rows_of(run) == rows_of(unbroken)
    assert json.loads((run / "data.json").read_text(encoding="utf-8"))["root"] == str(elsewhere)
    assert f'data = "{elsewhere}"' in (run / "run.toml").read_text(encoding="utf-8")


def test_other_pictures_in_another_place_are_refused(
    imgs: Path, run: Path, tmp_path: Path, zoo_command: Command
) -> None:
    elsewhere = Path(shutil.copytree(imgs, tmp_path / "elsewhere"))
    content = bytearray((elsewhere / "ant" / "3.png").read_bytes())
    content[-20] ^= 1
    (elsewhere / "ant" / "3.png").write_bytes(bytes(content))
    before = contents(run)
    result = zoo_command("resume", run, "--data", elsewhere)
    assert result.code == 4
    assert "edited   ant/3.png" in result.err
    assert contents(run) == before


@pytest.fixture
def mine(imgs: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A run of pictures that may be changed, stopped in its second epoch, and the pictures."""
    own = Path(shutil.copytree(imgs, tmp_path / "own"))
    return run_stopped(given(own, tmp_path / "runs", keep="every:1"), at_step=5), own


def test_removed_pictures_are_told_and_with_a_word_the_rest_goes_on(
    mine: tuple[Path, Path], zoo_command: Command
) -> None:
    run, pictures = mine
    listed = json.loads((run / "data.json").read_text(encoding="utf-8"))
    gone = [name for name, label, *_ in listed["train"] if label == 0] + [listed["train"][-1][0]]
    kept = gone.pop(0)
    assert len(gone) == 6
    for name in gone:
        (pictures / name).unlink()
    before = contents(run)
    result = zoo_command("resume", run)
    assert result.code == 4
    assert len(re.findall(r"^ *removed   ", result.err, re.MULTILINE)) == 5
    assert "… and 1 more" in result.err
    assert "--allow data" in result.err
    assert contents(run) == before
    heard = Listener()
    resumed = zoo.resume(run, allow=["data"], reporter=heard)
    assert heard.plan is not None
    assert len(heard.plan.dataset.train) == 6
    assert listed["val"] == json.loads((run / "data.json").read_text(encoding="utf-8"))["val"]
    assert kept in {str(each.path.relative_to(pictures)) for each in heard.plan.dataset.train}
    assert resumed.epochs == 3
    shutil.rmtree(resumed.last)
    assert zoo_command("resume", run).code == 0, "what was allowed once need not be allowed again"


def test_added_pictures_are_told_and_never_mixed_in(mine: tuple[Path, Path], zoo_command: Command) -> None:
    run, pictures = mine
    shutil.copyfile(pictures / "ant" / "0.png", pictures / "ant" / "new.png")
    (pictures / "ant" / "new.png").write_bytes((pictures / "ant" / "0.png").read_bytes() + b" ")
    result = zoo_command("resume", run)
    assert result.code == 4
    assert "added   ant/new.png" in result.err
    assert zoo_command("resume", run, "--allow", "data").code == 0
    listed = json.loads((run / "data.json").read_text(encoding="utf-8"))
    assert "ant/new.png" not in [row[0] for row in (*listed["train"], *listed["val"])]
    shutil.rmtree(run / "epoch-0003")
    assert zoo_command("resume", run).code == 0


def test_pictures_that_lost_a_whole_class_cannot_go_on(mine: tuple[Path, Path], zoo_command: Command) -> None:
    run, pictures = mine
    shutil.rmtree(pictures / "bee")
    before = contents(run)
    assert zoo_command("resume", run).code == 4
    result = zoo_command("resume", run, "--allow", "data")
    assert result.code == 3
    assert contents(run) == before
