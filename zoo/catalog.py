"""The presets that a person reads, copies and edits: heads, recipes, and the bundled checkpoints.

A checkout keeps them in folders beside `zoo/`; an installed wheel carries the same folders in
`zoo/_catalog/`.
"""

import tomllib
from pathlib import Path
from typing import Any

from zoo.errors import UsageError
from zoo.names import near_hint


def folder(kind: str) -> Path:
    """The folder of one kind of preset: `heads`, `recipes` or `checkpoints`.

    >>> (folder("heads") / "linear.toml").is_file()
    True
    """
    package = Path(__file__).parent
    installed = package / "_catalog" / kind
    return installed if installed.is_dir() else package.parent / kind


def names(kind: str) -> list[str]:
    """The names of the presets of one kind.

    >>> names("heads")
    ['attention-pool', 'concat-pool', 'cosine', 'dropout-linear', 'linear', 'mlp', 'norm-linear']
    """
    return sorted(path.stem for path in folder(kind).glob("*.toml"))


def text(kind: str, name: str) -> str:
    """A preset's file as it stands.

    Raises UsageError with near names for one that does not exist.
    """
    if name not in names(kind):
        raise UsageError(
            f"no {kind[:-1]} is called {name!r}.",
            *near_hint(name, names(kind)),
            f"{kind}: {', '.join(names(kind))}",
        )
    return (folder(kind) / f"{name}.toml").read_text(encoding="utf-8")


def is_file(name: str) -> bool:
    """Whether the name of a preset means a file of the user's own.

    >>> is_file("mlp"), is_file("./mine.toml")
    (False, True)
    """
    path = Path(name).expanduser()
    try:
        return path.suffix == ".toml" or path.is_file()
    except OSError:
        # A name that is too long, for one.
        return False


def find(kind: str, name: str) -> str:
    """The text of a preset, or of a file of the user's own.

    Raises UsageError for one that does not exist, or is no text.
    """
    if not is_file(name):
        return text(kind, name)
    path = Path(name).expanduser()
    if not path.is_file():
        raise UsageError(f"there is no {kind[:-1]} {path}.", f"{kind}: {', '.join(names(kind))}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"the {kind[:-1]} {path} is no text: {error.reason}.") from error


def read(kind: str, name: str) -> dict[str, Any]:
    """A preset's values."""
    return tomllib.loads(text(kind, name))
