"""What the tests of `zoo finetune` share: the shortest run there is, and looking at what it left."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from torch import Tensor

from tests.conftest import Command, Result

MODEL = "squeezenet1_1"

Call = Callable[..., Result]
Tune = Callable[..., Path]


@pytest.fixture
def call(zoo_command: Command, pictures: Path, tmp_path: Path) -> Call:
    """`zoo finetune` with an epoch of four steps on 16 pictures; later flags override."""
    usual = ["--weights", "none", "--img-size", 64, "-b", 4, "--epochs", 1, "-j", 0, "--device", "cpu"]
    places = ["--data", pictures, "--out", tmp_path / "runs"]

    def done(*flags: object) -> Result:
        # A key may not come both by its flag and by --set.
        sized = any(str(flag).startswith("img-size=") for flag in flags)
        rest = [each for each in usual if each not in ("--img-size", 64)] if sized else usual
        return zoo_command("finetune", MODEL, *rest, *places, *flags)

    return done


@pytest.fixture
def tune(call: Call) -> Tune:
    """The same, where it must work; gives the run's folder."""

    def done(*flags: object) -> Path:
        result = call("--json", *flags)
        assert result.code == 0, result.err
        return Path(json.loads(result.out)["run"])

    return done


def recipe_of(run: Path) -> dict[str, Any]:
    """The run's recipe, the keys of its first stage beside the others."""
    values = tomllib.loads((run / "run.toml").read_text())
    return {**values, **values["stages"][0]}


def last(run: Path) -> Path:
    """The newest checkpoint of a run."""
    return max(run.glob("epoch-*"))


def weights(run: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(last(run) / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same weights, bit for bit."""
    return (last(one) / "model.safetensors").read_bytes() == (last(other) / "model.safetensors").read_bytes()


def table(run: Path) -> list[dict[str, str]]:
    """The lines of `metrics.csv`."""
    names, *lines = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    return [dict(zip(names, line, strict=True)) for line in lines]


def refused(told: Result, code: int, *words: str) -> None:
    """Whether a command failed as it should: with this code, these words, and no traceback."""
    assert told.code == code, told.err
    assert told.err.startswith("error: ")
    assert "Traceback" not in told.out + told.err
    for word in words:
        assert word in told.err
