"""A run: its stages one after the other, what is saved on the way, and how it stops."""

import math
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.optim import Optimizer

from zoo import files, freezing
from zoo.checkpoint import reading
from zoo.checkpoint.state import restore_optimizer
from zoo.data.folders import to_json
from zoo.errors import NumericsError, Stopped
from zoo.finetuning.plan import Plan
from zoo.finetuning.preparing import apply_stage, groups_for
from zoo.finetuning.reporting import Reporter
from zoo.recipe import Stage, kept, to_toml
from zoo.sources.checkpoints import save_checkpoint
from zoo.tracking import logs
from zoo.training import loop
from zoo.training.devices import machine
from zoo.training.metrics import Metrics, Tally
from zoo.training.optimizers import optimizer_of, schedule_of

CADENCE = 30.0
"""Seconds between checkpoints, unless one is the best or the last."""


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

    def to_values(self) -> dict[str, Any]:
        """The position as plain values."""
        return dict(vars(self))


class Runner:
    """Carries a plan out; `position` and `state` are where an earlier run of it stopped."""

    def __init__(
        self,
        plan: Plan,
        reporter: Reporter,
        position: Position | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.plan = plan
        self.reporter = reporter
        self.at = position or Position()
        self.state = state
        self.last_saved = time.monotonic()
        self.started = time.monotonic() - self.at.seconds
        self.latest: Metrics | None = None
        self.stop = False

    def run(self) -> Metrics | None:
        """Train until the end or until Ctrl-C; returns the figures of the last epoch."""
        plan = self.plan
        plan.device.place(plan.model)
        train, val = plan.loader(train=True), plan.loader(train=False)
        with self._interruptible():
            for number in range(self.at.stage, len(plan.recipe.stages)):
                self.at.stage = number
                trainer = self._start_stage(plan.recipe.stages[number])
                self._run_stage(trainer, plan.recipe.stages[number], train, val)
                self.at.stage_epoch = 0
        return self.latest

    def _start_stage(self, stage: Stage) -> loop.Trainer:
        plan, recipe = self.plan, self.plan.recipe
        if self.state is None:
            apply_stage(plan.model, stage, plan.order)
        else:
            frozen = self.state["frozen"]
            freezing.restore(plan.model, frozen["parameters"], frozen["held"])
        groups = groups_for(plan.model, recipe, stage)
        optimizer = optimizer_of(plan.model, groups, opt=recipe.opt, momentum=recipe.momentum)
        scaler = plan.device.scaler()
        if self.state is not None:
            self._restore(optimizer, scaler)
        steps = plan.steps * stage.epochs
        warmup = min(round(plan.steps * stage.warmup_epochs), steps)
        schedule = schedule_of(stage.sched, steps=steps, warmup=warmup)
        return loop.Trainer(plan.model, optimizer, plan.device, scaler, schedule, recipe.label_smoothing, recipe.seed)

    def _restore(self, optimizer: Optimizer, scaler: torch.amp.GradScaler | None) -> None:
        assert self.state is not None
        if self.state["optimizer"] is not None:
            restore_optimizer(optimizer, self.plan.model, self.state["optimizer"])
        if scaler and self.state["scaler"]:
            scaler.load_state_dict(self.state["scaler"])
        # Only the stage in which the run stopped goes on with it.
        self.state = None

    def _run_stage(self, trainer: loop.Trainer, stage: Stage, train: Any, val: Any) -> None:
        while self.at.stage_epoch < stage.epochs:
            began = time.monotonic()
            tally = self._train_epoch(trainer, stage, train)
            figures = Tally(self.plan.dataset.classes)
            with self.reporter.progress("validating", len(val)) as advance:
                loop.evaluate(trainer.model, val.epoch(0), figures, self.plan.device, lambda: advance(""))
            self.latest = figures.metrics()
            self._check_finite(trainer)
            self.at.epoch += 1
            self.at.stage_epoch += 1
            self.at.step_in_epoch, self.at.tally = 0, None
            self._end_epoch(trainer, tally.metrics(), self.latest, time.monotonic() - began)

    def _check_finite(self, trainer: loop.Trainer) -> None:
        """A step can spoil the weights without a loss that shows it; the validation after it does."""
        assert self.latest is not None
        if not math.isfinite(self.latest.loss):
            rate = max(group["lr"] for group in trainer.optimizer.param_groups)
            raise NumericsError(
                f"the loss is {self.latest.loss} on the validation pictures after step {self.at.step}; the checkpoints"
                " of before are kept.",
                f"the learning rate was {rate:.3g}: try a smaller --lr",
            )

    def _train_epoch(self, trainer: loop.Trainer, stage: Stage, train: Any) -> Tally:
        at, plan = self.at, self.plan
        tally = Tally(plan.dataset.classes)
        if at.tally is not None:
            tally.restore(at.tally)
        label = f"epoch {at.epoch + 1}/{plan.recipe.epochs}"
        with self.reporter.progress(label, len(train) - at.step_in_epoch) as advance:

            def seen(loss: float) -> bool:
                advance(f"loss {loss:.3f}")
                if self.stop:
                    self.reporter.note("stopping after this step …")
                return not self.stop

            done = loop.train_epoch(
                trainer,
                train.epoch(at.epoch, at.step_in_epoch),
                tally,
                step=at.step,
                stage_step=at.stage_epoch * len(train) + at.step_in_epoch,
                seen=seen,
            )
        at.step += done
        at.step_in_epoch += done
        if self.stop and at.step_in_epoch < len(train):
            at.tally = tally.state()
            self._stop(trainer)
        return tally

    def _end_epoch(self, trainer: loop.Trainer, trained: Metrics, validated: Metrics, seconds: float) -> None:
        at, plan = self.at, self.plan
        better = at.best_score is None or validated.accuracy > at.best_score
        if better:
            at.best_score, at.best_epoch = validated.accuracy, at.epoch
        at.score = validated.accuracy
        row = logs.row_of(
            {
                "epoch": at.epoch,
                "stage": at.stage + 1,
                "step": at.step,
                "lr": max(group["lr"] for group in trainer.optimizer.param_groups),
                "train_loss": trained.loss,
                "train_accuracy": trained.accuracy,
                "val_loss": validated.loss,
                "val_accuracy": validated.accuracy,
                "val_f1": validated.f1,
                "val_top5": validated.top5,
                "seconds": round(seconds, 3),
            }
        )
        at.rows.append(row)
        logs.write_metrics(plan.folder, at.rows)
        logs.log(plan.folder, "epoch", **row, classes=[vars(each) for each in validated.classes])
        self.reporter.epoch({**row, "epochs": plan.recipe.epochs}, better)
        due = time.monotonic() - self.last_saved >= CADENCE
        if better or due or self.stop or at.epoch == plan.recipe.epochs or self._is_kept(at.epoch):
            self._save(trainer, f"epoch-{at.epoch:04d}", validated.named())
        if self.stop and at.epoch < plan.recipe.epochs:
            raise self._stopped(f"epoch-{at.epoch:04d}")

    def _stop(self, trainer: loop.Trainer) -> None:
        at = self.at
        name = f"epoch-{at.epoch + 1:04d}-step-{at.step_in_epoch:04d}"
        at.score = None
        self._save(trainer, name, {})
        raise self._stopped(name)

    def _stopped(self, name: str) -> Stopped:
        logs.log(self.plan.folder, "stopped", checkpoint=name)
        return Stopped(f"stopped; saved {self.plan.folder / name}.", f"go on with: zoo resume {self.plan.folder}")

    def _save(self, trainer: loop.Trainer, name: str, metrics: dict[str, float]) -> None:
        plan = self.plan
        self.at.seconds = time.monotonic() - self.started
        saved = save_checkpoint(
            plan.folder / name,
            plan.model,
            optimizer=trainer.optimizer,
            scaler=trainer.scaler,
            epoch=self.at.epoch,
            metrics=metrics,
            progress=self.at.to_values(),
            machine=machine(plan.device),
            whole=plan.recipe.save == "full",
        )
        for note in saved.notes:
            self.reporter.note(note)
        logs.log(plan.folder, "checkpoint", name=name)
        self.last_saved = time.monotonic()
        self._prune()
        self.reporter.saved(saved.folder)

    def _is_kept(self, epoch: int) -> bool:
        """Whether `every:N` keeps this epoch."""
        _, every = kept(self.plan.recipe.keep)
        return every is not None and epoch % every == 0

    def _prune(self) -> None:
        """Remove the checkpoints that `keep` does not name; the newest always stays, since resuming needs it."""
        found = reading.checkpoints_of(self.plan.folder)
        keep = {found[-1].folder}
        best = reading.best_of(self.plan.folder)
        if best and kept(self.plan.recipe.keep)[0]:
            keep.add(best)
        for each in found:
            epoch, step = each.position
            if each.folder not in keep and not (step == 0 and self._is_kept(epoch)):
                with files.explained(each.folder):
                    shutil.rmtree(each.folder)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """The first Ctrl-C ends the run after its step, a second one at once; handlers are put back."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def ask_to_stop(number: int, frame: FrameType | None) -> None:
            # Only this: a handler that prints can land in the middle of another print.
            self.stop = True
            signal.signal(signal.SIGINT, second)

        # A shell starts background jobs with Ctrl-C ignored; who sends it all the same means it.
        second = before if callable(before) else signal.default_int_handler
        signal.signal(signal.SIGINT, ask_to_stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


@contextmanager
def replaced(folder: Path) -> Iterator[None]:
    """An old run steps aside for the body; it goes if the body leaves a complete checkpoint, else it comes back."""
    aside = folder.with_name(f".{folder.name}.replaced")
    if not folder.exists():
        yield
        return
    with files.explained(folder):
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    try:
        yield
    finally:
        if reading.checkpoints_of(folder):
            shutil.rmtree(aside, ignore_errors=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            aside.rename(folder)


def open_folder(plan: Plan, command: str) -> None:
    """Make the run's folder with what it needs to be repeated."""
    with files.explained(plan.folder):
        plan.folder.parent.mkdir(parents=True, exist_ok=True)
        plan.folder.mkdir()
    files.write_text(plan.folder / "run.toml", to_toml(plan.recipe, command))
    files.write_json(plan.folder / "data.json", to_json(plan.dataset, plan.recipe.seed))


def last_and_best(run: Path) -> tuple[Path, Path]:
    """The newest and the best checkpoint of a run that has one."""
    found = reading.checkpoints_of(run)
    best = reading.best_of(run)
    assert found
    assert best is not None
    return found[-1].folder, best
