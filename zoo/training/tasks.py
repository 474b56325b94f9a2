"""What a task learns and how it is measured: one class, one output, several labels, or numbers.

Whatever computes a loss, a figure or a prediction asks the objective of the task, so that all of them agree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from zoo.registry import HeadSpec
from zoo.training.metrics import ClassFigures, Tally
from zoo.training.numbers import RegressionTally, TargetFigures
from zoo.training.outputs import BinaryTally, LabelFigures, LabelsTally


class AnyMetrics(Protocol):
    """The figures of one pass over the data."""

    @property
    def loss(self) -> float:
        """The mean loss."""
        ...

    @property
    def score(self) -> float:
        """What makes one checkpoint better than another; higher is better."""
        ...

    @property
    def classes(self) -> Sequence[ClassFigures | LabelFigures | TargetFigures]:
        """The figures of each class, label or target."""
        ...

    @property
    def confusion(self) -> tuple[tuple[int, ...], ...]:
        """Pictures by true and predicted class; empty where a picture has no one class."""
        ...

    def named(self) -> dict[str, float]:
        """The figures of the whole as one mapping."""
        ...


class AnyTally(Protocol):
    """Adds up the figures of a pass, batch by batch."""

    @property
    def count(self) -> int:
        """The pictures added so far."""
        ...

    def add(self, logits: Tensor, labels: Tensor, loss: float) -> None:
        """Add a batch and its mean loss."""
        ...

    def state(self) -> dict[str, object]:
        """What was added so far, as plain values, so that an epoch can go on elsewhere."""
        ...

    def restore(self, state: dict[str, object]) -> None:
        """Take over what `state` gave; raises KeyError, TypeError or ValueError for what it did not give."""
        ...

    def metrics(self) -> AnyMetrics:
        """The figures of all that was added."""
        ...


class Objective(Protocol):
    """What is learned, and how it is measured."""

    figures: ClassVar[tuple[str, ...]]
    """The names of what validation measures, the most telling first."""
    trained: ClassVar[tuple[str, ...]]
    """Those that are measured on training batches too."""

    def target(self, label: Any) -> Any:
        """The label of a picture as a loader puts it into a batch."""
        ...

    def dense(self, labels: Tensor) -> Tensor:
        """A batch of labels as numbers, of which mixtures are targets of `loss` too."""
        ...

    def loss(self, logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """The mean loss of a batch."""
        ...

    def tally(self, *, ranked: bool = True) -> AnyTally:
        """A new tally; unless `ranked` it keeps no scores, and figures that rank them are left out."""
        ...

    def outcome(self, logits: Tensor) -> Tensor:
        """What a prediction says: probabilities, or numbers in the unit of each target, of (batch, outputs)."""
        ...


@dataclass(frozen=True)
class SingleLabel:
    """One class of several: softmax and cross entropy."""

    classes: tuple[str, ...]
    figures: ClassVar[tuple[str, ...]] = ("accuracy", "f1", "top5")
    trained: ClassVar[tuple[str, ...]] = ("accuracy",)

    def target(self, label: int) -> int:
        """The class's place."""
        return label

    def dense(self, labels: Tensor) -> Tensor:
        """One column a class, of 0 and 1."""
        return functional.one_hot(labels, len(self.classes)).float()

    def loss(self, logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """Cross entropy; `smoothing` is the share of the target given to all classes alike (arXiv 1512.00567)."""
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing)

    def tally(self, *, ranked: bool = True) -> Tally:
        """A confusion matrix."""
        return Tally(self.classes)

    def outcome(self, logits: Tensor) -> Tensor:
        """The probability of each class."""
        return logits.float().softmax(dim=1)


@dataclass(frozen=True)
class Binary:
    """Two classes and one output, which asks for the second."""

    classes: tuple[str, ...]
    figures: ClassVar[tuple[str, ...]] = ("accuracy", "f1", "precision", "recall", "auc")
    trained: ClassVar[tuple[str, ...]] = ("accuracy",)

    def target(self, label: int) -> int:
        """0 or 1."""
        return label

    def dense(self, labels: Tensor) -> Tensor:
        """0 and 1."""
        return labels.float()

    def loss(self, logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """Binary cross entropy of (batch, 1); smoothed targets are those of cross entropy over both classes."""
        return _yes_or_no(logits[:, 0], labels, smoothing)

    def tally(self, *, ranked: bool = True) -> BinaryTally:
        """A confusion matrix, and the scores for the area under the curve."""
        return BinaryTally(self.classes, ranked=ranked)

    def outcome(self, logits: Tensor) -> Tensor:
        """The probability of the second class, (batch, 1)."""
        return logits.float().sigmoid()


@dataclass(frozen=True)
class MultiLabel:
    """Any number of labels a picture, each a question of its own."""

    classes: tuple[str, ...]
    figures: ClassVar[tuple[str, ...]] = ("map", "f1", "micro_f1", "exact")
    trained: ClassVar[tuple[str, ...]] = ("micro_f1",)

    def target(self, label: Sequence[int]) -> Tensor:
        """One number a class, 1 where the picture has it."""
        row = torch.zeros(len(self.classes))
        row[list(label)] = 1.0
        return row

    def dense(self, labels: Tensor) -> Tensor:
        """The labels as they are."""
        return labels

    def loss(self, logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """Binary cross entropy, averaged over pictures and classes; smoothing moves each target towards a half."""
        return _yes_or_no(logits, labels, smoothing)

    def tally(self, *, ranked: bool = True) -> LabelsTally:
        """Counts of each label, and the scores for average precision."""
        return LabelsTally(self.classes, ranked=ranked)

    def outcome(self, logits: Tensor) -> Tensor:
        """The probability of each label."""
        return logits.float().sigmoid()


@dataclass(frozen=True)
class Regression:
    """One number or several, learned as (value − mean) / std of the training pictures.

    So one learning rate fits targets of every unit. Without `mean` and `std` they are learned as they are.
    """

    classes: tuple[str, ...]
    """The targets."""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    figures: ClassVar[tuple[str, ...]] = ("mae", "r2", "rmse")
    trained: ClassVar[tuple[str, ...]] = ("mae",)

    def target(self, label: Sequence[float]) -> Tensor:
        """The values in units of std around the mean, computed in double precision."""
        values = zip(label, self.mean or [0.0] * len(label), self.std or [1.0] * len(label), strict=True)
        return torch.tensor([(value - mean) / std for value, mean, std in values], dtype=torch.float32)

    def dense(self, labels: Tensor) -> Tensor:
        """The targets as they are."""
        return labels

    def loss(self, logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """The mean squared distance, which R² and RMSE measure too; there is nothing to smooth."""
        return functional.mse_loss(logits.float(), labels)

    def tally(self, *, ranked: bool = True) -> RegressionTally:
        """Sums of distances."""
        return RegressionTally(self.classes, self.mean, self.std)

    def outcome(self, logits: Tensor) -> Tensor:
        """The values in the unit of each target, in double precision."""
        values = logits.double()
        if not self.mean:
            return values
        return values * values.new_tensor(self.std) + values.new_tensor(self.mean)


def objective_of(head: HeadSpec) -> Objective:
    """The objective of a head's task."""
    if head.task == "regression":
        return Regression(head.classes, head.mean, head.std)
    kinds: Mapping[str, type[SingleLabel | Binary | MultiLabel]] = {
        "single-label": SingleLabel,
        "binary": Binary,
        "multi-label": MultiLabel,
    }
    return kinds[head.task](head.classes)


def _yes_or_no(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    targets = labels.float() * (1 - smoothing) + smoothing / 2
    return functional.binary_cross_entropy_with_logits(logits.float(), targets)
