"""Archives and streams whose figures lie: refused before torch sees them, so that none becomes large in memory."""

import io
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from zoo.checkpoint import archives
from zoo.checkpoint.weights import read_weights

from .forging import Code, archive, call, name, pickled, storage, stream, tensor, value

State = dict[str, Any]
FOUR = bytes(16)


def one_tensor(count: int = 4, **given: Any) -> bytes:
    """The pickle of a state dict with one tensor of so many numbers in storage 0."""
    return pickled(tensor(storage("0", count), (count,), (1,), **given))


def rewritten(path: Path, change: Callable[[zipfile.ZipFile, str, bytes], None], *, of: State | None = None) -> None:
    """A file of torch.save copied member by member, each through `change`."""
    torch.save(of or {"a": torch.zeros(4), "b": torch.ones(4)}, path.with_name("whole.pth"))
    with zipfile.ZipFile(path.with_name("whole.pth")) as whole, zipfile.ZipFile(path, "w") as made:
        for each in whole.namelist():
            change(made, each, whole.read(each))


def deflated(path: Path) -> None:
    def change(made: zipfile.ZipFile, each: str, content: bytes) -> None:
        made.writestr(each, content, zipfile.ZIP_DEFLATED if each.endswith("/0") else zipfile.ZIP_STORED)

    rewritten(path, change, of={"a": torch.zeros(1_000_000)})


def doubled(second: str) -> Callable[[Path], None]:
    def change(made: zipfile.ZipFile, each: str, content: bytes) -> None:
        made.writestr(each, content)
        if each.endswith("data/0"):
            made.filelist[-1].filename = "x"
            made.writestr(each.replace("data/0", second), content)
            made.filelist[-2].filename = each

    return lambda path: rewritten(path, change)


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


def with_storage(pickle_: bytes, data: bytes = FOUR, **more: bytes) -> Callable[[Path], None]:
    return lambda path: archive(path, pickle_, {"data/0": data, **{f"data/{key}": each for key, each in more.items()}})


def many_sizes(path: Path) -> None:
    code = value([tensor(storage("0", 4), (4,), (1,)), storage("0", 2, "torch.FloatStorage")])
    archive(path, pickled(code), {"data/0": FOUR})


CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a compressed member": (deflated, "archive/data/0 is compressed|data/0 is compressed"),
    "more members than room": (a_million_members, "65,535 members"),
    "a million members": (a_million_members_and_room, "200,001 members"),
    "a member twice": (doubled("data/0"), "there twice"),
    "a member twice but for its case": (doubled("DATA/0"), "there twice"),
    "a name that climbs": (with_member("archive/../../x"), "a member of the name"),
    "an absolute name": (with_member("/etc/x"), "a member of the name"),
    "a name of Windows": (with_member("archive\\..\\x"), "a member of the name"),
    "a name beside the folder": (with_member("other/x"), "in one folder"),
    "a link": (with_member("archive/x", 0o120777), "archive/x is a link"),
    "an encrypted member": (patched(in_directory(8), b"\x01\x00"), "is encrypted"),
    "two sizes of a member": (patched(in_directory(24), struct.pack("<L", 10**9)), "has two sizes"),
    "a size past the end": (patched(in_directory(20), struct.pack("<2L", 10**9, 10**9)), "larger than the file"),
    "a size that takes the next one's bytes": (
        patched(in_directory(20), struct.pack("<2L", 350, 350)), "shares its bytes"),
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
    "a storage shorter than it claims": (with_storage(one_tensor(250_000_000_000)), "1,000,000,000,000 bytes of data/0"),
    "a storage longer than it claims": (with_storage(one_tensor(2)), "8 bytes of data/0, which has 16"),
    "a storage that is not there": (with_storage(pickled(storage("7", 4))), "16 bytes of data/7, which has 0"),
    "a storage with another case": (with_storage(pickled(value([storage("a", 4), storage("A", 4)])), a=FOUR),
                                    "data/A, which has 0"),
    "a storage outside": (with_storage(pickled(storage("../data/0", 4))), "which has 0"),
    "two sizes of a storage": (many_sizes, "claims two sizes of one storage"),
    "a tensor larger than its storage": (with_storage(pickled(tensor(storage("0", 4), (5,), (1,)))),
                                         "a tensor of 5 numbers in a storage of 4"),
    "a tensor beyond its storage": (with_storage(pickled(tensor(storage("0", 4), (4,), (1,), 1))), "in a storage of 4"),
    "strides beyond the storage": (with_storage(pickled(tensor(storage("0", 4), (2,), (4,)))), "in a storage of 4"),
    "one number a million times": (with_storage(pickled(tensor(storage("0", 4), (10**6, 10**6), (0, 0)))),
                                   "1,000,000,000,000 numbers in a storage of 4"),
    "a negative stride": (with_storage(pickled(tensor(storage("0", 4), (4,), (-1,)))), "no sizes"),
    "a shape of texts": (with_storage(pickled(tensor(storage("0", 4), ("4",), (1,)))), "no sizes"),  # type: ignore[arg-type]
    "a shape of wider numbers": (
        with_storage(pickled(call("torch._utils._rebuild_tensor_v3", storage("0", 16, "torch.storage.UntypedStorage"), 0,
                                  (16,), (1,), False, call("collections.OrderedDict"), name("torch.float64")))),
        "16 numbers in a storage of 2"),
    "a negative storage": (with_storage(pickled(storage("0", -4))), "in a form that torch does not write"),
    "a storage of a tensor's class": (with_storage(pickled(storage("0", 4, "torch.Tensor"))), "in a form that"),
    "a persistent module": (with_storage(pickled(Code(value(("module", name("torch.Size"), "a", "b")) + b"Q"))), "in a form"),
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


def legacy(pickle_: bytes, *counts: int, data: bytes = b"") -> Callable[[Path], None]:
    body = b"".join(struct.pack("<q", count) + bytes(4 * count) for count in counts)
    return lambda path: stream(path, pickle_, [str(place) for place in range(len(counts))], body + data)


VIEW = value([tensor(storage("0", 4, "torch.FloatStorage", ("v", 2, 2)), (2,), (1,))])
STREAMS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a storage that is not there": (legacy(one_tensor(10**12)), "do not agree"),
    "a storage cut off": (lambda path: stream(path, one_tensor(10**12), ["0"], struct.pack("<q", 10**12)), "is cut off"),
    "another count in the data": (lambda path: stream(path, one_tensor(), ["0"], struct.pack("<q", 5) + FOUR), "it has 5"),
    "a storage twice": (lambda path: stream(path, one_tensor(), ["0", "0"], 2 * (struct.pack("<q", 4) + FOUR)), "not agree"),
    "a tensor larger than its storage": (legacy(pickled(tensor(storage("0", 4), (10**6,), (1,))), 4), "in a storage of 4"),
    "a view outside": (legacy(pickled(storage("0", 4, "torch.FloatStorage", ("v", 2, 3))), 4), "outside of it"),
    "a view under a storage's name": (
        legacy(pickled(storage("0", 4, "torch.FloatStorage", ("0", 0, 4))), 4), "two storages of one name"),
    "another format": (lambda path: path.write_bytes(
        b"".join(pickle.dumps(each, protocol=2) for each in (0x1950A86A20F9469CFC6C, 1002, {}, {}, []))), "another number"),
    "a tar of something else": (lambda path: __import__("tarfile").open(path, "w").add(__file__, "x"), "tar archive"),
}  # fmt: skip


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_that_lies_is_refused_before_torch_sees_it(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch was asked to read it"))
    make, reason = STREAMS[case]
    make(tmp_path / "w.pth")
    with pytest.raises(zoo.CheckpointError, match=reason):
        read_weights(tmp_path / "w.pth")


def test_a_view_within_its_storage_is_read(tmp_path: Path) -> None:
    data = struct.pack("<q4f", 4, 1, 2, 3, 4)
    stream(
        tmp_path / "w.pth", pickled(tensor(storage("0", 4, "torch.FloatStorage", ("v", 2, 2)), (2,), (1,))), ["0"], data
    )
    assert read_weights(tmp_path / "w.pth")["x"].tolist() == [3.0, 4.0]


def whole(place: int) -> dict[str, Any]:
    shared = torch.arange(12.0)
    return {
        "state_dict": {"tied": shared, "too": shared[4:].view(2, 4), "turned": torch.ones(2, 3).T, "none": torch.zeros(0)},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999)}]},
        "rng": torch.get_rng_state(), "bytes": b"\x00\xff", "set": {1, 2}, "complex": 1j, "size": torch.Size([1, 2]),
        "device": torch.device("cpu"), "dtype": torch.bfloat16, "losses": [float(each) for each in range(place)],
        "parameter": torch.nn.Parameter(torch.ones(2)), "bytearray": bytearray(b"xyz"),
        "wide": torch.ones(3, dtype=torch.complex128), "bits": torch.ones(3, dtype=torch.uint16),
        "eight": torch.zeros(4, dtype=torch.float8_e5m2), "layout": torch.strided, "counter": __import__("collections").Counter("aab"),
    }  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False])
def test_what_people_put_beside_their_weights_is_read(zipped: bool, tmp_path: Path) -> None:
    made = whole(2000)
    if not zipped:
        # This form knows no such types.
        made = {key: each for key, each in made.items() if key not in ("bits", "eight")}
    torch.save(made, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    loaded = read_weights(tmp_path / "w.pth")
    assert loaded.keys() == made["state_dict"].keys()
    assert all(torch.equal(loaded[name], each) for name, each in made["state_dict"].items())


def test_a_tensor_brings_no_attributes_or_hooks(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.copy_ = 5  # type: ignore[method-assign, assignment]
    torch.save({"a": parameter}, tmp_path / "w.pth")
    loaded = read_weights(tmp_path / "w.pth")["a"]
    assert type(loaded) is torch.Tensor
    assert not vars(loaded)


def test_the_archive_of_a_large_model_has_its_directory_in_wide_numbers(tmp_path: Path) -> None:
    many = {str(place): torch.zeros(1) for place in range(66_000)}
    torch.save(many, tmp_path / "w.pth")
    with pytest.raises(zoo.CheckpointError, match="more steps"):
        read_weights(tmp_path / "w.pth")
    with (tmp_path / "w.pth").open("rb") as file:
        assert len(archives.members_of(file, os.path.getsize(file.name))) > 66_000


MEASURE = """
import resource, sys, threading, time
from pathlib import Path
import torch, zoo
from zoo.checkpoint.weights import read_weights
from zoo.checkpoint import describing
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in map(Path, sys.argv[1:]):
    start = time.perf_counter()
    for read in (read_weights, describing.of_file):
        try:
            read(path)
        except zoo.CheckpointError:
            pass
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(path.name, (after - before) * 1024, path.stat().st_size, time.perf_counter() - start)
    before = after
"""


def bombs(folder: Path) -> list[Path]:
    """Small files that ask for gigabytes, each by another way."""
    many = 200_000
    made = {
        "deflated.pth": deflated,
        "members.pth": a_million_members_and_room,
        "claims.pth": CASES["a storage shorter than it claims"][0],
        "stream.pth": STREAMS["a storage cut off"][0],
        "repeated.pth": CASES["one number a million times"][0],
        "length.pth": lambda path: archive(path, pickled(call("builtins.bytearray", 10**10))),
        "lists.pth": lambda path: stream(path, b"\x80\x02" + b"]" * 10_000_000 + b"."),
        "marks.pth": lambda path: stream(path, b"\x80\x02" + b"(" * 10_000_000 + b"."),
        "copies.pth": lambda path: archive(path, b"\x80\x02](" + b"](K\x01Ke" * many + b"eq\x000" + (
            name("collections.OrderedDict") + b"h\x00\x85R") * many + b"."),
        "shapes.pth": lambda path: archive(path, b"\x80\x02](" + b"K\x01" * many + b"eq\x000(" + (
            name("torch._utils._rebuild_tensor_v2") + b"(" + storage("0", 4) + b"K\x00h\x00h\x00\x89NtR") * many + b"t."),
        "deep.pth": lambda path: archive(path, b"\x80\x02N" + b"\x85" * 500_000 + b"."),
        "doubled.pth": lambda path: archive(path, b"\x80\x02N" + b"q\x00h\x00\x86" * 300_000 + value("x") + b"\x93."),
        "dots.pth": lambda path: archive(path, pickled(Code(b"}" + value("." * 1_000_000) + tensor(storage("0", 4), (4,), (1,))
                                                            + b"s")), {"data/0": FOUR}),
    }  # fmt: skip
    for file, make in made.items():
        make(folder / file)
    return [folder / file for file in made]


def test_a_bomb_takes_neither_memory_nor_time(tmp_path: Path) -> None:
    """Sixty megabytes are what the machine that follows a pickle may take whatever the size of the file."""
    files = bombs(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, files)], check=True, capture_output=True, text=True, timeout=120
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [file.name for file in files]
    for file, grown, size, seconds in rows:
        assert int(grown) <= 2 * int(size) + 60_000_000, done.stdout
        assert float(seconds) < 10, f"{file}: {done.stdout}"


def test_a_good_file_takes_its_own_size_in_memory(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(25_000_000)}, tmp_path / "zip.pth")
    torch.save({"a": torch.zeros(50_000_000)}, tmp_path / "stream.pth", _use_new_zipfile_serialization=False)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "zip.pth"), str(tmp_path / "stream.pth")],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    for file, grown, size, _ in (line.split() for line in done.stdout.splitlines()):
        assert int(grown) < 1.2 * int(size), f"{file}: {done.stdout}"


def test_a_pickle_in_memory_is_looked_at_as_one_on_the_disk_is(tmp_path: Path) -> None:
    from zoo.checkpoint.pickled import examine

    torch.save({"a": torch.zeros(4)}, tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    assert [each.shape for each in examine(io.BytesIO(content), len(content)).claims.tensors] == [(4,)]
