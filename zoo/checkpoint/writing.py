"""Writing a checkpoint: one folder, complete or absent."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from zoo import files
from zoo.checkpoint import full
from zoo.checkpoint.config import Config, to_json
from zoo.checkpoint.state import pack


@dataclass(frozen=True)
class Saved:
    """What was written."""

    folder: Path
    notes: tuple[str, ...] = field(default=())
    """What could not be written, such as an export that the model does not allow."""


def write(
    folder: Path,
    model: nn.Module,
    config: Config,
    training: Mapping[str, Any],
    *,
    plain: nn.Module | None = None,
) -> Saved:
    """Write a model, its config and its training state as one folder that is complete or absent.

    With `plain`, the model with nothing of zoo's on it, the whole model is written too.

    Raises StorageError when the folder cannot be written, CheckpointError for a state that cannot be kept.
    """
    packed = pack({**training, "versions": {"torch": torch.__version__}}, "training")
    notes: tuple[str, ...] = ()
    with files.new_folder(folder) as temporary:
        write_tensors(temporary / "model.safetensors", model.state_dict())
        (temporary / "config.json").write_text(_json(to_json(config)), encoding="utf-8")
        (temporary / "training.json").write_text(_json(packed.values), encoding="utf-8")
        if packed.tensors:
            write_tensors(temporary / "training.safetensors", packed.tensors)
        if plain is not None:
            notes = full.write(temporary, plain, config.spec)
    return Saved(folder, notes)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Tensors as safetensors, each with its own memory, so that every key of a tied weight is there."""
    own: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        kept = tensor.detach().to("cpu").contiguous()
        pointer = kept.untyped_storage().data_ptr()
        own[name] = kept.clone() if pointer in seen else kept
        seen.add(pointer)
    try:
        safetensors.torch.save_file(own, path, metadata={"format": "pt"})
    except safetensors.SafetensorError as error:
        # It tells the system's error in words alone: 'No space left on device (os error 28)'.
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else 0, str(error)) from error


def expected_size(model: nn.Module, trained_copies: int) -> int:
    """The bytes of a checkpoint: the state dict, and so many copies of what is trained for the optimizer."""
    weights: int = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    trained: int = sum(each.numel() * each.element_size() for each in model.parameters() if each.requires_grad)
    return weights + trained_copies * trained


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
