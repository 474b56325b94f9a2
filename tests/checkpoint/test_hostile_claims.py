"""Pickles whose tensors or storages are larger than what is there: refused before torch makes any of them."""

import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import zoo
from zoo.checkpoint.weights import read_weights

from .forging import MAGIC, Code, archive, call, name, pickled, storage, stream, tensor, value

FOUR = struct.pack("<4f", 1, 2, 3, 4)
UNTYPED = storage("0", 16, "torch.storage.UntypedStorage")
HOOKS = call("collections.OrderedDict")

CLAIMS: dict[str, tuple[Code, str]] = {
    "a tensor larger than its storage": (tensor(storage("0", 4), (5,), (1,)), "of 5 numbers in a storage of 4"),
    "a tensor beyond its storage": (tensor(storage("0", 4), (4,), (1,), 1), "in a storage of 4"),
    "strides beyond the storage": (tensor(storage("0", 4), (2,), (4,)), "in a storage of 4"),
    "one number a million times": (
        tensor(storage("0", 4), (10**6, 10**6), (0, 0)), "1,000,000,000,000 numbers in a storage of 4"),
    "a shape that overflows": (tensor(storage("0", 4), (2**62, 4), (0, 0)), "no sizes"),
    "a negative stride": (tensor(storage("0", 4), (4,), (-1,)), "no sizes"),
    "a negative start": (tensor(storage("0", 4), (1,), (1,), -1), "no sizes"),
    "more edges than strides": (tensor(storage("0", 4), (2, 2), (1,)), "no sizes"),
    "a shape of texts": (tensor(storage("0", 4), Code(value(("4",))), (1,)), "no sizes"),
    "a hundred edges": (tensor(storage("0", 4), (1,) * 100, (1,) * 100), "no sizes"),
    "wider numbers than the storage": (
        call("torch._utils._rebuild_tensor_v3", UNTYPED, 0, (16,), (1,), False, HOOKS, name("torch.float64")),
        "16 numbers in a storage of 2|of storage 0; it has 4"),
    "a parameter of no tensor": (call("torch._utils._rebuild_parameter", 5, True, HOOKS), "a parameter of no tensor"),
    "a negative storage": (storage("0", -4), "in a form that torch does not write"),
    "a storage of a tensor's class": (storage("0", 4, "torch.Tensor"), "in a form that torch does not write"),
    "a storage without a size": (Code(value(("storage", name("torch.FloatStorage"), "0", "cpu")) + b"Q"), "in a form"),
    "a class in the place of a storage": (Code(value(("module", name("torch.Size"), "a", "b")) + b"Q"), "names a"),
    "two sizes of a storage": (value([storage("0", 4), storage("0", 2)]), "two sizes of one storage"),
    "a view outside of its storage": (storage("0", 4, "torch.FloatStorage", ("v", 2, 3)), "outside of it"),
    "a view under a storage's name": (storage("0", 4, "torch.FloatStorage", ("0", 0, 4)), "two storages of one name"),
    "two views of one name": (
        value([storage("0", 4, "torch.FloatStorage", ("v", at, 1)) for at in (0, 1)]), "two storages of one name"),
}  # fmt: skip


def as_archive(path: Path, pickle_: bytes) -> None:
    archive(path, pickle_, {"data/0": FOUR})


def as_stream(path: Path, pickle_: bytes) -> None:
    stream(path, pickle_, ["0"], struct.pack("<q", 4) + FOUR)


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch was asked to read it"))


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize("write", [as_archive, as_stream])
@pytest.mark.parametrize("case", CLAIMS)
def test_a_claim_that_nothing_backs_is_refused(case: str, write: Callable[[Path, bytes], None], tmp_path: Path) -> None:
    code, reason = CLAIMS[case]
    write(tmp_path / "w.pth", pickled(code))
    with pytest.raises(zoo.CheckpointError, match=reason) as caught:
        read_weights(tmp_path / "w.pth")
    assert len(str(caught.value).splitlines()) == 2


def one_tensor(count: int) -> bytes:
    return pickled(tensor(storage("0", count), (count,), (1,)))


def counted(count: int) -> bytes:
    return struct.pack("<q", count) + FOUR


def of_another_format(path: Path) -> None:
    path.write_bytes(b"".join(pickle.dumps(each, protocol=2) for each in (MAGIC, 1002, {}, {}, [])))


def tar_of_another(path: Path) -> None:
    with tarfile.open(path, "w") as made:
        made.add(__file__, "x")


STREAMS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a storage that is not there": (lambda path: stream(path, one_tensor(10**12)), "do not agree"),
    "a storage cut off": (lambda path: stream(path, one_tensor(10**12), ["0"], counted(10**12)), "is cut off"),
    "another count beside the data": (lambda path: stream(path, one_tensor(4), ["0"], counted(3)), "it has 3"),
    "a storage twice": (lambda path: stream(path, one_tensor(4), ["0", "0"], counted(4) * 2), "do not agree"),
    "a storage that nothing names": (lambda path: stream(path, one_tensor(4), ["0", "1"], counted(4) * 2), "not agree"),
    "no list of storages": (lambda path: stream(path, one_tensor(4), [5], counted(4)), "lists no storages"),
    "another format": (of_another_format, "another number"),
    "a tar of something else": (tar_of_another, "a tar archive that torch did not write"),
}  # fmt: skip


@pytest.mark.usefixtures("no_torch")
@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_that_lies_is_refused(case: str, tmp_path: Path) -> None:
    make, reason = STREAMS[case]
    make(tmp_path / "w.pth")
    with pytest.raises(zoo.CheckpointError, match=reason):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(("write", "more"), [(as_archive, ()), (as_stream, (None,))])
def test_what_fits_is_read(write: Callable[[Path, bytes], None], more: tuple[None, ...], tmp_path: Path) -> None:
    write(tmp_path / "w.pth", pickled(tensor(storage("0", 4, "torch.FloatStorage", *more), (2, 2), (1, 2))))
    assert read_weights(tmp_path / "w.pth")["x"].tolist() == [[1, 3], [2, 4]]


def test_a_view_of_a_stream_is_read(tmp_path: Path) -> None:
    as_stream(tmp_path / "w.pth", pickled(tensor(storage("0", 4, "torch.FloatStorage", ("v", 2, 2)), (2,), (1,))))
    assert read_weights(tmp_path / "w.pth")["x"].tolist() == [3, 4]
