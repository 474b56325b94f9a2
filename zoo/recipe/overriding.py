"""A recipe with some of its keys set anew, as flags and `--set` do."""

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.errors import UsageError
from zoo.recipe.keys import KEYS, STAGE_KEYS, mistakes_in, unknown
from zoo.recipe.model import Recipe
from zoo.recipe.reading import find, made_of, to_values


def resolve(recipe: "str | Path | Recipe | None", given: Mapping[str, Any]) -> Recipe:
    """The recipe with what was given on top, or the one that the policy suggests where none is named.

    `given` maps keys to values; None means not given.

    >>> resolve(None, {"freeze": "backbone", "epochs": 3}).name
    'linear-probe'

    Raises UsageError that tells all mistakes.
    """
    chosen = {key: value for key, value in given.items() if value is not None}
    if recipe is None:
        recipe = "linear-probe" if chosen.get("freeze") == "backbone" else "fine-tune"
    return override(recipe if isinstance(recipe, Recipe) else find(str(recipe)), chosen)


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
    for key, value in given.items():
        mistakes += _override_one(values, key, value)
    if mistakes:
        raise UsageError(
            mistakes[0] if len(mistakes) == 1 else f"{len(mistakes)} mistakes:",
            *mistakes[1:] if len(mistakes) == 1 else mistakes,
        )
    changed = made_of(values, recipe.name or "given", recipe.name)
    _require_use(changed, given)
    flags = tuple(dict.fromkeys((*recipe.flags, *given)))
    return dataclasses.replace(changed, flags=flags)


def _require_use(recipe: Recipe, given: Mapping[str, Any]) -> None:
    """A recipe may keep what its present schedule does not use; who asks for it means something else."""
    for key in given:
        word = key.rpartition(".")[2]
        if word in ("gamma", "step-every") and all(stage.sched != "step" for stage in recipe.stages):
            raise UsageError(f"{word} is for sched step, and no stage has it.", "add --sched step, or leave it out")


def _override_one(values: dict[str, Any], key: str, value: Any) -> list[str]:
    stages = values["stages"]
    if key.startswith("stages."):
        _, number, rest = [*key.split(".", 2), "", ""][:3]
        if not number.isdecimal() or int(number) >= len(stages) or rest not in STAGE_KEYS:
            return [f"{key} is unknown; stages go from 0 to {len(stages) - 1}, keys: {', '.join(STAGE_KEYS)}"]
        stages[int(number)][rest] = value
        return mistakes_in({rest: value}, STAGE_KEYS, f"stages.{number}.")
    if key in STAGE_KEYS:
        wrong = mistakes_in({key: value}, STAGE_KEYS, "")
        if wrong:
            return wrong
        if key in ("freeze", "unfreeze") and len(stages) > 1:
            return [f"{key} differs between the {len(stages)} stages of this recipe; set stages.0.{key} or another"]
        if key == "epochs":
            if value < len(stages):
                return [f"epochs is {value}; the recipe has {len(stages)} stages of at least one epoch"]
            shares = _shared(value, [stage["epochs"] for stage in stages])
            for stage, share in zip(stages, shares, strict=True):
                stage["epochs"] = share
        else:
            for stage in stages:
                if key == "lr" and "backbone-lr" in stage:
                    stage["backbone-lr"] *= value / stage["lr"]
                stage[key] = value
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
