"""The training loop: one epoch of training, one pass of evaluation, in plain PyTorch."""

import contextlib
import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from zoo.errors import NumericsError
from zoo.seeding import derive
from zoo.training.averaging import Average
from zoo.training.devices import Device
from zoo.training.mixing import Mixer
from zoo.training.optimizers import set_rates
from zoo.training.tasks import AnyTally, Objective

Batch = tuple[Tensor, Tensor]


@dataclass
class Trainer:
    """What the steps of one stage share."""

    model: nn.Module
    optimizer: Optimizer
    device: Device
    scaler: torch.amp.GradScaler | None
    schedule: Callable[[int], float]
    objective: Objective
    label_smoothing: float
    seed: int
    clip_grad: float = 0.0
    """The norm to which all gradients together are cut; 0 leaves them as they are."""
    accumulate: int = 1
    """How many batches are added up for a step."""
    average: Average | None = None
    """The moving average of the weights, where validation and checkpoints use one."""
    mixer: Mixer | None = None
    """What mixes the pictures of a batch, where anything does."""
    intact: bool = True
    """Whether weights and optimizer are those of the last complete step; not while the optimizer steps."""

    def averaged(self) -> AbstractContextManager[Mapping[str, Tensor]]:
        """The average in the model for the body, which gets the model's own tensors; nothing where there is none."""
        return contextlib.nullcontext({}) if self.average is None else self.average.applied()


def train_steps(
    trainer: Trainer, batches: Iterable[Batch], tally: AnyTally, *, step: int, stage_step: int
) -> Iterator[float]:
    """Train on the batches, an optimizer step each or each few, and yield the loss of every step that is complete.

    `step` counts in the run and seeds what is random in the model, `stage_step` counts in the stage and
    sets the learning rate. A step that fails before the optimizer leaves the model as it was before it.

    Raises NumericsError when the loss, a gradient or a weight is no number, before the optimizer steps.
    """
    trainer.model.train()
    statistics = _Statistics(trainer.model)
    trained = [parameter for group in trainer.optimizer.param_groups for parameter in group["params"]]
    require_finite(trainer, _largest(trained), "before it a weight is", step)
    for done, group in enumerate(_groups(batches, trainer.accumulate)):
        seed_everything(derive(trainer.seed, "step", step + done))
        set_rates(trainer.optimizer, trainer.schedule(stage_step + done))
        statistics.keep()
        trainer.optimizer.zero_grad(set_to_none=True)
        try:
            passes = [*_passes(trainer, group, step + done)]
            _check_gradients(trainer, trained, step + done)
        except BaseException:
            statistics.restore()
            raise
        trainer.intact = False
        if trainer.scaler:
            trainer.scaler.step(trainer.optimizer)
            trainer.scaler.update()
        else:
            trainer.optimizer.step()
        require_finite(trainer, _largest(trained), "after it a weight is", step + done)
        if trainer.average is not None:
            trainer.average.update(stage_step + done)
        for each in passes:
            tally.add(each.logits, each.labels, each.loss)
        trainer.intact = True
        yield sum(each.loss * each.share for each in passes)


@dataclass(frozen=True)
class _Pass:
    """What a batch gave: its scores, its mean loss, and its share of the pictures of its step."""

    logits: Tensor
    labels: Tensor
    loss: float
    share: float


def _passes(trainer: Trainer, group: Sequence[Batch], step: int) -> Iterator[_Pass]:
    """Forward and backward through the batches of a step; each weighs as many pictures as it has.

    So the gradients add up to those of one batch of all pictures, but for the statistics of batch norms.
    """
    total = sum(len(labels) for _, labels in group)
    for pictures, labels in to_device(group, trainer.device):
        targets = labels
        if trainer.mixer is not None:
            mixed = trainer.mixer(pictures, trainer.objective.dense(labels), labels)
            pictures, targets, labels = trainer.device.send(mixed.pictures), mixed.targets, mixed.labels
        with trainer.device.autocast():
            logits = logits_of(trainer.model(pictures))
            loss = trainer.objective.loss(logits, targets, trainer.label_smoothing)
        value, share = loss.item(), len(labels) / total
        require_finite(trainer, value, "the loss is", step)
        part = loss if len(group) == 1 else loss * share
        (trainer.scaler.scale(part) if trainer.scaler else part).backward()
        yield _Pass(logits.detach(), labels, value, share)


def _groups(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """So many batches at a time, the last of what is left."""
    rest = iter(batches)
    while group := [*itertools.islice(rest, size)]:
        yield group


def _check_gradients(trainer: Trainer, trained: Sequence[Tensor], step: int) -> None:
    """Look for gradients that are no numbers, by their largest magnitudes; cut those that are too long together."""
    gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
    if trainer.scaler is None:
        # Under a scaler gradients may overflow: it leaves such a step out and scales less from then on.
        require_finite(trainer, _largest(gradients), "a gradient is", step)
    elif trainer.scaler.get_scale() < SMALLEST_SCALE:
        require_finite(trainer, float("inf"), "at every scale a gradient is", step)
    if trainer.clip_grad > 0 and gradients:
        if trainer.scaler:
            trainer.scaler.unscale_(trainer.optimizer)
        # Finite ones can have a norm that is not: what it would make of them is no step.
        norm = nn.utils.get_total_norm(gradients)
        if trainer.scaler is None:
            require_finite(trainer, float(norm), "the norm of the gradients is", step)
        nn.utils.clip_grads_with_norm_(trained, trainer.clip_grad, norm)


SMALLEST_SCALE = 1e-6
"""Below this a gradient scaler has met so many overflows in a row that training cannot recover."""


def _largest(tensors: Sequence[Tensor]) -> float:
    """The largest magnitude in some tensors, or NaN when one of them has one."""
    return float(nn.utils.get_total_norm(tensors, norm_type=float("inf"))) if tensors else 0.0


def require_finite(trainer: Trainer, value: float, what: str, step: int) -> None:
    """Raise NumericsError for a value that is no finite number; steps count from 0 here, and from 1 for people."""
    if not math.isfinite(value):
        raise not_finite(trainer, f"{what} {value} at step {step + 1}, so training ends, and nothing of it is saved.")


def not_finite(trainer: Trainer, message: str, *hints: str) -> NumericsError:
    """An error about numbers that are none, with the learning rate as the usual suspect.

    A weight decay beyond all that is usual, which takes a tenth of a weight or more in a step, is another one.
    """
    groups = trainer.optimizer.param_groups
    rate, decay = (max(group.get(key, 0.0) for group in groups) for key in ("lr", "weight_decay"))
    peak = max(group.get("peak", group["lr"]) for group in groups)
    amp = "" if trainer.device.amp is None else ", or --amp off"
    if decay > 1 and peak * decay >= 0.1:
        what = f"the learning rate was {rate:.3g} and the weight decay {decay:.3g}: try a smaller --wd or --lr{amp}"
    else:
        what = f"the learning rate was {rate:.3g}: try a smaller --lr{amp}"
    return NumericsError(message, what, *hints)


class _Statistics:
    """The buffers that a forward pass in training changes, as they were before it."""

    def __init__(self, model: nn.Module) -> None:
        self.live = [buffer for module in model.modules() if module.training for buffer in module.buffers(False)]
        self.kept = [buffer.clone() for buffer in self.live]

    def keep(self) -> None:
        if self.live:
            torch._foreach_copy_(self.kept, self.live)

    def restore(self) -> None:
        if self.live:
            torch._foreach_copy_(self.live, self.kept)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    objective: Objective,
    tally: AnyTally,
    device: Device,
    seen: Callable[[], bool] = lambda: True,
) -> bool:
    """Add up the figures of a model in eval mode over the batches; its mode is put back afterwards.

    After each batch `seen` says whether to go on; the answer is whether all of them were seen.
    """
    was_training = model.training
    model.eval()
    whole = True
    for pictures, labels in to_device(batches, device):
        with device.autocast():
            logits = logits_of(model(pictures))
        loss = objective.loss(logits.float(), labels)
        tally.add(logits, labels, loss.item())
        if not seen():
            whole = False
            break
    model.train(was_training)
    return whole


def to_device(batches: Iterable[Batch], device: Device) -> Iterator[Batch]:
    """The batches on the device; from pinned memory the copy runs beside the computing."""
    for pictures, labels in batches:
        yield device.send(pictures), labels.to(device.device, non_blocking=True)


def logits_of(output: Any) -> Tensor:
    """The scores (batch, outputs) out of what a model returns: a tensor, or an object with logits.

    A few classifiers of transformers (PP-LCNet) call them their last hidden state.
    """
    logits: Tensor = output
    if not isinstance(output, Tensor):
        logits = output.logits if hasattr(output, "logits") else output.last_hidden_state
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
    # Unless it is told which, torch starts every GPU to ask for its generator, also for work on the CPU.
    started = torch.cuda.is_initialized()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if started else []):
            yield
    finally:
        numpy.random.set_state(before[0])
        random.setstate(before[1])
        if torch.cuda.is_initialized() and not started:
            # The seed that a GPU takes over when it starts.
            torch.cuda.manual_seed_all(torch.initial_seed())
