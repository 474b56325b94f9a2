"""What comes on standard input: paths of pictures, one a line, or the bytes of one picture."""

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from zoo.data.pictures import problems_of
from zoo.errors import DataError

BEGINNINGS = (
    b"\x89PNG\r\n",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"RIFF",
    b"P5\n",
    b"P6\n",
    b"P4\n",
)
"""How files of pictures begin. A path could begin so too only as nobody calls a folder, or as RIFF does."""


@dataclass(frozen=True)
class Line:
    """A path, and where it was read."""

    number: int
    path: Path


def is_picture(start: bytes) -> bool:
    """Whether the first 16 bytes of a stream are those of a picture.

    >>> is_picture(b"\\x89PNG\\r\\n\\x1a\\n"), is_picture(b"imgs/ant/1.png\\n"), is_picture(b"BMW/1.jpg")
    (True, False, False)
    """
    if start.startswith(b"RIFF"):
        return start[8:12] == b"WEBP"
    if start.startswith(b"BM"):
        # Four bytes of size, then four that are zero.
        return start[6:10] == b"\0\0\0\0"
    return start.startswith(BEGINNINGS)


def peeked(stream: BinaryIO, size: int = 16) -> tuple[bytes, BinaryIO]:
    """The first bytes of a stream, and a stream that still has them; fewer where it is shorter."""
    import io

    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)  # type: ignore[type-var]
    return buffered.peek(size)[:size], buffered


def lines_of(stream: BinaryIO) -> Iterator[Line]:
    """The paths on the lines of a stream, blank ones left out; names need not be UTF-8.

    >>> import io
    >>> [(line.number, str(line.path)) for line in lines_of(io.BytesIO(b"a.png\\n\\nb c.png"))]
    [(1, 'a.png'), (3, 'b c.png')]
    """
    for number, text in enumerate(stream, 1):
        name = text.rstrip(b"\r\n")
        if b"\0" in name:
            raise DataError("the paths on standard input have NUL between them.", "one a line: find without -print0")
        if name.strip():
            yield Line(number, Path(os.fsdecode(name)))


def parts_of(lines: Iterator[Line], size: int) -> Iterator[list[Line]]:
    """So many lines at a time, each looked at: every one names a picture that can be read.

    Raises DataError that lists those that do not, by their numbers.
    """
    while part := [*itertools.islice(lines, size)]:
        _check(part)
        yield part


def _check(part: Sequence[Line], most: int = 10) -> None:
    reasons = problems_of([line.path for line in part])
    wrong = [f"line {line.number}: {line.path}   {reasons[line.path]}" for line in part if line.path in reasons]
    if wrong:
        more = [f"… and {len(wrong) - most:,} more"] if len(wrong) > most else []
        many = "a line names" if len(wrong) == 1 else f"{len(wrong):,} lines name"
        raise DataError(
            f"on standard input {many} no picture that can be read:",
            *wrong[:most],
            *more,
            "give paths of pictures, one a line: find ./imgs -name '*.jpg' | zoo predict RUN -",
        )
