"""`data.json`: which pictures a run uses and what was in them, as data that a reader can check.

Formats 2 and 3 have `[path, label, size, mtime_ns, sha256]` for each picture, format 1 only `[path, label]`. Format 3
says which task it is for and which table named the pictures: a label is a class's place, or in a task of several labels
a list of places, or in a regression a list of numbers.
"""

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from zoo.errors import CheckpointError
from zoo.registry import Task

WITHOUT_FACTS, WITHOUT_TASK, FORMAT = 1, 2, 3
WIDTHS = {WITHOUT_FACTS: 2, WITHOUT_TASK: 5, FORMAT: 5}
HEX = frozenset("0123456789abcdef")
REPAIR = ("put back the file as the run wrote it, or start the run again",)

T = TypeVar("T")
Label = int | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What was in a file when it was looked at: enough to tell later whether it is still the same."""

    size: int
    """In bytes."""
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class Now:
    """What folders or a table say now of pictures, by their paths below the root."""

    labels: dict[str, Label]
    halves: dict[str, str]
    """Train or val, where a table says it in its column; without any val the others may be in either half."""


@dataclass(frozen=True, slots=True)
class Row:
    """One picture of a run."""

    name: str
    """Its path below the root, with forward slashes."""
    label: Label
    facts: Facts | None
    """None in a list of format 1."""

    def to_json(self) -> list[Any]:
        """The row as plain values."""
        facts = self.facts
        label = list(self.label) if isinstance(self.label, tuple) else self.label
        return [self.name, label] + ([facts.size, facts.mtime_ns, facts.sha256] if facts else [])


@dataclass(frozen=True)
class Listing:
    """What `data.json` says."""

    root: Path
    classes: tuple[str, ...]
    how: str
    train: tuple[Row, ...]
    val: tuple[Row, ...]
    task: Task = "single-label"
    table: Path | None = None
    """The table that named the pictures; None where folders did."""
    by_column: bool = False
    """Whether the table itself said which half each picture is in."""

    @property
    def place(self) -> Path:
        """What the run was given as its data."""
        return self.table or self.root

    @property
    def rows(self) -> tuple[Row, ...]:
        """The pictures of both halves."""
        return (*self.train, *self.val)


def parse(values: Any, where: str) -> Listing:
    """The list that plain values mean; raises CheckpointError when they are none or lead out of their root."""
    try:
        version = _typed(values.get("format", WITHOUT_FACTS), int)
        if version not in WIDTHS:
            raise ValueError(f"its format is {version}; this zoo reads {', '.join(map(str, WIDTHS))}")
        task, table = _origin(values) if version == FORMAT else ("single-label", None)
        name_of = _class_name if table is None else _label_name
        classes = tuple(name_of(name) for name in _typed(values["classes"], list))
        train, val = (
            tuple(_row(row, version, len(classes), task) for row in _typed(values[half], list))
            for half in ("train", "val")
        )
        _check_unique(classes)
        _check_unique([row.name for row in (*train, *val)])
        by_column = _typed(values.get("by_column", False), bool)
        root, how = Path(_typed(values["root"], str)), str(values["how"])
        return Listing(root, classes, how, train, val, task, table, by_column)
    except KeyError as error:
        raise CheckpointError(f"{where} is no list of data: it has no {error}.", *REPAIR) from error
    except (AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{where} is no list of data: {error}.", *REPAIR) from error


def _origin(values: Any) -> tuple[Task, Path | None]:
    """The task and the table of a list; only tables name several labels or numbers."""
    task, table = values["task"], values["table"]
    if task not in get_args(Task) or (table is None and task in ("multi-label", "regression")):
        raise ValueError(f"its task is {task!r:.40}")
    return task, None if table is None else Path(_typed(table, str))


def _row(values: Any, version: int, classes: int, task: Task) -> Row:
    if len(_typed(values, list)) != WIDTHS[version]:
        raise ValueError(f"{len(values)} values for a picture, not {WIDTHS[version]}")
    name, label, *facts = values
    return Row(_below_root(name), _label(label, classes, task, name), _facts(*facts) if facts else None)


def _label(label: Any, classes: int, task: Task, name: str) -> Label:
    if task == "regression":
        numbers = tuple(float(_typed(number, float)) for number in _typed(label, list))
        if len(numbers) != classes or not all(map(math.isfinite, numbers)):
            raise ValueError(f"{name!r} has the numbers {label} of {classes} targets")
        return numbers
    places = _typed(label, list) if task == "multi-label" else [label]
    if not all(0 <= _typed(place, int) < classes for place in places) or sorted(set(places)) != places:
        raise ValueError(f"{name!r} has the label {label} of {classes} classes")
    return tuple(places) if task == "multi-label" else places[0]


def _facts(size: Any, mtime_ns: Any, sha256: Any) -> Facts:
    if len(_typed(sha256, str)) != 64 or not HEX.issuperset(sha256):
        raise ValueError(f"a bad sha256 {sha256!r}")
    return Facts(_typed(size, int), _typed(mtime_ns, int), sha256)


def _below_root(name: Any) -> str:
    """A path that stays below the folder it is joined to, written in the one way there is."""
    path = Path(_typed(name, str))
    if not path.parts or path.anchor or ".." in path.parts or path.as_posix() != name or "\0" in name:
        raise ValueError(f"a bad entry {name!r}")
    # JSON can hold characters that no file system takes.
    os.fsencode(path)
    return str(name)


def _class_name(name: Any) -> str:
    """A class is a folder, looked up on the disk: its name leads nowhere else."""
    if len(Path(_below_root(name)).parts) != 1:
        raise ValueError(f"a bad class {name!r}")
    return str(name)


def _label_name(name: Any) -> str:
    if not _typed(name, str):
        raise ValueError("a class without a name")
    return str(name)


def _check_unique(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise ValueError(f"it has {Counter(names).most_common(1)[0][0]!r} twice")


def _typed(value: Any, kind: type[T]) -> T:
    # Exactly this type: a bool is an int too, and no label.
    if type(value) is not kind:
        raise TypeError(f"{value!r:.60} is no {kind.__name__}")
    return value
