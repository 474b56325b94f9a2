"""Writing a checkpoint: first a snapshot that no later step changes, then one folder, complete or absent."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo import files
from zoo.checkpoint import full
from zoo.checkpoint.config import Config, to_json
from zoo.checkpoint.delta import Base, digest_of_all, digests_of
from zoo.checkpoint.state import Packed, pack
from zoo.checkpoint.tensors import safetensors
from zoo.errors import CheckpointError
from zoo.names import listed

WEIGHTS, DELTA = "model.safetensors", "delta.safetensors"
"""The state dict; of a delta, those of its tensors that its base does not have."""
CONFIG, TRAINING, TENSORS = "config.json", "training.json", "training.safetensors"


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint will hold, as it was at one moment."""

    state: Mapping[str, Tensor]
    config: Config
    training: Packed
    plain: nn.Module | None = None
    """The model with nothing of zoo's on it, where the whole of it is to be written too."""
    base: Base | None = None
    """The weights that a delta leaves out."""


@dataclass(frozen=True)
class Saved:
    """What was written."""

    folder: Path
    notes: tuple[str, ...] = field(default=())
    """What could not be written, such as an export that the model does not allow."""


def snapshot_of(
    model: nn.Module,
    config: Config,
    training: Mapping[str, Any],
    *,
    shared: Collection[str] = (),
    plain: nn.Module | None = None,
    base: Base | None = None,
) -> Snapshot:
    """A copy of what a checkpoint needs, so that training can go on while it is written.

    Tensors whose names are in `shared` are not copied: nothing may change them until the snapshot is written.

    Raises CheckpointError for a training state that cannot be kept.
    """
    packed = pack({**training, "versions": {"torch": torch.__version__}}, "training")
    state = {
        name: tensor.detach() if name in shared else tensor.detach().to("cpu", copy=True)
        for name, tensor in model.state_dict().items()
    }
    return Snapshot({name: tensor.cpu() for name, tensor in state.items()}, config, packed, plain, base)


def write(folder: Path, snapshot: Snapshot, check: Callable[[], None] = lambda: None) -> Saved:
    """Write a snapshot as one folder that is complete or absent; `check` is called on the way and may end it.

    Raises StorageError when the folder cannot be written.
    """
    notes: tuple[str, ...] = ()
    with files.new_folder(folder, check) as new:
        add_weights(new, snapshot.state, snapshot.base)
        new.add(CONFIG, [_json(to_json(snapshot.config))])
        new.add(TRAINING, [_json(snapshot.training.values)])
        if snapshot.training.tensors:
            new.add(TENSORS, safetensors(snapshot.training.tensors))
        if snapshot.plain is not None:
            notes = full.write(new.path, snapshot.plain, snapshot.config.spec)
    return Saved(folder, notes)


def add_weights(new: files.NewFolder, state: Mapping[str, Tensor], base: Base | None) -> None:
    """Write a state dict into a new folder, or with a base only what differs from it."""
    if base is None:
        new.add(WEIGHTS, safetensors(state))
        return
    digests = digests_of(state)
    lost = sorted(base.digests.keys() - digests.keys())
    if lost:
        raise CheckpointError(
            f"the model has lost {listed(lost)}, which its base would bring back.",
            "save it whole, with --save state",
        )
    new.add(DELTA, safetensors({name: state[name] for name in state if digests[name] != base.digests.get(name)}))
    new.base = {**base.facts(), "state": digest_of_all(digests)}


def expected_size(model: nn.Module, *, delta: bool = False) -> int:
    """The bytes of a model's state dict; a delta has the trained parameters and the buffers alone."""
    frozen = {name for name, each in model.named_parameters() if not each.requires_grad} if delta else set()
    kept = [tensor for name, tensor in model.state_dict().items() if name not in frozen]
    return sum(tensor.numel() * tensor.element_size() for tensor in kept)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
