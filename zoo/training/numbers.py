"""Figures of a regression, each target in its own unit."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class TargetFigures:
    """How one target fared."""

    name: str
    mae: float
    """The mean distance between prediction and truth, in the target's unit."""
    rmse: float
    """The root of the mean squared distance, in the target's unit."""
    r2: float
    """The share of the variance that is explained: 1 is perfect, 0 is what always saying the mean gives."""


@dataclass(frozen=True)
class RegressionMetrics:
    """The figures of one pass; of several targets, the means over them."""

    loss: float
    mae: float
    rmse: float
    r2: float
    classes: tuple[TargetFigures, ...]
    """One for each target."""
    confusion: tuple[tuple[int, ...], ...] = field(default=())
    """Always empty: there are no classes."""

    @property
    def score(self) -> float:
        """What makes one checkpoint better than another: R², the same in every unit."""
        return self.r2

    def named(self) -> dict[str, float]:
        """The figures of the whole as one mapping."""
        return {"loss": self.loss, "r2": self.r2, "mae": self.mae, "rmse": self.rmse}


class RegressionTally:
    """Adds up batches of outputs and targets (batch, targets), both as (value − mean) / std.

    >>> tally = RegressionTally(["age"], mean=(40.0,), std=(10.0,))
    >>> tally.add(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.5], [1.5]]), loss=0.25)
    >>> tally.metrics().mae, tally.metrics().r2
    (5.0, 0.0)
    """

    def __init__(self, targets: Sequence[str], mean: Sequence[float] = (), std: Sequence[float] = ()) -> None:
        self.names = tuple(targets)
        self.std = torch.tensor(std or [1.0] * len(self.names), dtype=torch.float64)
        # In units of std around the mean no sum of squares loses what is left of large numbers.
        self.sums = torch.zeros(4, len(self.names), dtype=torch.float64)
        """Of each target: distances, squared distances, truths, squared truths."""
        self.loss = 0.0
        self.count = 0

    def add(self, outputs: Tensor, labels: Tensor, loss: float) -> None:
        """Add a batch and its mean loss."""
        true = labels.detach().double().cpu()
        distance = (outputs.detach().double().cpu() - true).abs()
        self.sums += torch.stack([each.sum(0) for each in (distance, distance**2, true, true**2)])
        self.loss += loss * len(true)
        self.count += len(true)

    def state(self) -> dict[str, object]:
        """What was added so far, as plain values, so that an epoch can go on elsewhere."""
        return {"sums": self.sums.tolist(), "loss": self.loss, "count": self.count}

    def restore(self, state: dict[str, object]) -> None:
        """Take over what `state` gave."""
        sums = torch.tensor(state["sums"], dtype=torch.float64)
        if sums.shape != self.sums.shape:
            raise ValueError(f"sums of {tuple(sums.shape)}")
        self.sums = sums
        self.loss = float(state["loss"])  # type: ignore[arg-type]
        self.count = int(state["count"])  # type: ignore[call-overload]

    def metrics(self) -> RegressionMetrics:
        """The figures of all that was added."""
        count = max(1, self.count)
        distance, squared, true, true_squared = self.sums
        mae, rmse = distance / count * self.std, (squared / count).sqrt() * self.std
        spread = (true_squared - true**2 / count).clamp(min=0)
        # Where all truths are alike nothing can be explained: a perfect answer counts as 1, any other as 0.
        r2 = torch.where(spread > 1e-12 * count, 1 - squared / spread.clamp(min=1e-300), (squared == 0).double())
        return RegressionMetrics(
            loss=self.loss / count,
            mae=float(mae.mean()),
            rmse=float(rmse.mean()),
            r2=float(r2.mean()),
            classes=tuple(
                TargetFigures(name, float(mae[at]), float(rmse[at]), float(r2[at]))
                for at, name in enumerate(self.names)
            ),
        )
