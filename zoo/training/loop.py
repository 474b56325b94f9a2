"""The training loop: one epoch of training, one pass of evaluation, in plain PyTorch."""

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from zoo.errors import NumericsError
from zoo.seeding import derive
from zoo.training.devices import Device
from zoo.training.metrics import Tally
from zoo.training.optimizers import set_rates

Batch = tuple[Tensor, Tensor]


@dataclass
class Trainer:
    """What the steps of one stage share."""

    model: nn.Module
    optimizer: Optimizer
    device: Device
    scaler: torch.amp.GradScaler | None
    schedule: Callable[[int], float]
    label_smoothing: float
    seed: int


def train_epoch(
    trainer: Trainer,
    batches: Iterable[Batch],
    tally: Tally,
    *,
    step: int,
    stage_step: int,
    seen: Callable[[float], bool],
) -> int:
    """Train on the batches, one optimizer step each, and return how many were done.

    `step` counts in the run and seeds what is random in the model, `stage_step` counts in the stage and
    sets the learning rate. After each step `seen` gets the loss, and ends the epoch by returning False.

    Raises NumericsError when the loss is no number, before the weights change.
    """
    trainer.model.train()
    done = 0
    for pictures, labels in to_device(batches, trainer.device):
        seed_everything(derive(trainer.seed, "step", step + done))
        set_rates(trainer.optimizer, trainer.schedule(stage_step + done))
        with trainer.device.autocast():
            logits = logits_of(trainer.model(pictures))
            loss = functional.cross_entropy(logits, labels, label_smoothing=trainer.label_smoothing)
        value = loss.item()
        if not abs(value) < float("inf"):
            rate = max(group["lr"] for group in trainer.optimizer.param_groups)
            raise NumericsError(
                f"the loss is {value} at step {step + done}, so training ends; checkpoints from before are kept.",
                f"the learning rate was {rate:.3g}: try a smaller --lr"
                + ("" if trainer.device.amp is None else ", or --amp off"),
            )
        trainer.optimizer.zero_grad(set_to_none=True)
        if trainer.scaler:
            trainer.scaler.scale(loss).backward()
            trainer.scaler.step(trainer.optimizer)
            trainer.scaler.update()
        else:
            loss.backward()
            trainer.optimizer.step()
        tally.add(logits, labels, value)
        done += 1
        if not seen(value):
            break
    return done


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    tally: Tally,
    device: Device,
    seen: Callable[[], None] | None = None,
) -> None:
    """Add up the figures of a model in eval mode over the batches; its mode is put back afterwards."""
    was_training = model.training
    model.eval()
    for pictures, labels in to_device(batches, device):
        with device.autocast():
            logits = logits_of(model(pictures))
        loss = functional.cross_entropy(logits.float(), labels)
        tally.add(logits, labels, loss.item())
        if seen:
            seen()
    model.train(was_training)


def to_device(batches: Iterable[Batch], device: Device) -> Iterator[Batch]:
    """The batches on the device; from pinned memory the copy runs beside the computing."""
    for pictures, labels in batches:
        yield device.send(pictures), labels.to(device.device, non_blocking=True)


def logits_of(output: Any) -> Tensor:
    """The class scores (batch, classes) out of what a model returns: a tensor, or an object with logits."""
    logits: Tensor = output if isinstance(output, Tensor) else output.logits
    return logits


def seed_everything(seed: int) -> None:
    """Seed torch on every device, numpy and random."""
    torch.manual_seed(seed)
    numpy.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def random_state_kept() -> Iterator[None]:
    """The generators of torch, numpy and random as they were, after the body seeded them as it likes."""
    before = numpy.random.get_state(), random.getstate()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            numpy.random.set_state(before[0])
            random.setstate(before[1])
