"""What saving costs the training: the time that it waits for checkpoints, and the work done beside it.

    python benchmarks/saving.py PICTURES

Each row is one whole run in a process of its own, every epoch saved. `waited` is how long the training stood still to
take a copy or for the disk, `beside` the processor's time that the writing thread took from it, `cost` both
(the second shared among the cores) as a part of the training's time.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes import machine

RUNS = {
    "vgg16, head": ["vgg16", "--freeze", "backbone"],
    "vgg16, head, delta": ["vgg16", "--freeze", "backbone", "--save", "delta"],
    "resnet18, all": ["resnet18"],
}


def timed(spent: Counter[str], method: Callable[..., Any]) -> Callable[..., Any]:
    """Count a method's time as waiting in the main thread, as work beside it in any other."""
    depth = threading.local()

    @functools.wraps(method)
    def call(*given: Any, **named: Any) -> Any:
        if getattr(depth, "inside", False):
            return method(*given, **named)
        depth.inside = True
        main = threading.current_thread() is threading.main_thread()
        clock = time.monotonic if main else time.thread_time
        began = clock()
        try:
            return method(*given, **named)
        finally:
            spent["waited" if main else "beside"] += clock() - began
            depth.inside = False

    return call


def child(arguments: list[str]) -> None:
    """One run with a stopwatch on everything that saves."""
    import torch
    import torchvision

    from zoo.cli import run
    from zoo.finetuning import journal
    from zoo.finetuning.running import Runner
    from zoo.finetuning.saving import Saver

    spent: Counter[str] = Counter()
    for name in ("save", "poll", "wait", "_write"):
        setattr(Saver, name, timed(spent, getattr(Saver, name)))
    Runner._snapshot = timed(spent, Runner._snapshot)  # type: ignore[method-assign]
    Runner.run = timed_whole(spent, Runner.run)  # type: ignore[method-assign]
    journal.CADENCE = 0.0
    assert torch.__version__, torchvision.__version__
    code = run(["finetune", *arguments, "--quiet"])
    print(json.dumps({**spent, "code": code}))


def timed_whole(spent: Counter[str], method: Callable[..., Any]) -> Callable[..., Any]:
    """Count the time of the training as a whole."""

    @functools.wraps(method)
    def call(*given: Any) -> Any:
        began = time.monotonic()
        try:
            return method(*given)
        finally:
            spent["training"] += time.monotonic() - began

    return call


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--only", default="", help="rows whose names hold this")
    given = parser.parse_args()
    print(f"{machine()}, {given.epochs} epochs, every one saved\n")
    print("| run | checkpoint MB | saves | training s | waited s | beside s | cost |")
    print("|---|---|---|---|---|---|---|")
    for name, words in RUNS.items():
        if given.only in name:
            print(row(name, words, given.pictures, given.epochs), flush=True)


def row(name: str, words: list[str], pictures: Path, epochs: int) -> str:
    """Run one and tell what it spent."""
    with tempfile.TemporaryDirectory() as folder:
        more = ["--data", str(pictures), "--epochs", str(epochs), "--out", folder, "--name", "run", "--keep", "every:1"]
        weights = make_weights(words[0], Path(folder)) if "delta" in words else "none"
        command = [sys.executable, __file__, "--child", *words, "--weights", weights, *more]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        spent = json.loads(done.stdout.splitlines()[-1])
        if spent["code"]:
            raise RuntimeError(done.stderr)
        saved = list(Path(folder).glob("run/epoch-*"))
        size = sum(file.stat().st_size for file in saved[0].iterdir()) / 1e6
    cost = (spent["waited"] + spent.get("beside", 0.0) / (os.cpu_count() or 1)) / spent["training"]
    return (
        f"| {name} | {size:,.3f} | {len(saved)} | {spent['training']:.1f} | {spent['waited']:.2f}"
        f" | {spent.get('beside', 0.0):.2f} | {100 * cost:.2f} % |"
    )


def make_weights(model: str, folder: Path) -> str:
    """A file of weights, as a delta needs something to refer to."""
    import torch
    import torchvision

    torch.save(getattr(torchvision.models, model)(weights=None).state_dict(), folder / "weights.pth")
    return str(folder / "weights.pth")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
    else:
        main()
