"""What the cells of a table mean: a class, several labels, numbers, a picture's path, a half of the data."""

import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from zoo.data.splitting import HALVES
from zoo.names import is_text, near

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_YES_OR_NO = {"1": True, "0": False, "true": True, "false": False, "1.0": True, "0.0": False}


def class_in(cell: Any) -> str:
    """The class that a cell names; raises ValueError for an empty one, or one that is no name.

    >>> class_in(" ant "), class_in(3), class_in(True)
    ('ant', '3', 'true')
    """
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, int):
        return str(cell)
    if cell is None or (isinstance(cell, str) and not cell.strip()) or (isinstance(cell, float) and math.isnan(cell)):
        raise ValueError("the label is empty")
    if not isinstance(cell, str):
        raise ValueError(f"the label {cell!r:.40} is no text")
    if not is_text(cell):
        raise ValueError(f"the label {cell!r:.40} is no text: it has half a character")
    return cell.strip()


def labels_in(cell: Any, separator: str) -> tuple[str, ...]:
    """The labels that a cell names, each once; an empty cell names none.

    >>> labels_in("red | round", "|"), labels_in(["red", "round"], "|"), labels_in("", "|")
    (('red', 'round'), ('red', 'round'), ())

    Raises ValueError for what is no name.
    """
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return ()
    parts = cell.split(separator) if isinstance(cell, str) else cell if isinstance(cell, list) else [cell]
    return tuple(dict.fromkeys(class_in(part) for part in parts))


def flags_in(cells: Mapping[str, Any], columns: Sequence[str]) -> tuple[str, ...]:
    """The columns of 0 and 1 that say yes; raises ValueError for another value."""
    wrong = [name for name in columns if str(cells.get(name)).strip().lower() not in _YES_OR_NO]
    if wrong:
        raise ValueError(f"{wrong[0]} is {_shown(cells.get(wrong[0]))}, neither 0 nor 1")
    return tuple(name for name in columns if _YES_OR_NO[str(cells[name]).strip().lower()])


def numbers_in(cells: Mapping[str, Any], columns: Sequence[str]) -> tuple[float, ...]:
    """The numbers in some columns; raises ValueError that names the first that is none, or not finite."""
    return tuple(_number(cells.get(name), name) for name in columns)


def _number(cell: Any, name: str) -> float:
    if isinstance(cell, Decimal) or (isinstance(cell, str) and _NUMBER.fullmatch(cell.strip())):
        cell = float(cell)
    if isinstance(cell, int | float) and not isinstance(cell, bool) and abs(cell) <= sys.float_info.max:
        return float(cell)
    raise ValueError(f"{name} is {_shown(cell)}, which is no number")


def half_in(cell: Any) -> str:
    """The half of the data that a cell of the column `split` names; raises ValueError for another word."""
    word = str(cell).strip().lower() if cell is not None else ""
    if word not in HALVES:
        hint = near(word, HALVES)
        raise ValueError(
            f"split is {_shown(cell)}; it takes train, val or test" + (f"; near: {hint[0]}" if hint else "")
        )
    return HALVES[word]


def path_in(cell: Any, root: Path) -> str:
    """The path below a root that a cell names, in the one way there is to write it.

    >>> path_in("./ant/../bee/1.jpg", Path("imgs")), path_in("/data/imgs/1.jpg", Path("/data/imgs"))
    ('bee/1.jpg', '1.jpg')

    Raises ValueError for what is no path, or leads out of the root.
    """
    if not isinstance(cell, str) or not cell.strip() or "\0" in cell:
        raise ValueError("no picture is named" if cell in (None, "") else f"{_shown(cell)} is no path")
    # Absolute, since everything counts as below "."; links stay as they are.
    base = Path(os.path.abspath(root))  # noqa: PTH100
    path = Path(os.path.abspath(base / cell.strip()))  # noqa: PTH100
    if not path.is_relative_to(base) or path == base:
        raise ValueError(f"{_shown(cell)} does not lie below {base}")
    return path.relative_to(base).as_posix()


def _shown(cell: Any) -> str:
    return "empty" if cell in (None, "") else f"{cell!r:.60}"
