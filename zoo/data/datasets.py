"""Pictures with what is known of each, for training and for validation, and the list of them that a run keeps.

The user's files are only read. A split is a list of names, kept in `data.json`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.listing import FORMAT, WITHOUT_FACTS, Facts, Label, Row, parse
from zoo.errors import DataError
from zoo.names import listed
from zoo.registry import Task


@dataclass(frozen=True)
class Picture:
    """A file and what is known of it."""

    path: Path
    label: Label
    """The place of its class, those of its labels, or the numbers of its targets."""


@dataclass(frozen=True)
class Dataset:
    """Pictures for training and for validation, with one map of classes."""

    root: Path
    """The folder that every picture lies below."""
    classes: tuple[str, ...]
    """The classes or labels by name; in a regression the targets."""
    train: tuple[Picture, ...]
    val: tuple[Picture, ...]
    how: str
    """Where the validation pictures come from, in words."""
    notes: tuple[str, ...] = ()
    """What a person should know: classes too small to split, files that are no pictures."""
    task: Task = "single-label"
    table: Path | None = None
    """The table that names the pictures; None where folders do."""
    by_column: bool = False
    """Whether the table itself says which half each picture is in."""

    @property
    def place(self) -> Path:
        """What was given as the data: the table, or the folder."""
        return self.table or self.root

    def counts(self) -> dict[str, int]:
        """Pictures a class or label, training and validation together; none in a regression."""
        if self.task == "regression":
            return {}
        found: Counter[Any] = Counter()
        for picture in (*self.train, *self.val):
            found.update(picture.label if isinstance(picture.label, tuple) else (picture.label,))
        return {name: found[label] for label, name in enumerate(self.classes)}

    def values(self, *, train_only: bool = False) -> list[tuple[float, ...]]:
        """For each target of a regression, the numbers of all pictures."""
        pictures = self.train if train_only else (*self.train, *self.val)
        return list(zip(*(picture.label for picture in pictures if isinstance(picture.label, tuple)), strict=True))


def require_apart(dataset: Dataset, facts: Mapping[Path, Facts], most: int = 10) -> None:
    """Raise DataError where a validating picture is also trained on, byte for byte, which would flatter every figure.

    `facts` say what is in each file.
    """
    trained = {facts[picture.path].sha256: picture.path for picture in reversed(dataset.train)}
    twins = [(trained[same], each.path) for each in dataset.val if (same := facts[each.path].sha256) in trained]
    if not twins:
        return
    shown = [f"{one.relative_to(dataset.root)} = {other.relative_to(dataset.root)}" for one, other in twins[:most]]
    more = [f"… and {len(twins) - most:,} more"] if len(twins) > most else []
    many = f"{len(twins):,} pictures are trained on and validate too, as copies:"
    one = "a picture is trained on and validates too, as a copy:"
    raise DataError(one if len(twins) == 1 else many, *shown, *more, "take one of each two away, or its row.")


def contradictions(dataset: Dataset, facts: Mapping[Path, Facts]) -> list[str]:
    """What is said of pictures that are the same byte for byte and have different labels."""
    first: dict[str, Picture] = {}
    for each in (*dataset.train, *dataset.val):
        first.setdefault(facts[each.path].sha256, each)
    pairs = [
        (one.path, each.path)
        for each in (*dataset.train, *dataset.val)
        if (one := first[facts[each.path].sha256]).label != each.label
    ]
    if not pairs:
        return []
    first_path, second_path = (path.relative_to(dataset.root) for path in pairs[0])
    are = "picture is the copy of one" if len(pairs) == 1 else "pictures are copies of some"
    return [f"{len(pairs):,} {are} with another label: {first_path} = {second_path}"]


def to_json(dataset: Dataset, seed: int, facts: Mapping[Path, Facts] | None = None) -> dict[str, Any]:
    """A dataset as plain values, paths below its root; `facts` say what was in each of its files."""

    def rows(pictures: Sequence[Picture]) -> list[list[Any]]:
        return [
            Row(path.relative_to(dataset.root).as_posix(), label, facts[path] if facts is not None else None).to_json()
            for path, label in ((picture.path, picture.label) for picture in pictures)
        ]

    return {
        "format": WITHOUT_FACTS if facts is None else FORMAT,
        "task": dataset.task,
        "root": str(dataset.root.resolve()),
        "table": str(dataset.table.resolve()) if dataset.table else None,
        "classes": list(dataset.classes),
        "how": dataset.how,
        "by_column": dataset.by_column,
        "seed": seed,
        "train": rows(dataset.train),
        "val": rows(dataset.val),
    }


def from_json(values: Any, where: str, root: Path | None = None) -> Dataset:
    """The dataset that `to_json` wrote, or the same pictures below another root.

    Raises CheckpointError when the values are no list of data, DataError when files are gone.
    """
    listing = parse(values, where)
    place = listing.root if root is None else root

    def pictures(rows: Sequence[Row]) -> tuple[Picture, ...]:
        return tuple(Picture(place / row.name, row.label) for row in rows)

    train, val = pictures(listing.train), pictures(listing.val)
    kinds = listing.task, listing.table, listing.by_column
    dataset = Dataset(place, listing.classes, train, val, listing.how, (), *kinds)
    try:
        gone = [str(picture.path) for picture in (*dataset.train, *dataset.val) if not picture.path.is_file()]
    except OSError as error:
        raise DataError(f"the pictures of the run cannot be looked at: {error}.", "make them readable") from error
    if gone:
        raise DataError(f"{len(gone):,} pictures of the run are gone: {listed(gone, 3)}.", "put them back to go on")
    return dataset
