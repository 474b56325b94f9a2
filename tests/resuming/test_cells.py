"""Model × optimizer × where it stopped × workers × precision: the run that went on is the run that never stopped."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.conftest import MACHINE
from tests.resuming.conftest import TINY, VIT, run_stopped, stopped, unlike
from zoo.errors import Stopped
from zoo.recipe import Recipe, Stage


@dataclass(frozen=True)
class Cell:
    """One combination."""

    model: str
    opt: str
    where: str
    workers: int
    amp: str

    def __str__(self) -> str:
        return f"{self.model}-{self.opt}-{self.where}-{self.workers}-{self.amp}"

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Three epochs of three steps; where stages are crossed the backbone is frozen in the first of them."""
        rates: dict[str, Any] = {"backbone_lr": 5e-4, "warmup_epochs": 1.0, "sched": "cosine"}
        if self.where == "stages":
            return Stage("backbone", epochs=1, lr=3e-3, warmup_epochs=0.5), Stage("none", epochs=2, lr=1e-3, **rates)
        return (Stage("none", epochs=3, lr=1e-3, **rates),)


MODELS, OPTS, WHERE = ("squeezenet1_1", "mobilenet_v2", "vit"), ("sgd", "adamw"), ("epoch", "step", "stages")
CELLS = [Cell(*each) for each in itertools.product(MODELS, OPTS, WHERE, (0, 2), ("off", "bf16"))]
QUICK = {
    Cell("squeezenet1_1", "adamw", "step", 0, "off"),
    Cell("squeezenet1_1", "sgd", "stages", 2, "bf16"),
    Cell("squeezenet1_1", "adamw", "epoch", 2, "off"),
    Cell("mobilenet_v2", "adamw", "stages", 0, "off"),
    Cell("mobilenet_v2", "sgd", "step", 0, "bf16"),
    Cell("vit", "adamw", "step", 2, "bf16"),
    Cell("vit", "sgd", "epoch", 0, "off"),
    Cell("vit", "adamw", "stages", 0, "off"),
}
assert len(CELLS) == 72
assert len(QUICK) == 8

Given = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def given(request: pytest.FixtureRequest, imgs: Path) -> Given:
    """The arguments of a cell's run."""

    def arguments(cell: Cell, out: Path, name: str, **more: Any) -> dict[str, Any]:
        recipe = Recipe(
            cell.stages,
            name="cell",
            opt=cell.opt,  # type: ignore[arg-type]
            batch_size=4,
            label_smoothing=0.1,
            dropout=0.2,
            augment="standard",
            keep="best,every:1",
        )
        own = {"model": VIT}
        if cell.model != "vit":
            weights = request.getfixturevalue("assets") / "weights" / cell.model / f"{cell.model}.pth"
            own = {"model": cell.model, "weights": weights, "img_size": 64}
        machine = {**MACHINE, "amp": cell.amp, "workers": cell.workers}
        return {**own, **machine, "recipe": recipe, "data": imgs, "out": out, "name": name, **more}

    return arguments


@pytest.fixture(scope="module")
def unbroken(given: Given, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Cell], Path]:
    """The folder of a cell's run that was never stopped; cells that differ in workers alone share it."""
    made: dict[tuple[Any, ...], Path] = {}

    def run(cell: Cell) -> Path:
        key = cell.model, cell.opt, cell.stages, cell.amp
        if key not in made:
            made[key] = zoo.finetune(**given(cell, tmp_path_factory.mktemp("unbroken"), "run", workers=0)).folder
        return made[key]

    return run


def broken(cell: Cell, given: Given, out: Path) -> Path:
    """The folder of a cell's run, stopped where the cell says."""
    if cell.where == "epoch":
        return run_stopped(given(cell, out, "broken"), at_epoch=2)
    if cell.where == "step":
        return run_stopped(given(cell, out, "broken"), at_step=5)
    folder = run_stopped(given(cell, out, "broken"), at_step=2)
    with pytest.raises(Stopped):
        zoo.resume(folder, reporter=stopped(at_step=3))
    return folder


@pytest.mark.parametrize(
    "cell", [pytest.param(each, id=str(each), marks=[] if each in QUICK else pytest.mark.slow) for each in CELLS]
)
def test_a_run_that_was_stopped_goes_on_as_the_same_run(
    cell: Cell, given: Given, unbroken: Callable[[Cell], Path], tmp_path: Path
) -> None:
    folder = broken(cell, given, tmp_path)
    names = {"epoch": "epoch-0002", "step": "epoch-0002-step-0002", "stages": "epoch-0002-step-0002"}
    assert (folder / names[cell.where]).is_dir()
    zoo.resume(folder)
    assert unlike(folder, unbroken(cell)) == []


@pytest.mark.parametrize("model", ["squeezenet1_1", pytest.param("mobilenet_v2", marks=pytest.mark.slow), "vit"])
def test_the_same_run_twice_is_identical(
    model: str, given: Given, unbroken: Callable[[Cell], Path], tmp_path: Path
) -> None:
    cell = Cell(model, "adamw", "stages", 0, "off")
    assert unlike(zoo.finetune(**given(cell, tmp_path, "again")).folder, unbroken(cell)) == []


PROGRAM = """
import sys, json, signal, zoo
from pathlib import Path
from tests.finetuning.conftest import Listener

run, step, given = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
heard = Listener(at_step={step: lambda: signal.raise_signal(signal.SIGTERM)} if step else {})
try:
    if run.exists():
        zoo.resume(run, reporter=heard)
    else:
        zoo.finetune(**given, out=run.parent, name=run.name, reporter=heard)
except zoo.Stopped:
    pass
"""


@pytest.mark.slow
def test_another_process_with_other_threads_and_other_hashes_goes_on_as_the_same_run(
    assets: Path, imgs: Path, tmp_path: Path
) -> None:
    """No order comes from a set of names, and the thread count is that of the process that began."""
    given = {
        "model": "squeezenet1_1",
        "weights": str(assets / "weights" / "squeezenet1_1" / "squeezenet1_1.pth"),
        "data": str(imgs),
        "recipe": "probe-then-fine-tune",
        "epochs": 3,
        "batch_size": 4,
        "augment": "standard",
        "img_size": 64,
        "opt": "sgd",
        "workers": 0,
        **MACHINE,
        "settings": {"dropout": 0.2, "stages.1.freeze": "features.0.*,features.3.*"},
    }

    def process(run: str, step: int, threads: int, hashes: int) -> None:
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / run), str(step), json.dumps(given)],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONHASHSEED": str(hashes)},
            check=True,
            timeout=120,
        )

    process("unbroken", 0, threads=2, hashes=1)
    process("broken", 2, threads=2, hashes=2)
    process("broken", 3, threads=1, hashes=3)
    process("broken", 0, threads=1, hashes=4)
    assert unlike(tmp_path / "broken", tmp_path / "unbroken") == []


@pytest.mark.parametrize("policy", ["backbone", pytest.param("until:features.10", marks=pytest.mark.slow)])
def test_a_run_whose_checkpoints_leave_out_the_pretrained_weights_goes_on_as_the_same_run(
    assets: Path, imgs: Path, tmp_path: Path, policy: str
) -> None:
    weights = assets / "weights" / "mobilenet_v2" / "mobilenet_v2.pth"
    usual: dict[str, Any] = {"data": imgs, "out": tmp_path, "epochs": 2, "batch_size": 4, "img_size": 64, "workers": 0}
    given = {**usual, "model": "mobilenet_v2", "weights": weights, "freeze": policy, "save": "delta", **MACHINE}
    folder = run_stopped({**given, "name": "broken"}, at_step=4)
    assert (folder / "epoch-0002-step-0001" / "delta.safetensors").is_file()
    zoo.resume(folder)
    assert unlike(folder, zoo.finetune(**given, name="unbroken").folder) == []
    whole = zoo.finetune(**{**given, "save": "state"}, name="whole")
    kept, other = zoo.load_checkpoint(folder).state_dict(), zoo.load_checkpoint(whole.folder).state_dict()
    assert [name for name in other if not other[name].equal(kept[name])] == []


def test_a_run_on_grey_pictures_goes_on_as_the_same_run(imgs: Path, tmp_path: Path) -> None:
    usual: dict[str, Any] = {"data": imgs, "out": tmp_path, "channels": 1, "img_size": 24, "workers": 0}
    given = {**usual, "model": TINY, "epochs": 2, "batch_size": 4, "augment": "standard", **MACHINE}
    folder = run_stopped({**given, "name": "broken"}, at_step=4)
    zoo.resume(folder)
    assert unlike(folder, zoo.finetune(**given, name="unbroken").folder) == []
    coloured = zoo.finetune(**{**given, "channels": None}, name="coloured").folder
    assert unlike(coloured, folder) != []
