"""Files that torch writes with pickles in them, and how little of one is done to read it.

Before torch sees a file, its directory and its pickles are followed here without running anything: what it would
import, and whether all that it claims is there. Only then it is read, with `weights_only=True`.
"""

import contextlib
import io
import mmap
import os
import tarfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import torch

from zoo.checkpoint.foreign import archives
from zoo.checkpoint.foreign.archives import Forged, Member
from zoo.checkpoint.foreign.claims import Claims
from zoo.checkpoint.foreign.pickles import Malformed
from zoo.checkpoint.foreign.standins import STAND_INS
from zoo.errors import CheckpointError
from zoo.names import listed

Kind = Literal["archive", "stream", "tar", "torchscript", "program", "pickle"]
WHAT: Mapping[Kind, str] = {
    "archive": "a file of torch.save",
    "stream": "a file of torch.save from before torch 1.6",
    "tar": "a tar file of torch.save from before torch 0.2",
    "torchscript": "a TorchScript program",
    "program": "an exported program (.pt2)",
    "pickle": "a pickle that torch.save did not write",
}
_INSTEAD: Mapping[Kind, str] = {
    "tar": "write it anew with the torch that made it, as a state dict: torch.save(model.state_dict(), FILE)",
    "torchscript": "where you trust it, take its weights out: torch.save(torch.jit.load(FILE).state_dict(), NEW)",
    "program": "where you trust it, take its weights out: torch.save(torch.export.load(FILE).state_dict, NEW)",
    "pickle": "give a state dict that torch.save or safetensors wrote",
}
_OWN_TYPES = ("__torch__.", "torch.jit._pickle.")
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


@dataclass
class Examined:
    """What a file with a pickle holds, found without running it."""

    kind: Kind
    claims: Claims
    value: Any = None
    """What its pickle describes."""
    members: Mapping[str, Member] = field(default_factory=dict)

    @property
    def foreign(self) -> list[str]:
        """What reading it as a pickle would import beside what weights need; TorchScript's own types are none."""
        own = _OWN_TYPES if self.kind == "torchscript" else ()
        return [name for name in self.claims.foreign if not name.startswith(own)]


_BEGINNING = b"\x80"
"""How every pickle begins but those of the oldest two protocols."""


def read_pickled(path: Path) -> Any:
    """What a file of torch's holds, on the CPU; raises CheckpointError when it is damaged or wants to run code."""
    with opened(path) as file:
        found = examine_path(path, file)
        _check_harmless(path, found)
        file.seek(0)
        try:
            with warnings.catch_warnings(), torch.serialization.safe_globals(STAND_INS):
                warnings.simplefilter("ignore")
                return torch.load(file, map_location="cpu", weights_only=True, mmap=False)
        # A damaged pickle fails in as many ways as it can be read: struct.error, IndexError, AssertionError and more.
        except Exception as error:
            raise unreadable(path, "torch cannot read it") from error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file to read; raises CheckpointError when it cannot be."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error


def examine_path(path: Path, file: BinaryIO) -> Examined:
    """Look through an open file; raises CheckpointError when it is damaged or of no known kind."""
    size = os.fstat(file.fileno()).st_size
    if not size:
        raise unreadable(path, "it is empty")
    # A map gives what is asked for and no more, however much a pickle says that its next text has.
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
        try:
            return examine(cast(BinaryIO, stream), size)
        except (Forged, Malformed) as error:
            # Of a text or a picture nobody wants to hear how its bytes fail as a pickle.
            known = stream[:1] == _BEGINNING or stream[:4] == archives.MAGIC or isinstance(error, Forged)
            raise unreadable(path, str(error) if known else "it does not begin as such files do") from error


def unreadable(path: Path, reason: str) -> CheckpointError:
    """The error for a file that is damaged or is none of torch's."""
    return CheckpointError(
        f"{path} is no file of weights that torch can read, or it is cut off: {reason}.",
        "give a .safetensors, .pth or .pt file of weights, or a checkpoint's folder",
    )


def examine(stream: BinaryIO, size: int) -> Examined:
    """Follow the pickles of a file of any kind and compare what they claim; raises Forged or Malformed."""
    stream.seek(0)
    start = stream.read(512)
    if start.startswith(archives.MAGIC):
        return _examine_archive(stream, size)
    with contextlib.suppress(tarfile.HeaderError):
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
        return _examine_tar(stream, size)
    return _examine_stream(stream, size)


def _examine_archive(stream: BinaryIO, size: int) -> Examined:
    members = archives.members_of(stream, size, only_stored=False)
    kind: Kind = "archive"
    if "constants.pkl" in members:
        kind = "torchscript"
    elif "archive_format" in members or "serialized_exported_program.json" in members:
        kind = "program"
    elif "data.pkl" not in members:
        raise Forged("it is a zip archive that torch did not write")
    pickle = members.get("data.pkl")
    if kind == "archive":
        packed = next((name for name, each in members.items() if each.compressed), None)
        if packed is not None:
            raise Forged(f"its member {packed[:80]} is compressed, which torch never does")
    claims = Claims(io.BytesIO(_bytes_of(stream, pickle)), size)
    found = Examined(kind, claims, members=members)
    with _guilt_first(found):
        if pickle is not None and not pickle.compressed:
            found.value = claims.run()
        if kind == "archive":
            _check_members(claims, members)
    return found


@contextlib.contextmanager
def _guilt_first(found: Examined) -> Iterator[None]:
    """Say nothing of damage to a file whose pickle is refused anyway: the reason for that is told instead."""
    try:
        yield
    except (Forged, Malformed):
        # Any bytes can begin like a pickle; who takes them for one needs more than an odd opcode.
        if not found.foreign and (found.kind == "pickle" or not found.claims.faults):
            raise


def _bytes_of(stream: BinaryIO, member: Member | None) -> bytes:
    if member is None or member.compressed:
        return b""
    stream.seek(member.start)
    return stream.read(member.size)


def _check_members(claims: Claims, members: Mapping[str, Member]) -> None:
    for storage in claims.storages.values():
        member = members.get(f"data/{storage.key}")
        there = member.size if member else 0
        if there != storage.size or (member is None and storage.size):
            raise Forged(f"its pickle claims {storage.size:,} bytes of data/{storage.key[:40]}, which has {there:,}")


def _examine_stream(stream: BinaryIO, size: int) -> Examined:
    """Five pickles, then each storage's count and its bytes."""
    stream.seek(0)
    claims = Claims(stream, size)
    found = Examined("pickle", claims)
    with _guilt_first(found):
        found.value = claims.run()
        if found.value != _MAGIC:
            return found
        found.kind = "stream"
        if claims.run() != _PROTOCOL:
            raise Forged("its format has another number")
        claims.run()
        found.value = claims.run()
        keys = claims.run()
        if not isinstance(keys, list) or not all(isinstance(each, str) for each in keys):
            raise Forged("it lists no storages")
        if sorted(keys) != sorted(claims.storages):
            raise Forged("its pickle and its list of storages do not agree")
        _check_storages(stream, size, claims, keys)
    return found


def _check_storages(stream: BinaryIO, size: int, claims: Claims, keys: list[str]) -> None:
    at = stream.tell()
    for storage in (claims.storages[key] for key in keys):
        stream.seek(min(at, size))
        count = int.from_bytes(stream.read(8), "little")
        at += 8 + storage.size
        if count != storage.count or at > size:
            reason = "it is cut off" if at > size else f"it has {count:,}"
            raise Forged(f"its pickle claims {storage.count:,} numbers of storage {storage.key[:40]}; {reason}")


def _examine_tar(stream: BinaryIO, size: int) -> Examined:
    """A tar of three members, of which one is the pickle; its headers are walked by hand, as tarfile reads more."""
    at, most = 0, 100
    while at + 512 <= size and (most := most - 1):
        stream.seek(at)
        try:
            header = tarfile.TarInfo.frombuf(stream.read(512), "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            break
        if header.name == "pickle" and header.size <= size - at - 512:
            found = Examined("tar", Claims(io.BytesIO(stream.read(header.size)), size))
            with _guilt_first(found):
                found.value = found.claims.run()
            return found
        at += 512 + -(-header.size // 512) * 512
    raise Forged("it is a tar archive that torch did not write")


def _check_harmless(path: Path, found: Examined) -> None:
    """Refuse what is more than data; raises CheckpointError that names every global that is to blame."""
    other = found.kind in _INSTEAD
    if found.foreign:
        what = f", {WHAT[found.kind]}," if other else ""
        raise CheckpointError(
            f"{path}{what} is refused: reading it would run {listed(found.foreign, 50)}.",
            "weights alone need no code; ask its author for a .safetensors file or a plain state dict",
        )
    if other:
        raise CheckpointError(f"{path} is {WHAT[found.kind]}, not a file of weights.", _INSTEAD[found.kind])
    if found.claims.faults:
        raise CheckpointError(
            f"{path} is refused: {found.claims.faults[0]}.",
            "get the file again, or ask its author for a .safetensors file",
        )
