"""How far a run has come and what it was told: what a checkpoint keeps so that the run goes on exactly there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo import recipe as recipes
from zoo.errors import CheckpointError, UsageError
from zoo.recipe import Recipe, Stage


@dataclass
class Position:
    """How far a run has come."""

    stage: int = 0
    epoch: int = 0
    """Complete epochs of the whole run."""
    step: int = 0
    """Optimizer steps of the whole run."""
    stage_epoch: int = 0
    step_in_epoch: int = 0
    tally: dict[str, Any] | None = None
    """The figures of an epoch that is not complete."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    score: float | None = None
    """The accuracy of the checkpoint that carries this."""
    best_score: float | None = None
    best_epoch: int | None = None
    stage_score: float | None = None
    """The best score of the stage."""
    waited: int = 0
    """Epochs of the stage since then."""
    seconds: float = 0.0
    since: int = 0
    """The step from which on the run has had its present settings."""

    @property
    def name(self) -> str:
        """The name of a checkpoint at this position."""
        if self.step_in_epoch == 0:
            return f"epoch-{self.epoch:04d}"
        return f"epoch-{self.epoch + 1:04d}-step-{self.step_in_epoch:04d}"

    def to_values(self) -> dict[str, Any]:
        """The position as plain values."""
        return dict(vars(self))

    def stage_is_over(self, stage: Stage) -> bool:
        """Whether all epochs of the stage at hand are done, or its patience is at an end."""
        return self.stage_epoch >= stage.epochs or self.is_out_of_patience(stage)

    def is_out_of_patience(self, stage: Stage) -> bool:
        """Whether the stage at hand had no better score for so many epochs as it waits for one."""
        return 0 < stage.patience <= self.waited

    def is_at_the_end(self, recipe: Recipe) -> bool:
        """Whether a run of this recipe has nothing left to do."""
        last = self.stage == len(recipe.stages) - 1 and self.step_in_epoch == 0
        return self.epoch >= recipe.epochs or (last and self.stage_is_over(recipe.stages[-1]))

    def epochs_in_all(self, recipe: Recipe) -> int:
        """The epochs of the run as far as can be known now: stages that are over have those that they had."""
        return self.epoch - self.stage_epoch + sum(stage.epochs for stage in recipe.stages[self.stage :])

    def begin_stage(self, number: int) -> None:
        """Stand at the beginning of a stage."""
        self.stage, self.stage_epoch, self.stage_score, self.waited = number, 0, None, 0


@dataclass(frozen=True)
class Told:
    """What a run was told when a checkpoint of it was saved; empty for one that was saved without a run."""

    recipe: Mapping[str, Any] = field(default_factory=dict)
    data: str | None = None
    """The fingerprint of its pictures."""


COUNTS = ("stage", "epoch", "step", "stage_epoch", "step_in_epoch", "since", "waited")
NUMBERS = ("score", "best_score", "stage_score", "seconds")


def position_of(training: Mapping[str, Any], checkpoint: Path) -> Position:
    """The position that a checkpoint's training state has; raises CheckpointError when it has none."""
    try:
        position = Position(**training["progress"])
        wrong = [name for name in COUNTS if not _is_count(getattr(position, name))]
        wrong += [name for name in NUMBERS if not isinstance(getattr(position, name), float | int | None)]
        if not isinstance(position.tally, dict | None):
            wrong.append("tally")
        if not isinstance(position.rows, list) or not all(isinstance(row, dict) for row in position.rows):
            wrong.append("rows")
        if position.best_epoch is not None and not _is_count(position.best_epoch):
            wrong.append("best_epoch")
        if wrong:
            raise TypeError(f"{wrong[0]} is {getattr(position, wrong[0])!r:.40}")
    except (TypeError, KeyError) as error:
        raise CheckpointError(f"{checkpoint} does not say where its run stood: {error}.") from error
    return position


def told(training: Mapping[str, Any], checkpoint: Path) -> Told:
    """What the run of a checkpoint was told; raises CheckpointError when it is no recipe."""
    values = training.get("settings") or {}
    try:
        recipe, data = values.get("recipe") or {}, values.get("data")
        if recipe:
            recipes.from_values(recipe, "of the checkpoint")
    except (UsageError, AttributeError, TypeError) as error:
        reason = error.hints[0] if isinstance(error, UsageError) and error.hints else error
        raise CheckpointError(f"{checkpoint} does not say what its run was told: {reason}.") from error
    return Told(recipe, data if isinstance(data, str) else None)


def machine_of(training: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the machine of a checkpoint was, as far as it says."""
    found = training.get("machine")
    return found if isinstance(found, dict) else {}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
