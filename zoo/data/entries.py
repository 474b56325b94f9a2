"""What the rows of a table say of its pictures, with all mistakes of all rows told together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data import cells
from zoo.data.listing import Label
from zoo.data.tables import Columns, Table, refuse
from zoo.errors import DataError, UsageError
from zoo.names import listed
from zoo.registry import Task

SPLIT = "split"
"""The column that says which half a picture is in, where a table has it: train, val or test."""
SEPARATOR = "|"
Said = tuple[str, ...] | tuple[float, ...]


@dataclass(frozen=True)
class Entry:
    """What one row says of one picture, with labels by name."""

    number: int
    name: str
    """The picture's path below the root."""
    said: tuple[str, ...] | tuple[float, ...]
    """Its class alone, its labels, or its numbers."""
    half: str | None


def root_of(path: Path, columns: Columns) -> Path:
    """The folder that a table's pictures lie below."""
    root = columns.root.expanduser() if columns.root else path.parent
    if not root.is_dir():
        raise DataError(f"there is no folder {root}, which image-root names.")
    return root


def label_columns(table: Table, columns: Columns, classes: Sequence[str] | int | None, task: Task) -> tuple[str, ...]:
    """The columns with labels; in a regression `classes` may name them.

    Raises UsageError for columns, a number of them, or a separator that the task cannot have.
    """
    named = tuple(classes) if task == "regression" and isinstance(classes, Sequence) else ()
    labels = columns.label or named or ("label",)
    if named and set(named) != set(labels):
        raise UsageError(f"classes is {listed(named)}, and the columns with numbers are {listed(labels)}.")
    # Where both name them, the order is that of `classes`.
    labels = named or labels
    if task == "regression" and isinstance(classes, int) and classes != len(labels):
        raise UsageError(
            f"classes is {classes}, and the columns with numbers are {listed(labels)}.",
            "in a regression label-column names them, like age,weight; leave classes out",
        )
    if len(set(labels)) < len(labels):
        key = "label-column" if columns.label else "classes"
        raise UsageError(f"{key} names a column twice: {', '.join(labels)}.", "name each once")
    if len(labels) > 1 and task in ("single-label", "binary"):
        raise UsageError(
            f"label-column names {len(labels)} columns, and a picture has one class where the task is {task}.",
            "the task multi-label takes columns of 0 and 1, regression columns of numbers",
        )
    if columns.separator and (task != "multi-label" or len(labels) > 1):
        what = f"the task is {task}" if task != "multi-label" else f"the labels are the columns {listed(labels)}"
        raise UsageError(
            f"label-separator is for several labels in one cell, and {what}.",
            "leave it out" if task == "multi-label" else "--task multi-label learns several labels; or leave it out",
        )
    return tuple(table.require(name, "label-column") for name in labels)


def entries_of(
    table: Table, columns: Columns, labels: Sequence[str], task: Task, root: Path, *, exist: bool
) -> list[Entry]:
    """What each row says; with `exist` a picture that is no file is a mistake too.

    Raises DataError that tells the mistakes of all rows together.
    """
    image = table.require(columns.image or "image", "image-column")
    separator = columns.separator or SEPARATOR
    entries: list[Entry] = []
    mistakes: list[str] = []
    unsaid: list[str] = []
    absent = 0
    first: dict[str, int] = {}
    for row in table.rows:
        wrong = []
        name: str | None = None
        said: Said | None = None
        half: str | None = None
        try:
            name = cells.path_in(row.cells.get(image), root)
        except ValueError as error:
            wrong.append(str(error))
        try:
            said = _said(row.cells, labels, task, separator)
        except ValueError as error:
            unsaid.append(f"row {row.number}: {error}")
            wrong.append(str(error))
        try:
            half = cells.half_in(row.cells.get(SPLIT)) if SPLIT in table.columns else None
        except ValueError as error:
            wrong.append(str(error))
        if name is not None and name in first:
            wrong.append(f"{name} is in row {first[name]} already")
        elif name is not None and exist and (reason := _no_picture(root / name)):
            wrong.append(reason)
            absent += 1
        if name is not None:
            first.setdefault(name, row.number)
        mistakes += [f"row {row.number}: {each}" for each in wrong]
        if name is not None and said is not None:
            entries.append(Entry(row.number, name, said, half))
    if unsaid and task in ("single-label", "binary") and (hint := other_reading(table, labels[0], task)):
        told = set(unsaid)
        others = [each for each in mistakes if each not in told]
        some_rows = "a row does" if len(unsaid) == 1 else f"{len(unsaid):,} rows do"
        refuse(table, [*others, f"{some_rows} not name one class; {hint}"] if others else [])
        raise DataError(f"in {table.path} {some_rows} not name one class.", hint)
    if mistakes and len(mistakes) == absent == len(table.rows):
        refuse(table, mistakes, f"they are looked for below {root}; image-root names another folder")
    refuse(table, mistakes)
    return entries


def other_reading(table: Table, column: str, task: Task, separator: str | None = None) -> str | None:
    """What to tell of cells that seem to mean something else than the task takes: several labels, or numbers."""
    found = [(row.number, row.cells.get(column)) for row in table.rows]
    if task == "regression":
        return None
    if _are_numbers(cell for _, cell in found):
        return f"the column {column} holds numbers: --task regression learns those"
    for number, cell in found:
        said = f"row {number} ({cell!r:.40}) looks like several labels: "
        if task == "multi-label":
            parted = separator is not None or any(SEPARATOR in str(each) for _, each in found)
            if not parted and isinstance(cell, str) and (sign := _sign_in(cell, ";,")):
                return f"{said}label-separator {sign!r} parts them"
        elif isinstance(cell, list):
            return f"{said}--task multi-label learns those"
        elif isinstance(cell, str) and (sign := _sign_in(cell, f"{SEPARATOR};")):
            return f"{said}--task multi-label" + SETTING[sign] + " learns those"
    return None


SETTING = {SEPARATOR: "", ";": " --set 'label-separator=;'"}


def _sign_in(cell: str, signs: str) -> str | None:
    """The sign that stands between two parts of a cell."""
    return next((sign for sign in signs if sign in cell.strip(f" {sign}")), None)


def _are_numbers(values: Iterable[Any]) -> bool:
    """Whether all that is said are numbers, and not all of them whole, which may be the names of classes."""
    try:
        numbers = [float(value) for value in values if value not in (None, "")]
    except (TypeError, ValueError, OverflowError):
        return False
    return any(not each.is_integer() for each in numbers)


def _no_picture(path: Path) -> str | None:
    """Why there is no file at a path; a name that the system does not take is none."""
    try:
        if path.is_file():
            return None
        return f"{path} is a folder, and a row names one picture" if path.is_dir() else f"there is no picture {path}"
    except (OSError, ValueError):
        return f"there is no picture {path}"


def _said(row: Mapping[str, Any], labels: Sequence[str], task: Task, separator: str) -> Said:
    if task == "regression":
        return cells.numbers_in(row, labels)
    if len(labels) > 1:
        return cells.flags_in(row, labels)
    cell = row.get(labels[0])
    return cells.labels_in(cell, separator) if task == "multi-label" else (cells.class_in(cell),)


def label_of(entry: Entry, places: Mapping[str, int], task: Task) -> Label:
    """What an entry says, by the places of the classes; labels that have none are left out."""
    if task == "regression":
        return tuple(float(number) for number in entry.said)
    found = sorted(places[str(name)] for name in entry.said if name in places)
    return tuple(found) if task == "multi-label" else found[0]


def places_of(names: Sequence[str]) -> dict[str, int]:
    """The place of each class."""
    return {name: place for place, name in enumerate(names)}
