"""What a pickle that torch wrote claims to hold: its tensors and the storages that they lie in.

Reading such a file makes what its pickle asks for, whether its bytes are there or not. Here each claim is checked
first: a tensor must fit its storage, and the file's reader compares the storages with the bytes that it has.
"""

import math
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch

from zoo.checkpoint.foreign import standins
from zoo.checkpoint.foreign.pickles import Dict, Global, Machine, Made
from zoo.names import printable

_LARGEST = 2**60
_MOST_EDGES = 64
_ENCODINGS = ((), ("latin1",), ("latin-1",), ("utf-8",))


@dataclass(frozen=True)
class Storage:
    """Numbers that a pickle says lie elsewhere in its file, or a part of them."""

    key: str
    dtype: torch.dtype
    count: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Claim:
    """A tensor that a pickle describes."""

    dtype: torch.dtype
    shape: tuple[int, ...]


class Claims(Machine):
    """Follows a pickle of torch's and gathers what it claims and what is wrong with it."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__(stream, size)
        self.storages: dict[str, Storage] = {}
        self.tensors: list[Claim] = []
        self.faults: list[str] = []
        """What torch would allow itself to do and no file of weights needs."""
        self._views: dict[str, tuple[Storage, int]] = {}

    @property
    def foreign(self) -> list[str]:
        """The globals that no file of weights needs, in order."""
        return [printable(str(each)) for each in self.globals if str(each) not in standins.KNOWN]

    def stored(self, persistent: Any) -> Any:
        """A storage, after the form of its claim."""
        match persistent:
            case ("storage", Global() as kind, str(key), str(), int(count)):
                return self._storage(kind, key, count)
            case ("storage", Global() as kind, str(key), str(), int(count), None):
                return self._storage(kind, key, count)
            case ("storage", Global() as kind, str(key), str(), int(count), (str(view), int(start), int(length))):
                return self._view(self._storage(kind, key, count), view, start, length)
            case ("module", Global() as kind, *_):
                # Whole models of old name their classes this way, with their source beside them.
                self._wrong("names a class with its source")
                return kind
        return self._wrong("names a storage in a form that torch does not write")

    def _storage(self, kind: Global, key: str, count: int) -> Any:
        dtype = standins.STORAGES.get(_name(kind))
        if dtype is None or not key.isascii() or not 0 <= count < _LARGEST or isinstance(count, bool):
            return self._wrong("names a storage in a form that torch does not write")
        found = Storage(key, dtype, count)
        if self.storages.setdefault(key, found).size != found.size or key in self._views:
            return self._wrong(f"claims two sizes of one storage ({printable(key)[:40]})")
        return found

    def _view(self, root: Any, key: str, start: int, length: int) -> Any:
        if not isinstance(root, Storage):
            return root
        if min(start, length) < 0 or start + length > root.count:
            return self._wrong("claims a part of a storage that lies outside of it")
        if key in self.storages or self._views.setdefault(key, (root, start)) != (root, start):
            return self._wrong(f"claims two storages of one name ({printable(key)[:40]})")
        return Storage(key, root.dtype, length)

    def called(self, by: Any, arguments: Any) -> Any:
        """What torch's own functions come to; no other may be called with numbers that become memory."""
        name = _name(by)
        if not isinstance(arguments, tuple):
            return self._wrong(f"calls {printable(name) or 'something'} without arguments")
        self.spend(len(arguments))
        if name in standins.REBUILDERS:
            return self._rebuilt(name, arguments)
        if name == standins.FROM_TYPE:
            return self._of_type(*arguments)
        if name in standins.CONTAINERS or name in standins.EMPTIES or name in standins.DICTS:
            return self._container(name, arguments)
        if name in ("torch.Size", "builtins.set"):
            return self._copied(by, arguments)
        if name in standins.BYTES:
            return self._bytes(by, arguments)
        if name in standins.VALUES:
            return self._value(by, arguments)
        if name in standins.ACTIVE:
            return self._wrong(f"calls {name}")
        if not isinstance(by, Global):
            return self._wrong("calls what it made itself")
        return Made(by, arguments)

    def created(self, by: Any, arguments: Any) -> Any:
        """A stand-in; torch's own classes are never made this way today."""
        name = _name(by)
        if name in standins.DICTS and arguments == ():
            return Dict()
        if name in standins.ACTIVE or not name:
            return self._wrong(f"makes a {name or 'thing'} of its own")
        return Made(by, arguments)

    def built(self, value: Any, state: Any) -> None:
        """Give a stand-in its state, or a state dict the versions that modules note in it."""
        if isinstance(value, Dict) and isinstance(state, Dict):
            self.spend(len(state.pairs))
            if any(key != "_metadata" for key, _ in state.pairs):
                self._wrong("gives a dictionary attributes")
        elif isinstance(value, Made) and isinstance(value.by, Global):
            super().built(value, state)
        else:
            self._wrong(f"changes a {type(value).__name__.lower()} that it has made")

    def filled(self, value: Any, items: list[tuple[Any, Any]]) -> None:
        """Nothing but lists and dictionaries takes items."""
        if not isinstance(value, Made) or _name(value.by) in standins.KNOWN:
            self._wrong("puts items into what takes none")
        super().filled(value, items)

    def _wrong(self, what: str) -> Made:
        if len(self.faults) < 20:
            self.faults.append(f"its pickle {what}")
        return Made("wrong")

    def _rebuilt(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if "parameter" in name:
            return arguments[0] if isinstance(arguments[0], Claim) else self._wrong("makes a parameter of no tensor")
        storage, start, shape, strides, *more = arguments
        if not isinstance(storage, Storage):
            # What is wrong with the storage itself has been noted.
            return storage if isinstance(storage, Made) else self._wrong("makes a tensor of no storage")
        dtype = storage.dtype
        if name.endswith("_v3"):
            dtype = standins.DTYPES.get(_name(more[2]), dtype)
        shape, strides = _plain(shape), _plain(strides)
        counts = (start, *shape, *strides)
        if any(type(each) is not int or not 0 <= each < _LARGEST for each in counts) or len(shape) != len(strides):
            return self._wrong("describes a tensor with numbers that are no sizes")
        numbers = math.prod(shape)
        reach = start + 1 + sum((edge - 1) * stride for edge, stride in zip(shape, strides, strict=True))
        room = storage.size // dtype.itemsize
        # A stride of zero repeats one number; written out, as copying does, it would take memory all the same.
        if numbers and (reach > room or numbers > room):
            return self._wrong(f"claims a tensor of {numbers:,} numbers in a storage of {room:,}")
        claim = Claim(dtype, shape)
        self.tensors.append(claim)
        return claim

    def _of_type(self, by: Any, kind: Any, arguments: Any, _: Any) -> Any:
        if _name(by) not in standins.REBUILDERS or _name(kind) not in standins.CLASSES:
            return self._wrong(f"makes a tensor of {printable(_name(kind))[:60]} by {printable(_name(by))[:60]}")
        return self.called(by, arguments)

    def _container(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if arguments and name in standins.EMPTIES:
            return Dict()
        self._copied(name, arguments)
        match arguments:
            case ():
                return Dict()
            case (Dict(pairs=pairs),):
                return Dict(list(pairs))
            # Python 2 wrote an ordered dictionary as a list of pairs.
            case (list(pairs),) if all(isinstance(each, list | tuple) and len(each) == 2 for each in pairs):
                return Dict([(key, value) for key, value in pairs])
        return self._wrong(f"calls {name} with what is no mapping")

    def _copied(self, by: Any, arguments: tuple[Any, ...]) -> Any:
        """Copies of one list could be made again and again; each costs as many steps as it has items."""
        for each in arguments:
            if not isinstance(each, list | tuple | Dict):
                return self._wrong(f"calls {by} with what is no list")
            self.spend(len(each.pairs if isinstance(each, Dict) else each))
        return Made(by, arguments)

    def _bytes(self, by: Any, arguments: tuple[Any, ...]) -> Any:
        """Bytes out of a text or of other bytes; a number would be taken as a length."""
        text = arguments[0] if arguments else ""
        if isinstance(text, Made) and _name(text.by) in standins.BYTES:
            text = text.arguments[0] if text.arguments else ""
        if not isinstance(text, str) or len(arguments) > 2 or arguments[1:] not in _ENCODINGS:
            return self._wrong(f"calls {by} with what is no text")
        self.spend(len(text) // 64)
        return Made(by, (text,))

    def _value(self, by: Any, arguments: tuple[Any, ...]) -> Any:
        allowed = standins.VALUES[_name(by)]
        if len(arguments) > len(allowed) or not all(map(isinstance, arguments, allowed)):
            return self._wrong(f"calls {by} with what it does not take")
        return Made(by, arguments)


def _name(value: Any) -> str:
    """The name of a global; nothing else is written out, as that could be endless."""
    return str(value) if isinstance(value, Global) else ""


def _plain(sizes: Any) -> tuple[Any, ...]:
    """Sizes as a tuple, which early versions of torch wrote as a class of its own."""
    if isinstance(sizes, Made) and _name(sizes.by) == "torch.Size":
        sizes = sizes.arguments[0]
    return tuple(sizes) if isinstance(sizes, tuple | list) and len(sizes) <= _MOST_EDGES else ("no sizes",)
