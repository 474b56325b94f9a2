"""Small files that ask for gigabytes or for hours: what they cost a process that reads them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from .forging import Code, archive, call, name, pickled, storage, stream, tensor, value
from .test_hostile_archives import a_million_members_and_room, deflated
from .test_hostile_claims import CLAIMS, STREAMS

MEASURE = """
import contextlib, resource, sys, time
from pathlib import Path
import zoo
from zoo.checkpoint.weights import read_weights
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in map(Path, sys.argv[1:]):
    start = time.perf_counter()
    with contextlib.suppress(zoo.CheckpointError):
        read_weights(path)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(path.name, (after - before) * 1024, path.stat().st_size, time.perf_counter() - start)
    before = after
"""


MANY = 200_000
ORDERED = name("collections.OrderedDict") + b"h\x00\x85R"
REBUILT = name("torch._utils._rebuild_tensor_v2") + b"(" + storage("0", 4) + b"K\x00h\x00h\x00\x89NtR"


def many_tensors(path: Path) -> None:
    """A header of ten megabytes whose tensors are all empty, and which is cut off in its last one."""
    entry = json.dumps({"dtype": "F32", "shape": [0], "data_offsets": [0, 0]})
    text = "{" + ",".join(f'"{place}":{entry}' for place in range(140_000)) + ',"x":{'
    path.write_bytes(len(text).to_bytes(8, "little") + text.encode())


BOMBS: dict[str, Callable[[Path], object]] = {
    "deflated.pth": deflated,
    "members.pth": a_million_members_and_room,
    "stream.pth": STREAMS["a storage cut off"][0],
    "repeated.pth": lambda path: archive(path, pickled(CLAIMS["one number a million times"][0]), {"data/0": bytes(16)}),
    "length.pth": lambda path: archive(path, pickled(call("builtins.bytearray", 10**10))),
    "dots.pth": lambda path: archive(
        path,
        pickled(Code(b"}" + value("." * 10**6) + tensor(storage("0", 4), (4,), (1,)) + b"s")),
        {"data/0": bytes(16)},
    ),
    "lists.pth": lambda path: stream(path, b"\x80\x02" + b"]" * 10_000_000 + b"."),
}
SLOW: dict[str, Callable[[Path], object]] = {
    "header.safetensors": many_tensors,
    "marks.pth": lambda path: stream(path, b"\x80\x02" + b"(" * 10_000_000 + b"."),
    "copies.pth": lambda path: archive(path, b"\x80\x02](" + b"](K\x01Ke" * MANY + b"eq\x000" + ORDERED * MANY + b"."),
    "shapes.pth": lambda path: archive(path, b"\x80\x02](" + b"K\x01" * MANY + b"eq\x000(" + REBUILT * MANY + b"t."),
    "deep.pth": lambda path: archive(path, b"\x80\x02N" + b"\x85" * 500_000 + b"."),
    "doubled.pth": lambda path: archive(path, b"\x80\x02N" + b"q\x00h\x00\x86" * 300_000 + value("x") + b"\x93."),
}


def measured(paths: list[Path]) -> list[tuple[str, int, int, float]]:
    """Of each file its name, how much more memory the process took, its size and the seconds."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, paths)], check=True, capture_output=True, text=True, timeout=120
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [path.name for path in paths]
    return [(file, int(grown), int(size), float(seconds)) for file, grown, size, seconds in rows]


@pytest.mark.parametrize("bombs", [BOMBS, pytest.param(SLOW, marks=pytest.mark.slow)], ids=["quick", "slow"])
def test_a_bomb_takes_neither_memory_nor_time(bombs: dict[str, Callable[[Path], object]], tmp_path: Path) -> None:
    """Sixty megabytes are what following a pickle or a header may take, whatever the size of the file."""
    for file, make in bombs.items():
        make(tmp_path / file)
    for file, grown, size, seconds in measured([tmp_path / file for file in bombs]):
        assert grown <= 2 * size + 60_000_000, f"{file} of {size:,} bytes took {grown:,}"
        assert seconds < 10, f"{file} took {seconds} s"


def test_a_good_file_takes_its_own_size_in_memory(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(20_000_000)}, tmp_path / "zip.pth")
    torch.save({"a": torch.zeros(30_000_000)}, tmp_path / "stream.pth", _use_new_zipfile_serialization=False)
    save_file({"a": torch.zeros(40_000_000)}, tmp_path / "w.safetensors")
    for file, grown, size, _ in measured([tmp_path / each for each in ("zip.pth", "stream.pth", "w.safetensors")]):
        assert grown < 1.2 * size + 5_000_000, f"{file} of {size:,} bytes took {grown:,}"
