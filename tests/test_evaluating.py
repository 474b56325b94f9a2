"""Measuring a checkpoint: the figures are those of training, and mistakes are told."""

import csv
import json
import os
import shutil
import signal
from pathlib import Path

import pytest

import zoo
from tests.conftest import Command, write_pictures
from zoo.data.loading import Pictures
from zoo.errors import CheckpointError, DataError

MODEL = "shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "imgs"
    return write_pictures(root, {f"{split}/{name}": 8 for split in ("train", "val") for name in ("ant", "bee", "cow")})


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> zoo.Run:
    given = {"weights": "none", "img_size": 64, "batch_size": 4, "lr": 0.01, "workers": 0, "device": "cpu"}
    return zoo.finetune(MODEL, data, **given, epochs=3, keep="every:1", out=tmp_path_factory.mktemp("runs"))


def row_of(run: zoo.Run, epoch: int) -> dict[str, float]:
    with (run.folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        row = list(csv.DictReader(file))[epoch - 1]
    return {name: float(row[f"val_{name}"]) for name in ("loss", "accuracy", "f1")}


def test_the_figures_are_those_of_the_epoch(run: zoo.Run, data: Path) -> None:
    for epoch in (1, 2, 3):
        found = zoo.evaluate(run.folder / f"epoch-{epoch:04d}", data, batch_size=4, workers=0, device="cpu")
        assert found.metrics == row_of(run, epoch)
        assert found.pictures == 24
    assert row_of(run, 1) != row_of(run, 3)


def test_a_run_stands_for_its_best_checkpoint(run: zoo.Run, data: Path) -> None:
    found = zoo.evaluate(run.folder, data, workers=0, device="cpu")
    assert found.checkpoint == run.best
    assert found.metrics["accuracy"] == row_of(run, run.best_epoch)["accuracy"] == run.metrics["accuracy"]
    assert found.metrics["loss"] == pytest.approx(row_of(run, run.best_epoch)["loss"], rel=1e-5)


def test_the_figures_of_classes_add_up(run: zoo.Run, data: Path) -> None:
    found = zoo.evaluate(run.folder, data, workers=0, device="cpu")
    assert [(each.name, each.pictures) for each in found.classes] == [("ant", 8), ("bee", 8), ("cow", 8)]
    assert [sum(row) for row in found.confusion] == [8, 8, 8]
    hits = sum(found.confusion[place][place] for place in range(3))
    assert found.metrics["accuracy"] == pytest.approx(hits / 24)
    assert sum(each.recall for each in found.classes) / 3 == pytest.approx(found.metrics["accuracy"])
    assert sum(each.f1 for each in found.classes) / 3 == pytest.approx(found.metrics["f1"])


def test_pictures_that_it_was_trained_on_are_told(
    run: zoo.Run, data: Path, zoo_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert zoo.evaluate(run.best, data, workers=0, device="cpu").notes == ()
    link = tmp_path / "link"
    link.symlink_to(data)
    (told,) = zoo.evaluate(run.folder, link, split="train", workers=0, device="cpu").notes
    assert told == "it was trained on these pictures, so the figures say little of new ones"
    monkeypatch.chdir(data)
    Path("test").mkdir()
    for name in ("ant", "bee"):
        Path("test", name).mkdir()
        for half in ("train", "val"):
            picture = next(Path(half, name).iterdir())
            Path("test", name, f"{half}{picture.suffix}").symlink_to(picture.resolve())
    shown = zoo_command("evaluate", run.best, "--data", ".", "-j", 0, "--device", "cpu")
    assert "note: it was trained on 2 of these, so the figures say little of new ones" in shown.out
    shutil.rmtree("test")
    shutil.copytree(data / "train", tmp_path / "moved")
    (told,) = zoo.evaluate(run.best, tmp_path / "moved", workers=0, device="cpu").notes
    assert told.startswith("it was trained on these pictures")
    copy = shutil.copytree(run.best, tmp_path / "copy" / run.best.name)
    (tmp_path / "copy" / "data.json").write_text("{}", encoding="utf-8")
    (told,) = zoo.evaluate(copy, data, workers=0, device="cpu").notes
    assert "data.json is no list of data" in told
    assert told.endswith("So it cannot be told which of the pictures it was trained on.")


def test_a_worker_that_the_system_ended_is_told(
    run: zoo.Run, data: Path, zoo_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pictures, "__getitem__", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    for words in (("evaluate", run.best, "--data", data), ("predict", run.best, data / "val")):
        told = zoo_command(*words, "-j", 1, "--device", "cpu")
        assert told.code == 7
        assert "was ended from outside" in told.err
        assert "none with --workers 0" in told.err


def test_workers_change_nothing(run: zoo.Run, data: Path) -> None:
    one, other = (zoo.evaluate(run.folder, data, workers=count, device="cpu") for count in (0, 2))
    assert one == other


def test_a_split_can_be_named(run: zoo.Run, data: Path, tmp_path: Path) -> None:
    assert zoo.evaluate(run.folder, data, workers=0).data == str(data / "val")
    trained = zoo.evaluate(run.folder, data, split="train", workers=0)
    assert trained.data == str(data / "train")
    plain = write_pictures(tmp_path / "plain", {"ant": 3, "cow": 2})
    found = zoo.evaluate(run.folder, plain, workers=0)
    assert (found.data, found.pictures) == (str(plain), 5)
    assert any("no picture of bee" in note for note in found.notes)
    with pytest.raises(DataError, match="no folder test/"):
        zoo.evaluate(run.folder, data, split="test")


def test_classes_that_the_checkpoint_does_not_know_are_refused(run: zoo.Run, tmp_path: Path) -> None:
    other = write_pictures(tmp_path / "other", {"ant": 2, "dog": 2})
    with pytest.raises(DataError, match=r"does not know; it knows ant, bee, cow: dog"):
        zoo.evaluate(run.folder, other)


def test_pictures_that_cannot_be_read_are_listed(run: zoo.Run, tmp_path: Path) -> None:
    other = write_pictures(tmp_path / "other", {"ant": 2})
    (other / "ant" / "notes.jpg").write_text("buy milk")
    with pytest.raises(DataError, match=r"1 of 3 pictures cannot be used:(?s:.)*notes\.jpg   a text file"):
        zoo.evaluate(run.folder, other)


def test_what_is_no_checkpoint_is_told(run: zoo.Run, data: Path, tmp_path: Path) -> None:
    for place, message in (
        (tmp_path / "absent", "there is no checkpoint"),
        (data, "a folder without a complete checkpoint"),
        (run.folder / "run.toml", "is no folder"),
    ):
        with pytest.raises(CheckpointError, match=message):
            zoo.evaluate(place, data)


def test_a_damaged_checkpoint_is_refused(run: zoo.Run, data: Path, tmp_path: Path) -> None:
    weights = zoo.save_checkpoint(tmp_path / "one", zoo.load_checkpoint(run.best)).folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-100] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged: model\.safetensors"):
        zoo.evaluate(tmp_path / "one", data)


def test_the_command_prints_a_table_or_an_object(run: zoo.Run, data: Path, zoo_command: Command) -> None:
    told = zoo_command("evaluate", run.folder, "--data", data, "-j", 0, "--device", "cpu")
    assert (told.code, told.err) == (0, "")
    assert f"{run.best} on {data / 'val'}, 24 pictures" in told.out
    for line in ("class", "ant", "bee", "cow", "loss", f"accuracy {run.metrics['accuracy']:.3f}"):
        assert line in told.out
    values = json.loads(zoo_command("evaluate", run.folder, "--data", data, "-j", 0, "--json").out)
    assert list(values) == ["checkpoint", "data", "pictures", "metrics", "classes", "confusion", "notes"]
    assert values["metrics"]["accuracy"] == run.metrics["accuracy"]
    assert [each["name"] for each in values["classes"]] == ["ant", "bee", "cow"]


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--data", "nowhere"], 3, "there is no folder nowhere"),
        ([], 2, "--data"),
        (["--data", ".", "--split", "test"], 3, "no folder test/"),
        (["--data", ".", "-b", 0], 2, "-b"),
        (["--data", ".", "--device", "cuda:99"], 2, "no device 'cuda:99'"),
    ],
)
def test_the_command_tells_mistakes(
    run: zoo.Run,
    data: Path,
    zoo_command: Command,
    monkeypatch: pytest.MonkeyPatch,
    flags: list[object],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(data)
    told = zoo_command("evaluate", run.folder, *flags)
    assert (told.code, told.out) == (code, "")
    assert words in told.err
    assert "Traceback" not in told.err
