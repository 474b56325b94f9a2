"""Model × knob × workers: stopped within an epoch, a real network goes on as if it had never stopped."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.conftest import MACHINE
from tests.resuming.conftest import VIT, run_stopped, unlike
from zoo.recipe import Recipe, Stage

STAGE: dict[str, Any] = {"freeze": "none", "epochs": 3, "lr": 1e-3, "backbone_lr": 5e-4}
USUAL: dict[str, Any] = {"batch_size": 4, "augment": "standard", "dropout": 0.2, "label_smoothing": 0.1}
STUCK = Stage("backbone", epochs=5, lr=1e-12, patience=1)


def recipe(*stages: Stage, **knobs: Any) -> Recipe:
    return Recipe(stages or (Stage(**STAGE),), name="cell", keep="best,every:1", **{**USUAL, **knobs})


KNOBS: dict[str, Recipe] = {
    "accumulate": recipe(batch_size=2, accumulate=2),
    "clip": recipe(clip_grad=0.1),
    "ema": recipe(ema=0.9),
    "mixing": recipe(mixup=0.4, cutmix=1.0),
    "one-cycle": recipe(Stage(**STAGE, sched="one-cycle")),
    "randaugment": recipe(augment="randaugment", erasing=0.5),
    "patience": recipe(STUCK, Stage(**{**STAGE, "epochs": 2})),
    "all": recipe(
        Stage("backbone", epochs=1, lr=3e-3),
        Stage(**{**STAGE, "epochs": 2}, sched="one-cycle", patience=2),
        batch_size=2,
        accumulate=2,
        clip_grad=0.5,
        ema=0.9,
        mixup=0.4,
        cutmix=1.0,
        augment="randaugment",
        erasing=0.5,
        opt="radam",
    ),
}


@dataclass(frozen=True)
class Cell:
    """One combination."""

    model: str
    knob: str
    workers: int

    def __str__(self) -> str:
        return f"{self.model}-{self.knob}-{self.workers}"


MODELS = ("squeezenet1_1", "mobilenet_v2", "vit")
CELLS = [Cell(*each) for each in itertools.product(MODELS, KNOBS, (0, 2))]
QUICK = {
    Cell("mobilenet_v2", "ema", 0),
    Cell("mobilenet_v2", "all", 2),
    Cell("squeezenet1_1", "randaugment", 2),
    Cell("vit", "accumulate", 0),
    Cell("vit", "mixing", 0),
    Cell("vit", "patience", 0),
}
assert len(CELLS) == 48
assert set(CELLS) >= QUICK

Given = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def given(request: pytest.FixtureRequest, imgs: Path) -> Given:
    """The arguments of a cell's run."""

    def arguments(cell: Cell, out: Path, name: str, workers: int) -> dict[str, Any]:
        own = {"model": VIT}
        if cell.model != "vit":
            weights = request.getfixturevalue("assets") / "weights" / cell.model / f"{cell.model}.pth"
            own = {"model": cell.model, "weights": weights, "img_size": 64}
        machine = {**MACHINE, "workers": workers}
        return {**own, **machine, "recipe": KNOBS[cell.knob], "data": imgs, "out": out, "name": name}

    return arguments


@pytest.fixture(scope="module")
def unbroken(given: Given, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Cell], Path]:
    """The folder of a cell's run that was never stopped; cells that differ in workers alone share it."""
    made: dict[tuple[str, str], Path] = {}

    def run(cell: Cell) -> Path:
        key = cell.model, cell.knob
        if key not in made:
            made[key] = zoo.finetune(**given(cell, tmp_path_factory.mktemp("unbroken"), "run", 0)).folder
        return made[key]

    return run


@pytest.mark.parametrize(
    "cell", [pytest.param(each, id=str(each), marks=[] if each in QUICK else pytest.mark.slow) for each in CELLS]
)
def test_a_run_with_a_knob_that_was_stopped_goes_on_as_the_same_run(
    cell: Cell, given: Given, unbroken: Callable[[Cell], Path], tmp_path: Path
) -> None:
    folder = run_stopped(given(cell, tmp_path, "broken", cell.workers), at_step=5)
    assert (folder / "epoch-0002-step-0002").is_dir()
    zoo.resume(folder)
    assert unlike(folder, unbroken(cell)) == []


def test_all_knobs_at_once_go_on_in_mixed_precision_too(given: Given, tmp_path: Path) -> None:
    cell = Cell("vit", "all", 0)
    folder = run_stopped({**given(cell, tmp_path, "broken", 0), "amp": "bf16"}, at_step=5)
    zoo.resume(folder)
    unbroken = zoo.finetune(**{**given(cell, tmp_path, "unbroken", 0), "amp": "bf16"})
    assert unlike(folder, unbroken.folder) == []


@pytest.mark.slow
def test_an_average_beside_pretrained_weights_that_are_left_out_goes_on_as_the_same_run(
    assets: Path, imgs: Path, tmp_path: Path
) -> None:
    weights = assets / "weights" / "mobilenet_v2" / "mobilenet_v2.pth"
    usual: dict[str, Any] = {"data": imgs, "out": tmp_path, "epochs": 2, "batch_size": 4, "img_size": 64, "workers": 0}
    given = {**usual, "model": "mobilenet_v2", "weights": weights, "freeze": "until:features.16", **MACHINE}
    folder = run_stopped({**given, "name": "broken", "save": "delta", "ema": 0.9}, at_step=4)
    assert (folder / "epoch-0002-step-0001" / "delta.safetensors").is_file()
    zoo.resume(folder)
    assert unlike(folder, zoo.finetune(**given, name="unbroken", save="delta", ema=0.9).folder) == []
    whole = zoo.finetune(**given, name="whole", save="full", ema=0.9)
    kept, other = zoo.load_checkpoint(folder).state_dict(), zoo.load_checkpoint(whole.folder).state_dict()
    assert [name for name in other if not other[name].equal(kept[name])] == []
