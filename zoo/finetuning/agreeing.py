"""What was allowed to change in a run, kept in its folder until a checkpoint carries it.

Otherwise a process that is killed between the two would leave a run that refuses to go on unaided.
"""

import hashlib
import json
from pathlib import Path

from zoo import files
from zoo.checkpoint import reading
from zoo.errors import CheckpointError
from zoo.recipe import FREE, Recipe, to_values

AGREED = "agreed.json"


def agree(folder: Path, recipe: Recipe, data: str) -> None:
    """Write down that the run goes on by this recipe, with the data of this fingerprint."""
    files.write_json(folder / AGREED, {"recipe": _digest(recipe), "data": data})


def agreed_recipe(folder: Path, recipe: Recipe) -> bool:
    """Whether just this recipe was agreed on."""
    return _agreed(folder, "recipe") == _digest(recipe)


def agreed_data(folder: Path, data: str) -> bool:
    """Whether just the data of this fingerprint was agreed on."""
    return _agreed(folder, "data") == data


def _agreed(folder: Path, key: str) -> object:
    try:
        values = reading.read_json(folder / AGREED)
    except CheckpointError:
        return None
    return values.get(key) if isinstance(values, dict) else None


def _digest(recipe: Recipe) -> str:
    values = {key: value for key, value in to_values(recipe).items() if key not in FREE}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
