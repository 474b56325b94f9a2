"""What is not as it was when a run's checkpoint was saved, and what may be changed on the way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.errors import CheckpointError
from zoo.recipe import FIXED, FREE, STAGE_KEYS, Recipe, from_values, to_values

POLICY = frozenset({"freeze", "unfreeze"})
OPTIMIZER = POLICY | {"opt", "lr", "backbone-lr", "layer-decay", "wd", "momentum", "nesterov"}


@dataclass(frozen=True)
class Change:
    """One setting before and now."""

    key: str
    before: str
    now: str

    @property
    def word(self) -> str:
        """The key without the stage that it stands in, as `--allow` takes it."""
        return self.key.rpartition(".")[2]

    def __str__(self) -> str:
        return f"{self.key} {self.before} → {self.now}"


def recipe_changes(before: Mapping[str, Any], now: Recipe) -> list[Change]:
    """The settings of a recipe that make its run another one, as a checkpoint kept them and as they are now."""
    after = to_values(now)
    # A checkpoint of an older zoo says nothing of a key that came later; its default changes nothing.
    before = to_values(from_values(before, "of the checkpoint"))
    keys = [key for key in dict.fromkeys((*before, *after)) if key not in FREE and key != "stages"]
    found = [_change(key, before.get(key), after.get(key)) for key in keys]
    stages = before.get("stages", []), after["stages"]
    if len(stages[0]) != len(stages[1]):
        found.append(_change("stages", len(stages[0]), len(stages[1])))
        return [each for each in found if each]
    for number, (old, new) in enumerate(zip(*stages, strict=True)):
        prefix = f"stages.{number}." if len(stages[1]) > 1 else ""
        found += [_change(prefix + key, old.get(key), new.get(key)) for key in STAGE_KEYS]
    return [each for each in found if each]


def _change(key: str, before: Any, now: Any) -> Change | None:
    return None if before == now else Change(key, _text(before), _text(now))


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def refuse(called: str, changes: Sequence[Change], allow: Sequence[str], details: Sequence[str]) -> None:
    """Raise CheckpointError that shows what is changed and not allowed to be, as a table of before and now."""
    refused = [each for each in changes if each.word not in allow]
    if not refused:
        return
    widths = max(len(each.key) for each in refused), max(len(each.before) for each in refused)
    rows = [f"{each.key:<{widths[0]}}  {each.before:<{widths[1]}} → {each.now}" for each in refused]
    fixed = [each.key for each in refused if each.word in FIXED]
    if "model" in fixed:
        way = "with another model it is another run: give it another --name"
    elif fixed:
        way = f"with other {fixed[0]} it is another run: zoo finetune … --weights {called} starts it from this one"
    else:
        words = ",".join(dict.fromkeys(each.word for each in refused))
        way = f"put back what was there, or go on with what is there now: --allow {words}"
    count = "one thing is" if len(refused) == 1 else f"{len(refused)} things are"
    raise CheckpointError(f"{called} is not resumed: {count} not as before.", *rows, *details, way)


def machine_differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what another machine than the one of a checkpoint may compute other bits; what it did not note is left."""
    return [f"{key} was {saved[key]}, is {value}" for key, value in now.items() if key in saved and saved[key] != value]
