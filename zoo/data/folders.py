"""Class folders: which pictures there are, of which class, for training and for validation.

The user's files are only read. A split is a list of names, kept in `data.json`.
"""

import os
import random
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.listing import FORMAT, WITHOUT_FACTS, Facts, Row, parse
from zoo.errors import DataError, UsageError
from zoo.names import listed, near_hint
from zoo.registry import Task
from zoo.seeding import derive

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jfif"})
VAL_NAMES = ("val", "valid", "validation")
VAL_SHARE = 0.2


@dataclass(frozen=True)
class Picture:
    """A file and its class."""

    path: Path
    label: int


@dataclass(frozen=True)
class Dataset:
    """Pictures for training and for validation, with one map of classes."""

    root: Path
    classes: tuple[str, ...]
    train: tuple[Picture, ...]
    val: tuple[Picture, ...]
    how: str
    """Where the validation pictures come from, in words."""
    notes: tuple[str, ...] = ()
    """What a person should know: classes too small to split, files that are no pictures."""

    def counts(self) -> dict[str, int]:
        """Pictures a class, training and validation together."""
        found = Counter(picture.label for picture in (*self.train, *self.val))
        return {name: found[label] for label, name in enumerate(self.classes)}


def find_dataset(
    root: Path, *, classes: Sequence[str] | int | None = None, seed: int = 0, task: Task = "single-label"
) -> Dataset:
    """The pictures below a folder, split for training and validation.

    The folder has a folder for each class, or `train/` and `val/` with those in each. Without `val/` a
    fifth of each class, drawn by the seed, validates. `classes` names the classes to use in this order, or
    says how many there must be.

    Raises DataError for what cannot be trained on.
    """
    _check_folder(root)
    train_root, val_root = _split_roots(root)
    wanted = None if classes is None or isinstance(classes, int) else set(classes)
    found, notes = _class_folders(train_root, wanted)
    names = _chosen(list(found), classes, train_root)
    if len(names) < 2:
        raise DataError(
            f"{train_root} has one class, {names[0]!r}; telling classes apart takes two or more.",
            "make one folder a class: imgs/ant/1.jpg, imgs/bee/7.jpg",
        )
    if task == "binary" and len(names) > 2:
        raise DataError(
            f"{train_root} has {len(names)} classes ({listed(names)}), and a binary task has two.",
            "--classes ant,bee takes two of them, the second is the positive one; or leave --task out",
        )
    pictures = {name: found[name] for name in names}
    labels = {name: label for label, name in enumerate(names)}
    if val_root is None:
        train, val, split_notes = _split(pictures, labels, seed)
        how = f"split {len(train):,} / {len(val):,}, stratified, seed {seed}"
        notes += split_notes
    else:
        val_found, val_notes = _class_folders(val_root, wanted)
        val = _labelled(val_found, labels, val_root, train_root, partial=not isinstance(classes, int | None))
        train = tuple(Picture(path, labels[name]) for name, paths in pictures.items() for path in paths)
        how = f"{len(train):,} in train/, {len(val):,} in {val_root.name}/"
        notes += val_notes
        absent = [name for name in names if name not in val_found]
        if absent:
            notes.append(f"{val_root.name}/ has no picture of {listed(absent)}")
    if not val:
        raise DataError(
            f"{root} leaves no picture for validation: every class has one picture.",
            "give each class two pictures or more, or a val/ folder",
        )
    return Dataset(root, tuple(names), train, val, how, tuple(notes))


def find_labelled(root: Path, classes: Sequence[str], split: str | None = None) -> tuple[Dataset, str]:
    """The pictures to evaluate on, labelled by the classes of a checkpoint, and the name of what was read.

    Where the folder has `test/` or `val/`, that is read, `test` before `val`, unless `split` says which.

    Raises DataError when a class is unknown to the checkpoint or nothing is found.
    """
    _check_folder(root)
    wanted = (split,) if split else ("test", *VAL_NAMES)
    place = next((root / name for name in wanted if (root / name).is_dir()), None)
    if split and place is None:
        raise DataError(f"{root} has no folder {split}/.", f"it has: {listed(_subfolders(root)) or 'no folders'}")
    place = place or root
    found, notes = _class_folders(place)
    pictures = _labelled(found, {name: label for label, name in enumerate(classes)}, place, None)
    return Dataset(root, tuple(classes), (), pictures, f"{len(pictures):,} pictures", tuple(notes)), str(place)


def pictures_of(arguments: Iterable[str]) -> list[Path]:
    """The picture files that paths, folders and globs mean, in order and each once.

    Raises DataError for one that means nothing.
    """
    found: dict[Path, None] = {}
    for argument in arguments:
        path = Path(argument).expanduser()
        if path.is_dir():
            matches = _files(path)[0]
            if not matches:
                raise DataError(f"{argument} has no picture.", f"pictures end in {', '.join(sorted(SUFFIXES))}")
        elif path.exists():
            matches = [path]
        else:
            matches = _glob(argument)
        if not matches:
            raise DataError(
                f"{argument} is no picture: there is no such file, folder or match.",
                "give files, folders, or globs in quotes like './imgs/*.jpg'",
            )
        found.update(dict.fromkeys(matches))
    return list(found)


def labels_below(root: Path, classes: Sequence[str]) -> dict[str, int]:
    """What `find_dataset` would take for these classes now: paths below the root with their labels, unsplit.

    A class whose folder is gone or empty has none.

    Raises DataError for a root that is no folder or mixes a split with class folders.
    """
    _check_folder(root)
    return {
        path.relative_to(root).as_posix(): label
        for place in _split_roots(root)
        if place
        for label, name in enumerate(classes)
        for path in _files(place / name)[0]
    }


def to_json(dataset: Dataset, seed: int, facts: Mapping[Path, Facts] | None = None) -> dict[str, Any]:
    """A dataset as plain values, paths below its root; `facts` say what was in each of its files."""

    def rows(pictures: Sequence[Picture]) -> list[list[Any]]:
        return [
            Row(path.relative_to(dataset.root).as_posix(), label, facts[path] if facts is not None else None).to_json()
            for path, label in ((picture.path, picture.label) for picture in pictures)
        ]

    return {
        "format": WITHOUT_FACTS if facts is None else FORMAT,
        "root": str(dataset.root.resolve()),
        "classes": list(dataset.classes),
        "how": dataset.how,
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

    dataset = Dataset(place, listing.classes, pictures(listing.train), pictures(listing.val), listing.how)
    try:
        gone = [str(picture.path) for picture in (*dataset.train, *dataset.val) if not picture.path.is_file()]
    except OSError as error:
        raise DataError(f"the pictures of the run cannot be looked at: {error}.", "make them readable") from error
    if gone:
        raise DataError(f"{len(gone):,} pictures of the run are gone: {listed(gone, 3)}.", "put them back to go on")
    return dataset


def _split_roots(root: Path) -> tuple[Path, Path | None]:
    """The folders for training and for validation; `train` counts as one if it has class folders itself.

    Raises DataError when there is a split folder beside class folders, whose pictures it may repeat.
    """
    splits = [name for name in ("train", *VAL_NAMES, "test") if (root / name).is_dir() and _subfolders(root / name)]
    if "train" in splits:
        return root / "train", next((root / name for name in VAL_NAMES if name in splits), None)
    if splits:
        raise DataError(
            f"{root} has {listed([name + '/' for name in splits])} with class folders, but no train/.",
            "move the class folders of training into train/, or give the folder above a single set",
        )
    return root, None


def _check_folder(root: Path) -> None:
    if not root.exists():
        parent = root.parent if root.parent.is_dir() else Path()
        raise DataError(f"there is no folder {root}.", *near_hint(root.name, _subfolders(parent)))
    if not root.is_dir():
        raise DataError(f"{root} is a file, not a folder.", "give the folder that has a folder for each class")


def _subfolders(root: Path) -> list[str]:
    return sorted((path.name for path in root.iterdir() if path.is_dir() and _is_visible(path.name)), key=_natural)


def _is_visible(name: str) -> bool:
    return not name.startswith((".", "__MACOSX"))


def _natural(name: str) -> list[Any]:
    """A key that sorts 2 before 10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def _class_folders(root: Path, wanted: Collection[str] | None = None) -> tuple[dict[str, list[Path]], list[str]]:
    """The pictures of each class folder, and notes on what else lies there; only the wanted ones may not be empty."""
    found: dict[str, list[Path]] = {}
    others: list[Path] = []
    for name in _subfolders(root):
        found[name], ignored = _files(root / name)
        others += ignored
    if not found:
        loose = [path for path in root.iterdir() if path.suffix.lower() in SUFFIXES]
        what = f"{len(loose):,} pictures but no class folders" if loose else "nothing that could be a class"
        raise DataError(f"{root} has {what}.", "make one folder a class: imgs/ant/1.jpg, imgs/bee/7.jpg")
    empty = [name for name, paths in found.items() if not paths and (wanted is None or name in wanted)]
    if empty:
        raise DataError(
            f"{root} has no picture in {listed(empty)}.",
            f"pictures end in {', '.join(sorted(SUFFIXES))}",
            "remove the folder, or name the classes to use with --classes",
        )
    notes = (
        [f"{len(others):,} files are no pictures by their names: {listed([p.name for p in others], 3)}"]
        if others
        else []
    )
    return found, notes


def _files(root: Path) -> tuple[list[Path], list[Path]]:
    """The pictures below a folder and the visible files that are none, by their names, in a stable order."""
    pictures: list[Path] = []
    others: list[Path] = []
    for place, folders, names in os.walk(root):
        folders[:] = sorted(filter(_is_visible, folders), key=_natural)
        for name in sorted(filter(_is_visible, names), key=_natural):
            (pictures if Path(name).suffix.lower() in SUFFIXES else others).append(Path(place) / name)
    return pictures, [path for path in others if path.name.lower() not in ("thumbs.db", "desktop.ini")]


def _glob(pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    root = Path(path.anchor) if path.is_absolute() else Path()
    relative = str(path.relative_to(path.anchor)) if path.is_absolute() else str(path)
    return [each for each in sorted(root.glob(relative)) if each.is_file() and each.suffix.lower() in SUFFIXES]


def _chosen(found: list[str], classes: Sequence[str] | int | None, root: Path) -> list[str]:
    if classes is None:
        return found
    if isinstance(classes, int):
        if classes != len(found):
            raise UsageError(f"--classes is {classes}, and {root} has {len(found)} classes: {listed(found)}.")
        return found
    absent = [name for name in classes if name not in found]
    if absent:
        raise UsageError(
            f"--classes names {listed(absent)}, for which {root} has no folder.",
            f"it has: {listed(found, 12)}",
        )
    if len(set(classes)) < len(classes):
        raise UsageError(f"--classes names a class twice: {', '.join(classes)}.")
    return list(classes)


def _labelled(
    found: Mapping[str, list[Path]],
    labels: Mapping[str, int],
    root: Path,
    train_root: Path | None,
    partial: bool = False,
) -> tuple[Picture, ...]:
    """Pictures with the labels of an existing map of classes; an unknown class is an error."""
    unknown = [name for name in found if name not in labels]
    if unknown and not partial:
        which = (
            f"{train_root} lacks" if train_root else f"the checkpoint does not know; it knows {listed(list(labels), 8)}"
        )
        raise DataError(
            f"{root} has classes that {which}: {listed(unknown)}.",
            "the classes are those of training; rename the folder or take it away",
        )
    return tuple(Picture(path, labels[name]) for name, paths in found.items() if name in labels for path in paths)


def _split(
    found: Mapping[str, list[Path]], labels: Mapping[str, int], seed: int
) -> tuple[tuple[Picture, ...], tuple[Picture, ...], list[str]]:
    """A stratified split: of each class a fifth, at least one picture, validates if the class has two."""
    train: list[Picture] = []
    val: list[Picture] = []
    single = [name for name, paths in found.items() if len(paths) == 1]
    for name, paths in found.items():
        order = list(paths)
        random.Random(derive(seed, "split", name)).shuffle(order)  # noqa: S311 - a split is no secret
        count = max(1, round(len(order) * VAL_SHARE)) if len(order) > 1 else 0
        chosen = set(order[:count])
        for path in paths:
            (val if path in chosen else train).append(Picture(path, labels[name]))
    notes = [f"too small to split, all for training: {listed(single)} (1 picture each)"] if single else []
    return tuple(train), tuple(val), notes
