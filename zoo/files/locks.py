"""A lock on a folder that dies with its process, so that a kill never leaves a stale one."""

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from zoo.errors import StorageError
from zoo.files.writing import explained, write_json

LOCK = ".lock"
HOLDER = ".lock.json"
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP)
"""What a file system answers that cannot lock."""


@contextlib.contextmanager
def locked(folder: Path, told: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Keep every other process from writing into a folder while the body runs.

    The system lets go of the lock when the process ends, however it ends. Where a file system knows no locks
    the body runs all the same, and `told` hears of it.

    Raises StorageError that names the process and the host which hold the folder.
    """
    # A lock file of filelock's other kind, made where the system has none, would outlive a kill.
    lock = FileLock(folder / LOCK, blocking=False, thread_local=False, fallback_to_soft=False)
    with contextlib.ExitStack() as stack:
        with explained(folder):
            try:
                stack.enter_context(lock)
            except Timeout:
                raise StorageError(
                    f"{folder} is in use: {_holder(folder)} writes into it.",
                    "wait for it, or stop it",
                ) from None
            except OSError as error:
                if error.errno not in WITHOUT_LOCKS:
                    raise
                told(f"{folder} is on a file system without locks: nothing keeps a second process from writing there")
        write_json(folder / HOLDER, {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()})
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (folder / HOLDER).unlink(missing_ok=True)


def _holder(folder: Path) -> str:
    """Who has the lock, in words; it may have been taken or let go of a moment ago."""
    try:
        holder = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return f"process {int(holder['pid'])} on {str(holder['host'])[:80]!r}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
