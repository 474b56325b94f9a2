"""Killing what writes: at random moments, and at every call to the disk."""

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import zoo
from tests.faults.checks import goes_on, loads, survey
from tests.faults.injecting import injected, kill_at
from tests.faults.rig import Unbroken, contents, forked, hidden, killed_after
from zoo.finetuning import saving


def intact() -> None:
    """What is done to a writer that is as it should be."""


@dataclass
class Kills:
    """How often a kill fell where, and what was wrong afterwards."""

    inside: int = 0
    outside: int = 0
    wrong: list[str] = field(default_factory=list)

    def count(self, folder: Path) -> None:
        if hidden(folder):
            self.inside += 1
        else:
            self.outside += 1

    def __str__(self) -> str:
        first = f", the first: {self.wrong[0]}" if self.wrong else ""
        return f"{self.inside} kills inside a save, {self.outside} outside, {len(self.wrong)} failures{first}"


def kill_runs(
    control: Unbroken,
    place: Path,
    trials: int,
    *,
    background: bool = False,
    seed: int = 0,
    broken: Callable[[], Any] = intact,
) -> Kills:
    """Kill a run so often, each time at another moment, and let it go on."""
    chance, kills, attempt = random.Random(seed), Kills(), 0
    while kills.inside + kills.outside < trials:
        attempt += 1
        out = place / str(attempt)

        def work(out: Path = out) -> None:
            if background:
                saving.LARGE = 0
            broken()
            control.start(out)

        after = chance.uniform(0, 0.9 * control.seconds)
        end = killed_after(after, work, place / "report", sign=out / "run" / "run.toml")
        if not end.killed:
            assert end.code == 0, end.result
            continue
        kills.count(out)
        kills.wrong += [
            f"kill {attempt}: {each}" for each in (*survey(out / "run", control), *goes_on(out / "run", control))
        ]
        shutil.rmtree(out, ignore_errors=True)
        if kills.wrong and broken is not intact:
            break
    return kills


def at_every_call(
    work: Callable[[], Any],
    prepare: Callable[[int], Any],
    check: Callable[[int], list[str]],
    place: Path,
    *,
    after: bool = False,
    broken: Callable[[], Any] = intact,
) -> tuple[int, list[str]]:
    """Kill some work at its first call, at its second, and so on until it ends by itself.

    Of a broken writer the first thing that is wrong is enough.
    """
    wrong: list[str] = []
    for number in range(1, 10_000):
        prepare(number)

        def attempt(number: int = number) -> None:
            broken()
            with injected(kill_at(number, after=after)):
                work()

        end = forked(attempt, place / "report")
        if not end.killed:
            assert end.code == 0, end.result
            return number - 1, wrong
        wrong += [f"call {number}: {each}" for each in check(number)]
        if wrong and broken is not intact:
            return number, wrong
    raise AssertionError("the work never ends")


def kill_saves(
    control: Unbroken,
    place: Path,
    saved: int,
    *,
    keep: str = "best,last",
    resume_each: int = 7,
    after: bool = False,
    broken: Callable[[], Any] = intact,
) -> tuple[int, list[str]]:
    """Kill the save after the first `saved` ones of a run at each of its calls; old ones go at its end."""
    before, (name, snapshot) = control.names[saved - 1], control.snapshots[saved]
    run = place / "run"

    def prepare(_: int) -> None:
        shutil.rmtree(run, ignore_errors=True)
        control.after(before, run)

    def check(number: int) -> list[str]:
        wrong = survey(run, control, promised=[before])
        return wrong if number % resume_each else wrong + goes_on(run, control)

    return at_every_call(
        lambda: saving.Saver(run, keep, lambda _: None).save(name, snapshot),
        prepare,
        check,
        place,
        after=after,
        broken=broken,
    )


@dataclass
class Replaced:
    """A checkpoint of somebody's own that is saved over."""

    target: Path
    spare: Path
    new: torch.nn.Module
    legal: list[str]

    def prepare(self) -> None:
        shutil.rmtree(self.target.parent, ignore_errors=True)
        shutil.copytree(self.spare, self.target)

    def save(self) -> None:
        zoo.save_checkpoint(self.target, self.new)

    def wrong(self) -> list[str]:
        if found := loads(self.target):
            return found
        return [] if contents(self.target)["model.safetensors"] in self.legal else ["a mixture"]

    @classmethod
    def of(cls, control: Unbroken, place: Path) -> "Replaced":
        """The checkpoint before the last of a run, which the last one is saved over."""
        old, new = (zoo.load_checkpoint(control.stages / name / name) for name in control.names[-2:])
        zoo.save_checkpoint(place / "spare", old)
        legal = [control.legal[name]["model.safetensors"] for name in control.names[-2:]]
        return cls(place / "mine" / "model", place / "spare", new, legal)
