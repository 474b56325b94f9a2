"""Saying what pictures show, from a checkpoint alone."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import zoo
from tests.conftest import Command, write_pictures
from zoo.data.loading import evaluation_transform
from zoo.errors import CheckpointError, DataError, UsageError

MODEL = "shufflenet_v2_x0_5"
CLASSES = ["ant", "bee", "cow"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, a file of weights that is gone afterwards, and a run that began with it."""
    place = tmp_path_factory.mktemp("place")
    write_pictures(place / "imgs", dict.fromkeys(CLASSES, 8))
    torch.save(zoo.load(MODEL, weights=None, seed=0).state_dict(), place / "weights.pth")
    given = {
        "weights": place / "weights.pth",
        "img_size": 64,
        "batch_size": 4,
        "lr": 0.1,
        "workers": 0,
        "device": "cpu",
    }
    zoo.finetune(MODEL, place / "imgs", **given, epochs=2, keep="every:1", out=place / "runs", name="run")
    (place / "weights.pth").unlink()
    return place


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    return place / "runs" / "run"


def test_a_run_stands_for_its_folder(run: Path, place: Path) -> None:
    asked = {"workers": 0, "device": "cpu"}
    finished = zoo.resume(run)
    assert finished.folder == run
    assert zoo.predict(finished, place / "imgs", **asked) == zoo.predict(run, place / "imgs", **asked)
    assert zoo.evaluate(finished, place / "imgs", **asked).checkpoint == finished.best
    assert zoo.spec_of(zoo.load_checkpoint(finished)).full_name == f"torchvision:{MODEL}"
    assert zoo.resume(finished).last == finished.last


def test_probabilities_are_sorted_and_sum_to_one(run: Path, place: Path) -> None:
    found = zoo.predict(run, place / "imgs", top=len(CLASSES), workers=0)
    assert len(found) == 24
    for each in found:
        assert sorted(each.classes) == CLASSES
        assert list(each.probabilities) == sorted(each.probabilities, reverse=True)
        assert sum(each.probabilities) == pytest.approx(1.0, abs=1e-6)
        assert each.best == each.classes[0]
    assert len({each.probabilities for each in found}) == 24, "a model that sees nothing would prove nothing"


def test_they_are_the_softmax_of_the_model(run: Path, place: Path) -> None:
    picture = place / "imgs" / "bee" / "3.png"
    model = zoo.load_checkpoint(run)
    batch = evaluation_transform(zoo.spec_of(model).preprocessing)(Image.open(picture).convert("RGB"))[None]
    assert batch.shape == (1, 3, 64, 64)
    expected = model(batch).softmax(dim=1)[0].tolist()
    (found,) = zoo.predict(run, picture, top=3, workers=0, device="cpu")
    assert dict(zip(found.classes, found.probabilities, strict=True)) == pytest.approx(
        dict(zip(CLASSES, expected, strict=True)), rel=1e-4
    )


def test_top_names_so_many_classes_and_no_more_than_there_are(run: Path, place: Path) -> None:
    picture = place / "imgs" / "ant" / "0.png"
    assert [len(zoo.predict(run, picture, top=top)[0].classes) for top in (1, 2, 3, 99)] == [1, 2, 3, 3]
    with pytest.raises(UsageError, match="top is 0; it must be 1 or more"):
        zoo.predict(run, picture, top=0)


def test_batches_and_workers_change_nothing_but_rounding(run: Path, place: Path) -> None:
    one, other = (zoo.predict(run, place / "imgs", batch_size=size, workers=size % 2) for size in (24, 5))
    assert [each.path for each in one] == [each.path for each in other]
    assert [each.best for each in one] == [each.best for each in other]
    assert [each.probabilities[0] for each in one] == pytest.approx([each.probabilities[0] for each in other], abs=1e-5)


def test_pictures_are_files_folders_and_globs(run: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place / "imgs")
    found = zoo.predict(run, ["cow/1.png", "ant", "./b*/[12].png", Path("cow") / "1.png"], workers=0)
    assert [str(each.path) for each in found] == [
        "cow/1.png",
        *(f"ant/{number}.png" for number in range(8)),
        "bee/1.png",
        "bee/2.png",
    ]


def test_a_checkpoint_alone_is_enough(run: Path, tmp_path: Path, place: Path, zoo_process: Command) -> None:
    """Moved elsewhere, called from elsewhere, by another process, without the weights that it began with."""
    shutil.copytree(run / "epoch-0002", tmp_path / "moved" / "mine")
    shutil.copy(place / "imgs" / "cow" / "5.png", tmp_path / "moved")
    told = zoo_process("predict", "mine", "5.png", "--format", "json", "--top", 3, cwd=tmp_path / "moved")
    assert told.code == 0, told.err
    (found,) = json.loads(told.out)["predictions"]
    (expected,) = zoo.predict(run / "epoch-0002", place / "imgs" / "cow" / "5.png", top=3)
    assert [each["class"] for each in found["top"]] == list(expected.classes)
    assert [each["probability"] for each in found["top"]] == pytest.approx(list(expected.probabilities))


def test_a_run_stands_for_its_best_checkpoint(run: Path, place: Path) -> None:
    scores = {
        folder: json.loads((folder / "training.json").read_text())["metrics"]["accuracy"]
        for folder in sorted(run.glob("epoch-*"))
    }
    best = max(scores, key=lambda folder: scores[folder])
    assert zoo.predict(run, place / "imgs") == zoo.predict(best, place / "imgs")


def test_the_command_prints_a_table_csv_or_json(run: Path, place: Path, zoo_command: Command) -> None:
    pictures = [place / "imgs" / "ant" / "0.png", place / "imgs" / "bee" / "0.png"]
    found = zoo.predict(run, pictures, top=2)

    def told(*flags: object) -> str:
        result = zoo_command("predict", run, *pictures, "--top", 2, *flags)
        assert (result.code, result.err) == (0, "")
        return result.out

    for each in found:
        assert str(each.path) in told()
        assert f"{each.probabilities[0]:.3f}" in told()
    rows = list(csv.DictReader(io.StringIO(told("--format", "csv"))))
    assert list(rows[0]) == ["path", "class_1", "probability_1", "class_2", "probability_2"]
    assert [(row["path"], row["class_1"], row["class_2"]) for row in rows] == [
        (str(each.path), *each.classes) for each in found
    ]
    assert [float(row["probability_1"]) for row in rows] == pytest.approx(
        [each.probabilities[0] for each in found], abs=1e-6
    )
    for flag in (["--json"], ["--format", "json"]):
        assert json.loads(told(*flag)) == {"predictions": [each.to_values() for each in found]}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["empty"], 3, "empty has no picture"),
        (["absent.jpg"], 3, "absent.jpg is no picture"),
        (["*.webp"], 3, "there is no such"),
        (["notes.jpg"], 3, "notes.jpg   a text file"),
        (["imgs", "--top", 0], 2, "--top"),
        (["imgs", "--format", "xml"], 2, "xml"),
        ([], 2, "PICTURE"),
    ],
)
def test_the_command_tells_mistakes(
    run: Path,
    place: Path,
    zoo_command: Command,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[object],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(place)
    (place / "empty").mkdir(exist_ok=True)
    (place / "notes.jpg").write_text("buy milk")
    told = zoo_command("predict", run, *arguments)
    assert (told.code, told.out) == (code, "")
    assert words in told.err
    assert "Traceback" not in told.err


def test_a_checkpoint_without_classes_of_its_own_is_refused(place: Path, tmp_path: Path) -> None:
    zoo.save_checkpoint(tmp_path / "plain", zoo.load(MODEL, weights=None))
    with pytest.raises(CheckpointError, match="library's own classifier"):
        zoo.predict(tmp_path / "plain", place / "imgs")
    with pytest.raises(DataError, match="there is no such file"):
        zoo.predict(tmp_path / "plain", "absent.jpg")
