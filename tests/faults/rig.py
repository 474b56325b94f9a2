"""The rig: a run whose saves take a moment, processes that can be killed, and the unbroken run to compare with."""

import contextlib
import os
import pickle
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import zoo
from tests.finetuning.conftest import Listener, Tiny, rows_of
from zoo import files
from zoo.checkpoint.writing import Snapshot
from zoo.errors import ZooError
from zoo.finetuning import saving

HEAVY, GROWING, SLIM = "own:tests-heavy", "own:tests-growing", "own:tests-slim"
NUMBERS = 500_000
"""What the model carries along beside its weights: two megabytes, so that kills meet a save in its middle."""
CONTENTS = ("model.safetensors", "delta.safetensors", "training.safetensors", "config.json")
"""The files of a checkpoint that no clock has a part in."""
SETTINGS: dict[str, Any] = {
    "model": HEAVY,
    "epochs": 3,
    "batch_size": 4,
    "workers": 0,
    "device": "cpu",
    "save_every": "1steps",
    "keep": "best,last",
    "lr": 0.02,
    "seed": 2,
    "settings": {"dropout": 0.3},
}


class Heavy(Tiny):
    """The tiny model, with numbers that it only carries along."""

    ballast: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ballast", torch.arange(NUMBERS, dtype=torch.float32))


class Growing(Tiny):
    """The tiny model with as many numbers that are trained, so that the optimizer has more to keep when they are."""

    def __init__(self) -> None:
        super().__init__()
        self.ballast = nn.Parameter(torch.arange(NUMBERS, dtype=torch.float32))

    def forward(self, pictures: Tensor) -> Tensor:
        return super().forward(pictures) + 0 * self.ballast.sum()


def finetune(pictures: Path, out: Path, name: str | None = "run", **given: Any) -> zoo.Run:
    return zoo.finetune(**{**SETTINGS, "data": pictures, "out": out, "name": name, **given})


def begin(work: Callable[[], Any], report: Path, before: Callable[[], None] = lambda: None) -> int:
    """Do something in a process of its own; what came of it lies in `report` afterwards. Returns its number."""
    with warnings.catch_warnings():
        # Later Pythons warn of any fork beside threads; pytest-xdist has some.
        warnings.simplefilter("ignore", DeprecationWarning)
        sys.stdout.flush()
        number = os.fork()
    if number:
        return number
    code = 70
    try:
        # What the tests take for an error would end the process where a user only reads it.
        warnings.simplefilter("ignore")
        before()
        result = work()
        report.write_bytes(pickle.dumps(result))
        code = 0
    except ZooError as error:
        report.write_bytes(pickle.dumps(error))
        code = error.exit_code
    except BaseException:
        report.write_bytes(pickle.dumps(traceback.format_exc()))
    finally:
        os._exit(code)


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it left."""

    code: int
    """Its exit code; minus the number of the signal that killed it."""
    result: Any

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


def ended(number: int, report: Path) -> Ended:
    code = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    result = pickle.loads(report.read_bytes()) if code >= 0 else None
    return Ended(code, result)


def forked(work: Callable[[], Any], report: Path) -> Ended:
    return ended(begin(work, report), report)


def killed_after(seconds: float, work: Callable[[], Any], report: Path, sign: Path | None = None) -> Ended:
    """Do something and kill it so many seconds after it began, or after a file appeared."""
    number = begin(work, report)
    try:
        # The sign may never come, where what is to be killed ended before.
        while (
            sign is not None
            and not sign.exists()
            and not os.waitid(os.P_PID, number, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        ):
            time.sleep(0.001)
        time.sleep(seconds)
    finally:
        os.kill(number, signal.SIGKILL)
    return ended(number, report)


def hidden(folder: Path) -> list[Path]:
    """What saves leave on their way, at any depth."""
    return [path for path in folder.rglob(".*") if path.name.endswith((".tmp", ".old", ".replaced"))]


def contents(checkpoint: Path) -> dict[str, str]:
    """The hashes of what a checkpoint says it holds, as far as no clock has a part in it."""
    listed = files.read_manifest(checkpoint)["files"]
    return {name: listed[name]["sha256"] for name in CONTENTS if name in listed}


@dataclass
class Unbroken:
    """A run that nothing happened to, with every checkpoint that it ever had."""

    run: zoo.Run
    pictures: Path
    given: dict[str, Any]
    seconds: float
    legal: dict[str, dict[str, str]] = field(default_factory=dict)
    """The contents of every checkpoint by its name, in the order in which they were saved."""
    snapshots: list[tuple[str, Snapshot]] = field(default_factory=list)
    stages: Path = Path()
    """Copies of the run's folder as it was after each save."""

    @property
    def names(self) -> list[str]:
        return list(self.legal)

    @property
    def rows(self) -> list[dict[str, str]]:
        return rows_of(self.run.folder)

    def after(self, name: str, place: Path) -> Path:
        """A copy of the run as it was when this checkpoint was complete."""
        shutil.copytree(self.stages / name, place)
        return place

    def start(self, out: Path, **more: Any) -> zoo.Run:
        """The same run again, elsewhere."""
        return finetune(self.pictures, out, **{**self.given, **more})


def unbroken(pictures: Path, place: Path, **given: Any) -> Unbroken:
    legal: dict[str, dict[str, str]] = {}
    snapshots: list[tuple[str, Snapshot]] = []

    class Copying(Listener):
        def saved(self, checkpoint: Path) -> None:
            legal[checkpoint.name] = contents(checkpoint)
            shutil.copytree(checkpoint.parent, place / "stages" / checkpoint.name)

    with noticing(snapshots):
        run = finetune(pictures, place / "runs", reporter=Copying(), **given)
    began = time.monotonic()
    finetune(pictures, place / "again", **given)
    return Unbroken(run, pictures, given, time.monotonic() - began, legal, snapshots, place / "stages")


@contextlib.contextmanager
def noticing(snapshots: list[tuple[str, Snapshot]]) -> Iterator[None]:
    """Keep every snapshot that is given to be saved."""
    save = saving.Saver.save

    def kept(self: saving.Saver, name: str, snapshot: Snapshot) -> None:
        snapshots.append((name, snapshot))
        save(self, name, snapshot)

    saving.Saver.save = kept  # type: ignore[method-assign]
    try:
        yield
    finally:
        saving.Saver.save = save  # type: ignore[method-assign]
