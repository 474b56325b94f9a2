"""Recipes as TOML: read with all mistakes told at once, and written."""

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from zoo import catalog
from zoo.errors import UsageError
from zoo.recipe.keys import KEYS, STAGE_KEYS, joint_mistakes, joint_stage_mistakes, mistakes_in
from zoo.recipe.model import Recipe, Stage


def find(text: str) -> Recipe:
    """The recipe that a name or a path of a TOML file means.

    >>> find("linear-probe").stages[0].freeze
    'backbone'

    Raises UsageError for one that does not exist, or that has mistakes, which are all told.
    """
    path = Path(text).expanduser()
    where, name = (str(path), path.stem) if catalog.is_file(text) else (text, text)
    return parse(catalog.find("recipes", text), where, name)


def parse(text: str, where: str, name: str) -> Recipe:
    """The recipe that a TOML text describes; raises UsageError that tells all its mistakes."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the recipe {where} is no TOML: {error}.") from error
    return made_of(values, where, name)


def from_values(values: Mapping[str, Any], where: str) -> Recipe:
    """The recipe that `to_values` gave these for; raises UsageError when they are none."""
    return made_of(values, where, "")


def made_of(values: Mapping[str, Any], where: str | None, name: str) -> Recipe:
    """The recipe of some values; raises UsageError that tells all their mistakes, and `where` they stand."""
    stages = values.get("stages")
    if "layers" in values:
        raise UsageError(f"{where} is a head, not a recipe.", "give it with --head")
    general = {key: value for key, value in values.items() if key not in ("stages", "name")}
    mistakes = [*mistakes_in(general, KEYS, ""), *joint_mistakes(general)]
    if not isinstance(stages, list) or not stages or not all(isinstance(each, dict) for each in stages):
        mistakes.append("it needs at least one [[stages]]")
        stages = []
    for place, stage in enumerate(stages):
        mistakes += mistakes_in(stage, STAGE_KEYS, f"stages.{place}.")
        mistakes += joint_stage_mistakes(stage, f"stages.{place}." if len(stages) > 1 else "")
        mistakes += [f"stages.{place} needs {key!r}" for key in ("freeze", "epochs", "lr") if key not in stage]
    if mistakes and where is None:
        raise told(mistakes)
    if mistakes:
        count = f"{len(mistakes)} mistakes" if len(mistakes) > 1 else "a mistake"
        raise UsageError(f"the recipe {where} has {count}:", *mistakes)
    known: dict[str, Any] = {_field(key): _plain(key, value) for key, value in general.items()}
    made = tuple(Stage(**{_field(key): value for key, value in stage.items()}) for stage in stages)
    return Recipe(stages=made, name=str(values.get("name", name)), **known)


def told(mistakes: Sequence[str]) -> UsageError:
    """The error of mistakes in what was given beside a recipe."""
    first, *more = mistakes
    return UsageError(f"{len(mistakes)} mistakes:", *mistakes) if more else UsageError(first)


def to_values(recipe: Recipe) -> dict[str, Any]:
    """A recipe as the values of a TOML file; what is not set is left out."""
    values: dict[str, Any] = {}
    for each in dataclasses.fields(Recipe):
        value = getattr(recipe, each.name)
        if (
            each.name in ("stages", "flags", "notes")
            or value is None
            or (value == "" and each.name in ("name", "summary"))
        ):
            continue
        values[_key(each.name)] = list(value) if isinstance(value, tuple) else value
    values["stages"] = [
        {_key(key): value for key, value in dataclasses.asdict(stage).items() if value is not None}
        for stage in recipe.stages
    ]
    return values


def to_toml(recipe: Recipe, comment: str) -> str:
    """A recipe as a file whose first line is a comment, by habit the command that runs it."""
    return f"# {comment}\n{tomli_w.dumps(to_values(recipe))}"


def _plain(key: str, value: Any) -> Any:
    """A value in the one form that a recipe keeps it in."""
    if KEYS[key].pair and isinstance(value, list | tuple) and value[0] == value[1]:
        return value[0]
    return tuple(value) if isinstance(value, list) else value


def _field(key: str) -> str:
    return key.replace("-", "_")


def _key(name: str) -> str:
    return name.replace("_", "-")
