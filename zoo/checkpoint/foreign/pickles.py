"""What a pickle would do, found out without doing any of it.

A pickle is a program for a machine with a stack. Here that machine runs on descriptions: a global stays a name,
a call stays a function with its arguments, and nothing is imported or called.
"""

import pickletools
import warnings
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

STEPS = 1_000_000
"""Steps of a pickle beside those that its file's size allows; a tensor takes about thirty."""


@dataclass(frozen=True)
class Global:
    """Something that a pickle imports."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Made:
    """What a call would return."""

    by: Any
    arguments: Any = ()
    state: Any = None
    items: list[tuple[Any, Any]] = field(default_factory=list)
    """What was put into it afterwards, with None as the keys of a list."""


@dataclass(eq=False)
class Dict:
    """A dictionary, whose keys need not be of a kind that Python can hash."""

    pairs: list[tuple[Any, Any]] = field(default_factory=list)

    def texts(self) -> dict[str, Any]:
        """What has a text as its key."""
        return {key: value for key, value in self.pairs if isinstance(key, str)}


class Malformed(ValueError):  # noqa: N818 - a state of a file, as a reader says it
    """No pickle, or one that its reader could not follow."""


class Machine:
    """Runs one pickle after another out of a stream; what a subclass says decides what calls come to."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream = stream
        self.globals: dict[Global, None] = {}
        """All that would be imported, in order."""
        self._left = STEPS + size // 64
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """What the next pickle of the stream would return; raises Malformed."""
        self._stack, self._marked, self._memo = [], [], {}
        try:
            with warnings.catch_warnings():
                # An odd backslash is a mere warning, which Python does not even show unless it is told to.
                warnings.simplefilter("error", DeprecationWarning)
                for opcode, argument, _ in pickletools.genops(self.stream):
                    self.spend(1)
                    if opcode.name == "STOP":
                        return self._stack.pop()
                    _STEPS[opcode.name](self, argument)
        except Malformed:
            raise
        # Bytes that are no pickle fail in every way that reading them can.
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, Warning) as error:
            # A KeyError's text is the key alone, an opcode that says nothing to anybody.
            reason = "" if isinstance(error, KeyError) else str(error)[:60]
            raise Malformed(f"its pickle cannot be followed ({reason or 'it has an unknown opcode'})") from error
        raise Malformed("its pickle has no end")

    def spend(self, steps: int) -> None:
        """Count steps, which bounds time and memory; raises Malformed when there were too many."""
        self._left -= steps
        if self._left < 0:
            raise Malformed("its pickle takes more steps than any weights of its size need")

    def called(self, by: Any, arguments: Any) -> Any:
        """What a call comes to."""
        return Made(by, arguments)

    def created(self, by: Any, arguments: Any) -> Any:
        """What a new object of a class comes to."""
        return Made(by, arguments)

    def built(self, value: Any, state: Any) -> None:
        """Give an object its state."""
        if isinstance(value, Made):
            value.state = state

    def filled(self, value: Any, items: list[tuple[Any, Any]]) -> None:
        """Put items into what is no list and no dictionary."""
        if isinstance(value, Made):
            value.items.extend(items)

    def stored(self, persistent: Any) -> Any:
        """What lies outside of the pickle."""
        return Made("persistent", persistent)

    def imported(self, module: Any, name: Any) -> Global:
        """Note a global under the name that it has today."""
        # A name may itself have been computed; then nobody knows it without running the pickle.
        module, name = (each if isinstance(each, str) else "?" for each in (module, name))
        if (module, name) in NAME_MAPPING:
            module, name = NAME_MAPPING[module, name]
        found = Global(IMPORT_MAPPING.get(module, module), name)
        self.globals[found] = None
        return found

    # The steps themselves. `_marked` keeps the stacks below each mark.

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _mark(self, _: Any) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def _above_mark(self) -> list[Any]:
        found, self._stack = self._stack, self._marked.pop()
        return found

    def _pop(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._above_mark()

    def _fetch(self, place: int) -> None:
        self._push(self._memo[place])

    def _keep(self, place: int | None) -> None:
        self._memo[len(self._memo) if place is None else place] = self._stack[-1]

    def _short_tuple(self, length: int) -> None:
        taken = tuple(self._stack[-length:])
        if len(taken) < length:
            raise Malformed("its pickle takes from an empty stack")
        self._stack[-length:] = [taken]

    def _append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(items)
        else:
            self.filled(target, [(None, item) for item in items])

    def _set(self, flat: list[Any]) -> None:
        target = self._stack[-1]
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        if isinstance(target, Dict):
            target.pairs.extend(pairs)
        else:
            self.filled(target, pairs)

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._push(self.imported(module, name))

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._push(self.imported(module, name))

    def _extension(self, code: int) -> None:
        self._push(self.imported("copyreg", f"extension {code}"))

    def _reduce(self, _: Any) -> None:
        arguments, by = self._stack.pop(), self._stack.pop()
        self._push(self.called(by, arguments))

    def _new(self, _: Any) -> None:
        arguments, by = self._stack.pop(), self._stack.pop()
        self._push(self.created(by, arguments))

    def _new_ex(self, _: Any) -> None:
        keywords, arguments, by = self._stack.pop(), self._stack.pop(), self._stack.pop()
        self._push(self.created(by, (arguments, keywords)))

    def _inst(self, argument: str) -> None:
        arguments = tuple(self._above_mark())
        self._global(argument)
        self._push(self.called(self._stack.pop(), arguments))

    def _obj(self, _: Any) -> None:
        by, *arguments = self._above_mark()
        self._push(self.called(by, tuple(arguments)))

    def _build(self, _: Any) -> None:
        state = self._stack.pop()
        self.built(self._stack[-1], state)

    def _persistent(self, argument: Any) -> None:
        self._push(self.stored(self._stack.pop() if argument is None else argument))


_Step = Callable[[Machine, Any], object]


def _constant(value: Any) -> _Step:
    return lambda machine, _: machine._push(value)


def _fresh(make: Callable[[], Any]) -> _Step:
    return lambda machine, _: machine._push(make())


def _gathered(make: Callable[[list[Any]], Any]) -> _Step:
    return lambda machine, _: machine._push(make(machine._above_mark()))


def _tuple_of(length: int) -> _Step:
    return lambda machine, _: machine._short_tuple(length)


def _dict_of(flat: list[Any]) -> Dict:
    return Dict(list(zip(flat[::2], flat[1::2], strict=True)))


_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_TEXTS = ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
_STEPS: Mapping[str, _Step] = {
    **dict.fromkeys((*_NUMBERS, *_TEXTS, *_BYTES), Machine._push),
    **dict.fromkeys(("PROTO", "FRAME", "READONLY_BUFFER"), lambda _machine, _: None),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "NEXT_BUFFER": _constant(b""),
    "EMPTY_TUPLE": _constant(()),
    "EMPTY_LIST": _fresh(list),
    "EMPTY_DICT": _fresh(Dict),
    "EMPTY_SET": _fresh(lambda: Made("set")),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "TUPLE": _gathered(tuple),
    "LIST": _gathered(list),
    "DICT": _gathered(_dict_of),
    "FROZENSET": _gathered(lambda items: Made("frozenset", items=[(None, item) for item in items])),
    "MARK": Machine._mark,
    "POP": Machine._pop,
    "POP_MARK": lambda machine, _: machine._above_mark(),
    "DUP": lambda machine, _: machine._push(machine._stack[-1]),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Machine._fetch),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), Machine._keep),
    "APPEND": lambda machine, _: machine._append([machine._stack.pop()]),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda machine, _: machine._append(machine._above_mark())),
    "SETITEM": lambda machine, _: machine._set([machine._stack.pop(), machine._stack.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine._set(machine._above_mark()),
    "GLOBAL": Machine._global,
    "STACK_GLOBAL": Machine._stack_global,
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), Machine._extension),
    "REDUCE": Machine._reduce,
    "NEWOBJ": Machine._new,
    "NEWOBJ_EX": Machine._new_ex,
    "INST": Machine._inst,
    "OBJ": Machine._obj,
    "BUILD": Machine._build,
    **dict.fromkeys(("PERSID", "BINPERSID"), Machine._persistent),
}
