"""`data.json`: which pictures a run uses and what was in them, as data that a reader can check.

Format 2 has `[path, label, size, mtime_ns, sha256]` for each picture, format 1 only `[path, label]`.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from zoo.errors import CheckpointError

WITHOUT_FACTS, FORMAT = 1, 2
WIDTHS = {WITHOUT_FACTS: 2, FORMAT: 5}
HEX = frozenset("0123456789abcdef")
REPAIR = ("put back the file as the run wrote it, or start the run again",)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Facts:
    """What was in a file when it was looked at: enough to tell later whether it is still the same."""

    size: int
    """In bytes."""
    mtime_ns: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Row:
    """One picture of a run."""

    name: str
    """Its path below the root, with forward slashes."""
    label: int
    facts: Facts | None
    """None in a list of format 1."""

    def to_json(self) -> list[Any]:
        """The row as plain values."""
        facts = self.facts
        return [self.name, self.label] + ([facts.size, facts.mtime_ns, facts.sha256] if facts else [])


@dataclass(frozen=True)
class Listing:
    """What `data.json` says."""

    root: Path
    classes: tuple[str, ...]
    how: str
    train: tuple[Row, ...]
    val: tuple[Row, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The pictures of both halves."""
        return (*self.train, *self.val)


def parse(values: Any, where: str) -> Listing:
    """The list that plain values mean; raises CheckpointError when they are none or lead out of their root."""
    try:
        version = _typed(values.get("format", WITHOUT_FACTS), int)
        if version not in (WITHOUT_FACTS, FORMAT):
            raise ValueError(f"its format is {version}; this zoo reads {WITHOUT_FACTS} and {FORMAT}")
        classes = tuple(_class_name(name) for name in _typed(values["classes"], list))
        train, val = (
            tuple(_row(row, version, len(classes)) for row in _typed(values[half], list)) for half in ("train", "val")
        )
        _check_unique(classes)
        _check_unique([row.name for row in (*train, *val)])
        return Listing(Path(_typed(values["root"], str)), classes, str(values["how"]), train, val)
    except KeyError as error:
        raise CheckpointError(f"{where} is no list of data: it has no {error}.", *REPAIR) from error
    except (AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{where} is no list of data: {error}.", *REPAIR) from error


def _row(values: Any, version: int, classes: int) -> Row:
    if len(_typed(values, list)) != WIDTHS[version]:
        raise ValueError(f"{len(values)} values for a picture, not {WIDTHS[version]}")
    name, label, *facts = values
    if not 0 <= _typed(label, int) < classes:
        raise ValueError(f"{name!r} has the label {label} of {classes} classes")
    return Row(_below_root(name), label, _facts(*facts) if facts else None)


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


def _check_unique(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise ValueError(f"it has {Counter(names).most_common(1)[0][0]!r} twice")


def _typed(value: Any, kind: type[T]) -> T:
    # Exactly this type: a bool is an int too, and no label.
    if type(value) is not kind:
        raise TypeError(f"{value!r:.60} is no {kind.__name__}")
    return value
