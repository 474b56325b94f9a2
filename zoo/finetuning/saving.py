"""Checkpoints written beside the training: one at a time, the old ones removed when the new one is complete."""

import re
import threading
from collections.abc import Callable
from pathlib import Path

from zoo import files
from zoo.checkpoint import writing
from zoo.checkpoint.writing import Saved, Snapshot
from zoo.errors import StorageError
from zoo.recipe import kept

LARGE = 32_000_000
"""Bytes from which a checkpoint is written in the background; a smaller one is there before a thread would be."""


class _GivenUp(Exception):  # noqa: N818 - nothing is wrong
    """The checkpoint that is being written is not wanted any more."""


class Saver:
    """Writes a run's checkpoints; `done` hears of each in the thread that called."""

    def __init__(self, run: Path, keep: str, done: Callable[[Saved], None]) -> None:
        self.run = run
        self.keep = keep
        self.done = done
        self._identity = _identity(run)
        self._thread: threading.Thread | None = None
        self._saved: Saved | None = None
        self._error: BaseException | None = None
        self._given_up = threading.Event()

    def save(self, name: str, snapshot: Snapshot) -> None:
        """Write a snapshot after the one before; a large one in the background."""
        self.wait()
        size = sum(tensor.numel() * tensor.element_size() for tensor in snapshot.state.values())
        # An export traces the model, and what it patches for that is the whole process's.
        if size < LARGE or snapshot.plain is not None:
            self.done(self._write(name, snapshot))
            return
        self._thread = threading.Thread(target=self._work, args=(name, snapshot), name="zoo-saver")
        self._thread.start()

    def poll(self) -> None:
        """Tell of a checkpoint that is complete by now; raises what kept it from being written."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self) -> None:
        """Return when nothing is being written; raises what kept a checkpoint from being written."""
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        saved, error = self._saved, self._error
        self._saved = self._error = None
        if error is not None:
            raise error
        assert saved is not None
        self.done(saved)

    def give_up(self) -> None:
        """Let what is being written come to nothing: whoever trained may change the tensors from now on."""
        self._given_up.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def is_regular(self, epoch: int) -> bool:
        """Whether `every:N` keeps this epoch."""
        return _is_regular(self.keep, epoch)

    def _work(self, name: str, snapshot: Snapshot) -> None:
        try:
            self._saved = self._write(name, snapshot)
        # Whatever it is, it is raised again in the thread that trains.
        except BaseException as error:
            self._error = error

    def _write(self, name: str, snapshot: Snapshot) -> Saved:
        if _identity(self.run) != self._identity:
            raise StorageError(
                f"{self.run} is gone: it was moved or removed while the run was writing there.",
                "if it was moved, go on where it lies now: zoo resume RUN",
            )
        if (self.run / name).exists() and not (self.run / name / files.MANIFEST).is_file():
            # It was a checkpoint once, as all of that name are here, and is none without its manifest.
            files.remove_folder(self.run / name)
        saved = writing.write(self.run / name, snapshot, self._check)
        prune(self.run, self.keep, newest=name, best=snapshot.training.values["progress"]["best_epoch"])
        return saved

    def _check(self) -> None:
        if self._given_up.is_set():
            raise _GivenUp


def prune(run: Path, keep: str, *, newest: str, best: int | None) -> None:
    """Remove the checkpoints that `keep` does not name, by their names, since what is inside may be damaged.

    Names that come after the newest are of steps that the run went on from before: it passed over them, or counts
    its steps otherwise now.
    """
    now = _position(newest)
    assert now is not None
    for folder in run.glob("epoch-*"):
        at = _position(folder.name)
        if at is None or folder.name == newest:
            continue
        epoch, step = at
        stays = step == 0 and at < now and (_is_regular(keep, epoch) or (kept(keep)[0] and epoch == best))
        if not stays:
            files.remove_folder(folder)


def _is_regular(keep: str, epoch: int) -> bool:
    every = kept(keep)[1]
    return every is not None and epoch % every == 0


def _position(name: str) -> tuple[int, int] | None:
    """The complete epochs and the steps of the next one of a checkpoint with this name."""
    found = re.fullmatch(r"epoch-(\d+)(?:-step-(\d+))?", name)
    if found is None:
        return None
    epoch, step = found.groups()
    return (int(epoch), 0) if step is None else (int(epoch) - 1, int(step))


def _identity(folder: Path) -> tuple[int, int] | None:
    """What stays the same of a folder whatever is done with its name."""
    try:
        facts = folder.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
