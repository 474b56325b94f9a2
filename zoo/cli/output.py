"""How commands print: tables on a terminal, plain lines in a pipe, one object for programs."""

import json
import os
import sys
from typing import Any

from rich.console import Console
from rich.table import Table


def console(*, stderr: bool = False) -> Console:
    """A console that is as wide as the terminal; a pipe gets lines that nothing folds."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else 160
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=not stream.isatty())


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """A table without lines around it; the columns named in `right` hold numbers."""
    made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def print_json(value: Any) -> None:
    """One JSON object as the end of standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def count(number: int) -> str:
    """A count of parameters as people write it.

    >>> count(8194), count(138357544), count(500)
    ('8.2 k', '138.4 M', '500')
    """
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)


def megabytes(number: int) -> str:
    """Bytes as people write them.

    >>> megabytes(537_000_000), megabytes(41_000_000_000)
    ('537 MB', '41.0 GB')
    """
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.3g} MB"


def duration(seconds: float) -> str:
    """A time span as people write it.

    >>> duration(7.4), duration(211), duration(4000)
    ('7.4 s', '3 min 31 s', '1 h 6 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
