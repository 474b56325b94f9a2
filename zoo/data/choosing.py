"""Which classes a run uses, of those that folders or a table have."""

from collections.abc import Sequence
from pathlib import Path

from zoo.errors import DataError, UsageError
from zoo.names import listed, near_hint
from zoo.registry import Task


def chosen(found: Sequence[str], classes: Sequence[str] | int | None, place: Path, lacking: str) -> tuple[str, ...]:
    """The classes that are named, in that order, or all that were found, where a count must be theirs.

    >>> chosen(["ant", "bee", "cow"], ["cow", "ant"], Path("imgs"), "has no folder")
    ('cow', 'ant')

    Raises UsageError for another count, for a name that the place `lacking` says it does not have, or one named twice.
    """
    if isinstance(classes, int) and classes != len(found):
        raise UsageError(f"classes is {classes}, and {place} has {_classes(len(found))}: {listed(found)}.")
    if classes is None or isinstance(classes, int):
        return tuple(found)
    absent = [name for name in classes if name not in found]
    if absent:
        hints = near_hint(absent[0], found) or (f"it has: {listed(found, 12)}",)
        raise UsageError(f"classes names {listed(absent)}, of which {place} {lacking}.", *hints)
    if len(set(classes)) < len(classes):
        raise UsageError(f"classes names a class twice: {', '.join(classes)}.")
    return tuple(classes)


def require_two(names: Sequence[str], place: Path, task: Task, hint: str | None = None) -> None:
    """Raise DataError for a binary task that has other than two classes."""
    if task == "binary" and len(names) != 2:
        raise DataError(
            f"{place} has {_classes(len(names))} ({listed(names)}), and a binary task has two.",
            hint or "name two of them as classes, like ant,bee: the second is the positive one; or leave task out",
        )


def _classes(count: int) -> str:
    return f"{count} class{'es' * (count != 1)}"
