"""What starts at once imports no heavy library: seen in real processes, by Python's own list of imports."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_a_mistyped_model_is_told_before_torch_is_imported(tmp_path: Path) -> None:
    script = "import sys, zoo.cli; code = zoo.cli.run(['finetune', 'resnet81', '--data', '.']); sys.exit(code != 2)"
    imported, _ = imported_by("-c", script, cwd=tmp_path)
    assert not imported & HEAVY


def test_importing_zoo_imports_no_library_before_a_name_is_used(tmp_path: Path) -> None:
    imported, _ = imported_by("-c", "import zoo; zoo.ZooError; zoo.list_models('vgg*')", cwd=tmp_path)
    assert not imported & HEAVY


def test_a_command_imports_the_library_of_one_source_alone(tmp_path: Path) -> None:
    imported, _ = imported_by("-m", "zoo", "summary", "mobilenet_v2", "--depth", "1", cwd=tmp_path)
    assert {"torch", "torchvision"} <= imported
    assert not imported & {"timm", "transformers"}
