"""Checkpoints written beside the training: one at a time, from a copy, each told where it was asked for."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.finetuning.conftest import Listener, Train, same_weights
from zoo.checkpoint import writing
from zoo.checkpoint.writing import Saved, Snapshot
from zoo.errors import StorageError
from zoo.finetuning import saving


@pytest.fixture
def in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "LARGE", 0)


def slowed(monkeypatch: pytest.MonkeyPatch, before: Callable[[Path], object]) -> None:
    """Let something happen before each checkpoint is written."""
    write = writing.write

    def wrapped(folder: Path, snapshot: Snapshot, *more: Any) -> Saved:
        before(folder)
        return write(folder, snapshot, *more)

    monkeypatch.setattr(writing, "write", wrapped)


@pytest.mark.usefixtures("in_the_background")
def test_never_two_at_a_time(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, most, threads = [], [], set()

    def note(folder: Path) -> None:
        at_work.append(folder)
        most.append(len(at_work))
        threads.add(threading.current_thread().name)
        time.sleep(0.02)
        at_work.pop()

    slowed(monkeypatch, note)
    train(epochs=2, save_every="1steps")
    assert len(most) > 4
    assert max(most) == 1
    assert threads == {"zoo-saver"}


def test_small_checkpoints_start_no_thread(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set()
    slowed(monkeypatch, lambda _: threads.add(threading.current_thread()))
    train(epochs=2)
    assert threads == {threading.main_thread()}


@pytest.mark.usefixtures("in_the_background")
def test_what_is_written_is_the_model_of_the_moment_that_was_asked_for(
    train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Training goes on while a checkpoint waits to be written, and changes nothing in it."""
    every: dict[str, Any] = {"epochs": 2, "keep": "every:1", "augment": "standard"}
    with monkeypatch.context() as patch:
        patch.setattr(saving, "LARGE", 10**9)
        at_once = train("at-once", **every)
    slowed(monkeypatch, lambda _: time.sleep(0.1))
    beside = train("beside", **every)
    for name in ("epoch-0001", "epoch-0002"):
        assert same_weights(beside.folder / name, at_once.folder / name)
        one, other = (run.folder / name / "training.safetensors" for run in (beside, at_once))
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.usefixtures("in_the_background")
def test_what_is_unfrozen_meanwhile_is_saved_as_it_was(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen weights are not copied, so the next stage waits for the checkpoint that shares them."""
    two: dict[str, Any] = {"recipe": "probe-then-fine-tune", "epochs": 2, "keep": "every:1"}
    with monkeypatch.context() as patch:
        patch.setattr(saving, "LARGE", 10**9)
        at_once = train("at-once", **two)
    slowed(monkeypatch, lambda _: time.sleep(0.2))
    beside = train("beside", **two)
    assert same_weights(beside.folder / "epoch-0001", at_once.folder / "epoch-0001")


@pytest.mark.usefixtures("in_the_background")
def test_a_checkpoint_is_told_in_the_thread_that_trains(train: Train) -> None:
    threads = set()
    listener = Listener(at_save={"epoch-0001": lambda: threads.add(threading.current_thread())})
    train(epochs=2, reporter=listener)
    assert threads == {threading.main_thread()}
    assert listener.checkpoints[-1] == "epoch-0002"


@pytest.mark.usefixtures("in_the_background")
def test_what_fails_in_the_background_ends_the_run(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> None:
        if folder.name == "epoch-0002":
            raise StorageError("the disk is full.")

    slowed(monkeypatch, fail)
    with pytest.raises(StorageError, match="the disk is full"):
        train(epochs=3, keep="every:1")
    assert [each.name for each in (tmp_path / "runs" / "run").glob("epoch-*")] == ["epoch-0001"]


def test_an_old_checkpoint_goes_only_after_the_new_one_was_read_back(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that gives back other bytes than it was given costs the new checkpoint, not the old one."""
    from zoo.files import writing as files

    read = files.sha256

    def wrong(path: Path) -> str:
        return "0" * 64 if "epoch-0003" in str(path) and path.name == "model.safetensors" else read(path)

    monkeypatch.setattr(files, "sha256", wrong)
    with pytest.raises(StorageError, match="reads back other than it was written"):
        train(epochs=3, keep="last")
    (left,) = (tmp_path / "runs" / "run").glob("epoch-*")
    assert left.name in ("epoch-0001", "epoch-0002")
    assert all(torch.isfinite(value).all() for value in zoo.load_checkpoint(left).state_dict().values())
