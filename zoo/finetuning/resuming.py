"""Going on with a run: what it was is compared with what it would be now, then it is the same run again."""

import dataclasses
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from zoo import files
from zoo import recipe as recipes
from zoo.checkpoint import reading
from zoo.errors import CheckpointError, UsageError
from zoo.files import DATA, RECIPE
from zoo.finetuning import comparing, saving
from zoo.finetuning.agreeing import agree
from zoo.finetuning.finishing import SUMMARY, finished_run, run_to_its_end, summarize
from zoo.finetuning.folder import write_recipe
from zoo.finetuning.journal import Journal
from zoo.finetuning.plan import Plan, Run
from zoo.finetuning.position import Position, Told, machine_of, position_of, told
from zoo.finetuning.reopening import difference, fit_position, plan_again
from zoo.finetuning.reporting import Reporter
from zoo.finetuning.running import Runner
from zoo.finetuning.verifying import verify_newest
from zoo.names import listed, near_folders
from zoo.recipe import Recipe, kept
from zoo.training.devices import machine, threads
from zoo.training.loop import random_state_kept
from zoo.units import some


def resume(
    run: str | PathLike[str],
    model: nn.Module | None = None,
    *,
    epochs: int | None = None,
    data: str | Path | None = None,
    workers: int | None = None,
    device: str | None = None,
    allow: Sequence[str] = (),
    verify: bool = False,
    base: str | Path | None = None,
    offline: bool = False,
    reporter: Reporter | None = None,
) -> Run:
    """Go on with a run where its newest good checkpoint stands, as if it had never stopped.

        run = zoo.resume("checkpoints/vgg16-imgs")
        run = zoo.resume("checkpoints/vgg16-imgs", epochs=20)  # ten more, if it was made with ten

    A damaged checkpoint is passed over, which the reporter hears. A run that is finished is returned as it is,
    unless `epochs` says that it shall have more in all; they go to its last stage. `data` is where the pictures
    lie now. What else differs from the time of the checkpoint is refused, unless `allow` has its key. `verify`
    first trains the steps before the checkpoint again and compares. `base` is where the weights are that deltas
    refer to, if they have moved; `offline` keeps from downloading them. `model` is needed only where a checkpoint
    cannot build the model, because its head was a module of your own.

    Raises CheckpointError when there is no run, no good checkpoint or something was changed, DataError when
    the pictures cannot be used, StorageError when another process has the run.
    """
    folder = Path(run).expanduser()
    if not (folder / RECIPE).is_file():
        within = [str(each.parent) for each in sorted(folder.glob(f"*/{RECIPE}"))]
        hint = f"runs in it: {listed(within)}" if within else "give a run's folder"
        if (folder.parent / RECIPE).is_file():
            hint = f"the run is {folder.parent}"
        what = f"is no run: it has no {RECIPE}" if folder.exists() else "does not exist"
        raise CheckpointError(f"{folder} {what}.", *near_folders(folder), hint)
    given = {"data": data and str(Path(data).expanduser().resolve()), "workers": workers, "device": device}
    recipe = recipes.override(
        recipes.find(str(folder / RECIPE)), {key: value for key, value in given.items() if value is not None}
    )
    return go_on(
        folder,
        recipe,
        model,
        epochs=epochs,
        allow=allow,
        verify=verify,
        base=Path(base).expanduser() if base else None,
        offline=offline,
        reporter=reporter or Reporter(),
    )


def go_on(
    folder: Path,
    recipe: Recipe,
    model: nn.Module | None = None,
    *,
    epochs: int | None = None,
    allow: Sequence[str] = (),
    verify: bool = False,
    base: Path | None = None,
    offline: bool = False,
    reporter: Reporter,
) -> Run:
    """Go on with the run of a folder by a recipe, which may differ from the run's own where that is allowed."""
    recipes.require_allowable(allow)
    with files.locked(folder, reporter.note):
        files.sweep(folder)
        newest = _newest_good(folder, reporter)
        state = reading.read_training(newest)
        position, before = position_of(state, newest), told(state, newest)
        best_is_lost = _best_is_lost(folder, position, recipe, reporter)
        with threads(machine_of(state).get("threads")):
            if epochs is not None:
                recipe, before, longer = _extended(recipe, before, epochs, position)
            else:
                longer = False
            if base is not None:
                recipe, before = _with_base(recipe, before, base)
            in_last = position.stage == len(recipe.stages) - 1
            if in_last and (longer or _has_more(recipe, told(state, newest))):
                # More epochs, which go to the last stage, were given to a run whose patience was at an end: it waits
                # for a better score anew.
                position.waited = 0
            finished = position.is_at_the_end(recipe)
            found = None if finished else difference(folder, recipe, before, allow)
            if verify:
                with random_state_kept():
                    verify_newest(folder, newest, model, Path(recipe.data) if recipe.data else None, base, reporter)
            if found is None:
                if not (folder / SUMMARY).is_file() and not best_is_lost:
                    # The process ended within its last save, so the older checkpoints may still be there.
                    saving.prune(folder, recipe.keep, newest=newest.name, best=position.best_epoch)
                return _already_finished(folder, position, recipe, before, reporter)
            for each in found.settings:
                reporter.note(f"changed: {each}")
            with random_state_kept():
                plan = plan_again(
                    folder,
                    recipe,
                    newest,
                    before,
                    found,
                    model=model,
                    base=base,
                    offline=offline,
                    reporter=reporter,
                )
            fit_position(position, before, plan)
            if found.settings or longer:
                position.since = position.step
                agree(folder, plan.recipe, plan.fingerprint)
            if plan.listing != found.listing:
                files.write_json(folder / DATA, plan.listing)
            write_recipe(plan)
            reporter.note(f"going on from {newest.name}")
            if longer:
                reporter.note(f"the learning rate goes on as in a run of {recipe.epochs} epochs from its start")
            _tell_of_bits(plan, machine_of(state), reporter)
            reporter.planned(plan)
            journal = Journal(plan, reporter)
            journal.newest = newest.name
            journal.log("resume", checkpoint=newest.name, changed=[str(each) for each in found.settings])
            return run_to_its_end(plan, Runner(plan, reporter, journal, position, state), reporter)


def _tell_of_bits(plan: Plan, before: Mapping[str, Any], reporter: Reporter) -> None:
    """Say why the run may not go on bit for bit, where it may not."""
    other = comparing.machine_differences(before, machine(plan.device, plan.spec.source))
    if other:
        reporter.note(f"not bit-exact: {'; '.join(other)}")
    elif not plan.device.repeats:
        reporter.note("perhaps not bit-exact: a GPU repeats itself bit for bit only where deterministic is set")


def _best_is_lost(folder: Path, position: Position, recipe: Recipe, reporter: Reporter) -> bool:
    """Whether the best of what is left takes the place of a damaged best checkpoint, which a person should know."""
    best = position.best_epoch
    if best is None or not kept(recipe.keep)[0] or position.best_score is None:
        return False
    lost = f"epoch-{best:04d}" not in {each.folder.name for each in reading.checkpoints_of(folder)}
    if lost:
        score = f"{position.best_score:.3f} at epoch {best}"
        reporter.note(f"the best checkpoint, {score}, is damaged or gone; the best of what is left counts")
    return lost


def _already_finished(folder: Path, position: Position, recipe: Recipe, before: Told, reporter: Reporter) -> Run:
    finished = finished_run(folder, position, None)
    if not (folder / SUMMARY).is_file():
        # The process ended between its last checkpoint and its last words.
        summarize(finished)
    done = f"{position.epoch} of {recipe.epochs} epochs are done"
    if position.epoch > recipe.epochs:
        done = f"{some(position.epoch, 'epoch')} are done, and {recipe.epochs} asked for"
    if position.epoch < recipe.epochs:
        done = f"no better score for {some(position.waited, 'epoch')}, {position.epoch} of {recipe.epochs} are done"
    reporter.note(f"the run is finished: {done}; --epochs N gives it more")
    changes = comparing.recipe_changes(before.recipe, recipe) if before.recipe else []
    if unused := [str(each) for each in changes if each.word != "epochs"]:
        reporter.note(f"not used, as it is finished: {'; '.join(unused)}")
    reporter.finished(finished)
    return finished


def _newest_good(folder: Path, reporter: Reporter) -> Path:
    """The newest checkpoint whose files are what its manifest says; what is passed over is told."""
    for place in reading.damaged_of(folder):
        reporter.note(f"{place} is damaged or not complete. It is passed over.")
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


def _extended(recipe: Recipe, before: Told, epochs: int, position: Position) -> tuple[Recipe, Told, bool]:
    """A recipe with so many epochs in all, the last stage having more or fewer, and whether it has others now.

    What the run was told gets them too, as they need not be allowed besides.
    """
    *others, last = recipe.stages
    rest = epochs - sum(stage.epochs for stage in others)
    begun = position.epoch + (position.step_in_epoch > 0)
    if rest < 1 or epochs < begun:
        least = max(begun, 1 + sum(stage.epochs for stage in others))
        raise UsageError(f"epochs is {epochs}; {begun} are done or begun.", f"give {least} or more")
    longer = dataclasses.replace(recipe, stages=(*others, dataclasses.replace(last, epochs=rest)))
    if before.recipe:
        *earlier, final = before.recipe["stages"]
        given = epochs - sum(stage["epochs"] for stage in earlier)
        before = dataclasses.replace(before, recipe={**before.recipe, "stages": [*earlier, {**final, "epochs": given}]})
    return longer, before, epochs != recipe.epochs


def _has_more(recipe: Recipe, before: Told) -> bool:
    """Whether the run has more epochs than when its checkpoint was saved, given by a process that was then killed."""
    known = before.recipe.get("stages", [])
    return bool(known) and recipe.epochs > sum(stage["epochs"] for stage in known)


def _with_base(recipe: Recipe, before: Told, base: Path) -> tuple[Recipe, Told]:
    """The weights' new place, which is no other weights: their hash is compared when they are loaded."""
    weights = str(base.resolve())
    moved = dataclasses.replace(recipe, weights=weights)
    return moved, dataclasses.replace(before, recipe={**before.recipe, "weights": weights} if before.recipe else {})
