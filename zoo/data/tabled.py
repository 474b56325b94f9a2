"""Datasets of tables: every mistake of every row is told before anything else is done."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.data import splitting
from zoo.data.choosing import chosen, require_two
from zoo.data.datasets import Dataset, Picture
from zoo.data.entries import SPLIT, Entry, entries_of, label_columns, label_of, other_reading, places_of, root_of
from zoo.data.listing import Now
from zoo.data.tables import Columns, Table, read_table, refuse
from zoo.errors import DataError, UsageError
from zoo.names import listed, natural, near
from zoo.registry import Task
from zoo.units import some


def find_in_table(
    path: Path,
    columns: Columns,
    *,
    classes: Sequence[str] | int | None = None,
    seed: int = 0,
    task: Task = "single-label",
) -> Dataset:
    """The pictures that a table names, split for training and validation as folders are.

    The column `split` says which half a picture is in: `train`, `val`, or `test`, which is left for evaluation.
    Without it, or without `val`, a fifth validates, drawn by the seed with every class or label in its share.

    Raises DataError for what cannot be trained on, with all mistakes of all rows.
    """
    table = read_table(path)
    root = root_of(path, columns)
    labels = label_columns(table, columns, classes, task)
    entries = entries_of(table, columns, labels, task, root, exist=True)
    train = [each for each in entries if each.half in ("train", None)]
    val = [each for each in entries if each.half == "val"]
    notes = [f"{test:,} rows are for test and left out"] if (test := len(entries) - len(train) - len(val)) else []
    if not train:
        raise DataError(f"{path} has no row to train on: its column split never says train.")
    had_val = bool(val)
    names = labels if task == "regression" else _classes(train, classes, table, labels if len(labels) > 1 else ())
    hint = other_reading(table, labels[0], task, columns.separator) if len(labels) == 1 else None
    if task != "regression":
        train, val, dropped = _of_classes(
            table, train, val, names, task, given=isinstance(classes, Sequence), hint=hint
        )
        notes += dropped
        _require_classes(path, names, train, task, hint)
        if hint and not isinstance(classes, Sequence):
            notes.append(hint)
    if had_val and not val:
        raise DataError(
            f"no row of {path} whose split is val is of the classes {listed(names)}, so nothing validates.",
            "name the classes of such rows too, or let rows of these classes say val",
        )
    halves = _drawn(train, names, root, seed, task) if not val else _given(train, val, names, root, task)
    if not halves.val:
        way = hint or "give more pictures, or rows whose split is val"
        raise DataError(f"{path} leaves no picture for validation.", way)
    absent = _absent(names, halves.val, task)
    notes = [*notes, *halves.notes, *([f"no picture of {listed(absent)} validates"] if absent else [])]
    return Dataset(root, tuple(names), halves.train, halves.val, halves.how, tuple(notes), task, path, halves.by_column)


def labelled_in_table(
    path: Path, columns: Columns, classes: Sequence[str], task: Task, split: str | None = None
) -> tuple[Dataset, str]:
    """The pictures to evaluate on, labelled by the classes of a checkpoint, and the name of what was read.

    Where the table has a column `split`, its rows of `test` are read, or else of `val`, unless `split` says which.

    Raises DataError with all mistakes of all rows, a class that the checkpoint does not know being one.
    """
    table, root = read_table(path), root_of(path, columns)
    known = tuple(classes)
    labels = columns.label or (known if task == "regression" else ())
    if task == "multi-label" and not labels and "label" not in table.columns and set(known) <= set(table.columns):
        labels = known
    labels = label_columns(table, Columns(label=labels, separator=columns.separator), None, task)
    notes: list[str] = []
    if task == "regression":
        labels, notes = _of_targets(labels, known)
    entries = entries_of(table, columns, labels, task, root, exist=True)
    half = _half(table, entries, split)
    chosen = [each for each in entries if each.half == half]
    hint = other_reading(table, labels[0], task, columns.separator) if task == "multi-label" else None
    _refuse_unknown(table, chosen, known, task, "the checkpoint does not know", hint)
    pictures = _pictures(chosen, known, root, task)
    count = some(len(pictures), "picture")
    dataset = Dataset(root, known, (), pictures, count, tuple(notes), task=task, table=path)
    return dataset, f"{path} ({half})" if half else str(path)


def _of_targets(columns: Sequence[str], targets: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The columns of a regression's targets in their order, and what to tell where they are called otherwise."""
    if set(columns) == set(targets):
        return tuple(targets), []
    if len(columns) != len(targets):
        raise UsageError(
            f"label-column names {listed(columns)}, and the checkpoint tells {listed(targets)}.",
            "name a column for each of these, in their order",
        )
    pairs = zip(targets, columns, strict=True)
    return tuple(columns), [f"{target} is read from the column {name}" for target, name in pairs]


def _half(table: Table, entries: Sequence[Entry], split: str | None) -> str | None:
    """Which half is evaluated on; None for a table that says nothing of halves."""
    if SPLIT not in table.columns:
        if split:
            raise DataError(f"{table.path} has no column split, so --split {split} cannot be meant.", "leave it out")
        return None
    wanted = (split,) if split else ("test", "val")
    found = next((word for word in wanted if any(each.half == word for each in entries)), None)
    if found is None:
        raise DataError(f"{table.path} has no row of {' or '.join(wanted)}.", "--split names another: train, val, test")
    return found


def said_in_table(path: Path, columns: Columns, classes: Sequence[str], task: Task) -> Now:
    """What a table says now of each picture.

    Rows of other classes are left out, and those of `test`, which no run trains or validates on.
    """
    table = read_table(path)
    labels = columns.label or (tuple(classes) if task == "regression" else ())
    labels = label_columns(table, Columns(label=labels), None, task)
    entries = entries_of(table, columns, labels, task, root_of(path, columns), exist=False)
    known = set(classes)
    kept = [
        each
        for each in entries
        if each.half != "test" and (task in ("regression", "multi-label") or each.said[0] in known)
    ]
    places = places_of(classes)
    halves = {each.name: each.half for each in kept if each.half is not None}
    return Now({each.name: label_of(each, places, task) for each in kept}, halves)


def _classes(
    train: Sequence[Entry], classes: Sequence[str] | int | None, table: Table, columns: Sequence[str]
) -> tuple[str, ...]:
    """The classes that are named, or the columns of 0 and 1, or all of the training rows in their natural order."""
    found = list(columns) or sorted({str(name) for each in train for name in each.said}, key=natural)
    return chosen(found, classes, table.path, "has no row to train on")


def _of_classes(
    table: Table,
    train: list[Entry],
    val: list[Entry],
    names: Sequence[str],
    task: Task,
    *,
    given: bool,
    hint: str | None,
) -> tuple[list[Entry], list[Entry], list[str]]:
    """The rows of the classes that are used; others are left out where the classes were named, else refused."""
    if not given:
        _refuse_unknown(table, val, names, task, "no row to train on has", hint)
        return train, val, []
    known = set(names)
    others = {name for each in (*train, *val) for name in each.said} - known
    notes = (
        [f"not used, as --classes leaves them out: {listed(sorted(map(str, others), key=natural))}"] if others else []
    )
    if task == "multi-label":
        return train, val, notes
    return [each for each in train if each.said[0] in known], [each for each in val if each.said[0] in known], notes


def _refuse_unknown(
    table: Table, entries: Iterable[Entry], names: Sequence[str], task: Task, what: str, way: str | None = None
) -> None:
    if task == "regression":
        return
    known = set(names)
    mistakes = []
    for each in entries:
        for name in each.said:
            if name not in known:
                hint = near(str(name), names)
                mistakes.append(f"row {each.number}: {name!r} {what}" + (f"; near: {', '.join(hint)}" if hint else ""))
    refuse(table, mistakes, way or f"the classes are {listed(list(names), 8)}")


def _require_classes(
    path: Path, names: Sequence[str], train: Sequence[Entry], task: Task, hint: str | None = None
) -> None:
    require_two(names, path, task, hint)
    if task == "single-label" and len(names) < 2:
        raise DataError(
            f"{path} has one class, {names[0]!r}; telling classes apart takes two or more.",
            "the task regression learns numbers, multi-label any number of labels",
        )
    seen = {name for each in train for name in each.said}
    lacking = [name for name in names if name not in seen]
    if lacking or not names:
        raise DataError(
            f"{path} has no picture with the label {listed(lacking)} to train on."
            if lacking
            else f"{path} has no label in any row to train on."
        )


@dataclass(frozen=True)
class _Halves:
    train: tuple[Picture, ...]
    val: tuple[Picture, ...]
    how: str
    notes: tuple[str, ...] = ()
    by_column: bool = False


def _given(train: Sequence[Entry], val: Sequence[Entry], names: Sequence[str], root: Path, task: Task) -> _Halves:
    halves = _pictures(train, names, root, task), _pictures(val, names, root, task)
    return _Halves(*halves, f"{len(train):,} train, {len(val):,} val by its column split", by_column=True)


def _drawn(entries: Sequence[Entry], names: Sequence[str], root: Path, seed: int, task: Task) -> _Halves:
    pictures = _pictures(entries, names, root, task)
    if task in ("single-label", "binary"):
        found: dict[str, list[Path]] = {name: [] for name in names}
        for each in entries:
            found[str(each.said[0])].append(root / each.name)
        train, val, notes = splitting.by_class(found, places_of(names), seed)
        return _Halves(train, val, f"split {len(train):,} / {len(val):,}, stratified, seed {seed}", tuple(notes))
    if len(pictures) < 2:
        return _Halves(pictures, (), "")
    if task == "regression":
        chosen, word = splitting.by_chance(len(pictures), seed), "drawn"
    else:
        sets = [picture.label for picture in pictures]
        chosen, word = splitting.by_labels(sets, len(names), seed), "stratified by label"  # type: ignore[arg-type]
    train = tuple(picture for place, picture in enumerate(pictures) if place not in chosen)
    val = tuple(picture for place, picture in enumerate(pictures) if place in chosen)
    return _Halves(train, val, f"split {len(train):,} / {len(val):,}, {word}, seed {seed}")


def _absent(names: Sequence[str], val: Sequence[Picture], task: Task) -> list[str]:
    if task == "regression":
        return []
    seen = {label for each in val for label in (each.label if isinstance(each.label, tuple) else (each.label,))}
    return [name for place, name in enumerate(names) if place not in seen]


def _pictures(entries: Sequence[Entry], names: Sequence[str], root: Path, task: Task) -> tuple[Picture, ...]:
    places = places_of(names)
    return tuple(Picture(root / each.name, label_of(each, places, task)) for each in entries)
