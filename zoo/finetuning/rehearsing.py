"""A dry run: one real batch forward and backward, and what a whole run would take."""

import time
from dataclasses import dataclass
from typing import Any

import torch

from zoo import files
from zoo.finetuning.explaining import explained
from zoo.finetuning.plan import Plan
from zoo.finetuning.stages import apply_stage
from zoo.recipe import most_kept
from zoo.training.devices import forget_peak, peak_memory, synchronize
from zoo.training.loop import logits_of, random_state_kept, to_device


@dataclass(frozen=True)
class Estimate:
    """What a run would take, from one batch that was run."""

    loss: float
    steps: int
    """Optimizer steps of the whole run."""
    step_seconds: float
    seconds: float
    """Training and validation, in all."""
    peak: int | None
    """The most memory in use, in bytes, where the system tells."""
    checkpoint_bytes: int
    disk_bytes: int
    """What the kept checkpoints take."""
    free_bytes: int

    def to_values(self) -> dict[str, Any]:
        """The estimate as plain values."""
        return dict(vars(self))


def rehearse(plan: Plan) -> Estimate:
    """Run one batch of each stage; the weights stay as they are and nothing is written."""
    forget_peak(plan.device)
    model = plan.device.place(plan.model)
    steps, seconds, loss, step_seconds = 0, 0.0, 0.0, 0.0
    with random_state_kept(), explained(plan), plan.device.algorithms(), plan.loader(train=True) as loader:
        for stage in plan.recipe.stages:
            apply_stage(model, stage, plan.order)
            model.train()
            before = {name: buffer.clone() for name, buffer in model.named_buffers()}
            # The first batch starts the worker processes; the second one shows how fast they read.
            batches = loader.epoch(0)
            batch = next(batches)
            began = time.monotonic()
            batch = next(batches, batch)
            reading = (time.monotonic() - began) / max(1, plan.workers)
            pictures, labels = next(to_device([batch], plan.device))
            # The first pass allocates and warms up; the second is what a step takes.
            for _ in range(2):
                began = time.monotonic()
                with plan.device.autocast():
                    output = plan.objective.loss(logits_of(model(pictures)), labels)
                output.backward()
                synchronize(plan.device)
                step_seconds = time.monotonic() - began
            loss = output.item()
            began = time.monotonic()
            with torch.no_grad(), plan.device.autocast():
                model(pictures)
            synchronize(plan.device)
            forward = time.monotonic() - began
            model.zero_grad(set_to_none=True)
            for name, buffer in model.named_buffers():
                buffer.copy_(before[name])
            steps += stage.epochs * plan.steps
            validation = len(plan.loader(train=False))
            seconds += stage.epochs * (len(loader) * max(reading, step_seconds) + validation * max(reading, forward))
            step_seconds = max(reading, step_seconds) * min(plan.recipe.accumulate, len(loader))
    return Estimate(
        loss=loss,
        steps=steps,
        step_seconds=step_seconds,
        seconds=seconds,
        peak=peak_memory(plan.device),
        checkpoint_bytes=plan.checkpoint_bytes,
        disk_bytes=most_kept(plan.recipe) * plan.checkpoint_bytes,
        free_bytes=files.free_space(plan.folder),
    )
