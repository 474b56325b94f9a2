"""Signals that ask a run to end after the step at hand and a checkpoint; a second Ctrl-C ends it at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
"""What terminals, service managers and clusters send; the last one is how Slurm tells that time is up."""


class Stop:
    """Whether the run has been asked to end, and by which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What shells report for a process that a signal ended."""
        return 128 + (self.signal or signal.SIGINT)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take signals for the body, and put the handlers back; outside the main thread nothing is touched."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}

        def ask(number: int, frame: FrameType | None) -> None:
            # Only this: a handler that prints can land in the middle of another print.
            self.signal = self.signal or number
            # A service manager may send two kinds at once, and a wrapper the same one twice; only a person at the
            # keyboard means more by a second one.
            signal.signal(signal.SIGINT, leave)

        def leave(number: int, frame: FrameType | None) -> None:
            signal.signal(number, _at_once(number, before[number]))
            signal.raise_signal(number)

        # Who starts a program with nohup wants a hangup to be ignored. Shells start background jobs with Ctrl-C
        # ignored; who sends it all the same means it.
        taken = [each for each in SIGNALS if each == signal.SIGINT or before[each] != signal.SIG_IGN]
        for each in taken:
            signal.signal(each, ask)
        try:
            yield
        finally:
            for each in taken:
                signal.signal(each, before[each])


def _at_once(number: int, before: Any) -> Callable[[int, FrameType | None], Any] | int:
    """What a signal did before the run, unless that was nothing."""
    if number == signal.SIGINT and not callable(before):
        return signal.default_int_handler
    return before if before is not None else signal.SIG_DFL
