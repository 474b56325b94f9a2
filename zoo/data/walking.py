"""Which pictures lie below folders, and which ones paths and globs mean."""

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from zoo.errors import DataError, UsageError
from zoo.names import natural

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jfif"})
WAYS = "give files, folders, or globs in quotes like './imgs/*.jpg'"


def pictures_of(arguments: Iterable[str]) -> list[Path]:
    """The picture files that paths, folders and globs mean, in order and each once.

    Raises DataError for one that means nothing, UsageError for one that is empty or too long.
    """
    found: dict[Path, None] = {}
    for argument in arguments:
        if not argument:
            raise UsageError("a picture's path is empty.", "give files, folders or globs; . is the folder you are in")
        with possible(argument):
            found.update(dict.fromkeys(_matches(argument)))
    return list(found)


def _matches(argument: str) -> list[Path]:
    path = Path(argument).expanduser()
    if path.is_dir():
        matches = files_below(path)[0]
        if not matches:
            raise DataError(f"{argument} has no picture.", f"pictures end in {', '.join(sorted(SUFFIXES))}")
        return matches
    matches = [path] if path.exists() else _glob(path)
    if not matches:
        raise DataError(
            f"{argument} is no picture: there is no such file, folder or match.",
            WAYS,
        )
    return matches


@contextlib.contextmanager
def possible(place: str) -> Iterator[None]:
    """Refuse what can be no path and no glob, where the body asks the system for it."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise DataError(f"{place} is no path and no glob: {str(error).rstrip('.')}.", WAYS) from error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise UsageError(f"{place[:40]!r}… is longer than a path can be.", "give a shorter one") from error


def subfolders(root: Path) -> list[str]:
    """The names of the visible folders in a folder, in their natural order."""
    # A class may have a hundred thousand pictures: a scan asks the system about links alone, not about each of them.
    try:
        with os.scandir(root) as entries:
            return sorted((each.name for each in entries if _is_visible(each.name) and each.is_dir()), key=natural)
    except PermissionError as error:
        refuse(error)


def _is_visible(name: str) -> bool:
    return not name.startswith((".", "__MACOSX"))


def files_below(root: Path) -> tuple[list[Path], list[Path]]:
    """The pictures below a folder and the visible files that are none, by their names, in a stable order.

    Links to folders are followed, each folder is looked into once; what cannot be read is an error.
    """
    if not root.is_dir():
        return [], []
    pictures: list[Path] = []
    others: list[Path] = []
    seen = {_identity(each) for each in (root, *root.resolve().parents)}

    def unseen(folder: Path) -> bool:
        """Whether a folder, which may be a link, is looked into for the first time."""
        before = len(seen)
        seen.add(_identity(folder))
        return len(seen) > before

    for place, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        visible = sorted(filter(_is_visible, folders), key=natural)
        folders[:] = [each for each in visible if unseen(Path(place) / each)]
        for name in sorted(filter(_is_visible, names), key=natural):
            (pictures if Path(name).suffix.lower() in SUFFIXES else others).append(Path(place) / name)
    return pictures, [path for path in others if path.name.lower() not in ("thumbs.db", "desktop.ini")]


def _identity(folder: Path) -> tuple[int, int]:
    facts = folder.stat()
    return facts.st_dev, facts.st_ino


def refuse(error: OSError) -> NoReturn:
    """Raise for a folder that cannot be read, whose pictures would be left out without a word."""
    raise DataError(f"{error.filename} cannot be read: {error.strerror}.", "make it readable, or take it away")


def _glob(path: Path) -> list[Path]:
    root = Path(path.anchor) if path.is_absolute() else Path()
    relative = str(path.relative_to(path.anchor)) if path.is_absolute() else str(path)
    return [each for each in sorted(root.glob(relative)) if each.is_file() and each.suffix.lower() in SUFFIXES]
