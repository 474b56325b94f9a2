"""A recipe with some of its keys set anew, as flags and `--set` do."""

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.errors import UsageError
from zoo.recipe.keys import KEYS, RISE, STAGE_KEYS, mistakes_in, unknown
from zoo.recipe.model import Recipe, Stage
from zoo.recipe.optimizers import RATES_OF_ADAMW, WITH_MOMENTUM, WITHOUT_DECAY
from zoo.recipe.policies import words
from zoo.recipe.reading import find, made_of, to_values, told
from zoo.units import some


def resolve(recipe: "str | Path | Recipe | None", given: Mapping[str, Any]) -> Recipe:
    """The recipe with what was given on top, or the one that the policy suggests where none is named.

    `given` maps keys to values; None means not given.

    >>> resolve(None, {"freeze": "backbone", "epochs": 3}).name
    'linear-probe'

    Raises UsageError that tells all mistakes.
    """
    chosen = {key: value for key, value in given.items() if value is not None}
    if recipe is None:
        # What is taken out of a frozen backbone trains at the rates of weights that are there already.
        held = "backbone" in words(str(chosen.get("freeze", ""))) and "unfreeze" not in chosen
        recipe = "linear-probe" if held else "fine-tune"
    resolved = override(recipe if isinstance(recipe, Recipe) else find(str(recipe)), chosen)
    _require_room(resolved)
    return resolved


def override(recipe: Recipe, given: Mapping[str, Any]) -> Recipe:
    """A recipe with some of its keys set anew, as flags and `--set` do.

    A stage's key is set in every stage, or with `stages.0.lr` in one. `lr` takes a `backbone-lr` along in
    proportion. `epochs` becomes the total of all stages, each keeping its share. `freeze` and `unfreeze` need
    `stages.N.` where there are several.

    >>> [stage.epochs for stage in override(find("probe-then-fine-tune"), {"epochs": 20}).stages]
    [8, 12]

    Raises UsageError that tells all mistakes.
    """
    values = to_values(recipe)
    mistakes: list[str] = []
    # A policy replaces the whole of what a recipe says is frozen; what is taken out of it is looked at after it.
    for key, value in sorted(given.items(), key=lambda item: item[0].endswith("unfreeze")):
        mistakes += _override_one(values, key, value)
    if mistakes:
        raise told(mistakes)
    # The recipe was right before, so what is wrong now was given.
    changed = made_of(values, None, recipe.name)
    _require_use(changed, given)
    flags = tuple(dict.fromkeys((*recipe.flags, *given)))
    return dataclasses.replace(changed, flags=flags, notes=(*recipe.notes, *_on_rates(recipe, changed, given)))


def _require_use(recipe: Recipe, given: Mapping[str, Any]) -> None:
    """A recipe may keep what its present schedule and optimizer do not use; who asks for it means something else."""
    for key, value in given.items():
        word = key.rpartition(".")[2]
        if word == "momentum" and recipe.opt not in WITH_MOMENTUM:
            raise UsageError(
                f"momentum is {value!r}, and opt {recipe.opt} takes none.",
                f"optimizers that take it: {', '.join(WITH_MOMENTUM)}; leave it out with others",
            )
        if word == "wd" and value and recipe.opt in WITHOUT_DECAY:
            raise UsageError(f"wd is {value!r}, and opt {recipe.opt} knows no weight decay.", "leave it out")
        if word in ("mixup", "cutmix") and value > 0 and recipe.batch_size == 1:
            raise UsageError(
                f"{word} is {value!r}, and a batch of one picture has no two to mix.", "give a larger batch-size"
            )
        if word in STAGE_KEYS:
            _require_use_in(stages_of(recipe, key), key, value)


def _require_use_in(stages: Sequence[Stage], key: str, value: Any) -> None:
    """The same of a stage's key in the stages that it is set in."""
    word, one = key.rpartition(".")[2], key.startswith("stages.")
    if word in ("gamma", "step-every"):
        stages = [stage for stage in stages if stage.sched == "step"]
        if not stages:
            has = "that stage has another" if one else "no stage has it"
            raise UsageError(f"{word} is for sched step, and {has}.", "set sched to step, or leave it out")
    if word == "warmup-epochs" and value and all(_rises_longer(stage, value) for stage in stages):
        raise UsageError(
            f"{key} is {value:g}, and sched one-cycle rises over {100 * RISE:.0f} % of its steps, which is no shorter.",
            "leave it out, give more of it, or take sched cosine",
        )
    longest = max(stage.epochs for stage in stages)
    has = f"{'that stage has' if one else 'no stage has more than'} {some(longest, 'epoch')}"
    if word == "patience" and value > longest:
        then = "it could never end it" if one else "it could end none"
        raise UsageError(f"{key} is {value}, and {has}, so {then}.", "give less of it, or more epochs")
    if word == "step-every" and value >= longest:
        raise UsageError(f"{key} is {value}, and {has}, so no drop comes.", "give less of it, or more epochs")


def _rises_longer(stage: Stage, warmup: float) -> bool:
    return stage.sched == "one-cycle" and warmup <= RISE * stage.epochs


def stages_of(recipe: Recipe, key: str) -> Sequence[Stage]:
    """The stages that a stage's key is set in: all, or with `stages.0.lr` one.

    >>> [stage.freeze for stage in stages_of(find("probe-then-fine-tune"), "stages.1.lr")]
    ['none']
    """
    return [recipe.stages[int(key.split(".")[1])]] if key.startswith("stages.") else recipe.stages


def _require_room(recipe: Recipe) -> None:
    """A warm-up that is longer than its stage would never come to the rate that it leads to."""
    for number, stage in enumerate(recipe.stages):
        if stage.warmup_epochs > stage.epochs:
            which = f"stage {number + 1}" if len(recipe.stages) > 1 else "the run"
            raise UsageError(
                f"warmup-epochs is {stage.warmup_epochs:g}, and {which} has {some(stage.epochs, 'epoch')}.",
                "give fewer of them, or more epochs",
            )


def _on_rates(before: Recipe, now: Recipe, given: Mapping[str, Any]) -> list[str]:
    """That rates which were chosen for one optimizer are taken by another, whose steps are of another length."""
    alike = before.opt == now.opt or {before.opt, now.opt} <= {*RATES_OF_ADAMW}
    if alike or any(key.rpartition(".")[2] == "lr" for key in given):
        return []
    rates = ", ".join(dict.fromkeys(f"{stage.lr:g}" for stage in now.stages))
    return [f"lr {rates} was chosen for {before.opt}, and {now.opt} mostly wants another: zoo lr-find suggests one"]


def _set(stage: dict[str, Any], key: str, value: Any) -> None:
    if key == "freeze":
        stage.pop("unfreeze", None)
    stage[key] = value


def _override_one(values: dict[str, Any], key: str, value: Any) -> list[str]:
    stages = values["stages"]
    if key.startswith("stages."):
        _, number, rest = [*key.split(".", 2), "", ""][:3]
        if not number.isdecimal() or int(number) >= len(stages) or rest not in STAGE_KEYS:
            return [f"{key} is unknown; stages go from 0 to {len(stages) - 1}, keys: {', '.join(STAGE_KEYS)}"]
        _set(stages[int(number)], rest, value)
        return mistakes_in({rest: value}, STAGE_KEYS, f"stages.{number}.")
    if key in STAGE_KEYS:
        wrong = mistakes_in({key: value}, STAGE_KEYS, "")
        if wrong:
            return wrong
        if key in ("freeze", "unfreeze") and len(stages) > 1:
            return [f"{key} differs between the {len(stages)} stages of this recipe; set stages.0.{key} or another"]
        if key == "epochs":
            if value < len(stages):
                short = f"epochs is {value}; the recipe has {len(stages)} stages of at least one epoch"
                return [f"{short}: give {len(stages)} or more"]
            shares = _shared(value, [stage["epochs"] for stage in stages])
            for stage, share in zip(stages, shares, strict=True):
                stage["epochs"] = share
        else:
            for stage in stages:
                if key == "lr" and "backbone-lr" in stage:
                    stage["backbone-lr"] *= value / stage["lr"]
                _set(stage, key, value)
        return []
    if key not in KEYS:
        return [f"{key} {unknown(key, {**STAGE_KEYS, **KEYS})}"]
    values[key] = value
    return mistakes_in({key: value}, KEYS, "")


def _shared(total: int, parts: Sequence[int]) -> list[int]:
    """A whole number in the proportion of these parts, at least one each."""
    shares = [max(1, round(total * part / sum(parts))) for part in parts]
    while sum(shares) != total:
        step = 1 if sum(shares) < total else -1
        largest = max(range(len(parts)), key=lambda place: (shares[place] > 1, parts[place]))
        shares[largest] += step
    return shares


def value_of(text: str) -> Any:
    """What a value on the command line means: a TOML value where it is one, else the text itself.

    >>> value_of("0.5"), value_of("cosine")
    (0.5, 'cosine')
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
