"""Files as a hostile hand makes them: pickles put together from opcodes, in each of the forms that torch reads."""

import io
import pickle
import pickletools
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Code(bytes):
    """Opcodes that leave one value on the stack."""


def value(given: Any) -> Code:
    """What puts a value on the stack; opcodes stay what they are, also within a tuple or a list."""
    if isinstance(given, Code):
        return given
    if isinstance(given, tuple):
        return Code(b"(" + b"".join(value(each) for each in given) + b"t")
    if isinstance(given, list):
        return Code(b"](" + b"".join(value(each) for each in given) + b"e")
    if isinstance(given, bytes):
        return Code(b"B" + len(given).to_bytes(4, "little") + given)
    return Code(pickletools.optimize(pickle.dumps(given, protocol=2))[2:-1])


def name(dotted: str) -> Code:
    """A global: what stands before the last dot is its module."""
    module, _, last = dotted.rpartition(".")
    return Code(f"c{module}\n{last}\n".encode())


def call(what: str | Code, *arguments: Any) -> Code:
    """A call of a global, or of what opcodes give."""
    function = what if isinstance(what, Code) else name(what)
    return Code(function + value(arguments) + b"R")


def storage(key: str, count: int, kind: str = "torch.FloatStorage", *view: Any) -> Code:
    """A storage that lies elsewhere in the file."""
    return Code(value(("storage", name(kind), key, "cpu", count, *view)) + b"Q")


def tensor(stored: Code, shape: tuple[int, ...] | Code, strides: tuple[int, ...], start: int = 0) -> Code:
    """A tensor in a storage."""
    return call(
        "torch._utils._rebuild_tensor_v2", stored, start, shape, strides, False, call("collections.OrderedDict")
    )


def pickled(code: bytes, protocol: int = 2) -> bytes:
    """Opcodes as a whole pickle: a dictionary with their value under `x`."""
    return b"\x80" + bytes([protocol]) + b"}" + value("x") + code + b"s."


def archive(path: Path, pickle_: bytes, members: Mapping[str, bytes] | None = None) -> None:
    """The zip archive of torch.save."""
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("archive/data.pkl", pickle_)
        for member, content in {"byteorder": b"little", "version": b"3\n", **(members or {})}.items():
            zipped.writestr(f"archive/{member}", content)


def torchscript(path: Path, pickle_: bytes) -> None:
    archive(path, pickle_, {"constants.pkl": b"\x80\x02).", "code/__torch__/M.py": b"class M(Module):\n  pass\n"})


def stream(path: Path, pickle_: bytes, keys: list[Any] | None = None, data: bytes = b"") -> None:
    """The pickles of torch.save before version 1.6, one after another, then the numbers."""
    facts = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    before = b"".join(pickle.dumps(each, protocol=2) for each in (MAGIC, PROTOCOL, facts))
    path.write_bytes(before + pickle_ + pickle.dumps(keys or [], protocol=2) + data)


def tar(path: Path, pickle_: bytes) -> None:
    """The tar archive of torch.save before version 0.2."""
    nothing = pickle.dumps(0, protocol=2)
    with tarfile.open(path, "w") as tarred:
        for member, content in (("storages", nothing), ("tensors", nothing), ("pickle", pickle_)):
            header = tarfile.TarInfo(member)
            header.size = len(content)
            tarred.addfile(header, io.BytesIO(content))


FORMS: dict[str, Callable[[Path, bytes], None]] = {
    "archive": archive, "stream": stream, "tar": tar, "torchscript": torchscript
}  # fmt: skip
