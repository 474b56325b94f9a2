"""Places that cannot be written, disks that are full, and folders that are no runs: nothing of the user's is lost."""

import shutil
import subprocess
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Call, Tune, last, refused
from tests.conftest import Command


def test_an_output_folder_that_is_a_file(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        refused(call("--out", out), 5, "is a file, so no run can be kept in it", "--out")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_path_longer_than_any_can_be(call: Call, zoo_command: Command, tmp_path: Path) -> None:
    long = "a" * 300
    for told in (
        call("--data", long),
        call("--out", tmp_path / long),
        zoo_command("predict", long, "a.jpg"),
        zoo_command("resume", long),
    ):
        refused(told, 2, "is longer than a path can be", "give a shorter one")
    refused(call("--name", long), 2, "name 'aaaaaaaaaaaaaaaaaaaa'… has 300 bytes; a folder's name has at most 255")


def test_what_the_system_refuses_unexpectedly_is_of_the_disk(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error", str(tmp_path / "disk"))

    monkeypatch.setattr("zoo.foreseeing.check_place", fail)
    refused(call(), 5, f"the system refused {tmp_path / 'disk'}: Input/output error")


def test_a_folder_of_the_users_own_is_not_overwritten(call: Call, tmp_path: Path) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "thesis.txt").write_text("years of work")
    refused(call("--name", "mine"), 2, "exists already")
    refused(call("--name", "mine", "--overwrite"), 5, "was not made by zoo")
    assert (tmp_path / "runs" / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_refused_run_does_not_cost_the_one_it_would_replace(call: Call, tune: Tune, pictures: Path) -> None:
    run = tune("--name", "mine")
    before = sorted(run.rglob("*"))
    (pictures / "ant" / "notes.jpg").write_text("buy milk")
    refused(call("--name", "mine", "--overwrite"), 3, "notes.jpg")
    assert sorted(run.rglob("*")) == before


def test_too_little_space_is_told_before_training(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 4_000_000, 4_000_000))
    refused(call(), 5, "4 MB free", "checkpoints take", "--keep last")
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 12 MB, where this machine lets us make one."""
    place = tmp_path / "disk"
    place.mkdir()
    made = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "none", str(place)], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip("needs the right to mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_fills_up_costs_no_checkpoint(
    call: Call, small_disk: Path, zoo_command: Command, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The space that was free when the run began is not there any more."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, 10**9))
    told = call("--out", small_disk, "--epochs", 9, "--keep", "every:1", "--freeze", "backbone", "--name", "run")
    refused(told, 5, "No space left", "free some space")
    left = sorted(small_disk.joinpath("run").glob("epoch-*"))
    assert left
    assert not [each for each in small_disk.joinpath("run").iterdir() if each.is_dir() and each not in left]
    for checkpoint in left:
        assert zoo_command("predict", checkpoint, pictures, "-j", 0).code == 0


def test_a_rate_far_too_high(call: Call, tmp_path: Path) -> None:
    refused(call("--lr", 1e30), 6, "the loss is", "try a smaller", "--lr")
    assert not list((tmp_path / "runs").rglob("epoch-*"))


def test_resume_of_what_is_no_run(zoo_command: Command, tune: Tune, pictures: Path, tmp_path: Path) -> None:
    refused(zoo_command("resume", tmp_path / "absent"), 4, "absent does not exist")
    refused(zoo_command("resume", pictures), 4, "is no run: it has no run.toml")
    run = tune()
    refused(zoo_command("resume", run.parent), 4, "is no run", f"runs in it: {run}")
    told = zoo_command("resume", run)
    assert (told.code, told.err) == (0, "")
    assert "finished" in told.out
    refused(zoo_command("resume", last(run)), 4, f"the run is {run}")
    mistyped = run.with_name(run.name[:-1])
    refused(zoo_command("resume", mistyped), 4, "does not exist", f"near: {run}")
    refused(zoo_command("evaluate", mistyped, "--data", pictures), 4, f"near: {run}")
    refused(zoo_command("inspect", mistyped), 4, f"near: {run}")
