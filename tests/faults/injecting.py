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


@dataclass
class Faults:
    """Counts the calls and acts at one of them."""

    act: Callable[[str, Any], None]
    """Gets the kind of the call that is about to happen and the path or the handle that it is for."""
    calls: list[str] = field(default_factory=list)
    after: Callable[[str, Any], None] = lambda kind, target: None
    """The same when the call has happened."""

    def about_to(self, kind: str, target: Any) -> None:
        self.calls.append(f"{kind} {Path(str(target)).name if isinstance(target, (str, Path)) else target}")
        self.act(kind, target)


@contextmanager
def injected(faults: Faults) -> Iterator[Faults]:
    """Let every call that changes the disk pass by these faults, for the body."""

    class Writing(io.FileIO):
        """A file whose writes reach the disk one by one."""

        def write(self, content: Any) -> int:
            faults.about_to("write", self.name)
            done = super().write(content)
            faults.after("write", self.name)
            return done or 0

        def close(self) -> None:
            if self.closed:
                return
            try:
                faults.about_to("close", self.name)
            finally:
                # As in the system itself, a handle is gone even where closing it fails.
                super().close()
            faults.after("close", self.name)

    plain_open = io.open

    def opening(file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, *rest: Any, **more: Any) -> Any:
        if not set("wax+") & set(mode):
            return plain_open(file, mode, buffering, encoding, *rest, **more)
        if not isinstance(file, int):
            faults.about_to("open", file)
        raw = Writing(file, mode.replace("b", "").replace("t", ""), closefd=more.get("closefd", True))
        if not isinstance(file, int):
            faults.after("open", file)
        if not buffering:
            return raw
        kind: Any = io.BufferedRandom if "+" in mode else io.BufferedWriter
        return kind(raw) if "b" in mode else io.TextIOWrapper(kind(raw), encoding=encoding)

    def watched(kind: str) -> Any:
        original = getattr(os, kind)

        def call(*arguments: Any, **named: Any) -> Any:
            if kind == "open" and not (arguments[1] if len(arguments) > 1 else named["flags"]) & os.O_CREAT:
                return original(*arguments, **named)
            faults.about_to(kind, arguments[0])
            result = original(*arguments, **named)
            faults.after(kind, arguments[0])
            return result

        return call

    plain_exchange = writing._exchange

    def exchanging(one: Path, other: Path) -> bool:
        faults.about_to("exchange", other)
        done = plain_exchange(one, other)
        faults.after("exchange", other)
        return done

    with (
        mock.patch.multiple(os, **{kind: watched(kind) for kind in (*CHANGING, "fsync", "open", "write", "close")}),
        mock.patch.object(io, "open", opening),
        mock.patch.object(builtins, "open", opening),
        mock.patch.object(writing, "_exchange", exchanging),
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

    return Faults(lambda kind, target: None, after=strike) if after else Faults(strike)


def fail_at(number: int, code: int, *, lasting: bool = False) -> Faults:
    """Faults that let a call fail, counted from 1; where they last, so does everything that needs space after it."""
    seen = 0

    def strike(kind: str, target: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == number or (lasting and seen > number and kind in ("write", "fsync", "mkdir", "open")):
            raise OSError(code, os.strerror(code), target if isinstance(target, str) else None)

    return Faults(strike)
