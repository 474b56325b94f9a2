"""Everything before the first step: settings, pictures, model, policy, places; nothing is written yet."""

import dataclasses
import statistics
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from zoo import files, freezing
from zoo.checkpoint.writing import expected_size
from zoo.data.datasets import Dataset, contradictions, require_apart, to_json
from zoo.data.listing import Facts
from zoo.data.pictures import require_mode, require_readable, require_varied
from zoo.errors import DataError, StorageError, UsageError
from zoo.finetuning.folder import default_name, next_free
from zoo.finetuning.plan import Plan
from zoo.finetuning.reaching import check_muon, check_reach, dropouts_of
from zoo.finetuning.reporting import Reporter
from zoo.finetuning.stages import apply_stage, check_policies, groups_for, head_paths
from zoo.finetuning.table import Row, rows_of
from zoo.foreseeing import check_free, check_place, foresee
from zoo.freezing.order import RunningOrder
from zoo.names import listed
from zoo.recipe import Recipe, most_kept, override
from zoo.registry import ModelSpec, set_spec, spec_of, unwrapped
from zoo.sources.bases import base_of, weights_text
from zoo.sources.building import SIZES
from zoo.sources.loading import load
from zoo.training.averaging import moving
from zoo.training.devices import default_workers, pick
from zoo.training.optimizers import state_bytes
from zoo.units import megabytes, some


def prepare(
    recipe: Recipe,
    *,
    model: nn.Module | None,
    out: Path,
    name: str | None,
    overwrite: bool,
    offline: bool,
    reporter: Reporter,
    keeps: bool = True,
    dataset: Dataset | None = None,
) -> Plan:
    """Look at everything that can go wrong, in the order of its cost, and say what will happen.

    Unless it `keeps` anything, no place for it is looked for. `dataset` is what `foresee` found, if it was asked.
    """
    if keeps:
        check_place(out, name, overwrite=overwrite)
    recipe = _with_task(recipe, model)
    dataset = dataset or foresee(recipe, given=model is not None)
    device = pick(recipe.device, recipe.amp, deterministic=recipe.deterministic)
    for each in recipe.notes if keeps else ():
        reporter.note(each)
    built = with_head(recipe, dataset, model, offline=offline)
    channels = len(spec_of(built).preprocessing.mean)
    require_mode(channels)
    require_varied(channels, recipe.augment)
    adjust(built, recipe)
    order = observed(built)
    if changed := spec_of(built).changed:
        reporter.note(
            f"the model was changed at {listed(changed)}: what its checkpoints are loaded into is to be changed alike"
            " (model=… of zoo.load_checkpoint, resume, evaluate, predict)"
        )
    for each in check_policies(built, recipe, order):
        reporter.note(each)
    tables = tables_of(built, recipe, order)
    check_reach(built, recipe, order)
    check_muon(built, recipe, order)
    size = checkpoint_size(built, recipe, order)
    base = base_of(spec_of(built), built.state_dict()) if recipe.save == "delta" else None
    folder = _place(built, dataset, out, name, overwrite, reporter) if keeps else out
    if keeps:
        check_space(folder, size, most_kept(recipe) + 1)
    facts = check_pictures(dataset, reporter)
    require_apart(dataset, facts)
    for each in contradictions(dataset, facts):
        reporter.note(each)
    workers = recipe.workers if recipe.workers is not None else default_workers(device)
    repeatable = dataclasses.replace(
        recipe,
        model=spec_of(built).full_name,
        data=str(dataset.place.resolve()),
        image_root=recipe.image_root and str(dataset.root.resolve()),
        weights=_weights_text(recipe, spec_of(built)),
        classes=dataset.classes,
        **_head_of(spec_of(built)),
    )
    listing = to_json(dataset, recipe.seed, facts)
    return Plan(
        repeatable, built, dataset, device, order, folder, tables, size, workers, listing, base, name is not None
    )


def _place(
    model: nn.Module, dataset: Dataset, out: Path, name: str | None, overwrite: bool, reporter: Reporter
) -> Path:
    """The folder of a run: the one that is named, or the first that is free."""
    folder = out / (name or default_name(spec_of(model).full_name, dataset.place.resolve()))
    if name is None and not overwrite:
        taken, folder = folder, next_free(folder)
        if folder != taken:
            reporter.note(f"{taken} exists, so this run is {folder.name}; --overwrite replaces it")
    elif folder.exists():
        check_free(folder, overwrite)
    return folder


def tables_of(model: nn.Module, recipe: Recipe, order: RunningOrder) -> list[list[Row]]:
    """For each stage, what it trains."""
    tables = []
    blocks = [place for block in freezing.blocks(model, order=order) for place in block.places]
    for stage in recipe.stages:
        apply_stage(model, stage, order)
        tables.append(rows_of(model, groups_for(model, recipe, stage, order), blocks))
    return tables


def checkpoint_size(model: nn.Module, recipe: Recipe, order: RunningOrder) -> int:
    """The bytes of the largest checkpoint of a run: the weights, the optimizer's state, the whole model."""
    sizes = []
    for stage in recipe.stages:
        apply_stage(model, stage, order)
        state = state_bytes(model, opt=recipe.opt, momentum=recipe.momentum, head=head_paths(model))
        if recipe.ema > 0:
            state += sum(each.numel() * each.element_size() for each in _moving(model))
        sizes.append(expected_size(model, delta=recipe.save == "delta") + state)
    whole = 2 if recipe.save == "full" else 0
    return max(sizes) + whole * expected_size(model)


def _moving(model: nn.Module) -> list[Tensor]:
    """What training changes, of which a moving average is kept besides."""
    was_training = model.training
    found = moving(model.train())
    model.train(was_training)
    return [*found.values()]


def adjust(model: nn.Module, recipe: Recipe) -> None:
    """Set what a recipe says of the model itself: the size of its pictures, and the dropout of its backbone."""
    spec = spec_of(model)
    if recipe.img_size is not None:
        prepared, known = spec.preprocessing.at(recipe.img_size), spec.preprocessing
        if prepared.size != known.size and spec.arguments.keys() & set(SIZES):
            # It may even run, but its checkpoints would say two sizes and be refused.
            raise UsageError(
                f"this {spec.full_name} cannot take pictures of {prepared.size[0]} × {prepared.size[1]}: it was built"
                f" for {known.size[0]} × {known.size[1]}.",
                "leave --img-size as it is, or begin a new run with this one's checkpoint as --weights",
            )
        set_spec(model, dataclasses.replace(spec, preprocessing=prepared))
    if recipe.dropout is not None:
        for module in dropouts_of(model):
            module.p = recipe.dropout


def _with_task(recipe: Recipe, model: nn.Module | None) -> Recipe:
    """The recipe with the task of a model that is given, which its head was made for."""
    head = spec_of(model).head if model is not None else None
    if head is None or head.task == recipe.task:
        return recipe
    if "task" in recipe.flags:
        raise UsageError(
            f"task is {recipe.task}, and the head of the model that is given is for {head.task}.",
            f"zoo.swap_head(model, classes=[…], task={recipe.task!r}) gives it another",
        )
    # What a recipe cannot say of this task is told as it is where the task is named.
    return override(recipe, {"task": head.task})


def with_head(recipe: Recipe, dataset: Dataset, model: nn.Module | None, *, offline: bool) -> nn.Module:
    """The model of a recipe with a head for the classes of the data, or the given one if it has such a head."""
    if model is None:
        assert recipe.model is not None
        made = load(
            recipe.model,
            dataset.classes,
            weights=recipe.weights,
            head=recipe.head,
            mode=recipe.mode,
            task=recipe.task,
            seed=recipe.seed,
            offline=offline,
            allow_partial=recipe.allow_partial,
            channels=recipe.channels,
            img_size=recipe.img_size,
        )
        return scaled(made, dataset)
    model = unwrapped(model)
    spec = spec_of(model)
    fixed = [key for key in ("head", "mode", "weights") if key in recipe.flags]
    if fixed:
        raise UsageError(
            f"{fixed[0]} cannot be set here: the model is given as it is.",
            "load it so with zoo.load, or change its head with zoo.swap_head",
        )
    if recipe.channels not in (None, len(spec.preprocessing.mean)):
        raise UsageError(
            f"channels is {recipe.channels}, and the model that is given takes {len(spec.preprocessing.mean)}.",
            f"load it so: zoo.load(…, channels={recipe.channels})",
        )
    if spec.head is None:
        raise UsageError(
            f"this {spec.full_name} has the library's own classifier.",
            f"load it with classes={list(dataset.classes)!r}"[:150],
        )
    if len(spec.head.classes) != len(dataset.classes):
        raise UsageError(
            f"the model's head has {len(spec.head.classes)} classes, and {dataset.place} has"
            f" {len(dataset.classes)}: {', '.join(dataset.classes[:8])}.",
            "zoo.swap_head(model, classes=[…]) gives it another head",
        )
    if set(spec.head.classes) == set(dataset.classes) and spec.head.classes != dataset.classes:
        raise UsageError(
            f"the model's classes are in another order than the data's: {', '.join(spec.head.classes[:8])}.",
            "give the order of the model: zoo.finetune(…, classes=zoo.spec_of(model).head.classes)",
        )
    counted = spec.head.classes == tuple(map(str, range(len(dataset.classes))))
    if not counted and spec.head.classes != dataset.classes:
        raise UsageError(
            f"the model's classes are {listed(spec.head.classes)}, and the data's are {listed(dataset.classes)}.",
            "call them alike, or give the model a new head for these: zoo.swap_head(model, classes=[…])",
        )
    set_spec(model, dataclasses.replace(spec, head=dataclasses.replace(spec.head, classes=dataset.classes)))
    return scaled(model, dataset)


def scaled(model: nn.Module, dataset: Dataset) -> nn.Module:
    """The model with the mean and the spread of the training pictures' targets, where it learns numbers anew.

    Raises DataError for a target that is the same for every picture.
    """
    spec = spec_of(model)
    if spec.head is None or spec.head.task != "regression" or spec.head.mean:
        return model
    targets = dataset.values(train_only=True)
    try:
        mean, std = tuple(map(statistics.fmean, targets)), tuple(map(statistics.pstdev, targets))
    except OverflowError as error:
        what = "has numbers too large to add up; give them in another unit."
        raise DataError(f"{dataset.place} {what}") from error
    flat = [name for name, spread in zip(dataset.classes, std, strict=True) if not spread > 0]
    if flat:
        raise DataError(f"{flat[0]} is the same for every picture of {dataset.place}, so there is nothing to learn.")
    set_spec(model, dataclasses.replace(spec, head=dataclasses.replace(spec.head, mean=mean, std=std)))
    return model


def observed(model: nn.Module) -> RunningOrder:
    """The running order at the input size, which also shows whether the model can take that size."""
    try:
        order = freezing.observe(model)
    except UsageError as error:
        if error.__cause__ is None:
            raise
        height, width = spec_of(model).preprocessing.size
        reason = (str(error.__cause__).splitlines() or [type(error.__cause__).__name__])[0][:120]
        raise UsageError(
            f"{spec_of(model).full_name} cannot take pictures of {height} × {width}: {reason}",
            f"it was changed at {listed(changed)}, which may be why"
            if (changed := spec_of(model).changed)
            else "leave --img-size out, or take a size that the model knows; zoo info shows it",
        ) from error
    head, shape = spec_of(model).head, order.shapes.get("", ())
    if head is not None and shape[1:] not in ((), (head.outputs,)):
        raise UsageError(
            f"this {spec_of(model).full_name} gives scores of shape {shape}, and its head is for"
            f" {some(head.outputs, 'output')}.",
            "put a head on it by zoo.swap_head(model, …, classes=[…]), which keeps account of the classes",
        )
    return order


def _head_of(spec: ModelSpec) -> dict[str, Any]:
    """The head that stands on the model, which is not the recipe's where the model itself was given."""
    assert spec.head is not None
    return {"head": spec.head.preset, "mode": spec.head.mode}


def _weights_text(recipe: Recipe, spec: ModelSpec) -> str:
    """What was loaded, in a form that repeats the run from anywhere."""
    # A file that happens to be called like a set was not meant by `default`.
    named = recipe.weights == "default" and spec.source not in ("hf", "own") and spec.weights is not None
    return str(spec.weights) if named else weights_text(spec)


def check_space(folder: Path, size: int, count: int) -> None:
    """Raise StorageError unless so many checkpoints of this size fit where a run is kept.

    They are those that stay, and the one that is written before another goes.
    """
    free = files.free_space(folder)
    if free < count * size:
        raise StorageError(
            f"{folder.parent} has {megabytes(free)} free, and {count} checkpoints take {megabytes(count * size)}.",
            "free some space, keep fewer with --keep last, or give another place",
        )


def check_pictures(dataset: Dataset, reporter: Reporter) -> dict[Path, Facts]:
    """Decode every picture of a dataset, and tell what was in each file."""
    paths = [picture.path for picture in (*dataset.train, *dataset.val)]
    with reporter.progress("checking pictures", len(paths)) as advance:
        return require_readable(paths, lambda: advance(""))
