"""One small checkpoint after a step of training, to be spoilt, and the means to do so."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from zoo import files

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model after one step of training."""
    model = zoo.load("timm:mobilenetv2_035", ["ant", "bee"], weights=None)
    zoo.freeze(model, "blocks.*")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.zeros(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    return zoo.save_checkpoint(tmp_path_factory.mktemp("run") / "epoch-0001", model, optimizer=optimizer).folder


@pytest.fixture
def checkpoint(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "run" / "epoch-0001"))


def forge(folder: Path, name: str, content: str | bytes) -> None:
    """Put other content into a file and make the manifest agree, as anybody can."""
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    manifest = json.loads((folder / files.MANIFEST).read_text())
    manifest["files"][name] = {"sha256": files.sha256(folder / name), "size": (folder / name).stat().st_size}
    (folder / files.MANIFEST).write_text(json.dumps(manifest))


def changed(folder: Path, name: str, change: Change) -> None:
    values = json.loads((folder / name).read_text())
    result = change(values)
    forge(folder, name, json.dumps(values if result is None else result))


class Payload:
    """Makes a folder when somebody unpickles it."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)
