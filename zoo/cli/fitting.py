"""Lines that fit the terminal they go to; what goes into a pipe or a file is never folded."""

import shutil
import sys
import textwrap


def columns() -> int | None:
    """The width of the terminal; None where standard output is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fitted(line: str, indent: int = 0) -> str:
    """A line folded between its words where it is wider than the terminal, its further lines indented."""
    width = columns()
    if width is None or len(line) <= width:
        return line
    hanging = " " * min(indent, width // 3)
    return textwrap.fill(line, width, subsequent_indent=hanging, break_on_hyphens=False)
