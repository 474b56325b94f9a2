"""What the tests share: small pictures, the real ones where they lie beside the project, the command line."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]

# Tests run side by side, and threads that wait for one another on busy cores are slower than one alone.
os.environ.setdefault("OMP_NUM_THREADS", "1")

DEVICE = os.environ.get("ZOO_TEST_DEVICE", "cpu")
"""Where the tests of runs compute; `ZOO_TEST_DEVICE=cuda` takes them to a GPU."""
MACHINE = {"device": DEVICE, "deterministic": DEVICE != "cpu"}
"""As settings of a run that shall be the same bit for bit."""
# Before a first test on a GPU multiplies matrices another way: see Device.algorithms.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture(scope="session")
def assets() -> Path:
    """Real weights and pictures, beside the project or where ZOO_ASSETS says."""
    folder = Path(os.environ.get("ZOO_ASSETS", ROOT.parent / "shared"))
    if not (folder / "data" / "flowers5").is_dir():
        pytest.skip(f"needs the real weights and pictures, which are not in {folder}; ZOO_ASSETS names their place")
    return folder


def write_pictures(root: Path, counts: dict[str, int], *, size: int = 40, seed: int = 0) -> Path:
    """A folder a class with pictures in a colour of the class, easy to tell apart, no two alike."""
    colours = [(220, 40, 40), (40, 200, 60), (50, 70, 220), (220, 200, 40), (200, 60, 200), (60, 200, 200)]
    chance = random.Random(seed)
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for place in range(count):
            base = colours[number % len(colours)]
            picture = Image.new("RGB", (size + chance.randrange(9), size + chance.randrange(9)), base)
            for _ in range(60):
                spot = chance.randrange(picture.width), chance.randrange(picture.height)
                picture.putpixel(spot, tuple(chance.randrange(256) for _ in range(3)))
            picture.save(root / name / f"{place}.png")
    return root


COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def write_squares(root: Path, count: int, *, seed: int = 0) -> Path:
    """A table of grey pictures with squares of some colours, their names and the grey beside each."""
    chance = random.Random(seed)
    rows = ["image,label,grey,blue,green,red"]
    (root / "squares").mkdir(parents=True, exist_ok=True)
    for place in range(count):
        colours = [name for name in COLOURS if chance.random() < 0.5]
        grey = chance.randrange(40, 200)
        picture = Image.new("RGB", (16, 16), (grey, grey, grey))
        for name in colours:
            left, top = chance.randrange(8), chance.randrange(8)
            picture.paste(COLOURS[name], (left, top, left + 8, top + 8))
        picture.putpixel((0, 0), (place % 256, place // 256, 0))
        picture.save(root / "squares" / f"{place}.png")
        flags = ",".join(str(int(name in colours)) for name in COLOURS)
        rows.append(f"squares/{place}.png,{'|'.join(colours)},{grey},{flags}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root / "labels.csv"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes, ten pictures each."""
    return write_pictures(tmp_path / "imgs", {"ant": 10, "bee": 10})


@pytest.fixture(scope="session", autouse=True)
def _forks_may_train() -> None:
    """Let a process that is forked later compute gradients, as the tests of kills do.

    torch looks once, at the first gradient, which devices need threads of their own for it. After torch.export was
    at work it believes that there are some, and refuses gradients in every forked process.
    """
    # Not at the top: the number of threads counts only when it is set before.
    import torch

    torch.ones(1, requires_grad=True).sum().backward()


@dataclass
class Result:
    """What a command did."""

    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture
def zoo_command(capfd: pytest.CaptureFixture[str]) -> Command:
    """The command line within this process."""

    def call(*arguments: object) -> Result:
        from zoo.cli import run

        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def zoo_process(tmp_path: Path) -> Command:
    """The command line in a process of its own, as a person runs it."""

    def call(*arguments: object, cwd: Path = tmp_path, **environment: str) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "zoo", *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return call
