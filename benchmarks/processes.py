"""Running whole processes and measuring them: seconds, most memory, what they printed."""

import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ZOO = [sys.executable, "-m", "zoo"]


@dataclass(frozen=True)
class Measured:
    """One process that ended well."""

    seconds: float
    peak: int
    """The most memory it held, in bytes (Linux)."""
    out: str
    cpu: float = 0.0
    """Processor time of it and the processes that it started, in seconds."""


def measure(command: list[str], cwd: Path | None = None) -> Measured:
    """Run a command to its end; raises when it fails."""
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return Measured(time.monotonic() - began, usage.ru_maxrss * 1024, out, usage.ru_utime + usage.ru_stime)


def machine() -> str:
    """What a result was measured on."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "timm", "transformers"))
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {versions}"
