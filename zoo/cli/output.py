"""How commands print: tables on a terminal, plain lines in a pipe, one object for programs."""

import json
import os
import sys
from typing import Any

from rich.console import Console
from rich.table import Table


class _Lasting(Console):
    """A console whose reader may go: what is printed is lost then, what is done goes on."""

    def on_broken_pipe(self) -> None:
        """Print nothing more."""
        self.quiet = True
        stream = sys.stderr if self.stderr else sys.stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def console(*, stderr: bool = False, lasting: bool = False) -> Console:
    """A console that is as wide as the terminal; what goes into a pipe or a file is never folded.

    A `lasting` one is for work of hours, which must not end because the reader of a pipe does.
    """
    stream = sys.stderr if stderr else sys.stdout
    kind = _Lasting if lasting else Console
    return kind(stderr=stderr, width=None if stream.isatty() else 10_000, highlight=False)


def table(*columns: str, right: tuple[str, ...] = (), whole: tuple[str, ...] = ()) -> Table:
    """A table without lines around it; the columns named in `right` hold numbers, those in `whole` are not folded."""
    made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(
            column, justify="right" if column in right else "left", overflow="fold", no_wrap=column in whole
        )
    return made


def print_json(value: Any) -> None:
    """One JSON object as the end of standard output, whose texts cannot move a terminal's cursor."""
    text = json.dumps(value, ensure_ascii=False)
    sys.stdout.write("".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text) + "\n")
