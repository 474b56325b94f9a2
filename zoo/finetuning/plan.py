"""The two ends of a run as values: the plan before its first step, and the run when it is finished."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from zoo.checkpoint.delta import Base
from zoo.data.datasets import Dataset
from zoo.data.fingerprint import fingerprint
from zoo.data.loading import Loader, evaluation_transform, training_transform
from zoo.finetuning.table import Row
from zoo.freezing.order import RunningOrder
from zoo.markup import table
from zoo.recipe import Recipe
from zoo.registry import ModelSpec, spec_of
from zoo.training.devices import Device
from zoo.training.tasks import AnyMetrics, Objective, objective_of


@dataclass
class Plan:
    """A run that is about to begin."""

    recipe: Recipe
    model: nn.Module
    dataset: Dataset
    device: Device
    order: RunningOrder
    folder: Path
    tables: list[list[Row]]
    """For each stage, what is trained."""
    checkpoint_bytes: int
    """The size of the largest checkpoint."""
    workers: int
    listing: Mapping[str, Any]
    """What `data.json` says: which pictures, in which half, with their contents' hashes."""
    base: Base | None = None
    """The weights that the checkpoints leave out, with `--save delta`."""
    named: bool = False
    """Whether the folder's name was chosen, and is not to be changed."""
    changed: frozenset[str] = frozenset()
    """The settings that are not those of the checkpoint from which the run goes on."""

    @property
    def spec(self) -> ModelSpec:
        """The facts about the model."""
        return spec_of(self.model)

    @property
    def steps(self) -> int:
        """Optimizer steps in an epoch."""
        return math.ceil(len(self.loader(train=True)) / self.recipe.accumulate)

    @cached_property
    def fingerprint(self) -> str:
        """The hash of what the run learns from."""
        return fingerprint(self.listing)

    @cached_property
    def objective(self) -> Objective:
        """What is learned, and how it is measured."""
        head = self.spec.head
        assert head is not None, "a run has a head of its own"
        return objective_of(head)

    def loader(self, *, train: bool) -> Loader:
        """The pictures of one side as batches."""
        preprocessing, recipe = self.spec.preprocessing, self.recipe
        varied = training_transform(preprocessing, recipe.augment, recipe.erasing)
        return Loader(
            self.dataset.train if train else self.dataset.val,
            varied if train else evaluation_transform(preprocessing),
            batch_size=self.recipe.batch_size,
            seed=self.recipe.seed,
            channels=len(preprocessing.mean),
            shuffle=train,
            workers=self.workers,
            pin=self.device.device.type == "cuda",
            target=self.objective.target,
        )


@dataclass(frozen=True)
class Run:
    """A finished run, which stands for its folder where one is taken: `zoo.predict(run, "a.jpg")`."""

    folder: Path
    best: Path
    """The checkpoint with the highest validation score: accuracy, mean average precision or R²."""
    last: Path
    epochs: int
    metrics: Mapping[str, float]
    """The validation figures of the best checkpoint."""
    seconds: float
    best_epoch: int
    figures: AnyMetrics | None = field(default=None, repr=False)
    """The last epoch's figures with every class; None for a run that was finished before."""
    peak: int | None = field(default=None, repr=False)
    """The most memory that was in use, in bytes, where the system tells."""

    def __fspath__(self) -> str:
        return str(self.folder)

    def _repr_html_(self) -> str:
        rows = [*self.metrics.items(), ("best", self.best), ("epochs", self.epochs), ("seconds", self.seconds)]
        return table(f"{self.folder}: its best checkpoint is of epoch {self.best_epoch}", rows)

    def to_values(self) -> dict[str, Any]:
        """The run as plain values for programs."""
        return {
            "run": str(self.folder),
            "best": str(self.best),
            "last": str(self.last),
            "epochs": self.epochs,
            "metrics": dict(self.metrics),
            "seconds": round(self.seconds, 3),
        }
