"""What the tests of stopped runs share: small models, the whole of a run as values, and processes to kill."""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import zoo
from tests.conftest import DEVICE, MACHINE, write_pictures
from tests.finetuning.conftest import Listener, Tiny, rows_of
from zoo import files
from zoo.checkpoint import reading
from zoo.errors import Stopped

TINY, VIT = "own:resuming-tiny", "own:resuming-vit"

TIMES = {"seconds"}
"""What no two runs share."""
FREE = {"workers"}
"""What may differ between two runs that are the same."""


def vit() -> nn.Module:
    import timm

    return timm.create_model("vit_tiny_patch16_224", img_size=64, depth=3, drop_path_rate=0.2, proj_drop_rate=0.1)


@pytest.fixture(scope="session", autouse=True)
def _models() -> None:
    zoo.register(TINY.partition(":")[2], Tiny, head_path="fc", input_size=(16, 16))
    zoo.register(VIT.partition(":")[2], vit, head_path="head", input_size=(64, 64))


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Threads and signals as they were: a run may put its own thread count back."""
    threads, handlers = torch.get_num_threads(), {each: signal.getsignal(each) for each in SIGNALS}
    yield
    torch.set_num_threads(threads)
    assert {each: signal.getsignal(each) for each in SIGNALS} == handlers, "a run left its signal handlers behind"


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@pytest.fixture(scope="session")
def imgs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of eight pictures that no test changes: 12 to train on, 4 to validate."""
    return write_pictures(tmp_path_factory.mktemp("data") / "imgs", {"ant": 8, "bee": 8}, size=64)


def tiny(data: Path, out: Path, name: str = "run", **given: Any) -> dict[str, Any]:
    """The arguments of a run of the tiny model with all that is random: three epochs of three steps."""
    usual: dict[str, Any] = {
        "model": TINY,
        "data": data,
        "epochs": 3,
        "batch_size": 4,
        "workers": 0,
        **MACHINE,
        "augment": "standard",
        "lr": 0.01,
        "out": out,
        "name": name,
    }
    settings = {"dropout": 0.3, **given.pop("settings", {})}
    return {**usual, "settings": settings, **given}


def stopped(at_step: int | None = None, *, at_epoch: int | None = None, number: int = signal.SIGTERM) -> Listener:
    """A listener that has the run stopped by a signal after a step or an epoch."""
    return Stopping(at_step={at_step: lambda: signal.raise_signal(number)} if at_step else {}, at_epoch=at_epoch)


@dataclass
class Stopping(Listener):
    at_epoch: int | None = None

    def epoch(self, row: Any, best: bool) -> None:
        super().epoch(row, best)
        if row["epoch"] == self.at_epoch:
            signal.raise_signal(signal.SIGTERM)


def run_stopped(given: dict[str, Any], **where: Any) -> Path:
    """Start a run, have it stopped, and return its folder."""
    with pytest.raises(Stopped):
        zoo.finetune(**given, reporter=stopped(**where))
    folder: Path = given["out"] / given["name"]
    return folder


def timeless(value: Any, without: set[str] = TIMES | FREE) -> Any:
    """Values without what two runs that are the same need not share."""
    if isinstance(value, dict):
        return {key: timeless(each, without) for key, each in value.items() if key not in without}
    if isinstance(value, list):
        return [timeless(each, without) for each in value]
    return value


def whole(run: Path) -> dict[str, Any]:
    """Everything of a run that is the same however often it was stopped: every file of every checkpoint."""
    kept: dict[str, Any] = {}
    for found in reading.checkpoints_of(run):
        for file in found.folder.iterdir():
            if file.name == "training.json":
                kept[f"{found.folder.name}/{file.name}"] = timeless(json.loads(file.read_text(encoding="utf-8")))
            elif file.name != files.MANIFEST:
                kept[f"{found.folder.name}/{file.name}"] = files.sha256(file)
    best = reading.best_of(run)
    kept["best"] = best.name if best else None
    kept["metrics.csv"] = rows_of(run)
    kept["data.json"] = files.sha256(run / "data.json")
    kept["summary.txt"] = (run / "summary.txt").is_file()
    return kept


def unlike(one: Path, other: Path) -> list[str]:
    """What two runs do not have in common; nothing when they are the same run."""
    ones, others = whole(one), whole(other)
    assert any(name.endswith(".safetensors") for name in ones), f"{one} has no checkpoint"
    return sorted(name for name in ones.keys() | others.keys() if ones.get(name) != others.get(name))


def contents(folder: Path) -> dict[str, bytes]:
    """What is in every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@dataclass
class Ended:
    """How a child process ended."""

    code: int
    """Its exit code, or the negative number of the signal that ended it."""
    text: str
    """What it printed."""
    seconds: float
    """How long it lived on after `now` was called in it; infinite where it was not."""


@dataclass
class Child:
    """A copy of this process, which has torch loaded, that does one thing and ends."""

    folder: Path
    pid: int = 0

    @property
    def log(self) -> Path:
        return self.folder / "child.txt"

    @property
    def clock(self) -> Path:
        return self.folder / "clock.txt"

    def now(self) -> None:
        """Note the time, in the child."""
        self.clock.write_text(repr(time.monotonic()), encoding="utf-8")

    def start(self, work: Callable[[], object]) -> "Child":
        self.folder.mkdir(parents=True, exist_ok=True)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._live(work)
        return self

    def _live(self, work: Callable[[], object]) -> None:
        code = 99
        try:
            target = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            null = os.open(os.devnull, os.O_RDONLY)
            for number, handle in ((0, null), (1, target), (2, target)):
                os.dup2(handle, number)
            sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            for each in SIGNALS:
                signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)
            work()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 0 if error.code is None else 98
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def wait(self, seconds: float = 60) -> Ended:
        deadline = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            ended = time.monotonic()
            if pid:
                break
            if ended > deadline:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError(f"the process did not end: {self.log.read_text(encoding='utf-8')}")
            time.sleep(0.002)
        began = float(self.clock.read_text(encoding="utf-8")) if self.clock.exists() else -float("inf")
        text = self.log.read_text(encoding="utf-8") if self.log.exists() else ""
        return Ended(os.waitstatus_to_exitcode(status), text, ended - began)


def finetune_arguments(data: Path, out: Path, name: str, *more: object) -> list[str]:
    """The command line of the run that `tiny` describes."""
    given: list[object] = ["finetune", TINY, "--data", data, "--out", out, "--name", name, "--epochs", 3, "-b", 4]
    given += ["-j", 0, "--device", DEVICE, "--augment", "standard", "--lr", 0.01, "--set", "dropout=0.3", *more]
    given += ["--deterministic"] if MACHINE["deterministic"] else []
    return [str(each) for each in given]
