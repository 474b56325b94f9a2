"""Dotted names, globs over them, near matches for what was mistyped, and how any of them may be shown."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from zoo.errors import UsageError


def is_under(name: str, path: str) -> bool:
    """Whether a dotted name is the path itself or lies below it; the empty path holds everything.

    >>> is_under("layer4.0.conv1", "layer4"), is_under("layer40", "layer4")
    (True, False)
    """
    return not path or name == path or name.startswith(path + ".")


def upwards(name: str) -> Iterator[str]:
    """All paths that a dotted name is under: itself, then one part less each time, the empty path last.

    >>> list(upwards("layer4.0.conv1"))
    ['layer4.0.conv1', 'layer4.0', 'layer4', '']
    """
    while name:
        yield name
        name = name.rpartition(".")[0]
    yield ""


def join(path: str, name: str) -> str:
    """Two parts of a dotted name as one; either may be empty.

    >>> join("", "fc"), join("layer4", "0")
    ('fc', 'layer4.0')
    """
    return f"{path}.{name}" if path and name else path or name


def is_glob(text: str) -> bool:
    """Whether a text holds a wildcard.

    >>> is_glob("features.*"), is_glob("features")
    (True, False)
    """
    return any(character in text for character in "*?[")


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """The names that a pattern means: a glob over whole dotted names, or a path with all below it.

    >>> matching("layer4.*", ["layer3.0.bias", "layer4.0.bias"])
    ['layer4.0.bias']
    >>> matching("layer4", ["layer3.0.bias", "layer4.0.bias"])
    ['layer4.0.bias']
    """
    if is_glob(pattern):
        return [name for name in names if fnmatchcase(name, pattern)]
    return [name for name in names if is_under(name, pattern)]


def near(word: str, candidates: Iterable[str], count: int = 3) -> list[str]:
    """The candidates most like a word, best first.

    >>> near("resnet81", ["vgg16", "resnet18", "resnet101"])
    ['resnet18', 'resnet101']
    """
    by_folded: dict[str, str] = {}
    for candidate in candidates:
        by_folded.setdefault(candidate.lower(), candidate)
    found = difflib.get_close_matches(word.lower(), by_folded, n=count, cutoff=0.6)
    return [by_folded[name] for name in found]


def near_hint(word: str, candidates: Iterable[str]) -> tuple[str, ...]:
    """A hint line that names near matches, or none, to be passed on to an error.

    >>> near_hint("lienar", ["linear", "mlp"])
    ('near: linear',)
    """
    found = near(word, candidates)
    return (f"near: {', '.join(found)}",) if found else ()


def one_of(word: str, choices: Sequence[str]) -> str:
    """What is wrong with a word that is none of these, in words that follow 'KEY is WORD'.

    >>> one_of("cosin", ["cosine", "constant"])
    'it takes cosine, constant; near: cosine'
    """
    return "; ".join((f"it takes {', '.join(choices)}", *near_hint(word, choices)))


def near_folders(path: Path) -> tuple[str, ...]:
    """A hint line with the folders beside a path that does not exist whose names are near, or none.

    >>> near_folders(Path("zoo/registri"))
    ('near: zoo/registry',)
    """
    if not path.parent.is_dir():
        return ()
    found = near(path.name, (each.name for each in path.parent.iterdir() if each.is_dir() and each.name != path.name))
    return (f"near: {', '.join(str(path.parent / name) for name in found)}",) if found else ()


def listed(words: Sequence[str], most: int = 5) -> str:
    """Words as a person lists them, the rest counted.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    shown = ", ".join(words[:most])
    return f"{shown} and {len(words) - most:,} more" if len(words) > most else shown


def natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """A key that sorts 2 before 10, and two names always in one order: 01 before 1.

    >>> sorted(["b10", "b2", "a"], key=natural)
    ['a', 'b2', 'b10']
    """
    parts = [part for part in re.split(r"(\d+)", name) if part]
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts], name


def require_order(key: str, names: object) -> None:
    """Raise UsageError for a set, whose order is another in each process; outputs and columns go by theirs."""
    if isinstance(names, set | frozenset):
        raise UsageError(f"{key} is a set, {listed(sorted(map(str, names)))}, which has no order.", "give a list")


def is_text(name: str) -> bool:
    r"""Whether a name can be written as UTF-8; those of files and in JSON may hold halves of characters.

    >>> is_text("Wespe 🐝"), is_text("b\udce9e")
    (True, False)
    """
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def printable(text: str) -> str:
    r"""A text out of a file as it may be shown on a terminal: what is no visible character is written as its code.

    >>> printable("bee\x1b[2J\n"), printable("Wespe 🐝")
    ('bee\\x1b[2J\\n', 'Wespe 🐝')
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
