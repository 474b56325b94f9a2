"""What a run writes down as it goes: its rows, its log, and checkpoints at the times that were asked for."""

import time
from pathlib import Path
from typing import Any

from zoo import files
from zoo.checkpoint.writing import Saved, Snapshot
from zoo.finetuning.plan import Plan
from zoo.finetuning.position import Position
from zoo.finetuning.reporting import Reporter
from zoo.finetuning.saving import Saver
from zoo.recipe import interval
from zoo.tracking import logs
from zoo.training.tasks import AnyMetrics

CADENCE = 30.0
"""Seconds between the checkpoints of two epochs, unless one is the best or the last."""
NUMERICS = "numerics.json"


class Journal:
    """Writes into the folder of a plan."""

    rescues = True
    """Whether what an error leaves good is to be saved."""

    def __init__(self, plan: Plan, reporter: Reporter) -> None:
        self.plan = plan
        self.reporter = reporter
        self.saver = Saver(plan.folder, plan.recipe.keep, self._saved)
        self.every_steps, self.every_seconds = interval(plan.recipe.save_every)
        self.last_saved = time.monotonic()
        self.newest: str | None = None
        """The checkpoint that was begun last, or from which the run goes on."""

    def log(self, event: str, **values: Any) -> None:
        """Add a line to the log."""
        logs.log(self.plan.folder, event, **values)

    def epoch(self, at: Position, figures: AnyMetrics, better: bool) -> None:
        """Write the row of an epoch that has just ended."""
        row = at.rows[-1]
        logs.write_metrics(self.plan.folder, at.rows)
        self.log("epoch", **row, classes=[vars(each) for each in figures.classes])
        self.reporter.epoch({**row, "epochs": at.epochs_in_all(self.plan.recipe)}, better)

    def wants_epoch(self, at: Position, better: bool) -> bool:
        """Whether a checkpoint is due at the end of an epoch."""
        # The step that ends an epoch is saved here, with the figures of its validation.
        due = self._due(at) or time.monotonic() - self.last_saved >= CADENCE
        return better or due or at.is_at_the_end(self.plan.recipe) or self.saver.is_regular(at.epoch)

    def wants_step(self, at: Position, *, last: bool) -> bool:
        """Whether a checkpoint is due after a step; the `last` one of an epoch is followed by validation."""
        self.saver.poll()
        return not last and self._due(at)

    def save(self, name: str, snapshot: Snapshot) -> None:
        """Write a checkpoint."""
        self.newest = name
        self.saver.save(name, snapshot)
        self.last_saved = time.monotonic()

    def give_up(self) -> None:
        """Let the checkpoint that is being written come to nothing."""
        self.saver.give_up()

    def wait(self) -> None:
        """Return when every checkpoint is on the disk."""
        self.saver.wait()

    def numerics(self, at: Position, message: str, pictures: list[Path]) -> Path:
        """Write down which pictures a step had whose numbers went wrong; people count from 1."""
        target = self.plan.folder / NUMERICS
        where = {"epoch": at.epoch + 1, "step": at.step + 1, "step_in_epoch": at.step_in_epoch + 1}
        files.write_json(target, {"what": message, **where, "pictures": [str(path) for path in pictures]})
        return target

    def _due(self, at: Position) -> bool:
        if self.every_steps is not None:
            return at.step % self.every_steps == 0
        return self.every_seconds is not None and time.monotonic() - self.last_saved >= self.every_seconds

    def _saved(self, saved: Saved) -> None:
        for note in saved.notes:
            self.reporter.note(note)
        self.log("checkpoint", name=saved.folder.name)
        self.reporter.saved(saved.folder)
