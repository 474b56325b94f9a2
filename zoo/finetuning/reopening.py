"""The plan of a run that exists: its own data, the model of its checkpoint, and what is not as it was."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from zoo.checkpoint import reading
from zoo.data.datasets import Dataset, from_json, to_json
from zoo.data.finding import root_at
from zoo.data.fingerprint import Changes, changes, fingerprint, remaining
from zoo.data.listing import parse
from zoo.data.tables import Columns, is_table
from zoo.errors import CheckpointError, DataError, UsageError
from zoo.files import DATA, RECIPE
from zoo.finetuning import comparing
from zoo.finetuning.agreeing import agreed_data, agreed_recipe
from zoo.finetuning.comparing import Change
from zoo.finetuning.plan import Plan
from zoo.finetuning.position import Position, Told
from zoo.finetuning.preparing import (
    adjust,
    check_pictures,
    check_space,
    checkpoint_size,
    observed,
    tables_of,
)
from zoo.finetuning.reaching import check_muon
from zoo.finetuning.reporting import Reporter
from zoo.foreseeing import columns_of
from zoo.names import listed
from zoo.recipe import Recipe, Stage, most_kept
from zoo.registry import set_spec, spec_of
from zoo.sources.checkpoints import load_checkpoint
from zoo.sources.loading import base_again
from zoo.training.devices import default_workers, pick

ASIDE = "aside"
"""The key of `data.json` for pictures that came after the run began and that it does not use."""
STAYED = "stayed"
"""The key of `data.json` for pictures that stay in their half though the table has them in the other one now."""


@dataclass(frozen=True)
class Difference:
    """What a run would be told now that differs from what its checkpoint says it was told."""

    settings: tuple[Change, ...]
    pictures: Changes
    listing: Mapping[str, Any]
    """What `data.json` says."""
    root: Path
    """Where the pictures lie now."""
    table: Path | None = None
    """The table that names them now."""

    @property
    def place(self) -> Path:
        """What the run is told its data are."""
        return self.table or self.root


def difference(folder: Path, recipe: Recipe, told: Told, allow: Sequence[str]) -> Difference:
    """Compare a run with what it was, by its recipe and by the contents of its pictures.

    Raises CheckpointError, with a table of before and now, for what is neither in `allow` nor was agreed on
    when the run went on before; DataError when there are no pictures.
    """
    where = str(folder / DATA)
    listing = reading.read_json(folder / DATA)
    recorded = parse(listing, where)
    place = Path(recipe.data) if recipe.data else recorded.place
    if recorded.table is None and place.is_file():
        raise DataError(f"{place} is a file, and the run's pictures come from a folder.", "give it with --data FOLDER")
    if recorded.table is None and not place.is_dir():
        raise DataError(f"there is no folder {place}.", "say where the pictures lie now: --data FOLDER")
    if recorded.table is not None and not is_table(place):
        raise DataError(f"{place} is no table, and the run's pictures come from one.", "give it with --data TABLE")
    table, columns = place if recorded.table else None, columns_of(recipe)
    if recorded.table and place.resolve() == recorded.table and not recipe.image_root:
        root = recorded.root
    else:
        root = root_at(place, columns)
    found = _data_changes(listing, root, where, thorough=root != recorded.root, table=table, columns=columns)
    settings = comparing.recipe_changes(told.recipe, recipe) if told.recipe else []
    data = []
    if found:
        data.append(Change("data", "as listed", str(found)))
    elif told.data not in (None, fingerprint(listing)) and not agreed_data(folder, fingerprint(listing)):
        data.append(Change("data", "as trained on", f"another {DATA}"))
    asked = [*(() if agreed_recipe(folder, recipe) else settings), *data]
    details = found.lines() if "data" not in allow else []
    if details and found.added:
        details.append("added pictures would not be trained on: only a new run takes them")
    if details and found.resplit:
        details.append("every picture would stay in the half that it was in: only a new run splits anew")
    comparing.refuse(str(folder), asked, allow, details)
    return Difference((*settings, *data), found, listing, root, table)


def plan_again(
    folder: Path,
    recipe: Recipe,
    checkpoint: Path,
    told: Told,
    found: Difference,
    *,
    model: nn.Module | None,
    base: Path | None,
    offline: bool,
    reporter: Reporter,
) -> Plan:
    """The plan of a run from its checkpoint on; nothing is written."""
    model = load_checkpoint(checkpoint, model, base=base, offline=offline)
    if base is not None:
        set_spec(model, dataclasses.replace(spec_of(model), weights=str(base.resolve())))
    _check_classes(model, found.listing, folder)
    if recipe.img_size is None and told.recipe.get("img-size") is not None:
        raise UsageError(f"{folder / RECIPE} has no img-size any more.", "write there which size it shall be")
    adjust(model, recipe)
    device = pick(recipe.device, recipe.amp, deterministic=recipe.deterministic)
    order = observed(model)
    check_muon(model, recipe, order)
    spec = spec_of(model)
    size = checkpoint_size(model, recipe, order)
    check_space(folder, size, max(1, most_kept(recipe) + 1 - len(reading.checkpoints_of(folder))))
    dataset, listing = _dataset(found, str(folder / DATA), recipe, reporter)
    return Plan(
        recipe=dataclasses.replace(recipe, data=str(found.place)),
        model=model,
        dataset=dataset,
        device=device,
        order=order,
        folder=folder,
        tables=tables_of(model, recipe, order),
        checkpoint_bytes=size,
        workers=recipe.workers if recipe.workers is not None else default_workers(device),
        listing=listing,
        base=base_again(spec) if recipe.save == "delta" else None,
        changed=frozenset(each.word for each in found.settings),
    )


def fit_position(position: Position, told: Told, plan: Plan) -> None:
    """With another batch size an epoch goes on at the step that comes nearest, some pictures being seen twice.

    Raises UsageError when the stages no longer have the epochs that are done, CheckpointError for a position
    that its run cannot have.
    """
    stages = plan.recipe.stages
    if position.stage >= len(stages):
        raise CheckpointError(f"the checkpoint is of stage {position.stage + 1}, and the run has {len(stages)}.")
    done = position.stage_epoch + (position.step_in_epoch > 0)
    if done > stages[position.stage].epochs or not _fits(stages[: position.stage], position):
        raise UsageError(
            f"the stages have fewer or more epochs than are done: the run is in epoch {done} of its"
            f" stage {position.stage + 1}, after {position.epoch - position.stage_epoch} of the stages before.",
            f"leave these as they were in {plan.folder / RECIPE}",
        )
    now = plan.recipe.batch_size * plan.recipe.accumulate
    size = told.recipe.get("batch-size", plan.recipe.batch_size) * told.recipe.get("accumulate", 1)
    if size != now:
        position.step_in_epoch = min(plan.steps, position.step_in_epoch * size // now)
    if position.step_in_epoch > plan.steps:
        raise CheckpointError(f"the checkpoint is of step {position.step_in_epoch}, an epoch has {plan.steps}.")


def _fits(earlier: Sequence[Stage], position: Position) -> bool:
    """Whether these stages can be what was done before the stage at hand; one with patience may have ended early."""
    done = position.epoch - position.stage_epoch
    most = sum(stage.epochs for stage in earlier)
    least = sum(1 if stage.patience else stage.epochs for stage in earlier)
    return least <= done <= most


def _data_changes(
    listing: Mapping[str, Any], root: Path, where: str, *, thorough: bool, table: Path | None, columns: Columns
) -> Changes:
    """What is different from the run's list, but for what was agreed on before: pictures aside, and halves."""
    found = changes(listing, root, where=where, thorough=thorough, table=table, columns=columns)
    added, resplit = (
        tuple(name for name in names if name not in _names_at(listing, key))
        for key, names in ((ASIDE, found.added), (STAYED, found.resplit))
    )
    return dataclasses.replace(found, added=added, resplit=resplit)


def _names_at(listing: Mapping[str, Any], key: str) -> set[str]:
    names = listing.get(key)
    return {str(name) for name in names} if isinstance(names, list) else set()


def _dataset(found: Difference, where: str, recipe: Recipe, reporter: Reporter) -> tuple[Dataset, Mapping[str, Any]]:
    """The pictures to go on with, and what `data.json` says of them from now on."""
    listing, root = found.listing, found.root
    if found.pictures:
        dataset = remaining(listing, root, found.pictures, where)
        kept = {
            key: sorted({*_names_at(listing, key), *names})
            for key, names in ((ASIDE, found.pictures.added), (STAYED, found.pictures.resplit))
        }
        return dataset, {**to_json(dataset, recipe.seed, check_pictures(dataset, reporter)), **kept}
    moved = {"root": str(root)} | ({"table": str(found.table.resolve())} if found.table else {})
    if all(listing[key] == value for key, value in moved.items()):
        return from_json(listing, where), listing
    reporter.note(f"the pictures lie in {root} now, with the same contents")
    return from_json(listing, where, root), {**listing, **moved}


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
