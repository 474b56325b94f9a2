"""Accuracy, top-5, macro F1 and per-class figures, from a confusion matrix that adds up batch by batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ClassFigures:
    """How one class fared."""

    name: str
    pictures: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Metrics:
    """The figures of one pass over the data."""

    loss: float
    accuracy: float
    f1: float
    """The mean of the classes' F1; a class without pictures or predictions counts as 0 if either has it."""
    top5: float | None
    """None where there are five classes or fewer."""
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Pictures by true class (row) and predicted class (column)."""

    @property
    def score(self) -> float:
        """What makes one checkpoint better than another: the accuracy."""
        return self.accuracy

    def named(self) -> dict[str, float]:
        """The figures of the whole as one mapping."""
        values = {"loss": self.loss, "accuracy": self.accuracy, "f1": self.f1}
        return values if self.top5 is None else {**values, "top5": self.top5}


class Tally:
    """Adds up batches.

    >>> tally = Tally(["ant", "bee"])
    >>> tally.add(torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]]), torch.tensor([0, 1, 1]), loss=0.5)
    >>> round(tally.metrics().accuracy, 3)
    0.667
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.confusion = torch.zeros(len(classes), len(classes), dtype=torch.int64)
        self.loss = 0.0
        self.top5 = 0

    @property
    def count(self) -> int:
        """The pictures added so far."""
        return int(self.confusion.sum())

    def add(self, logits: Tensor, labels: Tensor, loss: float) -> None:
        """Add a batch: logits (batch, classes), labels (batch,), and its mean loss."""
        logits, labels = logits.detach().float().cpu(), labels.cpu()
        count = len(self.classes)
        pairs = labels * count + logits.argmax(dim=1)
        self.confusion += torch.bincount(pairs, minlength=count * count).reshape(count, count)
        self.loss += loss * len(labels)
        if count > 5:
            self.top5 += int((logits.topk(5, dim=1).indices == labels[:, None]).any(dim=1).sum())

    def state(self) -> dict[str, object]:
        """What was added so far, as plain values, so that an epoch can go on elsewhere."""
        return {"confusion": self.confusion.tolist(), "loss": self.loss, "top5": self.top5}

    def restore(self, state: dict[str, object]) -> None:
        """Take over what `state` gave."""
        confusion = torch.tensor(state["confusion"], dtype=torch.int64)
        if confusion.shape != self.confusion.shape:
            raise ValueError(f"a confusion matrix of {tuple(confusion.shape)}")
        self.confusion = confusion
        self.loss = float(state["loss"])  # type: ignore[arg-type]
        self.top5 = int(state["top5"])  # type: ignore[call-overload]

    def metrics(self) -> Metrics:
        """The figures of all that was added."""
        matrix = self.confusion.double()
        hits, true, predicted = matrix.diagonal(), matrix.sum(dim=1), matrix.sum(dim=0)
        recall = hits / true.clamp(min=1)
        precision = hits / predicted.clamp(min=1)
        f1 = 2 * hits / (true + predicted).clamp(min=1)
        present = (true + predicted) > 0
        count = max(1, self.count)
        return Metrics(
            loss=self.loss / count,
            accuracy=float(hits.sum() / count),
            f1=float(f1[present].mean()) if present.any() else 0.0,
            top5=self.top5 / count if len(self.classes) > 5 else None,
            classes=tuple(
                ClassFigures(name, int(true[at]), float(precision[at]), float(recall[at]), float(f1[at]))
                for at, name in enumerate(self.classes)
            ),
            confusion=tuple(tuple(row) for row in self.confusion.tolist()),
        )
