"""Faults at the Nth call that reaches the disk: a kill, an error once, or an error from then on."""

import builtins
import io
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from zoo.files import writing

CHANGING = ("mkdir", "rmdir", "rename", "replace", "unlink", "remove", "chmod", "link", "symlink", "truncate")
"""What changes a folder. Opening, writing, flushing and closing a file are looked at besides."""

Act = Callable[[str, Any], None]
"""Gets the kind of a call and the path or the handle that it is for."""


def nothing(kind: str, target: Any) -> None:
    """What most calls meet."""


@dataclass
class Faults:
    """Acts before or after each call that changes the disk, and keeps what they were."""

    before: Act = nothing
    after: Act = nothing
    calls: list[str] = field(default_factory=list)

    def around(self, kind: str, target: Any, call: Callable[[], Any]) -> Any:
        self.calls.append(f"{kind} {Path(os.fsdecode(target)).name if not isinstance(target, int) else target}")
        self.before(kind, target)
        result = call()
        self.after(kind, target)
        return result

    def watched(self, kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """A function of the system that passes by these faults; opening passes where it makes a file."""

        def call(*arguments: Any, **named: Any) -> Any:
            if kind == "open" and not (arguments[1] if len(arguments) > 1 else named["flags"]) & os.O_CREAT:
                return original(*arguments, **named)
            return self.around(kind, arguments[0], lambda: original(*arguments, **named))

        return call


class Writing(io.FileIO):
    """A file whose writes reach the disk one by one."""

    faults: Faults

    def write(self, content: Any) -> int:
        return int(self.faults.around("write", self.name, lambda: io.FileIO.write(self, content)))

    def close(self) -> None:
        if self.closed:
            return
        try:
            self.faults.before("close", self.name)
        finally:
            # As in the system itself, a handle is gone even where closing it fails.
            super().close()
        self.faults.after("close", self.name)


def opener(faults: Faults) -> Callable[..., Any]:
    """`open`, with the files that are written to passing by these faults."""
    plain = io.open

    def opening(file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, *rest: Any, **more: Any) -> Any:
        if not set("wax+") & set(mode):
            return plain(file, mode, buffering, encoding, *rest, **more)

        def make() -> Writing:
            return Writing(file, mode.replace("b", "").replace("t", ""), closefd=more.get("closefd", True))

        raw = make() if isinstance(file, int) else faults.around("open", file, make)
        raw.faults = faults
        if not buffering:
            return raw
        kind: Any = io.BufferedRandom if "+" in mode else io.BufferedWriter
        return kind(raw) if "b" in mode else io.TextIOWrapper(kind(raw), encoding=encoding)

    return opening


@contextmanager
def injected(faults: Faults) -> Iterator[Faults]:
    """Let every call that changes the disk pass by these faults, for the body."""
    kinds = (*CHANGING, "fsync", "open", "write")
    opening = opener(faults)
    with (
        mock.patch.multiple(os, **{kind: faults.watched(kind, getattr(os, kind)) for kind in kinds}),
        mock.patch.object(io, "open", opening),
        mock.patch.object(builtins, "open", opening),
        mock.patch.object(writing, "_exchange", faults.watched("exchange", writing._exchange)),
    ):
        yield faults


def kill_at(number: int, *, after: bool = False) -> Faults:
    """Faults that kill the process just before, or just after, its call of this number, counted from 1."""
    seen = 0

    def strike(kind: str, target: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return Faults(after=strike) if after else Faults(strike)


@dataclass
class Failing(Faults):
    """Faults that let the call of this number fail, counted from 1; where they last, so does what needs space after."""

    number: int = 1
    code: int = 0
    lasting: bool = False
    kinds: frozenset[str] = frozenset({"open", "write", "fsync", "close", "rename", "replace", "mkdir", "exchange"})
    """The calls that can fail."""
    struck: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.seen = 0
        self.before = self._strike

    def _strike(self, kind: str, target: Any) -> None:
        if kind not in self.kinds:
            return
        self.seen += 1
        if self.seen == self.number or (self.lasting and self.seen > self.number and kind in ("write", "fsync")):
            self.struck.append(f"{kind} {target}")
            raise OSError(self.code, os.strerror(self.code))
