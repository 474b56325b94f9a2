"""Figures of tasks whose outputs are each a question of their own: one output, or several labels.

An output says yes above 0, which is a probability above a half.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from zoo.training.metrics import ClassFigures, Tally
from zoo.training.ranking import average_precision, roc_auc


@dataclass(frozen=True)
class BinaryMetrics:
    """The figures of one pass with one output; precision, recall and F1 are those of the positive class."""

    loss: float
    accuracy: float
    precision: float
    recall: float
    f1: float
    auc: float | None
    """The area under the ROC curve; None where all pictures are of one class, or scores were not kept."""
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Pictures by true class (row) and predicted class (column)."""

    @property
    def score(self) -> float:
        """What makes one checkpoint better than another: the accuracy, as with one output a class."""
        return self.accuracy

    def named(self) -> dict[str, float]:
        """The figures of the whole as one mapping."""
        names = ("loss", "accuracy", "f1", "precision", "recall", "auc")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class BinaryTally:
    """Adds up batches of one output: logits (batch, 1), labels (batch,) of 0 and 1.

    >>> tally = BinaryTally(["ant", "bee"])
    >>> tally.add(torch.tensor([[-2.0], [3.0], [-1.0]]), torch.tensor([0, 1, 1]), loss=0.5)
    >>> tally.metrics().precision, tally.metrics().recall, tally.metrics().auc
    (1.0, 0.5, 1.0)
    """

    def __init__(self, classes: Sequence[str], *, ranked: bool = True) -> None:
        self.both = Tally(classes)
        self.scores = _Scores(ranked)

    @property
    def count(self) -> int:
        """The pictures added so far."""
        return self.both.count

    def add(self, logits: Tensor, labels: Tensor, loss: float) -> None:
        """Add a batch and its mean loss."""
        logits = logits.detach().float().cpu()
        self.both.add(torch.cat([torch.zeros_like(logits), logits], dim=1), labels, loss)
        self.scores.add(logits, labels[:, None])

    def state(self) -> dict[str, object]:
        """What was added so far, so that an epoch can go on elsewhere."""
        return {"both": self.both.state(), **self.scores.state()}

    def restore(self, state: dict[str, object]) -> None:
        """Take over what `state` gave."""
        self.both.restore(state["both"])  # type: ignore[arg-type]
        self.scores.restore(state, 1)

    def metrics(self) -> BinaryMetrics:
        """The figures of all that was added."""
        found = self.both.metrics()
        positive = found.classes[1]
        scores, truths = self.scores.joined(1)
        auc = roc_auc(scores[:, 0], truths[:, 0])
        figures = found.loss, found.accuracy, positive.precision, positive.recall, positive.f1, auc
        return BinaryMetrics(*figures, found.classes, found.confusion)


@dataclass(frozen=True)
class LabelFigures:
    """How one of several labels fared."""

    name: str
    pictures: int
    precision: float
    recall: float
    f1: float
    average_precision: float | None
    """None where no picture has the label, or scores were not kept."""


@dataclass(frozen=True)
class LabelsMetrics:
    """The figures of one pass with several labels."""

    loss: float
    map: float | None
    """The mean of the labels' average precision, over those that a picture has; None without scores."""
    f1: float
    """The mean of the labels' F1; a label without pictures or predictions counts as 0 if either has it."""
    micro_f1: float
    """F1 over all answers together."""
    exact: float
    """The share of pictures whose labels are all right, and no other is named."""
    classes: tuple[LabelFigures, ...]
    confusion: tuple[tuple[int, ...], ...] = field(default=())
    """Always empty: a picture has no one class."""

    @property
    def score(self) -> float:
        """What makes one checkpoint better than another: the mean average precision, or the micro F1 without it."""
        return self.micro_f1 if self.map is None else self.map

    def named(self) -> dict[str, float]:
        """The figures of the whole as one mapping."""
        names = ("loss", "map", "f1", "micro_f1", "exact")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class LabelsTally:
    """Adds up batches of several labels: logits and labels (batch, classes), labels of 0 and 1.

    >>> tally = LabelsTally(["ant", "bee"])
    >>> tally.add(torch.tensor([[2.0, 1.0], [-1.0, 3.0]]), torch.tensor([[1.0, 1.0], [1.0, 1.0]]), loss=0.5)
    >>> tally.metrics().exact, round(tally.metrics().micro_f1, 3)
    (0.5, 0.857)
    """

    def __init__(self, classes: Sequence[str], *, ranked: bool = True) -> None:
        self.names = tuple(classes)
        self.counts = torch.zeros(3, len(classes), dtype=torch.int64)
        """Hits, true ones and predicted ones of each label."""
        self.loss = 0.0
        self.exact = 0
        self.count = 0
        self.scores = _Scores(ranked)

    def add(self, logits: Tensor, labels: Tensor, loss: float) -> None:
        """Add a batch and its mean loss."""
        logits, true = logits.detach().float().cpu(), labels.cpu() > 0.5
        predicted = logits > 0
        self.counts += torch.stack([(true & predicted).sum(0), true.sum(0), predicted.sum(0)])
        self.exact += int((true == predicted).all(dim=1).sum())
        self.count += len(true)
        self.loss += loss * len(true)
        self.scores.add(logits, true)

    def state(self) -> dict[str, object]:
        """What was added so far, so that an epoch can go on elsewhere."""
        numbers = {"counts": self.counts.tolist(), "loss": self.loss, "exact": self.exact, "count": self.count}
        return {**numbers, **self.scores.state()}

    def restore(self, state: dict[str, object]) -> None:
        """Take over what `state` gave."""
        counts = torch.tensor(state["counts"], dtype=torch.int64)
        if counts.shape != self.counts.shape:
            raise ValueError(f"counts of {tuple(counts.shape)}")
        self.counts = counts
        self.loss = float(state["loss"])  # type: ignore[arg-type]
        self.exact = int(state["exact"])  # type: ignore[call-overload]
        self.count = int(state["count"])  # type: ignore[call-overload]
        self.scores.restore(state, len(self.names))

    def metrics(self) -> LabelsMetrics:
        """The figures of all that was added."""
        hits, true, predicted = self.counts.double()
        f1 = 2 * hits / (true + predicted).clamp(min=1)
        precision, recall = hits / predicted.clamp(min=1), hits / true.clamp(min=1)
        present = (true + predicted) > 0
        scores, truths = self.scores.joined(len(self.names))
        ranked = [average_precision(scores[:, at], truths[:, at]) for at in range(len(self.names))]
        known = [value for value in ranked if value is not None]
        return LabelsMetrics(
            loss=self.loss / max(1, self.count),
            map=sum(known) / len(known) if known else None,
            f1=float(f1[present].mean()) if present.any() else 0.0,
            micro_f1=float(2 * hits.sum() / (true + predicted).sum().clamp(min=1)),
            exact=self.exact / max(1, self.count),
            classes=tuple(
                LabelFigures(name, int(true[at]), float(precision[at]), float(recall[at]), float(f1[at]), ranked[at])
                for at, name in enumerate(self.names)
            ),
        )


class _Scores:
    """The scores and truths of all pictures, which figures of ranking need; none where they are not wanted."""

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self.kept: list[tuple[Tensor, Tensor]] = []

    def add(self, scores: Tensor, truths: Tensor) -> None:
        if self.wanted:
            self.kept.append((scores, truths.cpu() > 0.5))

    def joined(self, outputs: int) -> tuple[Tensor, Tensor]:
        """Scores and truths (pictures, outputs)."""
        if not self.kept:
            return torch.zeros(0, outputs), torch.zeros(0, outputs, dtype=torch.bool)
        return torch.cat([scores for scores, _ in self.kept]), torch.cat([truths for _, truths in self.kept])

    def state(self) -> dict[str, object]:
        if not self.kept:
            return {}
        scores, truths = self.joined(self.kept[0][0].shape[1])
        return {"scores": scores.tolist(), "truths": truths.tolist()}

    def restore(self, state: dict[str, object], outputs: int) -> None:
        self.kept = []
        if "scores" in state:
            scores, truths = torch.tensor(state["scores"]), torch.tensor(state["truths"], dtype=torch.bool)
            if scores.shape != truths.shape or scores.shape[1:] != (outputs,):
                raise ValueError(f"scores of {tuple(scores.shape)}")
            self.kept.append((scores, truths))
