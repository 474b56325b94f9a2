"""The header of a safetensors file, checked in full before anything is allocated or handed to the library.

The format is https://huggingface.co/docs/safetensors#format: the header's length in eight bytes, the header as
JSON, then the tensors without a gap. The library itself takes two tensors of one name, the last of which wins.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import CheckpointError
from zoo.names import printable

LONGEST = 16_000_000
"""Bytes of a header: those of a hundred thousand tensors. What is longer would cost more to read than it is worth."""
_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
_ENTRY = {"dtype", "shape", "data_offsets"}
_LONGEST_ENTRY = 2000
_BLANKS = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class Entry:
    """One tensor as a header describes it; its bytes are counted from the header's end."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a safetensors file holds."""

    tensors: Mapping[str, Entry]
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """The header of a safetensors file; raises CheckpointError that says what is wrong with the file."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            _check_length(length, size)
            header = _parsed(file.read(length).decode("utf-8"))
        _check_layout(header, size - 8 - length)
    except (OSError, ValueError) as error:
        reason = "its header is no UTF-8" if isinstance(error, UnicodeDecodeError) else printable(str(error))
        raise CheckpointError(
            f"{path} is no safetensors file or is damaged: {reason}.", "get the file again, or ask its author"
        ) from error
    return header


def _check_length(length: int, size: int) -> None:
    if size < 10:
        raise ValueError(f"it has {size} bytes, too few for a header")
    if length > size - 8:
        raise ValueError(f"its header would have {length:,} bytes, the whole file has {size:,}")
    if not 2 <= length <= LONGEST:
        raise ValueError(f"its header would have {length:,} bytes; 2 to {LONGEST:,} are allowed")


def _parsed(text: str) -> Header:
    reader = _Reader(text)
    tensors: dict[str, Entry] = {}
    metadata: dict[str, str] = {}
    for name in reader.names():
        if name == "__metadata__":
            metadata = {key: reader.string() for key in reader.names()}
        else:
            tensors[name] = _entry(name, reader.bounded())
    if reader.at < len(text.rstrip(" ")):
        raise ValueError("something follows the end of its header")
    return Header(tensors, metadata)


class _Reader:
    """Reads JSON of the one form that a header has, so that no other is ever built in memory."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def next(self) -> str:
        """The next character that is not blank."""
        blanks = _BLANKS.match(self.text, self.at)
        self.at = blanks.end() if blanks else self.at
        return self.text[self.at : self.at + 1]

    def take(self, wanted: str) -> None:
        """Go past a character that must come next."""
        if self.next() != wanted:
            raise ValueError(f"its header has no {wanted} where one belongs (character {self.at})")
        self.at += 1

    def string(self) -> str:
        """A string."""
        if self.next() != '"':
            raise ValueError(f"its header has no text where one belongs (character {self.at})")
        found, self.at = json.JSONDecoder().raw_decode(self.text, self.at)
        return str(found)

    def names(self) -> Iterator[str]:
        """The keys of an object; who takes one reads its value before the next. None may come twice."""
        seen: set[str] = set()
        self.take("{")
        while self.next() != "}":
            if seen:
                self.take(",")
            key = self.string()
            if key in seen:
                raise ValueError(f"its header has {key!r:.80} twice")
            seen.add(key)
            self.take(":")
            yield key
        self.take("}")

    def bounded(self) -> Any:
        """A small object, up to its first closing brace."""
        if self.next() != "{":
            raise ValueError(f"its header has no object where one belongs (character {self.at})")
        end = self.text.find("}", self.at, self.at + _LONGEST_ENTRY) + 1
        if not end:
            raise ValueError(f"an entry of its header is too long (character {self.at})")
        entry = self.text[self.at : end]
        self.at = end
        try:
            return json.loads(entry, object_pairs_hook=_once)
        except RecursionError as error:
            raise ValueError("an entry of its header is nested too deeply") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object none of whose keys comes twice."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("an entry of its header has a key twice")
    return dict(pairs)


def _entry(name: str, given: Any) -> Entry:
    if given.keys() != _ENTRY:
        raise ValueError(f"{name!r:.80} has {', '.join(given)[:80] or 'nothing'}, not dtype, shape and data_offsets")
    dtype, shape, offsets = given["dtype"], given["shape"], given["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise ValueError(f"{name!r:.80} is of the unknown dtype {dtype!r:.80}")
    for called, numbers in (("shape", shape), ("data_offsets", offsets)):
        # True is a number to Python, and 1.0 equals one.
        if not isinstance(numbers, list) or any(type(each) is not int or not 0 <= each < 2**63 for each in numbers):
            raise ValueError(f"{name!r:.80} has the {called} {numbers!r:.80}, which are no counts")
    if len(offsets) != 2:
        raise ValueError(f"{name!r:.80} has {len(offsets)} data_offsets, not 2")
    begin, end = offsets
    bits = math.prod(shape) * _BITS[dtype]
    if math.prod(max(edge, 1) for edge in shape) >= 2**60 or bits != 8 * (end - begin):
        raise ValueError(f"{name!r:.80} has the shape {shape!r:.80} of {dtype}, which do not fill {end - begin} bytes")
    return Entry(dtype, tuple(shape), begin, end)


def _check_layout(header: Header, space: int) -> None:
    """The tensors must follow one another without a gap, from the header's end to the file's."""
    at = 0
    for name, entry in sorted(header.tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != at:
            what = "overlaps the tensor before it" if entry.begin < at else "leaves a hole before it"
            raise ValueError(f"{name!r:.80} {what}")
        at = entry.end
    if at > space:
        raise ValueError(f"it is cut off: {at - space:,} bytes are missing")
    if at < space:
        raise ValueError(f"{space - at:,} bytes follow its last tensor")
