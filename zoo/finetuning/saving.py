"""Checkpoints written beside the training: one at a time, the old ones removed when the new one is complete."""

import threading
from collections.abc import Callable
from pathlib import Path

from zoo import files
from zoo.checkpoint import reading, writing
from zoo.checkpoint.writing import Saved, Snapshot
from zoo.recipe import kept

LARGE = 32_000_000
"""Bytes from which a checkpoint is written in the background; a smaller one is there before a thread would be."""


class Saver:
    """Writes a run's checkpoints; `done` hears of each in the thread that called."""

    def __init__(self, run: Path, keep: str, done: Callable[[Saved], None]) -> None:
        self.run = run
        self.keep_best, self.every = kept(keep)
        self.done = done
        self._thread: threading.Thread | None = None
        self._saved: Saved | None = None
        self._error: BaseException | None = None

    def save(self, name: str, snapshot: Snapshot) -> None:
        """Write a snapshot after the one before; a large one in the background."""
        self.wait()
        size = sum(tensor.numel() * tensor.element_size() for tensor in snapshot.state.values())
        # An export traces the model, and what it patches for that is the whole process's.
        if size < LARGE or snapshot.plain is not None:
            self.done(self._write(name, snapshot))
            return
        # A daemon, so that a second Ctrl-C need not wait for it.
        self._thread = threading.Thread(target=self._work, args=(name, snapshot), name="zoo-saver", daemon=True)
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

    def is_regular(self, epoch: int) -> bool:
        """Whether `every:N` keeps this epoch."""
        return self.every is not None and epoch % self.every == 0

    def _work(self, name: str, snapshot: Snapshot) -> None:
        try:
            self._saved = self._write(name, snapshot)
        # Whatever it is, it is raised again in the thread that trains.
        except BaseException as error:
            self._error = error

    def _write(self, name: str, snapshot: Snapshot) -> Saved:
        saved = writing.write(self.run / name, snapshot)
        self._prune()
        return saved

    def _prune(self) -> None:
        """Remove the checkpoints that `keep` does not name; the newest always stays, since resuming needs it."""
        found = reading.checkpoints_of(self.run)
        stay = {found[-1].folder}
        best = reading.best_of(self.run)
        if best and self.keep_best:
            stay.add(best)
        for each in found:
            epoch, step = each.position
            if each.folder not in stay and not (step == 0 and self.is_regular(epoch)):
                files.remove_folder(each.folder)
