"""How far a run has come: what a checkpoint keeps of it, so that the run goes on exactly there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.errors import CheckpointError


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


def position_of(training: Mapping[str, Any], checkpoint: Path) -> Position:
    """The position that a checkpoint's training state has; raises CheckpointError when it has none."""
    try:
        return Position(**training["progress"])
    except (TypeError, KeyError) as error:
        raise CheckpointError(f"{checkpoint} does not say where its run stood: {error}.") from error
