"""`zoo predict RUN -`: paths or a picture from standard input, as other programs send them."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import zoo
from tests.conftest import ROOT, Command, write_pictures
from zoo.data.streams import is_picture
from zoo.errors import DataError
from zoo.predicting import Predictor, predictions_of

MODEL = "shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and a checkpoint that tells them apart somehow."""
    place = tmp_path_factory.mktemp("stream")
    write_pictures(place / "imgs", {"ant": 6, "bee": 6})
    torch.manual_seed(0)
    model = zoo.load(MODEL, ["ant", "bee"], weights=None)
    zoo.save_checkpoint(place / "epoch-0001", model)
    return place


def told(place: Path, given: bytes, *flags: str, script: str | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "zoo", "predict", "epoch-0001", "-", "-j", "0", "--device", "cpu", *flags]
    return subprocess.run(
        ["sh", "-c", script, "sh", *command] if script else command,
        cwd=place,
        input=given,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def predictor(place: Path) -> Predictor:
    return Predictor(place / "epoch-0001", workers=0, device="cpu")


def test_paths_one_a_line_are_told_as_if_they_were_given(place: Path) -> None:
    names = [f"imgs/{name}/{number}.png" for name in ("ant", "bee") for number in range(6)]
    done = told(place, "\n".join(names).encode(), "--format", "csv")
    assert (done.returncode, done.stderr) == (0, b"")
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    expected = zoo.predict(place / "epoch-0001", [place / name for name in names], device="cpu")
    assert [row["path"] for row in rows] == names
    assert [row["class_1"] for row in rows] == [each.best for each in expected]
    assert [float(row["probability_1"]) for row in rows] == pytest.approx(
        [each.probabilities[0] for each in expected], abs=1e-5
    )


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "tiff", "webp"])
def test_the_bytes_of_a_picture_are_told(place: Path, predictor: Predictor, suffix: str, tmp_path: Path) -> None:
    target = tmp_path / f"one.{suffix}"
    Image.open(place / "imgs" / "ant" / "0.png").convert("RGB").save(target)
    ((found,),) = predictions_of(predictor, io.BytesIO(target.read_bytes()))  # type: ignore[misc]
    assert str(found.path) == "-"
    assert found.probabilities == predictor.of([target])[0].probabilities


def test_a_picture_comes_through_a_real_pipe(place: Path) -> None:
    done = told(place, (place / "imgs" / "bee" / "1.png").read_bytes(), "--json")
    assert done.returncode == 0
    (found,) = json.loads(done.stdout)["predictions"]
    assert found["path"] == "-"


def test_thousands_of_paths_are_told_as_they_come(place: Path, predictor: Predictor) -> None:
    """The first are told before the last ones are read."""
    read = []

    class Slow(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            if len(read) == 2000:
                return 0
            line = f"{place}/imgs/ant/{len(read) % 6}.png\n".encode()
            read.append(line)
            buffer[: len(line)] = line
            return len(line)

    parts = predictions_of(predictor, Slow())  # type: ignore[arg-type]
    first = next(parts)
    assert len(first) == 256
    assert len(read) < 400


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            b"imgs/ant/0.png\nimgs/ant/absent.png\n\nnotes.txt\n",
            ["line 2: imgs/ant/absent.png   there is no such file", "line 4: notes.txt   a text"],
        ),
        (b"imgs/ant/0.png\nimgs\n", ["line 2: imgs   not an ordinary file"]),
        (b"", ["there is nothing on standard input"]),
        (b"\n\n", ["there is nothing on standard input"]),
        (b"\x89PNG\r\n\x1a\nand no more", ["the picture on standard input cannot be used"]),
    ],
)
def test_what_is_no_picture_is_told_with_its_line(
    place: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch, given: bytes, words: list[str]
) -> None:
    monkeypatch.chdir(place)
    (place / "notes.txt").write_text("buy milk")
    with pytest.raises(DataError) as raised:
        list(predictions_of(predictor, io.BytesIO(given)))
    for each in words:
        assert each in str(raised.value)
    assert raised.value.exit_code == 3


def test_a_name_that_is_no_utf8_is_a_name(place: Path, predictor: Predictor, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Path(os.fsdecode(name)).write_bytes((place / "imgs" / "ant" / "0.png").read_bytes())
    ((found,),) = predictions_of(predictor, io.BytesIO(name + b"\r\n"))  # type: ignore[misc]
    assert os.fsencode(found.path) == name


def test_a_reader_that_goes_is_no_error(place: Path) -> None:
    names = b"imgs/ant/0.png\n" * 600
    done = told(place, names, "--format", "csv", script='"$@" | head -1')
    assert done.stdout.startswith(b"path,")
    assert done.stderr == b""


def test_it_stands_alone(place: Path, zoo_command: Command) -> None:
    told = zoo_command("predict", place / "epoch-0001", "-", "imgs/ant/0.png")
    assert told.code == 2
    assert "- reads standard input, and stands alone" in told.err


@pytest.mark.parametrize(
    "start", [b"imgs/a.png", b"BMW/1.jpg and so", b"RIFF/1.png", b"P5/1.png", b"GIF/1.gif", b"GIF8/1.gif", b""]
)
def test_a_path_is_no_picture(start: bytes) -> None:
    assert not is_picture(start)
