"""What starts at once imports no heavy library: seen in real processes, by Python's own list of imports."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import write_pictures
from zoo.cli import COMMANDS

HEAVY = {"torch", "torchvision", "timm", "transformers", "numpy", "safetensors", "PIL", "huggingface_hub"}
IMPORTED = re.compile(r"^import time:\s*\d+ \|\s*\d+ \|\s*(\w+)", re.MULTILINE)


def imported_by(*command: str, cwd: Path, **environment: str) -> tuple[set[str], str]:
    """The top-level modules that a Python process imports, and what it prints."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return set(IMPORTED.findall(done.stderr)), done.stdout


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ("--help", "finetune"),
        ("--version", "zoo 0."),
        ("list vgg1?", "vgg16"),
        ("list --json", '"vgg16"'),
        ("info vgg16", "138,357,544"),
        ("info timm:resnet18 --json", '"layer4.1"'),
        ("recipes", "linear-probe"),
        ("recipes show fine-tune", "[[stages]]"),
        ("heads", "attention-pool"),
        ("heads show mlp", "[[layers]]"),
    ],
)
def test_facts_come_without_a_heavy_library(arguments: str, shown: str, tmp_path: Path) -> None:
    imported, out = imported_by("-m", "zoo", *arguments.split(), cwd=tmp_path)
    assert shown in out
    assert not imported & HEAVY


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_comes_without_a_heavy_library(command: str, tmp_path: Path) -> None:
    imported, out = imported_by("-m", "zoo", command, "--help", cwd=tmp_path)
    assert f"zoo {command}" in out
    assert not imported & HEAVY


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("zoo fine", "finetune"),
        ("zoo info vgg1", "vgg16"),
        ("zoo finetune --recipe lin", "linear-probe"),
        ("zoo list --max", "--max-params"),
    ],
)
def test_completion_comes_without_a_heavy_library(words: str, completed: str, tmp_path: Path) -> None:
    imported, out = imported_by(
        "-m",
        "zoo",
        cwd=tmp_path,
        _ZOO_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split()) - 1),
    )
    assert completed in out.split()
    assert not imported & HEAVY


def test_the_list_of_commands_is_told_without_importing_one(tmp_path: Path) -> None:
    script = "import zoo.cli, sys; zoo.cli.run(['--help']); print(*sorted(sys.modules))"
    _, out = imported_by("-c", script, cwd=tmp_path)
    loaded = {name.removeprefix("zoo.cli.") for name in out.split() if name.startswith("zoo.cli.")}
    assert not loaded & {*COMMANDS, "listing"}


TORCH = {"torch", "torchvision", "timm", "transformers", "numpy", "safetensors"}
"""What takes seconds; pictures and tables may be looked at before."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with pictures, a table without labels, a head of seven scores and a recipe with a mistake."""
    write_pictures(tmp_path / "imgs", {"ant": 3, "bee": 3})
    (tmp_path / "t.csv").write_text("image,lable\nimgs/ant/0.png,ant\n")
    linear = 'layer = "Linear"\nin_features = "features"\n'
    (tmp_path / "seven.toml").write_text(f"[[layers]]\n{linear}out_features = 7\n")
    (tmp_path / "mine.toml").write_text('bacth-size = 3\n[[stages]]\nfreeze = "none"\nepochs = 1\nlr = 1\n')
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("finetune resnet81 --data imgs", 2, "no model is called 'resnet81'"),
        ("finetune resnet18 --data imgs --freeze frist:2", 2, "near: first:N"),
        ("finetune resnet18 --data imgs --freeze backbone --unfreeze none", 2, "it takes nothing out"),
        ("finetune resnet18 --data imgs --channels 2", 2, "cannot be read with 2 channels"),
        ("finetune resnet18 --data imgs --channels 4 --augment trivial", 2, "augment trivial cannot vary"),
        ("finetune resnet18 --data t.csv", 3, "no column 'label'"),
        ("finetune resnet18 --data img", 3, "near: imgs"),
        ("finetune resnet18 --data imgs --classes ant,cow", 2, "--classes names cow"),
        ("finetune resnet18 --data imgs --head lienar", 2, "near: linear"),
        ("finetune resnet18 --data imgs --head seven.toml", 2, "7 scores come out of it, and 2 are wanted"),
        ("finetune resnet18 --data imgs --head seven.toml --mode append", 2, "7 scores come out of it, and 2"),
        ("finetune squeezenet1_1 --data imgs --head norm-linear", 2, "takes a vector, and torchvision:squeezenet1_1"),
        ("finetune resnet18 --data imgs --recipe mine.toml", 2, "bacth-size is unknown; near: batch-size"),
        ("finetune resnet18 --data imgs --resume --allow lrr", 2, "near: lr"),
        ("finetune resnet18 --data imgs --out t.csv", 5, "t.csv is a file"),
        ("finetune resnet18 --data imgs --name a/b", 2, "--name 'a/b' is no name of a folder"),
        ("resume runs/one --allow model", 2, "with another one it is another run"),
        ("lr-find resnet18 --data imgs --freeze first:0", 2, "first:N takes a number of blocks"),
        ("lr-find resnet18 --data imgs --steps 3", 2, "--steps is 3; it must be 20 or more"),
    ],
)
def test_a_mistake_that_needs_no_model_is_told_before_torch_is_imported(
    place: Path, arguments: str, code: int, words: str
) -> None:
    script = f"import sys, zoo.cli; sys.exit(zoo.cli.run({arguments.split()!r}) != {code})"
    imported, told = imported_by("-c", f"import sys; sys.stderr = sys.stdout; {script}", cwd=place)
    assert words in told
    assert not imported & TORCH


def test_importing_zoo_imports_no_library_before_a_name_is_used(tmp_path: Path) -> None:
    imported, _ = imported_by("-c", "import zoo; zoo.ZooError; zoo.list_models('vgg*')", cwd=tmp_path)
    assert not imported & HEAVY


def test_a_command_imports_the_library_of_one_source_alone(tmp_path: Path) -> None:
    imported, _ = imported_by("-m", "zoo", "summary", "mobilenet_v2", "--depth", "1", cwd=tmp_path)
    assert {"torch", "torchvision"} <= imported
    assert not imported & {"timm", "transformers"}
