"""A process that the system kills, or refuses, at any of its calls."""

import shutil
from pathlib import Path

import pytest

import zoo
from tests.faults.conftest import Tell
from tests.faults.rig import Unbroken, contents, hidden
from tests.faults.traced import failed_at, killed_at, points, why_not
from zoo import files

pytestmark = pytest.mark.slow

SAVES = """
import sys
from pathlib import Path
from zoo import files
from zoo.errors import StorageError

def save(name, letter):
    with files.new_folder(run / name) as new:
        new.add("model.safetensors", [letter * 9000, letter * 9000])
        new.add("config.json", [letter])

run = Path(sys.argv[1])
try:
    save("epoch-0002", b"2")
    files.remove_folder(run / "epoch-0001")
    save("epoch-0002", b"3")
    files.write_text(run / "metrics.csv", "new\\n")
except StorageError as error:
    print(error)
    sys.exit(error.exit_code)
"""
"""A save, the older one going, a save over it, and a table: all of the writer, and nothing that takes long to start."""

TRUE = """
import sys
import torch, zoo
from pathlib import Path
model = zoo.load_checkpoint(Path(sys.argv[1]) / "new", torch.nn.Linear(700, 700))
zoo.save_checkpoint(Path(sys.argv[1]) / "mine", model)
"""


@pytest.fixture(autouse=True)
def _traceable() -> None:
    if reason := why_not():
        pytest.skip(reason)


def prepare(run: Path) -> None:
    shutil.rmtree(run, ignore_errors=True)
    with files.new_folder(run / "epoch-0001") as new:
        new.add("model.safetensors", [b"1" * 18000])
        new.add("config.json", [b"1"])
    files.write_text(run / "metrics.csv", "old\n")


def wrong_with(run: Path) -> list[str]:
    """What is wrong after the process is gone, before and after its folder is tidied up."""
    wrong, whole = [], 0
    for folder in run.glob("epoch-*"):
        try:
            damaged = files.damaged(folder)
        except (OSError, ValueError) as error:
            wrong.append(f"{folder.name}: {error}")
            continue
        letter = (folder / "config.json").read_text()
        if damaged or (folder / "model.safetensors").read_text() != letter * 18000:
            wrong.append(f"{folder.name} is a mixture")
        whole += 1
    if not whole:
        wrong.append("no checkpoint is left")
    if (run / "metrics.csv").read_text() not in ("old\n", "new\n"):
        wrong.append("the table is a mixture")
    return wrong


def test_killed_at_every_call_of_the_system(tmp_path: Path, tell: Tell) -> None:
    run, wrong, kills = tmp_path / "run", [], 0
    prepare(run)
    found = points(SAVES, run)
    for point in found:
        prepare(run)
        kills += killed_at(point, SAVES, run)
        wrong += [f"{point}: {each}" for each in wrong_with(run)]
        files.sweep(run)
        wrong += [f"{point}, tidied up: {each}" for each in wrong_with(run)]
        wrong += [f"{point}: left over: {path.name}" for path in hidden(run)]
    tell(f"kills at the system's calls: {kills} of {len(found)} points, {len(wrong)} failures")
    assert kills > 80
    assert kills == len(found)
    assert wrong == []


IN_PLACE = """
import contextlib, sys
from zoo import files

@contextlib.contextmanager
def in_place(path, check=lambda: None):
    path.mkdir(parents=True, exist_ok=True)
    new = files.NewFolder(path, check)
    yield new
    new.close()

files.new_folder = in_place
"""


def test_the_trace_sees_a_writer_that_writes_in_place(tmp_path: Path) -> None:
    """The control."""
    run, wrong = tmp_path / "run", []
    prepare(run)
    for point in points(IN_PLACE + SAVES, run):
        prepare(run)
        assert wrong_with(run) == []
        assert killed_at(point, IN_PLACE + SAVES, run)
        wrong = wrong_with(run)
        if wrong:
            break
    assert wrong != [], "nothing was seen"


FAILING = ("openat", "write", "fsync", "close", "rename", "renameat", "renameat2", "mkdir")


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EDQUOT"])
def test_refused_at_every_call_of_the_system(tmp_path: Path, tell: Tell, error: str) -> None:
    run, wrong, told = tmp_path / "run", [], 0
    prepare(run)
    found = [point for point in points(SAVES, run) if point.kind in FAILING]
    for point in found:
        prepare(run)
        end = failed_at(point, error, SAVES, run)
        wrong += [f"{point}: {each}" for each in wrong_with(run)]
        if end.returncode == 5:
            told += 1
            wrong += [] if str(run) in end.stdout and "give another place" in end.stdout else [f"{point}: {end.stdout}"]
        elif (
            end.returncode != 0 or files.is_complete(run / "epoch-0001") or (run / "metrics.csv").read_text() == "old\n"
        ):
            wrong.append(f"{point}: {end.returncode} {end.stderr[-300:]}")
        if point.kind == "close" and end.returncode == 0:
            # Python leaves a folder that it cannot close; what cannot be tidied up at once is swept up later.
            files.sweep(run)
        wrong += [f"{point}: left over: {path.name}" for path in hidden(run)]
    tell(f"{error} at {len(found)} calls of the system: {told} told, {len(wrong)} failures")
    assert told > 40
    assert wrong == []


def test_a_true_save_that_is_killed(control: Unbroken, tmp_path: Path, tell: Tell) -> None:
    import torch

    place, wrong, kills = tmp_path / "run", [], 0
    old, new = torch.nn.Linear(700, 700), torch.nn.Linear(700, 700)
    zoo.save_checkpoint(place / "new", new)
    zoo.save_checkpoint(tmp_path / "old", old)
    legal = [contents(tmp_path / "old"), contents(place / "new")]
    shutil.copytree(tmp_path / "old", place / "mine")
    found = [point for point in points(TRUE, place) if point.kind != "close"]
    for point in found[:: max(1, len(found) // 14)]:
        shutil.rmtree(place / "mine", ignore_errors=True)
        shutil.copytree(tmp_path / "old", place / "mine")
        kills += killed_at(point, TRUE, place)
        if files.damaged(place / "mine") or contents(place / "mine") not in legal:
            wrong.append(str(point))
    tell(f"kills of true saves: {kills}, {len(wrong)} failures")
    assert kills > 8
    assert wrong == []
