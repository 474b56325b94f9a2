"""Folders that transformers writes: one file of weights, or several that an index names.

An index is a file that anybody wrote: each name in it must be that of a file in the same folder, so that no part of
the model comes from elsewhere on the machine.
"""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo.checkpoint.weights import read_weights
from zoo.errors import CheckpointError
from zoo.files import MANIFEST
from zoo.names import listed, printable

CONFIG = "config.json"
_WHOLE = ("model.safetensors", "pytorch_model.bin")
"""What transformers looks for, in this order; each may come as an index of parts instead."""

_MARKS = {"model_type", "architectures", "architecture"}


def is_transformers(folder: Path) -> bool:
    """Whether a folder is one of `save_pretrained`, of transformers or of timm; a checkpoint of zoo's is none.

    Raises CheckpointError when its configuration is damaged.
    """
    names = (*_WHOLE, *(f"{name}.index.json" for name in _WHOLE))
    if (folder / MANIFEST).exists() or not (folder / CONFIG).is_file():
        return False
    return any((folder / name).exists() for name in names) and bool(_MARKS & read_config(folder).keys())


def weight_files(folder: Path) -> list[Path]:
    """The files with the weights of a folder, in the order of their names; raises CheckpointError."""
    for name in _WHOLE:
        if (folder / name).exists():
            return [_inside(folder, name)]
        if (folder / f"{name}.index.json").exists():
            return [_inside(folder, part) for part in _parts(_inside(folder, f"{name}.index.json"))]
    raise CheckpointError(
        f"{folder} has no weights of transformers.", f"it needs {' or '.join(_WHOLE)}, whole or in parts with an index"
    )


def read_folder(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder, of all its parts; raises CheckpointError."""
    state: dict[str, Tensor] = {}
    for path in weight_files(folder):
        part = read_weights(path)
        twice = sorted(state.keys() & part.keys())
        if twice:
            raise CheckpointError(f"{folder} has {printable(listed(twice, 3))} in several of its parts.")
        state.update(part)
    return state


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a folder as plain values; raises CheckpointError."""
    return _read_object(folder / CONFIG)


def _parts(index: Path) -> list[str]:
    named = _read_object(index).get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(part, str) for part in named.values()):
        raise CheckpointError(f"{index} is no index of weights: it maps no tensors to files.")
    return sorted(set(named.values()))


def _read_object(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {printable(str(error))}.") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is damaged: it is no JSON object.")
    return values


def _inside(folder: Path, name: str) -> Path:
    """A file of a folder by its plain name; it may be a link within the folder, or into the hub's own cache."""
    if Path(name).name != name or "\\" in name or "\0" in name or name in ("", ".", ".."):
        raise CheckpointError(
            f"{folder} is refused: it names weights outside of itself, {printable(repr(name))[:200]}.",
            "each part must lie in the folder itself",
        )
    path = folder / name
    roots = [folder.resolve()]
    if folder.parent.name == "snapshots":
        # The cache of the hub keeps each file once, in a folder beside the snapshots that link to it.
        roots.append(folder.resolve().parents[1] / "blobs")
    if not any(path.resolve().is_relative_to(root) for root in roots):
        raise CheckpointError(
            f"{folder} is refused: its {printable(name)} is a link to {printable(str(path.resolve()))}, outside of it.",
            "each part must lie in the folder itself",
        )
    if not path.is_file():
        raise CheckpointError(f"{folder} is not complete: it has no {printable(name)}.", "get the folder again")
    return path
