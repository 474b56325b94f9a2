"""The directory of a zip archive as torch writes it, checked before anything of the archive is read.

An archive states its members' names, places and sizes, and its readers believe it. Nothing that torch writes is
compressed, encrypted, linked or there twice, and no two members share bytes; what is else is refused, which is
what keeps a small file from becoming a large one in memory. The format is PKWARE's APPNOTE.TXT, sections 4.3 to 4.5.
"""

import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from zoo.names import printable

MAGIC = b"PK\x03\x04"
MOST = 200_000
"""Members of an archive: more tensors than any model has."""
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_STORED = 0


@dataclass(frozen=True)
class Member:
    """One file of an archive."""

    name: str
    header: int
    """Where its own header begins in the archive."""
    start: int
    """Where its bytes begin."""
    size: int
    compressed: bool = False


class Forged(ValueError):  # noqa: N818 - a state of a file, as a reader says it
    """No archive as torch writes it."""


def members_of(stream: BinaryIO, size: int, *, only_stored: bool = True) -> Mapping[str, Member]:
    """The members of an archive by their names below its one folder; raises Forged.

    With `only_stored` none may be compressed, which those of a TorchScript program are.
    """
    count, start, length = _end_of(stream, size)
    # The count is believed for nothing but to refuse: each entry takes 46 bytes of a directory that is there.
    if count > MOST or count * _ENTRY.size > length:
        raise Forged(f"it claims {count:,} members; at most {MOST:,} are allowed, and room for them")
    stream.seek(start)
    directory = stream.read(length)
    found: dict[str, Member] = {}
    folded: set[str] = set()
    place = 0
    for _ in range(count):
        member, place = _entry(stream, directory, place, start)
        if member.compressed and only_stored:
            raise Forged(f"its member {printable(member.name)[:80]} is compressed")
        # Readers differ in whether A and a are one name, and torch's are case-blind.
        if member.name.casefold() in folded:
            raise Forged(f"its member {printable(member.name)[:80]} is there twice")
        folded.add(member.name.casefold())
        found[member.name] = member
    if place != length:
        raise Forged("its directory is longer than its members")
    _check_apart(found)
    return _below_one_folder(found)


def _end_of(stream: BinaryIO, size: int) -> tuple[int, int, int]:
    """Count, start and length of the directory, from the records at the very end of the file."""
    if size < _END.size:
        raise Forged("it is cut off")
    stream.seek(max(0, size - _END.size - _LOCATOR.size))
    tail = stream.read(_END.size + _LOCATOR.size)
    magic, disk, first_disk, here, count, length, start, comment = _END.unpack(tail[-_END.size :])
    if magic != b"PK\x05\x06" or comment or disk or first_disk or here != count:
        raise Forged("its directory is not at its end; it is cut off, or something was added")
    end = size - _END.size
    if tail[:4] == b"PK\x06\x07":
        _, _, where, _ = _LOCATOR.unpack(tail[: _LOCATOR.size])
        end = size - _END.size - _LOCATOR.size - _END_64.size
        if where != end or end < 0:
            raise Forged("its two directories do not agree")
        stream.seek(where)
        wide = _END_64.unpack(stream.read(_END_64.size))
        narrow = ((count, 0xFFFF), (length, 0xFFFFFFFF), (start, 0xFFFFFFFF))
        if wide[0] != b"PK\x06\x06" or wide[1] != _END_64.size - 12 or wide[4:6] != (0, 0) or wide[6] != wide[7]:
            raise Forged("its two directories do not agree")
        if any(short not in (full, most) for (short, most), full in zip(narrow, wide[7:], strict=True)):
            raise Forged("its two directories do not agree")
        count, length, start = wide[7:]
    if start + length != end:
        raise Forged("its directory is not where it says")
    return count, start, length


def _entry(stream: BinaryIO, directory: bytes, place: int, limit: int) -> tuple[Member, int]:
    """One member of the directory and the place of the next; its bytes lie before `limit`."""
    if place + _ENTRY.size > len(directory):
        raise Forged("its directory is cut off")
    (magic, _, _, flags, method, _, _, _, packed, size, name_length, extra_length, note_length,
     disk, _, attributes, header) = _ENTRY.unpack_from(directory, place)  # fmt: skip
    after_name = place + _ENTRY.size + name_length
    after = after_name + extra_length + note_length
    raw = directory[place + _ENTRY.size : after_name]
    if magic != b"PK\x01\x02" or after > len(directory) or disk:
        raise Forged("its directory is damaged")
    name = _checked_name(raw)
    packed, size, header = _widened(directory[after_name : after_name + extra_length], size, packed, header)
    if flags & 0x41 or stat.S_ISLNK(attributes >> 16):
        raise Forged(f"its member {printable(name)[:80]} is {'encrypted' if flags & 0x41 else 'a link'}")
    if method == _STORED and packed != size:
        raise Forged(f"its member {printable(name)[:80]} has two sizes")
    start = _start_of(stream, header, raw, limit)
    if start + packed > limit:
        raise Forged(f"its member {printable(name)[:80]} is larger than the file")
    return Member(name, header, start, packed, method != _STORED), after


def _widened(extra: bytes, size: int, packed: int, header: int) -> tuple[int, int, int]:
    """Packed size, size and place, each from the zip64 field where the short one is full."""
    numbers = [size, packed, header]
    full = [place for place, number in enumerate(numbers) if number == 0xFFFFFFFF]
    wide: list[int] = []
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1:
            if wide or length < 8 * len(full) or len(extra) < 4 + length:
                raise Forged("a member of it has no sizes, or several")
            wide = list(struct.unpack_from(f"<{len(full)}Q", extra, 4))
        extra = extra[4 + length :]
    if full and not wide:
        raise Forged("a member of it has no sizes, or several")
    for place, number in zip(full, wide, strict=False):
        numbers[place] = number
    return numbers[1], numbers[0], numbers[2]


def _start_of(stream: BinaryIO, header: int, raw: bytes, limit: int) -> int:
    """Where a member's bytes begin, behind a header of its own that must carry the same name."""
    if header + _LOCAL.size > limit:
        raise Forged("a member of it lies outside of the file")
    stream.seek(header)
    magic, *_, name_length, extra_length = _LOCAL.unpack(stream.read(_LOCAL.size))
    if magic != MAGIC or stream.read(name_length) != raw:
        raise Forged("its directory and its members have different names")
    return header + _LOCAL.size + int(name_length) + int(extra_length)


def _checked_name(raw: bytes) -> str:
    name = raw.decode("utf-8", "surrogateescape")
    parts = name.split("/")
    harmful = {"", ".", ".."} & set(parts) or "\\" in name or "\0" in name
    if harmful or not 0 < len(raw) <= 400:
        raise Forged(f"it has a member of the name {printable(name)[:80]!r}")
    return name


def _check_apart(found: Mapping[str, Member]) -> None:
    """No two members may share bytes; then their sizes together are no more than the file's."""
    at = 0
    for member in sorted(found.values(), key=lambda each: each.header):
        if member.header < at:
            raise Forged(f"its member {printable(member.name)[:80]} shares its bytes with another")
        at = member.start + member.size


def _below_one_folder(found: Mapping[str, Member]) -> Mapping[str, Member]:
    folders = {name.partition("/")[0] for name in found}
    if len(folders) != 1 or any("/" not in name for name in found):
        raise Forged("its members do not lie in one folder, as torch puts them")
    return {name.partition("/")[2]: member for name, member in found.items()}
