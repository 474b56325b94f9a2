"""Disks of a process's own: small ones, and ones that may not be written; they go when the process ends."""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.rig import forked

NEW_MOUNTS, NEW_USER = 0x20000, 0x10000000
READ_ONLY, REMOUNT, BIND, PRIVATE = 1, 32, 4096, 0x4000 | 1 << 18


def alone() -> None:
    """Give this process mounts of its own, which nobody else sees; it must have no threads."""
    system, user, group = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
    if system.unshare(NEW_MOUNTS | (0 if user == 0 else NEW_USER)):
        raise OSError(ctypes.get_errno(), "no mounts of one's own")
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    mount(None, Path("/"), None, PRIVATE)


def mount(source: Path | None, target: Path, kind: str | None, flags: int, options: str | None = None) -> None:
    system = ctypes.CDLL(None, use_errno=True)
    texts = [text if text is None else os.fsencode(text) for text in (source or "none", target, kind)]
    if system.mount(*texts, ctypes.c_ulong(flags), os.fsencode(options) if options else None):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(target))


def small_disk(place: Path, size: int) -> Path:
    """A file system of so many bytes."""
    place.mkdir(parents=True, exist_ok=True)
    mount(None, place, "tmpfs", 0, f"size={size}")
    return place


def read_only(place: Path) -> Path:
    """A folder in which nobody may write, not even who may do anything."""
    mount(place, place, None, BIND)
    mount(place, place, None, BIND | REMOUNT | READ_ONLY)
    return place


def fill(place: Path, leave: int = 0) -> Path:
    """Take all space but so many bytes; the file that takes it is returned."""
    taken = place / "somebody-elses"
    space = os.statvfs(place)
    with taken.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(space.f_bavail * space.f_frsize - leave, 1))
    return taken


def aside(work: Callable[[], Any], report: Path) -> Any:
    """What some work comes to in a process with mounts of its own; what it cannot handle is raised here."""

    def within() -> Any:
        alone()
        return work()

    end = forked(within, report)
    if isinstance(end.result, Exception):
        raise end.result
    assert end.code == 0, end.result
    return end.result
