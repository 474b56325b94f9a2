"""Whether the pictures of a run are still what they were when it began, wherever they lie now.

A picture is its content. One that has another path now is followed there, by its sha256; the place of the
root, times of change and folders or rows that are of no class of the run do not count.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.datasets import Dataset, Picture
from zoo.data.finding import said_now
from zoo.data.listing import Label, Listing, Row, parse
from zoo.data.pictures import WORKERS
from zoo.data.tables import Columns
from zoo.errors import DataError
from zoo.files import sha256
from zoo.names import listed


@dataclass(frozen=True, slots=True)
class Move:
    """A picture of the run that lies at another path now, or of which a table says something else."""

    old: str
    new: str
    label: Label
    """What the class folder or the row says where it stands now."""

    def __str__(self) -> str:
        return f"{self.old} → {self.new}" if self.new != self.old else f"{self.old} has another label"


@dataclass(frozen=True)
class Changes:
    """What is different from the run's list, by paths below the root; false when nothing is.

    >>> found = Changes(added=("bee/9.png",), edited=("ant/3.png", "ant/4.png"))
    >>> print(found)
    2 edited, 1 added
    >>> print(*found.lines(most=2), sep="\\n")
    edited   ant/3.png
    edited   ant/4.png
    … and 1 more
    """

    removed: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    """Other content at the same path."""
    relabelled: tuple[Move, ...] = ()
    """The same content in the folder of another class, or with another label in the table."""
    renamed: tuple[Move, ...] = ()
    """The same content at another path in the same class."""
    added: tuple[str, ...] = ()
    resplit: tuple[str, ...] = ()
    """In the other half by the table's column `split`; the run leaves it in its own."""

    def __bool__(self) -> bool:
        return any(self.counts().values())

    def __str__(self) -> str:
        return ", ".join(f"{count:,} {kind}" for kind, count in self.counts().items() if count) or "no change"

    def counts(self) -> dict[str, int]:
        """How many pictures were changed in which way; every way is there."""
        return {kind: len(found) for kind, found in self._kinds().items()}

    def lines(self, most: int = 5) -> list[str]:
        """The first changes, a line each, and how many more there are."""
        found = [(kind, str(each)) for kind, each_of in self._kinds().items() for each in each_of]
        width = max((len(kind) for kind, _ in found[:most]), default=0)
        shown = [f"{kind:<{width}}   {each}" for kind, each in found[:most]]
        return shown + ([f"… and {len(found) - most:,} more"] if len(found) > most else [])

    def _kinds(self) -> dict[str, Sequence[str | Move]]:
        return {
            "removed": self.removed,
            "edited": self.edited,
            "relabelled": self.relabelled,
            "renamed": self.renamed,
            "added": self.added,
            "resplit": self.resplit,
        }


def fingerprint(values: Any, where: str = "data.json") -> str:
    """One sha256 of what a run learns from: its classes in order, each half's paths, labels and contents.

    Raises CheckpointError when the values are no list of data.
    """
    listing = parse(values, where)
    halves = [sorted((row.name, row.label, _content(row)) for row in half) for half in (listing.train, listing.val)]
    return hashlib.sha256(json.dumps([listing.classes, *halves]).encode()).hexdigest()


def changes(
    values: Any,
    root: Path,
    *,
    where: str = "data.json",
    seen: Callable[[], None] | None = None,
    thorough: bool = False,
    table: Path | None = None,
    columns: Columns = Columns(),  # noqa: B008 - it is frozen
) -> Changes:
    """Compare what a `data.json` lists with what lies below a root now; `seen` is called once a listed picture.

    Where a table names the pictures, what it says now is compared too, also of their halves.

    A file whose size and time of change are as recorded counts as unchanged and is not read, unless `thorough`;
    any other is hashed, so a copy in another place with other times is no change. A list of format 1 knows no
    contents: only what is gone or new is found.

    Raises CheckpointError when the values are no list of data, DataError when the root is none or a file cannot
    be read.
    """
    listing = parse(values, where)
    try:
        said = said_now(listing, table or root, columns)
        now = said.labels
        lost = _lost(listing.rows, root, seen, thorough)
        gone = {row.name for row in lost}
        if table is not None:
            lost += [row for row in listing.rows if row.name not in now and row.name not in gone]
            gone |= {row.name for row in lost}
        places = {row.name: now.get(row.name, row.label) for row in lost if _is_named(row.name, root, now, table)}
        known = {row.name for row in listing.rows}
        places |= {name: label for name, label in now.items() if name not in known}
        moves = _moves(lost, places, root)
    except OSError as error:
        raise DataError(
            f"a picture cannot be compared with the run's: {error}.", "make it readable, or take it away"
        ) from error
    found = _sorted_out(lost, places, moves)
    stayed = {row.name for row in listing.rows} - gone | set(found.edited)
    told = [row for row in listing.rows if row.name in stayed and now.get(row.name, row.label) != row.label]
    again = tuple(Move(row.name, row.name, now[row.name]) for row in told)
    other = tuple(name for name in _resplit(listing, said.halves) if name in stayed)
    return dataclasses.replace(found, relabelled=(*found.relabelled, *again), resplit=other)


def _resplit(listing: Listing, halves: Mapping[str, str]) -> list[str]:
    """The pictures that a table has in the other half now; where it names none to validate, those may be drawn."""
    given = "val" in halves.values() or listing.by_column
    to_val = [row.name for row in listing.train if halves.get(row.name) == "val"]
    return to_val + [row.name for row in listing.val if given and halves.get(row.name) == "train"]


def remaining(values: Any, root: Path, found: Changes, where: str = "data.json") -> Dataset:
    """The dataset of a run without what it lost: `found` is what `changes` told of the same list and root.

    Every picture stays in its half and in its order, so none that was trained on comes to validate. Edited ones
    are taken as they are now, renamed and relabelled ones where they lie now and by the class they lie in.
    Removed ones are left out, added ones are not used.

    Raises CheckpointError when the values are no list of data, DataError when a class is left without a picture
    to train on or nothing is left to validate.
    """
    listing = parse(values, where)
    moved = {move.old: move for move in (*found.renamed, *found.relabelled)}
    removed = set(found.removed)

    def left(rows: Sequence[Row]) -> tuple[Picture, ...]:
        kept = [moved.get(row.name) or Move(row.name, row.name, row.label) for row in rows if row.name not in removed]
        return tuple(Picture(root / each.new, each.label) for each in kept)

    train, val = left(listing.train), left(listing.val)
    kinds = listing.task, listing.table, listing.by_column
    trained = {label for each in train for label in (each.label if isinstance(each.label, tuple) else (each.label,))}
    empty = [name for label, name in enumerate(listing.classes) if label not in trained]
    if listing.task == "regression":
        empty = [] if train else list(listing.classes)
    if empty or not val:
        what = f"no picture of {listed(empty)} to train on" if empty else "no picture to validate on"
        raise DataError(f"what is left of the run's pictures in {root} has {what}.", "put them back to go on")
    if (len(train), len(val)) == (len(listing.train), len(listing.val)):
        return Dataset(root, listing.classes, train, val, listing.how, (), *kinds)
    how = f"{len(train):,} / {len(val):,} left of {len(listing.train):,} / {len(listing.val):,}"
    return Dataset(root, listing.classes, train, val, how, (), *kinds)


def _is_named(name: str, root: Path, now: Mapping[str, Label], table: Path | None) -> bool:
    """Whether a picture stands at this path still: by the table where there is one, and as a file."""
    return (table is None or name in now) and (root / name).is_file()


def _content(row: Row) -> str | None:
    return row.facts.sha256 if row.facts else None


def _lost(rows: Sequence[Row], root: Path, seen: Callable[[], None] | None, thorough: bool) -> list[Row]:
    """The pictures whose content is not at their path any more."""
    lost = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for row, same in zip(rows, pool.map(lambda row: _is_there(row, root / row.name, thorough), rows), strict=True):
            if seen:
                seen()
            if not same:
                lost.append(row)
    return lost


def _is_there(row: Row, path: Path, thorough: bool) -> bool:
    if not path.is_file():
        return False
    facts = row.facts
    if facts is None:
        return True
    status = path.stat()
    if status.st_size != facts.size:
        return False
    return (status.st_mtime_ns == facts.mtime_ns and not thorough) or sha256(path) == facts.sha256


def _sorted_out(lost: Sequence[Row], places: Mapping[str, Label], moves: Sequence[Move]) -> Changes:
    """What happened to each lost picture, and to each place that holds something else or something new."""
    labels = {row.name: row.label for row in lost}
    taken = {move.new for move in moves}
    gone = labels.keys() - {move.old for move in moves}
    edited = (gone & places.keys()) - taken
    removed, used = gone - edited, taken | edited
    return Changes(
        removed=tuple(name for name in labels if name in removed),
        edited=tuple(name for name in labels if name in edited),
        relabelled=tuple(move for move in moves if move.label != labels[move.old]),
        renamed=tuple(move for move in moves if move.label == labels[move.old]),
        added=tuple(name for name in places if name not in used),
    )


def _moves(lost: Sequence[Row], places: Mapping[str, Label], root: Path) -> list[Move]:
    """Where lost contents lie now: each in a place of its own, in its own class if there is one."""
    alike = _by_content(places, root, {row.facts.size for row in lost if row.facts})
    moves: dict[str, Move] = {}
    for same_class in (True, False):
        for row in lost:
            free = alike.get(_content(row), [])
            new = next((name for name in free if (places[name] == row.label) is same_class), None)
            if row.name not in moves and new is not None:
                free.remove(new)
                moves[row.name] = Move(row.name, new, places[new])
    return [moves[row.name] for row in lost if row.name in moves]


def _by_content(names: Iterable[str], root: Path, sizes: Set[int]) -> dict[str | None, list[str]]:
    """The files of certain sizes by their sha256; no other can have the content that is looked for."""
    found: dict[str | None, list[str]] = {}
    for name in names:
        path = root / name
        if path.is_file() and path.stat().st_size in sizes:
            found.setdefault(sha256(path), []).append(name)
    return found
