"""Going on with a run: what it was is compared with what it would be now, then it is the same run again."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo import files
from zoo import recipe as recipes
from zoo.checkpoint import reading
from zoo.data.fingerprint import Changes, changes, fingerprint, remaining
from zoo.data.folders import Dataset, from_json, to_json
from zoo.data.listing import parse
from zoo.errors import CheckpointError, DataError, UsageError
from zoo.finetuning import comparing
from zoo.finetuning.comparing import Change
from zoo.finetuning.finishing import SUMMARY, finished_run, run_to_its_end, summarize
from zoo.finetuning.folder import DATA, RECIPE, write_recipe
from zoo.finetuning.journal import Journal
from zoo.finetuning.plan import Plan, Run
from zoo.finetuning.position import Position, position_of
from zoo.finetuning.preparing import adjust, check_pictures, check_space, checkpoint_size, observed, tables_of
from zoo.finetuning.reporting import Reporter
from zoo.finetuning.running import Runner
from zoo.finetuning.verifying import verify_newest
from zoo.names import listed
from zoo.recipe import Recipe
from zoo.registry import spec_of
from zoo.sources.bases import base_of, weights_text
from zoo.sources.checkpoints import load_checkpoint
from zoo.sources.loading import base_state
from zoo.training.devices import default_workers, machine, pick
from zoo.training.loop import random_state_kept

ASIDE = "aside"
"""The key of `data.json` for pictures that came after the run began and that it does not use."""


def resume(
    run: str | Path,
    model: nn.Module | None = None,
    *,
    epochs: int | None = None,
    data: str | Path | None = None,
    workers: int | None = None,
    device: str | None = None,
    allow: Sequence[str] = (),
    verify: bool = False,
    reporter: Reporter | None = None,
) -> Run:
    """Go on with a run where its newest good checkpoint stands, as if it had never stopped.

        run = zoo.resume("checkpoints/vgg16-imgs")
        run = zoo.resume("checkpoints/vgg16-imgs", epochs=20)  # ten more, if it was made with ten

    A damaged checkpoint is passed over, which the reporter hears. A run that is finished is returned as it is,
    unless `epochs` says that it shall have more in all; they go to its last stage. `data` is where the pictures
    lie now. What else differs from the time of the checkpoint is refused, unless `allow` has its key. `verify`
    first trains the steps before the checkpoint again and compares. `model` is needed only where a checkpoint
    cannot build the model, because its head was a module of your own.

    Raises CheckpointError when there is no run, no good checkpoint or something was changed, DataError when
    the pictures cannot be used, StorageError when another process has the run.
    """
    folder = Path(run).expanduser()
    if not (folder / RECIPE).is_file():
        hint = f"the run is {folder.parent}" if (folder.parent / RECIPE).is_file() else "give a run's folder"
        what = f"is no run: it has no {RECIPE}" if folder.exists() else "does not exist"
        raise CheckpointError(f"{folder} {what}.", hint)
    given = {"data": data and str(Path(data).expanduser().resolve()), "workers": workers, "device": device}
    recipe = recipes.override(
        recipes.find(str(folder / RECIPE)), {key: value for key, value in given.items() if value is not None}
    )
    return go_on(folder, recipe, model, epochs=epochs, allow=allow, verify=verify, reporter=reporter or Reporter())


def go_on(
    folder: Path,
    recipe: Recipe,
    model: nn.Module | None = None,
    *,
    epochs: int | None = None,
    allow: Sequence[str] = (),
    verify: bool = False,
    reporter: Reporter,
) -> Run:
    """Go on with the run of a folder by a recipe, which may differ from the run's own where that is allowed."""
    comparing.check_words(allow)
    with files.locked(folder, reporter.note):
        files.sweep(folder)
        newest = _newest_good(folder, reporter)
        state = reading.read_training(newest)
        position = position_of(state, newest)
        if verify:
            with random_state_kept():
                reporter.note(verify_newest(folder, newest, model, Path(recipe.data) if recipe.data else None))
        before = state.get("settings", {}).get("recipe", {})
        longer = epochs is not None and epochs != recipe.epochs
        if epochs is not None:
            recipe, before = _extended(recipe, epochs, position), _extended_values(before, recipe, epochs)
        if position.epoch >= recipe.epochs:
            finished = finished_run(folder, position, None)
            if not (folder / SUMMARY).is_file():
                # The process ended between its last checkpoint and its last words.
                summarize(finished)
            reporter.note(f"the run is finished: {position.epoch} of {recipe.epochs} epochs are done")
            reporter.finished(finished)
            return finished
        with random_state_kept():
            told = {**state.get("settings", {}), "recipe": before}
            plan = _plan_again(folder, recipe, newest, model, told, allow, reporter)
        reporter.note(f"going on from {newest.name}")
        _tell_differences(state, plan, reporter)
        _fit_position(position, before, recipe, plan)
        if plan.changed or longer:
            position.since = position.step
        write_recipe(plan)
        reporter.planned(plan)
        return run_to_its_end(plan, Runner(plan, reporter, Journal(plan, reporter), position, state), reporter)


def _newest_good(folder: Path, reporter: Reporter) -> Path:
    """The newest checkpoint whose files are what its manifest says; what is passed over is told."""
    for found in reversed(reading.checkpoints_of(folder)):
        try:
            reading.verify(found.folder)
        except CheckpointError as error:
            reporter.note(f"{error.message} It is passed over.")
            continue
        return found.folder
    raise CheckpointError(
        f"the run {folder} has no complete checkpoint to go on from.",
        f"start it again: zoo finetune --recipe {folder / RECIPE} --name NAME",
    )


def _extended(recipe: Recipe, epochs: int, position: Position) -> Recipe:
    """A recipe with so many epochs in all, the last stage having more or fewer."""
    *others, last = recipe.stages
    rest = epochs - sum(stage.epochs for stage in others)
    if rest < 1 or epochs < position.epoch:
        least = max(position.epoch, 1 + sum(stage.epochs for stage in others))
        raise UsageError(f"--epochs is {epochs}; {position.epoch} are done.", f"give {least} or more")
    return dataclasses.replace(recipe, stages=(*others, dataclasses.replace(last, epochs=rest)))


def _extended_values(before: Mapping[str, Any], recipe: Recipe, epochs: int) -> Mapping[str, Any]:
    """What a checkpoint kept of its recipe, with the epochs that were asked for: they need not be allowed too."""
    if not before.get("stages"):
        return before
    *others, last = before["stages"]
    rest = epochs - sum(stage["epochs"] for stage in others)
    return {**before, "stages": [*others, {**last, "epochs": rest}]}


def _plan_again(
    folder: Path,
    recipe: Recipe,
    checkpoint: Path,
    model: nn.Module | None,
    told: Mapping[str, Any],
    allow: Sequence[str],
    reporter: Reporter,
) -> Plan:
    """The plan of a run that exists: its own data and the model of its checkpoint, which was `told` its settings."""
    before = told["recipe"]
    listing = reading.read_json(folder / DATA)
    recorded = parse(listing, str(folder / DATA)).root
    root = Path(recipe.data) if recipe.data else recorded
    if not root.is_dir():
        raise DataError(f"there is no folder {root}.", "say where the pictures lie now: --data FOLDER")
    found = _data_changes(listing, root, folder, thorough=root != recorded)
    differing = comparing.recipe_changes(before, recipe) if before else []
    if found:
        differing.append(Change("data", "as listed", str(found)))
    elif told.get("data", fingerprint(listing)) != fingerprint(listing):
        differing.append(Change("data", "as trained on", f"another {DATA}"))
    comparing.refuse(str(folder), differing, allow, found.lines() if "data" not in allow else ())
    for each in differing:
        reporter.note(f"changed: {each}")
    model = load_checkpoint(checkpoint, model)
    _check_classes(model, listing, folder)
    if recipe.img_size is None and before.get("img-size") is not None:
        raise UsageError(f"{folder / RECIPE} has no img-size any more.", "write there which size it shall be")
    adjust(model, recipe)
    device = pick(recipe.device, recipe.amp)
    order = observed(model)
    spec = spec_of(model)
    size = checkpoint_size(model, recipe, order)
    check_space(folder, size)
    # The first thing that is written, after all that may be refused.
    dataset, listing = _dataset(listing, root, found, folder, recipe, reporter)
    return Plan(
        recipe=dataclasses.replace(recipe, data=str(root)),
        model=model,
        dataset=dataset,
        device=device,
        order=order,
        folder=folder,
        tables=tables_of(model, recipe, order),
        checkpoint_bytes=size,
        workers=recipe.workers if recipe.workers is not None else default_workers(device),
        listing=listing,
        base=base_of(spec, base_state(spec, weights_text(spec))) if recipe.save == "delta" else None,
        changed=frozenset(each.word for each in differing),
    )


def _data_changes(listing: Mapping[str, Any], root: Path, folder: Path, *, thorough: bool) -> Changes:
    """What is different from the run's list, but for added pictures that were left aside before."""
    found = changes(listing, root, where=str(folder / DATA), thorough=thorough)
    aside = listing.get(ASIDE)
    known = set(aside) if isinstance(aside, list) else set()
    return dataclasses.replace(found, added=tuple(name for name in found.added if name not in known))


def _dataset(
    listing: Mapping[str, Any], root: Path, found: Changes, folder: Path, recipe: Recipe, reporter: Reporter
) -> tuple[Dataset, Mapping[str, Any]]:
    """The pictures to go on with, and what `data.json` says of them from now on."""
    if not found and str(root) == listing["root"]:
        return from_json(listing, str(folder / DATA)), listing
    if found:
        dataset = remaining(listing, root, found, str(folder / DATA))
        aside = [*listing.get(ASIDE, ()), *found.added]
        now: Mapping[str, Any] = {**to_json(dataset, recipe.seed, check_pictures(dataset, reporter)), ASIDE: aside}
    else:
        dataset = from_json(listing, str(folder / DATA), root)
        now = {**listing, "root": str(root)}
        reporter.note(f"the pictures lie in {root} now, with the same contents")
    files.write_json(folder / DATA, now)
    return dataset, now


def _check_classes(model: nn.Module, listing: Mapping[str, Any], folder: Path) -> None:
    """The scores of a head mean the classes of its checkpoint, which must be those of the pictures' labels."""
    head = spec_of(model).head
    known = head.classes if head else ()
    if list(known) != list(listing["classes"]):
        raise CheckpointError(
            f"the classes of {folder / DATA} ({listed(listing['classes'])}) are not those of its checkpoint,"
            f" in this order: {listed(known)}.",
            "put the file back as the run wrote it",
        )


def _fit_position(position: Position, before: Mapping[str, Any], recipe: Recipe, plan: Plan) -> None:
    """With another batch size an epoch goes on at the step that comes nearest, some pictures being seen twice.

    Raises UsageError when the stages no longer have the epochs that are done.
    """
    done = position.stage_epoch + (position.step_in_epoch > 0)
    earlier = sum(stage.epochs for stage in recipe.stages[: position.stage])
    if done > recipe.stages[position.stage].epochs or earlier != position.epoch - position.stage_epoch:
        raise UsageError(
            f"the stages have fewer or more epochs than are done: the run is in epoch {done} of its"
            f" stage {position.stage + 1}, after {position.epoch - position.stage_epoch} of the stages before.",
            f"leave these as they were in {plan.folder / RECIPE}",
        )
    size = before.get("batch-size", recipe.batch_size)
    if size != recipe.batch_size:
        position.step_in_epoch = min(plan.steps, position.step_in_epoch * size // recipe.batch_size)


def _tell_differences(state: Mapping[str, Any], plan: Plan, reporter: Reporter) -> None:
    """Put the thread count back, and say what else makes the numbers differ from those of an unbroken run."""
    saved = state["machine"]
    if isinstance(saved.get("threads"), int) and saved["threads"] > 0:
        torch.set_num_threads(saved["threads"])
    changed = comparing.machine_differences(saved, machine(plan.device, plan.spec.source))
    if changed:
        reporter.note(f"not bit-exact: {'; '.join(changed)}")
