"""A safetensors file is believed in nothing: what its header says is compared before anything is allocated."""

import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import zoo
from zoo.checkpoint.foreign.headers import LONGEST, read_header
from zoo.checkpoint.weights import read_tensors, read_weights

READERS = (read_weights, read_tensors, read_header)


def forged(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A file with this header, which may be given as the bytes that it is to have."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(shape: Any = (2,), begin: Any = 0, end: Any = 8, dtype: Any = "F32", **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


EIGHT = bytes(8)
TWICE = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}}'
INSIDE = b'{"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}}'
CASES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "too few for a header"),
    "too short": (EIGHT, "too few for a header"),
    "a length of no file": (forged({}, length=2**63), "would have 9,223,372,036,854,775,808 bytes"),
    "the longest length": (forged({}, length=2**64 - 1), "the whole file has"),
    "a length past the end": (forged({"a": entry()}, length=4000), "would have 4,000 bytes"),
    "a length of nothing": (forged({}, EIGHT, length=0), "would have 0 bytes"),
    "a header of 100 MB": (forged(b"{" + b" " * 100_000_000 + b"}"), f"2 to {LONGEST:,} are allowed"),
    "a header cut off": (forged({"a": entry()})[:-5], "the whole file has"),
    "no JSON": (forged(b"os.system('x')", EIGHT), "no { where one belongs"),
    "JSON of no object": (forged([entry()], EIGHT), "no { where one belongs"),
    "no UTF-8": (forged(b'{"\xff\xfe":1}'), "is no UTF-8"),
    "two objects": (forged(b"{}{}"), "follows the end of its header"),
    "deep JSON": (forged(b'{"a":' + b"[" * 100_000, EIGHT), "no object where one belongs"),
    "a deep entry": (forged(b'{"a":{"dtype":' + b"[" * 100_000 + b"}}", EIGHT), "is too long"),
    "a name twice": (forged(TWICE, EIGHT), "has 'a' twice"),
    "a key twice": (forged(INSIDE, EIGHT), "a key twice"),
    "metadata twice": (forged(b'{"__metadata__":{},"__metadata__":{}}'), "twice"),
    "metadata of numbers": (forged({"__metadata__": {"epoch": 3}, "a": entry()}, EIGHT), "no text where one belongs"),
    "metadata of objects": (forged({"__metadata__": {"a": {"b": "c"}}, "a": entry()}, EIGHT), "no text where"),
    "metadata of no object": (forged({"__metadata__": "x", "a": entry()}, EIGHT), "no { where one belongs"),
    "an entry of no object": (forged({"a": 5}, EIGHT), "no object where one belongs"),
    "an entry of nothing": (forged({"a": {}}, EIGHT), "has nothing, not dtype"),
    "an entry of more": (forged({"a": entry(_instantiator="os.system")}, EIGHT), "not dtype, shape and data_offsets"),
    "an unknown type": (forged({"a": entry(dtype="F31")}, EIGHT), "unknown dtype 'F31'"),
    "a type of no text": (forged({"a": entry(dtype=["F32"])}, EIGHT), "unknown dtype"),
    "a shape of no list": (forged({"a": entry(shape=2)}, EIGHT), "the shape 2, which are no counts"),
    "a negative edge": (forged({"a": entry(shape=[-2])}, EIGHT), "which are no counts"),
    "an edge of a fraction": (forged({"a": entry(shape=[2.0])}, EIGHT), "which are no counts"),
    "an edge of truth": (forged({"a": entry(shape=[True, 2])}, EIGHT), "which are no counts"),
    "a shape that overflows": (forged({"a": entry(shape=[2**62, 2**62, 4])}, EIGHT), "do not fill 8 bytes"),
    "a shape that overflows to its size": (forged({"a": entry(shape=[2**31, 2**33])}, EIGHT), "do not fill 8 bytes"),
    "a shape that overflows at nothing": (forged({"a": entry([2**40, 2**40, 0], 0, 0)}), "do not fill 0 bytes"),
    "a number of a thousand digits": (forged(b'{"a":{"shape":[' + b"9" * 5000 + b"]}}", EIGHT), "is too long"),
    "a shape larger than its bytes": (forged({"a": entry(shape=[3])}, EIGHT), "do not fill 8 bytes"),
    "a negative offset": (forged({"a": entry(begin=-8, end=0)}, EIGHT), "which are no counts"),
    "offsets turned round": (forged({"a": entry(begin=8, end=0)}, EIGHT), "do not fill -8 bytes"),
    "three offsets": (forged({"a": entry() | {"data_offsets": [0, 4, 8]}}, EIGHT), "3 data_offsets"),
    "an overlap": (forged({"a": entry(), "b": entry(begin=4, end=12)}, bytes(12)), "'b' overlaps"),
    "the same bytes twice": (forged({"a": entry(), "b": entry()}, EIGHT), "'b' overlaps"),
    "a hole": (forged({"a": entry(), "b": entry(begin=12, end=20)}, bytes(20)), "'b' leaves a hole"),
    "a hole at the start": (forged({"a": entry(begin=4, end=12)}, bytes(12)), "'a' leaves a hole"),
    "bytes after the end": (forged({"a": entry()}, bytes(9)), "1 bytes follow its last tensor"),
    "tensors cut off": (forged({"a": entry()}, bytes(7)), "cut off: 1 bytes are missing"),
    "nothing but a promise": (forged({"a": entry([2**38], 0, 2**40)}), "cut off"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_forged_header_is_refused_with_its_reason_before_anything_is_allocated(case: str, tmp_path: Path) -> None:
    content, reason = CASES[case]
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    for read in READERS:
        tracemalloc.start()
        with pytest.raises(zoo.CheckpointError) as caught:
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_000_000, "neither the header nor a tensor was built"
        assert str(path) in str(caught.value)
        assert reason in str(caught.value)
        assert (caught.value.exit_code, len(str(caught.value).splitlines())) == (4, 2)


def test_the_library_alone_would_take_a_name_that_comes_twice(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(CASES["a name twice"][0])
    try:
        loaded = load_file(tmp_path / "w.safetensors")
    except SafetensorError:
        pytest.skip("this version of safetensors refuses it, too")
    assert loaded["a"].dtype == torch.int32, "the last one won"


STATE = {
    "wide": torch.arange(6.0, dtype=torch.float64).view(2, 3),
    "half \u00f6 \n": torch.ones(3, dtype=torch.bfloat16),
    "one": torch.tensor(3),
    "none": torch.zeros(0, 5),
    "flags": torch.tensor([True, False, True]),
    "eight": torch.zeros(2, dtype=torch.float8_e4m3fn),
}


def test_what_the_library_writes_is_read_with_all_its_types_and_its_metadata(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(STATE, path, metadata={"format": "pt", "braces": '}"{'})
    loaded = read_weights(path)
    assert loaded.keys() == STATE.keys()
    assert all(torch.equal(loaded[name].float(), each.float()) for name, each in STATE.items())
    header = read_header(path)
    assert header.metadata == {"format": "pt", "braces": '}"{'}
    assert {name: each.shape for name, each in header.tensors.items()} == {
        name: tuple(each.shape) for name, each in STATE.items()
    }


def test_a_file_is_known_by_its_content_under_any_name(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    assert torch.equal(read_weights(tmp_path / "pytorch_model.bin")["a"], torch.ones(2))


def test_damage_anywhere_in_a_header_is_refused_or_changes_names_alone(tmp_path: Path) -> None:
    chance = random.Random(0)
    whole, path = tmp_path / "whole.safetensors", tmp_path / "w.safetensors"
    save_file(STATE, whole)
    content = whole.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    read = 0
    for _ in range(2000):
        damaged = bytearray(content)
        damaged[chance.randrange(end)] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            header = read_header(path)
        except zoo.CheckpointError:
            continue
        read += 1
        assert sum(each.end - each.begin for each in header.tensors.values()) == len(content) - end
        load_file(path)
    assert read < 1000, "most damage is noticed"
