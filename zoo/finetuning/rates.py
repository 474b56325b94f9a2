"""The learning-rate range test: a short training in which the rate rises, and a rate read off the course of the loss.

The test is Smith's (arXiv 1506.01186), its details are those of fastai's `lr_find`: the rate at which the smoothed loss
falls fastest is suggested, and its `valley` told beside it. Other than there nothing is looked for behind the lowest
point, where the noise of a loss that diverges falls faster than any learning, and the suggestion is read off a curve
that is smoothed over the steps on both sides: fastai's, over the steps before, lags behind, so that all of it lies at
rates several times too high.
"""

import copy
import itertools
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from zoo import recipe as recipes
from zoo.data.datasets import Dataset
from zoo.errors import NumericsError
from zoo.finetuning.explaining import explained
from zoo.finetuning.plan import Plan
from zoo.finetuning.preparing import prepare
from zoo.finetuning.reporting import Reporter
from zoo.finetuning.running import trainer_of
from zoo.finetuning.stages import apply_stage
from zoo.foreseeing import FEWEST, check_search
from zoo.markup import table
from zoo.recipe import Recipe
from zoo.training import loop

SMOOTHING = 0.98
"""How much of fastai's smoothed loss stays from one step to the next."""
SPREAD = 16
"""The standard deviation of the bell by which the loss is smoothed is one such part of all steps."""
DIVERGED = 4.0
"""At so many times its lowest value the loss has diverged, and the test ends."""


@dataclass(frozen=True)
class RateSearch:
    """What a range test found."""

    model: str
    rates: tuple[float, ...] = field(repr=False)
    losses: tuple[float, ...] = field(repr=False)
    """The loss at each step, smoothed over the steps around it."""
    raw: tuple[float, ...] = field(repr=False)
    """The loss of each step alone."""
    suggestion: float
    """The rate at which the smoothed loss falls fastest."""
    valley: float
    """fastai's choice: the rate in the middle of the longest fall of its own, lagging average."""
    diverged: bool
    """Whether the test ended early, the loss being far above its lowest value or no number."""

    def _repr_html_(self) -> str:
        rows = [
            ("suggestion, where the loss falls fastest", self.suggestion),
            ("valley, more careful", self.valley),
            ("rates tried", len(self.rates)),
            ("the loss", "diverged" if self.diverged else "did not diverge"),
        ]
        return table(f"learning rates for {self.model}", rows)

    def to_values(self) -> dict[str, Any]:
        """The search as plain values for programs."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}


def lr_find(
    model: str | nn.Module | None = None,
    data: str | Path | None = None,
    *,
    recipe: str | Path | Recipe | None = None,
    weights: str | Path | None = "default",
    head: str | None = None,
    freeze: str | None = None,
    unfreeze: str | None = None,
    batch_size: int | None = None,
    opt: str | None = None,
    img_size: int | tuple[int, int] | None = None,
    seed: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    settings: Mapping[str, Any] | None = None,
    lowest: float = 1e-7,
    highest: float = 10.0,
    steps: int = 100,
    stage: int = 1,
    offline: bool = False,
    reporter: Reporter | None = None,
) -> RateSearch:
    """Train for some steps with a rising learning rate, and suggest one; the model that is given stays as it is.

        rate = zoo.lr_find("resnet18", "./imgs", freeze="backbone").suggestion
        run = zoo.finetune("resnet18", "./imgs", freeze="backbone", lr=rate)

    The arguments are those of `zoo.finetune`, and `settings` takes every key of the recipe. The rate rises
    exponentially from `lowest` to `highest`; `stage` says which stage of the recipe is tried, counted from 1; a
    backbone-lr keeps its proportion. Nothing is written. The same seed gives the same suggestion.

    Raises what `zoo.finetune` does before a run, and NumericsError when the loss never falls.
    """
    given = {
        "model": model if isinstance(model, str) else None,
        "data": str(data) if data is not None else None,
        "weights": None if weights == "default" else "none" if weights is None else str(weights),
        "head": head,
        "freeze": freeze,
        "unfreeze": unfreeze,
        "batch-size": batch_size,
        "opt": opt,
        "img-size": img_size,
        "seed": seed,
        "workers": workers,
        "device": device,
        **(settings or {}),
    }
    module = model if isinstance(model, nn.Module) else None
    return search(
        recipes.resolve(recipe, given),
        module,
        lowest=lowest,
        highest=highest,
        steps=steps,
        stage=stage,
        offline=offline,
        reporter=reporter or Reporter(),
    )


def search(
    recipe: Recipe,
    model: nn.Module | None = None,
    *,
    lowest: float,
    highest: float,
    steps: int,
    stage: int,
    offline: bool,
    dataset: Dataset | None = None,
    reporter: Reporter,
) -> RateSearch:
    """The range test of a resolved recipe; see `lr_find`. `dataset` is what `zoo.foreseeing` found for it."""
    check_search(recipe, lowest=lowest, highest=highest, steps=steps, stage=stage)
    # A model that somebody else holds is not to learn anything here.
    own = copy.deepcopy(model) if model is not None else None
    with loop.random_state_kept():
        plan = prepare(
            recipe,
            model=own,
            out=Path(),
            name=None,
            overwrite=False,
            offline=offline,
            reporter=reporter,
            keeps=False,
            dataset=dataset,
        )
        rates = [lowest * (highest / lowest) ** (step / (steps - 1)) for step in range(steps)]
        with explained(plan), plan.device.algorithms():
            raw, diverged = _tried(plan, stage - 1, rates, reporter)
    return _found(plan.spec.full_name, rates[: len(raw)], raw, diverged)


def _tried(plan: Plan, stage: int, rates: Sequence[float], reporter: Reporter) -> tuple[list[float], bool]:
    """The loss of each step at these rates, and whether it diverged on the way."""
    plan.device.place(plan.model)
    chosen, size = plan.recipe.stages[stage], plan.recipe.accumulate
    apply_stage(plan.model, chosen, plan.order)
    trainer = trainer_of(plan, chosen, lambda step: rates[step] / chosen.lr)
    losses: list[float] = []
    with plan.loader(train=True) as loader, reporter.progress("trying rates", len(rates)) as advance:
        endless = itertools.chain.from_iterable(loader.epoch(epoch) for epoch in itertools.count())
        batches = itertools.islice(endless, len(rates) * size)
        try:
            for loss in loop.train_steps(trainer, batches, plan.objective.tally(ranked=False), step=0, stage_step=0):
                losses.append(loss)
                advance(f"rate {rates[len(losses) - 1]:.1e} loss {loss:.3f}")
                smooth = smoothed(losses)
                if len(losses) >= FEWEST and smooth[-1] > DIVERGED * min(smooth):
                    return losses, True
        except NumericsError:
            if len(losses) < FEWEST:
                raise
            return losses, True
    return losses, False


def _found(model: str, rates: Sequence[float], raw: Sequence[float], diverged: bool) -> RateSearch:
    losses = centred(raw)
    # The first steps say little of the rate yet, the last ones before it diverges nothing good.
    first, last = len(losses) // 10, len(losses) - (5 if diverged else 0)
    inner = _to_lowest(losses[first:last])
    fall = longest_fall(_to_lowest(smoothed(raw)[first:last]))
    if len(inner) < 5 or len(fall) < 5:
        raise NumericsError(
            f"the loss of {model} does not fall at any rate from {rates[0]:.1e} to {rates[-1]:.1e}.",
            "try more steps, a larger batch size, or other rates",
        )
    slopes = [after - before for before, after in itertools.pairwise(inner)]
    steepest = min(range(len(slopes)), key=slopes.__getitem__)
    return RateSearch(
        model=model,
        rates=tuple(rates),
        losses=tuple(losses),
        raw=tuple(raw),
        suggestion=rounded(rates[first + steepest]),
        valley=rounded(rates[first + (fall[0] + fall[-1]) // 2]),
        diverged=diverged,
    )


def _to_lowest(values: Sequence[float]) -> list[float]:
    """The values as far as the lowest of them."""
    return [*values[: values.index(min(values)) + 1]]


def centred(losses: Sequence[float]) -> list[float]:
    """The losses averaged by a bell over the steps on both sides, so that a fall stays at the step where it is.

    What is above the level of the start, as a loss that diverges is, counts as at it: nothing is learned there.

    >>> centred([2.0, 2.0, 2.0])
    [2.0, 2.0, 2.0]
    """
    level = max(losses[: max(1, len(losses) // 10)])
    capped = [min(loss, level) for loss in losses]
    width = max(1.0, len(losses) / SPREAD)
    shares = [math.exp(-((distance / width) ** 2) / 2) for distance in range(len(losses))]
    found = []
    for place in range(len(capped)):
        weights = [shares[abs(place - other)] for other in range(len(capped))]
        found.append(round(sum(map(operator.mul, weights, capped)) / sum(weights), 12))
    return found


def smoothed(losses: Sequence[float]) -> list[float]:
    """An exponential average of the losses so far, without the pull of its start (as Adam corrects its own).

    >>> smoothed([2.0, 2.0, 2.0])
    [2.0, 2.0, 2.0]
    """
    found, mean = [], 0.0
    for count, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(round(mean / (1 - SMOOTHING**count), 12))
    return found


def longest_fall(values: Sequence[float]) -> list[int]:
    """The places of the longest subsequence whose values fall, which need not be neighbours.

    >>> longest_fall([3.0, 5.0, 4.0, 4.5, 2.0, 6.0])
    [1, 2, 4]
    """
    length, before = [1] * len(values), [-1] * len(values)
    for place, value in enumerate(values):
        for earlier in range(place):
            if value < values[earlier] and length[earlier] + 1 > length[place]:
                length[place], before[place] = length[earlier] + 1, earlier
    place = max(range(len(values)), key=length.__getitem__, default=-1)
    found: list[int] = []
    while place >= 0:
        found.append(place)
        place = before[place]
    return found[::-1]


def rounded(rate: float) -> float:
    """A rate with the two digits that such a test can tell.

    >>> rounded(0.0034567)
    0.0035
    """
    return float(f"{rate:.1e}")
