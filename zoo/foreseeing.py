"""What can be told of a run before torch is imported and a model is loaded, which takes seconds.

The command line asks here first; `finetuning` asks the same where it was not asked before. What needs the model, as a
glob that matches none of its parameters, is looked at there.
"""

import math
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from zoo import registry
from zoo.data.datasets import Dataset
from zoo.data.finding import find_dataset
from zoo.data.pictures import require_mode, require_varied
from zoo.data.tables import Columns
from zoo.errors import StorageError, UsageError
from zoo.files import DATA, RECIPE
from zoo.head import presets
from zoo.recipe import Recipe

LONGEST = 255
"""Bytes in the name of a folder, on the file systems that people have."""
FEWEST = 20
"""Steps of a range test below which the course of the loss says nothing."""


def foresee(recipe: Recipe, *, given: bool = False) -> Dataset:
    """The data of a recipe, everything having been looked at that needs no model; with `given` a model is at hand.

    Raises UsageError for what cannot be meant, DataError for data that cannot be trained on.
    """
    if recipe.data is None:
        raise UsageError("there is no data to train on.", "give the folder of pictures, or a table, with --data")
    if recipe.model is None and not given:
        raise UsageError("there is no model to train.", "name one: zoo finetune vgg16 --data ./imgs")
    head = None if given else presets.find(recipe.head)
    found = registry.find(recipe.model) if recipe.model is not None and not given else None
    if found is not None:
        registry.require_usable(*found)
    if recipe.channels is not None:
        require_mode(recipe.channels)
        require_varied(recipe.channels, recipe.augment)
    # A preset may smooth labels; who asks for it where there are none means something else.
    if recipe.task == "regression" and recipe.label_smoothing and "label-smoothing" in recipe.flags:
        raise UsageError("label-smoothing is for labels, and a regression learns numbers.", "leave it out")
    dataset = find_dataset(
        Path(recipe.data).expanduser(),
        classes=_classes_of(recipe),
        seed=recipe.seed,
        task=recipe.task,
        columns=columns_of(recipe),
    )
    if head is not None:
        _check_head(head, recipe, registry.outputs_of(dataset.classes, recipe.task))
    return dataset


def _check_head(head: presets.Preset, recipe: Recipe, outputs: int) -> None:
    """Whether a head gives these outputs, and where the index knows the model, takes what that gives it."""
    assert recipe.model is not None
    source, name = registry.find(recipe.model)
    entry = registry.entry(source, name)
    if entry is None or not entry.kind or not entry.features or recipe.mode == "append" or head.pool is not None:
        presets.require_scores(head, outputs)
        return
    presets.require_takes(head, entry.kind, entry.full_name)
    presets.layers_of(head, entry.features, outputs, entry.kind)


def columns_of(recipe: Recipe) -> Columns:
    """Where the recipe's table has what."""
    return Columns(
        image=recipe.image_column,
        label=recipe.label_column or (),
        separator=recipe.label_separator,
        root=Path(recipe.image_root) if recipe.image_root else None,
    )


def _classes_of(recipe: Recipe) -> Sequence[str] | int | None:
    """`--classes 5` says how many there must be, `--classes ant,bee` which; a recipe's file holds names alone."""
    flagged = "classes" in recipe.flags
    if flagged and recipe.classes is not None and len(recipe.classes) == 1 and recipe.classes[0].isdecimal():
        return int(recipe.classes[0])
    return recipe.classes


def check_search(recipe: Recipe, *, lowest: float, highest: float, steps: int, stage: int) -> None:
    """Raise UsageError for rates that cannot be tried, too few of them, or a stage that there is none of."""
    if not 0 < lowest < highest < math.inf:
        raise UsageError(f"rates from {lowest:g} to {highest:g} cannot be tried.", "give 0 < lowest < highest")
    if steps < FEWEST:
        raise UsageError(f"steps is {steps}; it must be {FEWEST} or more.", "100 are usual")
    if not 1 <= stage <= len(recipe.stages):
        raise UsageError(f"stage is {stage}; the recipe has {len(recipe.stages)}.")


def check_place(out: Path, name: str | None, *, overwrite: bool) -> None:
    """Raise UsageError or StorageError where no run can be kept under this name, or one is already."""
    for place in (out, *out.parents):
        if place.exists():
            if not place.is_dir():
                raise StorageError(f"{place} is a file, so no run can be kept in it.", "give a folder with --out")
            break
    if name is not None:
        check_name(name)
        check_free(out / name, overwrite)


def check_name(name: str) -> None:
    """Raise UsageError for a name that is none of a single folder."""
    if Path(name).name != name or name in ("", ".."):
        raise UsageError(f"name {name!r} is no name of a folder.", "--out says where the run's folder is made")
    if (length := len(os.fsencode(name))) > LONGEST:
        raise UsageError(f"name {name[:20]!r}… has {length} bytes; a folder's name has at most {LONGEST}.")


def check_free(folder: Path, overwrite: bool) -> None:
    """Raise unless a run's folder is free, or may be replaced."""
    if not folder.exists():
        return
    if not overwrite:
        going_on = f"zoo resume {shlex.quote(str(folder))} goes on with it; " if (folder / RECIPE).is_file() else ""
        raise UsageError(f"{folder} exists already.", f"{going_on}--overwrite replaces it, another --name keeps it")
    if not (folder / RECIPE).is_file() and not ended_early(folder):
        raise StorageError(f"{folder} was not made by zoo, so --overwrite does not touch it.", "give another --name")


def ended_early(folder: Path) -> bool:
    """Whether a folder holds nothing but what a run writes before its first checkpoint, its recipe maybe not yet.

    A run that was killed at once leaves an empty one.
    """
    if not folder.is_dir():
        return False
    written = {RECIPE, DATA, "log.jsonl", "metrics.csv", ".lock", ".lock.json"}
    found = {each.name for each in folder.iterdir() if not (each.name.startswith(".") and each.suffix == ".tmp")}
    return found <= written and (not found or bool(found & {RECIPE, ".lock"}))
