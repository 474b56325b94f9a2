"""Kills and errors at the system's own calls, by strace: no writer can pass them by."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
KINDS = (
    *("openat", "write", "pwrite64", "writev", "fsync", "fdatasync", "close", "ftruncate"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "link", "linkat", "symlinkat"),
    *("mkdir", "mkdirat", "rmdir", "chmod", "fchmod", "fchmodat"),
)
"""The calls that can change a folder, by the names of all machines; strace does not mind those that there are not."""


@dataclass(frozen=True)
class Point:
    """One call of a process: the how manieth of its kind."""

    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind} {self.number}"


def trace(arguments: list[str], script: str, place: Path) -> subprocess.CompletedProcess[str]:
    """Run a script under strace; it finds its place in its arguments."""
    return subprocess.run(
        ["strace", "-f", *arguments, sys.executable, "-c", script, str(place)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def why_not() -> str | None:
    """Why nothing can be traced here."""
    if shutil.which("strace") is None:
        return "needs strace"
    tried = subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return None if tried.returncode == 0 else f"tracing is not permitted here: {tried.stderr.decode()[:100]}"


def points(script: str, place: Path) -> list[Point]:
    """The calls of a script that have to do with its place."""
    log = place.with_suffix(".trace")
    known = [f"?{kind}" for kind in KINDS]
    done = trace(["-y", "-o", str(log), "-e", f"trace={','.join(known)}"], script, place)
    assert done.returncode == 0, done.stderr
    counts: dict[str, int] = {}
    found = []
    for line in log.read_text(errors="replace").splitlines():
        named = re.match(r"(?:\d+ +)?(\w+)\(", line)
        if named is None:
            continue
        kind = named[1]
        counts[kind] = counts.get(kind, 0) + 1
        if str(place) in line and not re.search(r"openat.*O_RDONLY(?!\|O_CREAT)", line):
            found.append(Point(kind, counts[kind]))
    return found


def killed_at(point: Point, script: str, place: Path) -> bool:
    """Run a script and kill it at one of its calls; whether it was."""
    inject = f"inject={point.kind}:signal=KILL:when={point.number}"
    done = trace(["-o", "/dev/null", "-e", f"trace={point.kind}", "-e", inject], script, place)
    return done.returncode in (-9, 137)


def failed_at(point: Point, error: str, script: str, place: Path) -> subprocess.CompletedProcess[str]:
    """Run a script and let one of its calls fail."""
    inject = f"inject={point.kind}:error={error}:when={point.number}"
    return trace(["-o", "/dev/null", "-e", f"trace={point.kind}", "-e", inject], script, place)
