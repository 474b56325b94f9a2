"""What the tests of runs share: a tiny model, one call that trains it for a moment, and somebody who listens."""

import csv
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import zoo
from tests.conftest import MACHINE
from zoo.finetuning.preparing import Plan
from zoo.finetuning.reporting import Advance, Reporter

TINY = "own:tests-tiny"


class Tiny(nn.Module):
    """A convolution, norm, dropout and a classifier; an epoch takes milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout2d(0.2)
        self.fc = nn.Linear(8, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.fc(self.drop(self.norm(self.conv(pictures)).relu()).mean(dim=(2, 3)))


@pytest.fixture(scope="session", autouse=True)
def _registered() -> None:
    zoo.register(TINY.partition(":")[2], Tiny, head_path="fc", input_size=(16, 16))


Train = Callable[..., zoo.Run]


@pytest.fixture
def train(tmp_path: Path, pictures: Path) -> Train:
    """Fine-tune the tiny model on two classes: 16 pictures in 4 steps an epoch; what is given overrides."""

    def call(name: str | None = "run", **given: Any) -> zoo.Run:
        usual = {"model": TINY, "data": pictures, "epochs": 2, "batch_size": 4, "workers": 0, **MACHINE}
        return zoo.finetune(**{**usual, "out": tmp_path / "runs", "name": name, **given})

    return call


@dataclass
class Listener(Reporter):
    """Notes what it hears and lets a test act at a step, counted from 1 over the whole run, or at a checkpoint."""

    at_step: Mapping[int, Callable[[], object]] = field(default_factory=dict)
    at_save: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    steps: int = 0
    plan: Plan | None = None
    notes: list[str] = field(default_factory=list)
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    best: list[bool] = field(default_factory=list)
    checkpoints: list[str] = field(default_factory=list)
    runs: list[zoo.Run] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Advance]:
        def advance(_: str) -> None:
            if what.startswith("epoch"):
                self.steps += 1
                self.at_step.get(self.steps, lambda: None)()

        yield advance

    def planned(self, plan: Plan) -> None:
        self.plan = plan

    def epoch(self, row: Mapping[str, Any], best: bool) -> None:
        self.rows.append(row)
        self.best.append(best)

    def saved(self, checkpoint: Path) -> None:
        self.checkpoints.append(checkpoint.name)
        self.at_save.get(checkpoint.name, lambda: None)()

    def finished(self, run: zoo.Run) -> None:
        self.runs.append(run)


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def crash() -> None:
    raise RuntimeError("the machine went down")


def weights_of(checkpoint: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(checkpoint / "model.safetensors")


def same_weights(one: Path, other: Path) -> bool:
    """Whether two checkpoints hold the same weights, bit for bit."""
    return (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def changed(one: Path, other: Path) -> set[str]:
    """The tensors in which two checkpoints differ."""
    before, after = weights_of(one), weights_of(other)
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def rows_of(run: Path) -> list[dict[str, str]]:
    """The lines of `metrics.csv` without the one figure that no two runs share."""
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert float(row.pop("seconds")) >= 0
    return rows
