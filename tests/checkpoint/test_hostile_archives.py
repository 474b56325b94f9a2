"""Archives and streams whose figures lie: refused before torch sees them, so that none becomes large in memory."""

import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import zoo
from zoo.checkpoint.foreign import archives
from zoo.checkpoint.weights import read_weights

from .forging import archive, pickled, storage, tensor, value

FOUR = bytes(16)
"""Four numbers."""


def one_tensor(count: int = 4) -> bytes:
    """The pickle of a state dict with one tensor of so many numbers in storage 0."""
    return pickled(tensor(storage("0", count), (count,), (1,)))


def deflated(path: Path) -> None:
    """A file of torch.save whose four megabytes of zeros were compressed."""
    torch.save({"a": torch.zeros(1_000_000)}, path.with_name("whole.pth"))
    with zipfile.ZipFile(path.with_name("whole.pth")) as whole, zipfile.ZipFile(path, "w") as made:
        for each in whole.namelist():
            made.writestr(each, whole.read(each), zipfile.ZIP_DEFLATED)
    path.with_name("whole.pth").unlink()


def doubled(second: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        archive(path, one_tensor(), {"data/0": FOUR, "data/9": FOUR})
        path.write_bytes(path.read_bytes().replace(b"archive/data/9", second))

    return make


def with_member(member: str, mode: int = 0) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        archive(path, one_tensor(), {"data/0": FOUR})
        with zipfile.ZipFile(path, "a") as made:
            info = zipfile.ZipInfo(member)
            info.external_attr = mode << 16
            made.writestr(info, b"/etc/passwd")

    return make


def patched(at: Callable[[bytes], int], packed: bytes) -> Callable[[Path], None]:
    """An archive in which these bytes were put at a place, found in its content."""

    def make(path: Path) -> None:
        archive(path, one_tensor(), {"data/0": FOUR})
        content = bytearray(path.read_bytes())
        place = at(bytes(content))
        content[place : place + len(packed)] = packed
        path.write_bytes(content)

    return make


def in_directory(offset: int) -> Callable[[bytes], int]:
    """A field of the first entry of the directory."""
    return lambda content: content.index(b"PK\x01\x02") + offset


def in_end(offset: int) -> Callable[[bytes], int]:
    return lambda content: content.index(b"PK\x05\x06") + offset


def longer(path: Path) -> None:
    """A member that reaches into the next one."""
    archive(path, one_tensor(), {"data/0": FOUR})
    content = bytearray(path.read_bytes())
    place = in_directory(20)(bytes(content))
    size = struct.unpack_from("<L", content, place)[0] + 40
    struct.pack_into("<2L", content, place, size, size)
    path.write_bytes(content)


def a_million_members(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04" + bytes(60) + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, 0, 64, 0))


def a_million_members_and_room(path: Path) -> None:
    entry = b"PK\x01\x02" + bytes(42)
    count = archives.MOST + 1
    wide = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, count * 46, 64)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 64 + count * 46, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    path.write_bytes(b"PK\x03\x04" + bytes(60) + entry * count + wide + locator + end)


def two_directories(path: Path) -> None:
    """A wide directory that says something else than the narrow one: readers choose one of them."""
    torch.save({"a": torch.zeros(4)}, path)
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x06\x06") + 24
    content[place : place + 16] = struct.pack("<2Q", 1, 1)
    path.write_bytes(content)


def a_wide_size(path: Path) -> None:
    """A member that says its size in the zip64 field, and says there 2^60."""
    torch.save({"a": torch.zeros(4)}, path)
    with zipfile.ZipFile(path) as whole:
        members = {each.partition("/")[2]: whole.read(each) for each in whole.namelist()}
    path.unlink()
    with zipfile.ZipFile(path, "w") as made:
        for each, content in members.items():
            made.writestr(f"archive/{each}", content)
        last = made.filelist[-1]
        last.extra = struct.pack("<2HQQ", 1, 16, 2**60, 2**60)
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x01\x02") + 20
    content[place : place + 8] = b"\xff" * 8
    path.write_bytes(content)


def shared_bytes(path: Path) -> None:
    """Two members with one place: each is read for itself."""
    archive(path, one_tensor(), {"data/0": FOUR, "data/1": FOUR})
    content = bytearray(path.read_bytes())
    entries = [found.start() for found in re.finditer(b"PK\x01\x02", content)]
    names = [content[place + 46 :][: content[place + 28]] for place in entries]
    first, second = (entries[names.index(each)] for each in (b"archive/data/0", b"archive/data/1"))
    content[second + 42 : second + 46] = content[first + 42 : first + 46]
    content[second + 46 : second + 60] = content[first + 46 : first + 60]
    path.write_bytes(content)


def with_storage(pickle_: bytes, **more: bytes) -> Callable[[Path], None]:
    members = {"0": FOUR, **more}
    return lambda path: archive(path, pickle_, {f"data/{key}": each for key, each in members.items()})


CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a compressed member": (deflated, "is compressed"),
    "more members than room": (a_million_members, "65,535 members"),
    "a million members": (a_million_members_and_room, "200,001 members"),
    "a member twice": (doubled(b"archive/data/0"), "there twice"),
    "a member twice but for its case": (doubled(b"archive/DATA/0"), "there twice"),
    "a name that climbs": (with_member("archive/../../x"), "a member of the name"),
    "an absolute name": (with_member("/etc/x"), "a member of the name"),
    "a name of Windows": (with_member("archive\\..\\x"), "a member of the name"),
    "a name beside the folder": (with_member("other/x"), "in one folder"),
    "a link": (with_member("archive/x", 0o120777), "archive/x is a link"),
    "an encrypted member": (patched(in_directory(8), b"\x01\x00"), "is encrypted"),
    "two sizes of a member": (patched(in_directory(24), struct.pack("<L", 10**9)), "has two sizes"),
    "a size past the end": (patched(in_directory(20), struct.pack("<2L", 10**9, 10**9)), "larger than the file"),
    "a size that takes the next one's bytes": (longer, "shares its bytes"),
    "a place past the end": (patched(in_directory(42), struct.pack("<L", 10**6)), "outside of the file"),
    "a place of something else": (patched(in_directory(42), struct.pack("<L", 3)), "different names"),
    "a size in wide numbers": (a_wide_size, "larger than the file"),
    "shared bytes": (shared_bytes, "there twice"),
    "two directories": (two_directories, "two directories do not agree"),
    "a count too small": (patched(in_end(8), struct.pack("<2H", 1, 1)), "directory is longer"),
    "a directory elsewhere": (patched(in_end(16), struct.pack("<L", 5)), "not where it says"),
    "another disk": (patched(in_end(4), b"\x01\x00"), "not at its end"),
    "bytes after the end": (lambda path: (archive(path, one_tensor(), {"data/0": FOUR}),
                                          path.write_bytes(path.read_bytes() + b"x"))[0], "not at its end"),
    "no pickle": (lambda path: zipfile.ZipFile(path, "w").writestr("archive/x", b""), "torch did not write"),
    "a storage shorter than it claims": (with_storage(one_tensor(25 * 10**10)), "1,000,000,000,000 bytes of data/0"),
    "a storage longer than it claims": (with_storage(one_tensor(2)), "8 bytes of data/0, which has 16"),
    "a storage that is not there": (with_storage(pickled(storage("7", 4))), "16 bytes of data/7, which has 0"),
    "a storage with another case": (with_storage(pickled(value([storage("a", 4), storage("A", 4)])), a=FOUR),
                                    "data/A, which has 0"),
    "a storage outside": (with_storage(pickled(storage("../data/0", 4))), "which has 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_archive_that_lies_is_refused_before_torch_sees_it(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch was asked to read it"))
    make, reason = CASES[case]
    make(tmp_path / "w.pth")
    with pytest.raises(zoo.CheckpointError, match=reason) as caught:
        read_weights(tmp_path / "w.pth")
    assert str(tmp_path / "w.pth") in str(caught.value)
    assert (caught.value.exit_code, len(str(caught.value).splitlines())) == (4, 2)


@pytest.mark.slow
def test_the_directory_of_a_large_archive_is_in_wide_numbers(tmp_path: Path) -> None:
    torch.save({str(place): torch.zeros(1) for place in range(66_000)}, tmp_path / "w.pth")
    with (tmp_path / "w.pth").open("rb") as file:
        assert len(archives.members_of(file, (tmp_path / "w.pth").stat().st_size)) > 66_000
