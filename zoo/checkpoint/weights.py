"""Reading files of weights that anybody wrote, and putting them into a model.

Nothing in a file is executed: safetensors hold numbers alone, and pickled files are read with
`weights_only=True`, which refuses every global that is not on torch's own list.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from zoo.errors import CheckpointError
from zoo.names import is_under, listed

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".th", ".tar", ".ckpt")
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file or of a pickled state dict, on the CPU.

    A state dict may be wrapped under `state_dict`, `model` or `model_state_dict`, its keys may all begin
    with `module.` as DataParallel leaves them.

    Raises CheckpointError when the file is absent, damaged, or wants to run code.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(
            f"the weights {path} cannot be read: it {what}.",
            f"give a file ({', '.join(SUFFIXES[:3])}), a checkpoint folder, the name of a set, or none",
        )
    loaded = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled(path)
    state = _unwrap(loaded)
    if not state:
        raise CheckpointError(
            f"{path} holds no state dict: {_described(loaded)}.",
            "a state dict maps names to tensors, alone or under state_dict, model or model_state_dict",
        )
    prefix = "module."
    if all(name.startswith(prefix) for name in state):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of one of zoo's own files, under the names that they were written with."""
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist.")
    return _read_safetensors(path)


def load_state(model: nn.Module, state: Mapping[str, Tensor], *, strict: bool = True) -> None:
    """Put tensors into a model as `load_state_dict` does, with the versions that modules note in a state dict.

    safetensors does not keep those, and mnasnet refuses a state dict without them.
    """
    kept = OrderedDict(state)
    kept._metadata = getattr(state, "_metadata", model.state_dict()._metadata)  # type: ignore[attr-defined]
    model.load_state_dict(kept, strict=strict)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is no safetensors file or is damaged: {error}.") from error


def _read_pickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        wanted = re.findall(r"GLOBAL ([\w.]+)", str(error))
        if wanted:
            raise CheckpointError(
                f"{path} is refused: reading it would run {listed(sorted(set(wanted)))}.",
                "weights alone need no code; ask its author for a .safetensors file or a plain state dict",
            ) from error
        raise CheckpointError(
            f"{path} is no file of weights that torch can read, or it is cut off.",
            f"give a file ({', '.join(SUFFIXES[:3])}), a checkpoint folder, the name of a set, or none",
        ) from error
    # A damaged pickle fails in as many ways as it can be read: struct.error, IndexError, AssertionError and more.
    except Exception as error:
        raise CheckpointError(
            f"{path} is no file of weights that torch can read, or it is cut off.",
            f"give a file ({', '.join(SUFFIXES[:3])}), a checkpoint folder, the name of a set, or none",
        ) from error


def _unwrap(loaded: Any) -> dict[str, Tensor]:
    """The state dict itself, out of the ways in which people wrap one."""
    for key in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping):
        return {}
    return {name: value for name, value in loaded.items() if isinstance(name, str) and isinstance(value, Tensor)}


def _described(loaded: Any) -> str:
    if isinstance(loaded, Mapping):
        return f"it maps {listed([str(key) for key in loaded])}" if loaded else "it is empty"
    return f"it is a {type(loaded).__name__}"


@dataclass(frozen=True)
class LoadReport:
    """What became of the tensors of a file."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    """In the model, not in the file."""
    unexpected: tuple[str, ...]
    """In the file, not in the model."""
    misshapen: tuple[str, ...]
    """In both, with another shape, which is told."""
    left_out: tuple[str, ...] = ()
    """The head's, which is replaced anyway and need not fit."""

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} tensors matched"]
        for word, names in (
            ("missing", self.missing),
            ("of another shape", self.misshapen),
            ("unexpected", self.unexpected),
        ):
            if names:
                parts.append(f"{len(names)} {word} ({listed(names, 3)})")
        if self.left_out:
            parts.append(f"its head left out ({listed(self.left_out, 3)})")
        return ", ".join(parts)


def load_matching(
    model: nn.Module, state: Mapping[str, Tensor], *, heads: Iterable[str], partial: bool, called: str
) -> LoadReport:
    """Copy the tensors that fit into a model; what lies under `heads` may be absent.

    Raises CheckpointError when a tensor of the backbone is missing or has another shape, unless `partial`
    allows it and something matched.
    """
    wanted = model.state_dict()
    heads = tuple(heads)
    shapes = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    optional = {name for name in (*wanted, *state) if any(is_under(name, head) for head in heads)}
    fits = {
        name: tensor
        for name, tensor in state.items()
        if name not in optional and shapes.get(name) == tuple(tensor.shape)
    }
    report = LoadReport(
        matched=tuple(fits),
        missing=tuple(name for name in wanted if name not in state and name not in optional),
        unexpected=tuple(name for name in state if name not in wanted and name not in optional),
        misshapen=tuple(
            f"{name}: {tuple(tensor.shape)} in the file, {shapes[name]} in the model"
            for name, tensor in state.items()
            if name in wanted and name not in fits and name not in optional
        ),
        left_out=tuple(name for name in state if name in optional),
    )
    # Files from before torch 0.4.1 lack the counters of batch norms, which nothing but momentum=None reads.
    lacking = [name for name in report.missing if not name.endswith("num_batches_tracked")] + list(report.misshapen)
    if not fits or (lacking and not partial):
        raise CheckpointError(
            f"the weights {called} do not fit the model: {report}.",
            "give weights of this architecture" + (", or load what fits with --allow-partial" if fits else ""),
        )
    load_state(model, fits, strict=False)
    return report
