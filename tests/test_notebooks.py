"""The notebooks run from top to bottom, and their cells give what they show."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))


def run(notebook: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, ROOT / "tools" / "run_notebook.py", notebook, *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def write(notebook: Path, *codes: str) -> Path:
    cells: list[dict[str, Any]] = [{"cell_type": "code", "source": [code], "outputs": []} for code in codes]
    notebook.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    return notebook


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_the_cells_of_a_notebook_run_and_give_what_they_show(notebook: Path) -> None:
    done = run(notebook, "--check")
    assert done.returncode == 0, done.stderr


def test_a_cell_that_fails_is_told(tmp_path: Path) -> None:
    done = run(write(tmp_path / "a.ipynb", "x = 1", "x.missing"), "--check")
    assert done.returncode
    assert "'int' object has no attribute 'missing'" in done.stderr
    assert "in cell 2 of" in done.stderr


def test_outputs_are_stored_and_compared(tmp_path: Path) -> None:
    notebook = write(tmp_path / "a.ipynb", "print('seen')\nx = 1", "x + 1")
    assert "cell 1" in run(notebook, "--check").stderr
    assert run(notebook).returncode == 0
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert cells[0]["outputs"] == [{"name": "stdout", "output_type": "stream", "text": ["seen\n"]}]
    assert cells[1]["outputs"][0]["data"] == {"text/plain": ["2"]}
    assert run(notebook, "--check").returncode == 0
    notebook.write_text(notebook.read_text(encoding="utf-8").replace('"2"', '"3"'), encoding="utf-8")
    assert "cell 2" in run(notebook, "--check").stderr
