"""Finding the pictures of a run, wherever its labels stand: in the names of folders, or in a table."""

from collections.abc import Sequence
from pathlib import Path

from zoo.data.datasets import Dataset
from zoo.data.entries import root_of
from zoo.data.folders import find_in_folders, labelled_in_folders, labels_below
from zoo.data.listing import Listing, Now
from zoo.data.tabled import find_in_table, labelled_in_table, said_in_table
from zoo.data.tables import Columns, is_table
from zoo.data.walking import possible
from zoo.errors import UsageError
from zoo.registry import Task


def find_dataset(
    place: Path,
    *,
    classes: Sequence[str] | int | None = None,
    seed: int = 0,
    task: Task = "single-label",
    columns: Columns = Columns(),  # noqa: B008 - it is frozen
) -> Dataset:
    """The pictures of a folder or a table, split for training and validation.

    A folder has a folder for each class, or `train/` and `val/` with those in each. Without `val/` a fifth of each
    class, drawn by the seed, validates. `classes` names the classes to use in this order, or says how many there
    must be. In a regression it may name the columns with numbers.

    Raises DataError for what cannot be trained on, UsageError for columns of a folder.
    """
    if _is_table(place):
        return find_in_table(place, columns, classes=classes, seed=seed, task=task)
    _require_no_columns(place, columns)
    return find_in_folders(place, classes=classes, seed=seed, task=task)


def find_labelled(
    place: Path,
    classes: Sequence[str],
    split: str | None = None,
    *,
    task: Task = "single-label",
    columns: Columns = Columns(),  # noqa: B008 - it is frozen
) -> tuple[Dataset, str]:
    """The pictures to evaluate on, labelled by the classes of a checkpoint, and the name of what was read.

    Where there is a part `test` or `val`, that is read, `test` before `val`, unless `split` says which.

    Raises DataError when a class is unknown to the checkpoint or nothing is found.
    """
    if _is_table(place):
        return labelled_in_table(place, columns, classes, task, split)
    _require_no_columns(place, columns)
    return labelled_in_folders(place, classes, split, task)


def _is_table(place: Path) -> bool:
    with possible(str(place)):
        return is_table(place)


def _require_no_columns(place: Path, columns: Columns) -> None:
    """What is said of a table's columns means nothing for a folder."""
    said = {
        "image-column": columns.image,
        "label-column": columns.label,
        "label-separator": columns.separator,
        "image-root": columns.root,
    }
    given = next((key for key, value in said.items() if value), None)
    if given and place.is_dir():
        raise UsageError(f"{given} is for tables, and {place} is a folder.", f"leave {given} out, or give a table")


def root_at(place: Path, columns: Columns = Columns()) -> Path:  # noqa: B008 - it is frozen
    """The folder that the pictures of a folder or a table lie below."""
    return root_of(place, columns) if is_table(place) else place


def said_now(listing: Listing, place: Path, columns: Columns) -> Now:
    """What a folder or a table says now of the pictures of a list."""
    if is_table(place):
        return said_in_table(place, columns, listing.classes, listing.task)
    return Now(dict(labels_below(place, listing.classes)), {})
