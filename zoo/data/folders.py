"""Class folders: which pictures there are, of which class, for training and for validation."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from zoo.data.choosing import chosen, require_two
from zoo.data.datasets import Dataset, Picture
from zoo.data.splitting import HALVES, by_class
from zoo.data.walking import SUFFIXES, files_below, possible, refuse, subfolders
from zoo.errors import DataError
from zoo.files import RECIPE
from zoo.names import is_text, listed, natural, near_hint, printable
from zoo.registry import Task
from zoo.units import some


def find_in_folders(
    root: Path, *, classes: Sequence[str] | int | None = None, seed: int = 0, task: Task = "single-label"
) -> Dataset:
    """The pictures below a folder, split for training and validation.

    The folder has a folder for each class, or `train/` and `val/` with those in each. Without `val/` a
    fifth of each class, drawn by the seed, validates. `classes` names the classes to use in this order, or
    says how many there must be.

    Raises DataError for what cannot be trained on.
    """
    _check_folder(root)
    _require_one_class(root, task)
    train_root, val_root = _split_roots(root)
    notes = _beside(root) if train_root != root else []
    wanted = None if classes is None or isinstance(classes, int) else set(classes)
    found, more = _class_folders(train_root, wanted)
    names = chosen(list(found), classes, train_root, "has no folder")
    if len(names) < 2:
        raise DataError(
            f"{train_root} has one class, {names[0]!r}; telling classes apart takes two or more."
            if classes is None
            else f"classes names one class, {names[0]!r}; telling classes apart takes two or more.",
            _one_too_high(train_root, names[0]) if classes is None else "name another one, or none",
        )
    require_two(names, train_root, task)
    pictures = {name: found[name] for name in names}
    labels = {name: label for label, name in enumerate(names)}
    if val_root is None:
        train, val, split_notes = by_class(pictures, labels, seed)
        how = f"split {len(train):,} / {len(val):,}, stratified, seed {seed}"
        how = how if train_root == root else f"{train_root.name}/ {how}"
    else:
        train = tuple(Picture(path, labels[name]) for name, paths in pictures.items() for path in paths)
        val, split_notes = _validating(val_root, train_root, labels, wanted)
        how = f"{len(train):,} in {train_root.name}/, {len(val):,} in {val_root.name}/"
    if not val:
        raise DataError(
            f"{root} leaves no picture for validation: every class has one picture.",
            "give each class two pictures or more, or a val/ folder",
        )
    return Dataset(root, names, train, val, how, (*notes, *more, *split_notes), task)


def _validating(
    val_root: Path, train_root: Path, labels: Mapping[str, int], wanted: Collection[str] | None
) -> tuple[tuple[Picture, ...], list[str]]:
    """The pictures of a folder of its own for validation; of classes that were chosen, those alone."""
    found, notes = _class_folders(val_root, wanted)
    val = _labelled(found, labels, val_root, train_root, partial=wanted is not None)
    absent = [name for name in labels if name not in found]
    return val, notes + ([f"{val_root.name}/ has no picture of {listed(absent)}"] if absent else [])


def labelled_in_folders(
    root: Path, classes: Sequence[str], split: str | None = None, task: Task = "single-label"
) -> tuple[Dataset, str]:
    """The pictures to evaluate on, labelled by the classes of a checkpoint, and the name of what was read.

    Where the folder has `test/` or `val/`, that is read, `test` before `val`, unless `split` says which.

    Raises DataError when a class is unknown to the checkpoint or nothing is found.
    """
    _check_folder(root)
    _require_one_class(root, task)
    halves = _halves(root)
    with possible(split or str(root)):
        named = split is not None and _has_classes(root / split)
    # A folder's own name goes before what it is called by.
    place = root / split if split and named else halves.get(HALVES.get((split or "test").lower(), ""))
    if split and place is None:
        raise DataError(
            f"{root} has no folder {split}/ with class folders.", f"it has: {listed(subfolders(root)) or 'no folders'}"
        )
    place = place or halves.get("val", root)
    found, notes = _class_folders(place)
    pictures = _labelled(found, {name: label for label, name in enumerate(classes)}, place, None)
    return Dataset(root, tuple(classes), (), pictures, some(len(pictures), "picture"), tuple(notes), task), str(place)


def labels_below(root: Path, classes: Sequence[str]) -> dict[str, int]:
    """What `find_in_folders` would take for these classes now: paths below the root with their labels, unsplit.

    A class whose folder is gone or empty has none.

    Raises DataError for a root that is no folder or mixes a split with class folders.
    """
    _check_folder(root)
    return {
        path.relative_to(root).as_posix(): label
        for place in _split_roots(root)
        if place
        for label, name in enumerate(classes)
        for path in files_below(place / name)[0]
    }


def _split_roots(root: Path) -> tuple[Path, Path | None]:
    """The folders for training and for validation.

    Raises DataError when there are others than those of training, whose pictures classes beside them may repeat.
    """
    halves = _halves(root)
    if "train" in halves:
        return halves["train"], halves.get("val")
    if halves:
        raise DataError(
            f"{root} has {listed([each.name + '/' for each in halves.values()])} with class folders, but no train/.",
            "move the class folders of training into train/, or give the folder above a single set",
        )
    return root, None


def _halves(root: Path) -> dict[str, Path]:
    """The folders that hold parts of the data, by what they are for; one without class folders is a class itself.

    Raises DataError for two that are for the same.
    """
    found: dict[str, Path] = {}
    for name in subfolders(root):
        half = HALVES.get(name.lower())
        if half is None or not _has_classes(root / name):
            continue
        if half in found:
            raise DataError(
                f"{root} has {found[half].name}/ and {name}/, which are both for {half}.", "take one of them away"
            )
        found[half] = root / name
    return found


def _has_classes(folder: Path) -> bool:
    return folder.is_dir() and bool(subfolders(folder))


def _beside(root: Path) -> list[str]:
    """Refuse folders of pictures beside the one of training, but for a test's; tell of single pictures there."""
    halves = _halves(root)
    for name in subfolders(root):
        half = HALVES.get(name.lower())
        if root / name in halves.values() or half == "test" or _holds_runs(root / name):
            continue
        if not files_below(root / name)[0]:
            continue
        train = halves["train"].name
        if half == "val":
            raise DataError(
                f"{root / name} has pictures, but no class folders as {train}/ has.",
                f"make one folder a class in it, or take it away: a fifth of {train}/ validates then",
            )
        raise DataError(
            f"{root} has pictures in {name}/, beside the class folders of {train}/.",
            f"move the folder into {train}/ if it is a class, or take it away",
        )
    return _loose(root)


def _require_one_class(root: Path, task: Task) -> None:
    if task in ("multi-label", "regression"):
        raise DataError(
            f"{root} is a folder, which says one class a picture; the task {task} needs a table.",
            "give one with a column of pictures and one of labels: --data labels.csv",
        )


def _check_folder(root: Path) -> None:
    with possible(str(root)):
        exists = root.exists()
    if not exists:
        parent = root.parent if root.parent.is_dir() else Path()
        raise DataError(f"there is no folder {root}.", *near_hint(root.name, subfolders(parent)))
    if not root.is_dir():
        raise DataError(
            f"{root} is a file, not a folder.",
            "give the folder that has a folder for each class, or a table: .csv, .tsv, .jsonl, .parquet",
        )


def _class_folders(root: Path, wanted: Collection[str] | None = None) -> tuple[dict[str, list[Path]], list[str]]:
    """The pictures of each class folder, and notes on what else lies there; only the wanted ones may not be empty."""
    found: dict[str, list[Path]] = {}
    others: list[Path] = []
    # A folder's name is a class's, which is written down and drawn by.
    unnamed = [printable(name) for name in subfolders(root) if not is_text(name)]
    if unnamed:
        raise DataError(f"{root} has folders whose names are no UTF-8: {listed(unnamed)}.", "rename them")
    runs: list[str] = []
    for name in subfolders(root):
        if (wanted is None or name not in wanted) and _holds_runs(root / name):
            runs.append(f"{name}/")
            continue
        found[name], ignored = files_below(root / name)
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
        [f"{some(len(others), 'file')} not named as a picture is: {listed([printable(p.name) for p in others], 3)}"]
        if others
        else []
    )
    notes += _loose(root) + _misread(root, list(found))
    if runs:
        notes.append(f"what was trained before lies there too, and is no class: {listed(runs)}")
    return found, notes


def _one_too_high(root: Path, name: str) -> str:
    """What to do about a folder with one class, which may be the folder of classes itself."""
    if _has_classes(root / name):
        return f"if {name}/ is the folder of the classes, give that: --data {root / name}"
    return "make one folder a class: imgs/ant/1.jpg, imgs/bee/7.jpg"


def _loose(root: Path) -> list[str]:
    """What is said of pictures that lie beside the folders; raises DataError for a link that leads nowhere."""
    visible = [path for path in root.iterdir() if not path.name.startswith(".")]
    loose = [path.name for path in visible if path.suffix.lower() in SUFFIXES and not path.is_dir()]
    dangling = [path.name for path in visible if path.is_symlink() and not path.exists()]
    if nowhere := sorted(set(dangling) - set(loose)):
        raise DataError(f"{root} has links that lead nowhere: {listed(nowhere)}.", "mend them, or take them away")
    names = listed([printable(name) for name in sorted(loose, key=natural)], 3)
    return [f"{some(len(loose), 'picture')} in no folder of {root.name or root}/ left out: {names}"] if loose else []


def _misread(root: Path, names: Sequence[str]) -> list[str]:
    """What is said of folders that are taken for classes, and may have been meant otherwise."""
    halves = [f"{name}/" for name in names if name.lower() in HALVES]
    notes = [f"{listed(halves)} has no class folders, so it is taken for a class"] if halves else []
    inner = [subfolders(root / name) for name in names]
    if len(inner) > 1 and len(inner[0]) > 1 and all(each == inner[0] for each in inner):
        notes.append(f"each class has the folders {listed(inner[0])} in it, whose pictures count for {listed(names)}")
    return notes


def _holds_runs(folder: Path) -> bool:
    """Whether runs are kept in a folder, or it is one: who trains on `.` has them beside the classes."""
    try:
        return (folder / RECIPE).is_file() or next(folder.glob(f"*/{RECIPE}"), None) is not None
    except PermissionError as error:
        refuse(error)


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
