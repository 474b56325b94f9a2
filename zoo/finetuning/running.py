"""A run: its stages one after the other, what is saved on the way, and how it stops."""

import math
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from zoo import freezing
from zoo.checkpoint.state import restore_optimizer
from zoo.checkpoint.writing import Snapshot
from zoo.data.loading import Loader
from zoo.errors import CheckpointError, NumericsError, Stopped, StorageError
from zoo.finetuning.comparing import OPTIMIZER, POLICY
from zoo.finetuning.journal import Journal
from zoo.finetuning.plan import Plan
from zoo.finetuning.position import Position
from zoo.finetuning.reporting import Reporter
from zoo.finetuning.stages import apply_stage, groups_for, head_paths
from zoo.finetuning.stopping import Stop
from zoo.recipe import Stage, to_values
from zoo.sources.checkpoints import snapshot_of
from zoo.tracking import logs
from zoo.training import loop
from zoo.training.averaging import Average
from zoo.training.devices import forget_peak, machine
from zoo.training.mixing import Mixer
from zoo.training.optimizers import optimizer_of, schedule_of
from zoo.training.tasks import AnyMetrics, AnyTally
from zoo.units import some


class Runner:
    """Carries a plan out; `position` and `state` are where an earlier run of it stopped."""

    def __init__(
        self,
        plan: Plan,
        reporter: Reporter,
        journal: Journal,
        position: Position | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.plan = plan
        self.reporter = reporter
        self.journal = journal
        self.at = position or Position()
        self.state = state
        self.started = time.monotonic() - self.at.seconds
        self.latest: AnyMetrics | None = None
        self.tally = plan.objective.tally(ranked=False)
        self.stop = Stop()

    def run(self) -> AnyMetrics | None:
        """Train until the end or until a signal; returns the figures of the last epoch."""
        plan = self.plan
        forget_peak(plan.device)
        plan.device.place(plan.model)
        loaders = plan.loader(train=True), plan.loader(train=False)
        with loaders[0] as train, loaders[1] as val, self.stop.listening(), plan.device.algorithms():
            try:
                for number in range(self.at.stage, len(plan.recipe.stages)):
                    if number != self.at.stage:
                        self.at.begin_stage(number)
                    trainer = self._start_stage(plan.recipe.stages[number])
                    with self._rescuing(trainer):
                        self._run_stage(trainer, plan.recipe.stages[number], train, val)
                self.journal.wait()
            except BaseException:
                # After a second Ctrl-C a checkpoint may still be on its way; nothing goes on behind the caller's back.
                self.journal.give_up()
                raise
        return self.latest

    def _start_stage(self, stage: Stage) -> loop.Trainer:
        plan, recipe = self.plan, self.plan.recipe
        # A snapshot that is still being written shares what was frozen until now.
        self.journal.wait()
        if self.state is None or plan.changed & POLICY:
            apply_stage(plan.model, stage, plan.order)
        else:
            frozen = self.state["frozen"]
            freezing.restore(plan.model, frozen["parameters"], frozen["held"])
        trainer = trainer_of(plan, stage, _schedule(plan, stage))
        if recipe.ema > 0:
            # It begins with what the checkpoint says the average was, before the weights themselves come back.
            trainer.average = Average(plan.model.train(), recipe.ema)
        if self.state is not None:
            self._restore(trainer.optimizer, trainer.scaler)
        return trainer

    def _restore(self, optimizer: Optimizer, scaler: torch.amp.GradScaler | None) -> None:
        assert self.state is not None
        exactly = not self.plan.changed & OPTIMIZER
        try:
            if self.state["optimizer"] is not None:
                restore_optimizer(optimizer, self.plan.model, self.state["optimizer"], exactly=exactly)
            if scaler and self.state["scaler"]:
                scaler.load_state_dict(self.state["scaler"])
            _put_back(self.plan.model, self.state.get("raw") or {})
        # Anybody may have written the state, and wrong ones fail in the ways of each optimizer.
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            raise CheckpointError(f"the checkpoint's optimizer state cannot be put back: {error!r:.120}.") from error
        # Only the stage in which the run stopped goes on with it.
        self.state = None

    def _run_stage(self, trainer: loop.Trainer, stage: Stage, train: Loader, val: Loader) -> None:
        at = self.at
        while not at.stage_is_over(stage):
            began = time.monotonic()
            trained = self._train_epoch(trainer, train)
            validated = self._validate(trainer, val, trained)
            at.epoch += 1
            at.stage_epoch += 1
            at.step_in_epoch, at.tally = 0, None
            self._end_epoch(trainer, trained.metrics(), validated, time.monotonic() - began)
        if trainer.average is not None:
            # What a stage gives is its average, and the next one begins with that.
            trainer.average.exchange()

    def _train_epoch(self, trainer: loop.Trainer, train: Loader) -> AnyTally:
        at, plan = self.at, self.plan
        self.tally = tally = plan.objective.tally(ranked=False)
        if at.tally is not None:
            try:
                tally.restore(at.tally)
            except (KeyError, TypeError, ValueError, RuntimeError) as error:
                raise CheckpointError(f"the figures of the epoch at hand cannot be used: {error!r:.99}.") from error
        steps = loop.train_steps(
            trainer,
            train.epoch(at.epoch, at.step_in_epoch * plan.recipe.accumulate),
            tally,
            step=at.step,
            stage_step=at.stage_epoch * plan.steps + at.step_in_epoch,
        )
        label = f"epoch {at.epoch + 1}/{at.epochs_in_all(plan.recipe)}"
        in_epoch = plan.steps
        with self.reporter.progress(label, in_epoch - at.step_in_epoch) as advance:
            for loss in self._watched(steps, train):
                at.step += 1
                at.step_in_epoch += 1
                advance(f"loss {loss:.3f}")
                # What is found now, when it would be saved, comes from the step that is just done.
                with self._naming_pictures(train, replace(at, step=at.step - 1, step_in_epoch=at.step_in_epoch - 1)):
                    if self.stop:
                        self._stop(trainer)
                    if self.journal.wants_step(at, last=at.step_in_epoch == in_epoch):
                        self._save(trainer, {})
        return tally

    def _watched(self, steps: Iterator[float], train: Loader) -> Iterator[float]:
        """The losses of the steps; the pictures of one whose numbers go wrong are written down."""
        with self._naming_pictures(train, self.at):
            yield from steps

    @contextmanager
    def _naming_pictures(self, train: Loader, at: Position) -> Iterator[None]:
        """Write down which pictures the step at a position had, when its numbers go wrong."""
        try:
            yield
        except NumericsError as error:
            count = self.plan.recipe.accumulate
            pictures = train.paths(at.epoch, at.step_in_epoch * count, count)
            where = self.journal.numerics(at, error.message, pictures)
            raise NumericsError(error.message, *error.hints, f"the pictures of that step: {where}") from error

    def _validate(self, trainer: loop.Trainer, val: Loader, trained: AnyTally) -> AnyMetrics:
        objective = self.plan.objective
        figures = objective.tally()
        with self.reporter.progress("validating", len(val)) as advance:

            def seen() -> bool:
                advance("")
                return not self.stop

            with trainer.averaged():
                whole = loop.evaluate(trainer.model, val.epoch(0), objective, figures, self.plan.device, seen)
            if not whole:
                self._stop(trainer)
        metrics = figures.metrics()
        # A step can spoil the weights without a loss that shows it; the validation after it does.
        if not math.isfinite(metrics.loss):
            raise self._validated_badly(trainer, metrics.loss)
        return metrics

    def _validated_badly(self, trainer: loop.Trainer, loss: float) -> NumericsError:
        """What is said of a loss that is no number at the end of an epoch, of which a part may be saved."""
        epoch = self.at.epoch + 1
        newest = self.journal.newest or ""
        within = [f"{newest} was saved within it"] if newest.startswith(f"epoch-{epoch:04d}-step-") else []
        return loop.not_finite(
            trainer,
            f"the loss on the validation pictures is {loss} after epoch {epoch}, so training ends there.",
            *within,
        )

    def _end_epoch(self, trainer: loop.Trainer, trained: AnyMetrics, validated: AnyMetrics, seconds: float) -> None:
        at = self.at
        self.latest = validated
        better = at.best_score is None or validated.score > at.best_score
        if better:
            at.best_score, at.best_epoch = validated.score, at.epoch
        at.score = validated.score
        improved = at.stage_score is None or at.score > at.stage_score
        at.stage_score, at.waited = (at.score, 0) if improved else (at.stage_score, at.waited + 1)
        rate = max(group["lr"] for group in trainer.optimizer.param_groups)
        figures = {"epoch": at.epoch, "stage": at.stage + 1, "step": at.step, "lr": rate}
        objective = self.plan.objective
        at.rows.append(
            {
                **figures,
                **logs.prefixed("train", trained.named(), objective.trained),
                **logs.prefixed("val", validated.named(), objective.figures),
                "seconds": round(seconds, 3),
            }
        )
        self.journal.epoch(at, validated, better)
        self._tell_patience()
        if self.stop and not at.is_at_the_end(self.plan.recipe):
            self._stop(trainer)
        if self.journal.wants_epoch(at, better):
            self._save(trainer, self._figures())

    def _tell_patience(self) -> None:
        """Say that a stage ends before its last epoch, and what comes then."""
        at, stages = self.at, self.plan.recipe.stages
        stage = stages[at.stage]
        if not at.is_out_of_patience(stage) or at.stage_epoch >= stage.epochs:
            return
        left = len(stages) - at.stage - 1
        then = f"stage {at.stage + 2} begins" if left else "the run ends"
        self.reporter.note(f"no better score for {some(at.waited, 'epoch')}, so {then}")
        self.journal.log("out of patience", stage=at.stage + 1, epoch=at.epoch, waited=at.waited)

    def _stop(self, trainer: loop.Trainer) -> None:
        """Save where the run stands, and end it."""
        self.reporter.note("stopping after this step …")
        self._save(trainer, self._figures())
        self.journal.wait()
        self.journal.log("stopped", checkpoint=self.at.name)
        raise Stopped(
            f"stopped; saved {self.plan.folder / self.at.name}.",
            f"go on with: {self._way_on}",
            exit_code=self.stop.exit_code,
        )

    def _save(self, trainer: loop.Trainer, metrics: dict[str, float]) -> None:
        within = self.at.step_in_epoch > 0
        self.at.tally = self.tally.state() if within else None
        self.at.score = None if within else self.at.score
        self.journal.save(self.at.name, self._snapshot(trainer, metrics))

    def _snapshot(self, trainer: loop.Trainer, metrics: dict[str, float]) -> Snapshot:
        plan = self.plan
        self.at.seconds = time.monotonic() - self.started
        with trainer.averaged() as raw:
            snapshot = snapshot_of(
                plan.model,
                optimizer=trainer.optimizer,
                scaler=trainer.scaler,
                epoch=self.at.epoch,
                metrics=metrics,
                progress=self.at.to_values(),
                machine=machine(plan.device, plan.spec.source),
                settings={"recipe": to_values(plan.recipe), "data": plan.fingerprint},
                raw=raw,
                whole=plan.recipe.save == "full",
                base=plan.base,
            )
            frozen = set(freezing.frozen_parameters(plan.model))
            for name, tensor in (*snapshot.state.items(), *raw.items()):
                if name not in frozen and not tensor.isfinite().all():
                    loop.require_finite(trainer, float(tensor.abs().max()), f"{name} holds", self.at.step - 1)
        return snapshot

    @contextmanager
    def _rescuing(self, trainer: loop.Trainer) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._rescue(trainer, error)
            raise

    def _rescue(self, trainer: loop.Trainer, error: Exception) -> None:
        """Save what an error leaves good, so that the run can go on before it; its own errors are told."""
        at = self.at
        if not self.journal.rescues:
            return
        if not isinstance(error, Stopped):
            self.journal.log("error", what=f"{type(error).__name__}: {error}"[:500])
        trusted = trainer.intact and not isinstance(error, (NumericsError, StorageError, Stopped))
        wanted = trusted and at.step > 0 and at.name != self.journal.newest
        try:
            if wanted:
                self._save(trainer, self._figures())
            self.journal.wait()
        except (NumericsError, StorageError) as second:
            self.reporter.note(f"nothing more could be saved: {second.message}")
            return
        if isinstance(error, StorageError) and self.journal.newest is not None:
            self.reporter.note(f"what was saved before is good; {self._way_on} goes on from there")
        if wanted:
            self.reporter.note(f"saved {at.name} before the error; {self._way_on} goes on from there")

    @property
    def _way_on(self) -> str:
        return f"zoo resume {shlex.quote(str(self.plan.folder))}"

    def _figures(self) -> dict[str, float]:
        """The validation figures of a checkpoint at the end of an epoch."""
        return self.latest.named() if self.latest and not self.at.step_in_epoch else {}


def trainer_of(plan: Plan, stage: Stage, schedule: Callable[[int], float]) -> loop.Trainer:
    """What the steps of a stage share, its policy being applied."""
    recipe = plan.recipe
    optimizer = optimizer_of(
        plan.model,
        groups_for(plan.model, recipe, stage, plan.order),
        opt=recipe.opt,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        head=head_paths(plan.model),
    )
    return loop.Trainer(
        plan.model,
        optimizer,
        plan.device,
        plan.device.scaler(),
        schedule,
        plan.objective,
        recipe.label_smoothing,
        recipe.seed,
        clip_grad=recipe.clip_grad,
        accumulate=recipe.accumulate,
        mixer=Mixer(recipe.mixup, recipe.cutmix) if recipe.mixup > 0 or recipe.cutmix > 0 else None,
    )


def _schedule(plan: Plan, stage: Stage) -> Callable[[int], float]:
    """The share of the peak learning rate at each step of a stage."""
    steps = plan.steps * stage.epochs
    warmup = min(round(plan.steps * stage.warmup_epochs), steps)
    every = plan.steps * stage.step_every if stage.step_every else None
    return schedule_of(stage.sched, steps=steps, warmup=warmup, every=every, gamma=stage.gamma)


def _put_back(model: nn.Module, raw: Mapping[str, Tensor]) -> None:
    """Give a model the weights that it trained with, where a checkpoint has their average in their place."""
    live = model.state_dict(keep_vars=True)
    with torch.no_grad():
        for name, tensor in raw.items():
            if live[name].shape != tensor.shape:
                raise ValueError(f"{name} has the shape {tuple(tensor.shape)}")
            live[name].copy_(tensor)
