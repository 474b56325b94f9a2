"""Checkpoints as a source: a model with its head and what is frozen, put away and got back.

This is the format of runs and of people with a training loop of their own alike.
"""

import copy
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from zoo import files, freezing, surgery
from zoo.checkpoint import reading, writing
from zoo.checkpoint.config import Config
from zoo.checkpoint.delta import Base
from zoo.checkpoint.foreign.modules import read_module
from zoo.checkpoint.state import Stateful, optimizer_state
from zoo.checkpoint.writing import Saved, Snapshot
from zoo.errors import CheckpointError, UsageError
from zoo.head.building import trace_own
from zoo.registry import find_spec, set_spec, spec_of, unwrapped
from zoo.sources.loading import base_again, state_of
from zoo.sources.rebuilding import rebuild, rebuild_lines


def save_checkpoint(
    folder: str | Path,
    model: nn.Module,
    *,
    optimizer: Optimizer | None = None,
    scheduler: Stateful | None = None,
    scaler: Stateful | None = None,
    epoch: int | None = None,
    metrics: Mapping[str, float] | None = None,
    progress: Mapping[str, Any] | None = None,
    whole: bool = False,
    delta: bool = False,
) -> Saved:
    """Save a model, and what its training needs to go on, as one folder that is complete or absent.

    >>> import tempfile, zoo
    >>> model = zoo.load("resnet18", classes=["ant", "bee"], weights=None)
    >>> folder = tempfile.mkdtemp() + "/epoch-0001"
    >>> sorted(file.name for file in zoo.save_checkpoint(folder, model, epoch=1).folder.iterdir())
    ['MANIFEST.json', 'config.json', 'model.safetensors', 'training.json']

    `progress` is what else belongs to the position, in plain values. With `whole` the model is also written as
    `model.pt` (a pickle of torch's classes only) and `model.pt2` (torch.export). With `delta` only what differs
    from the pretrained weights is written, which are named with their sha256 and looked for when the checkpoint
    is loaded. A checkpoint that is in the folder is replaced, once the new one is complete.

    Raises StorageError when the folder cannot be written, CheckpointError for a state that cannot be kept or
    weights that a delta cannot refer to.
    """
    snapshot = snapshot_of(
        model,
        optimizer=optimizer,
        scheduler=scheduler,
        scaler=scaler,
        epoch=epoch,
        metrics=metrics,
        progress=progress,
        whole=whole,
        base=base_again(spec_of(model)) if delta else None,
    )
    return writing.write(Path(folder), snapshot)


def snapshot_of(
    model: nn.Module,
    *,
    optimizer: Optimizer | None = None,
    scheduler: Stateful | None = None,
    scaler: Stateful | None = None,
    epoch: int | None = None,
    metrics: Mapping[str, float] | None = None,
    progress: Mapping[str, Any] | None = None,
    machine: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    raw: Mapping[str, Tensor] | None = None,
    whole: bool = False,
    base: Base | None = None,
) -> Snapshot:
    """What a checkpoint of a model will hold, which may be written while the training goes on.

    `progress` is what else belongs to the position, `machine` what it was computed on, `settings` what the run
    was told, all in plain values. `raw` are the tensors that are trained on, where the model has their average in
    their place. Frozen parameters are not copied: the snapshot must be written before
    anything unfreezes them.

    Raises CheckpointError for a state that cannot be kept.
    """
    model = unwrapped(model)
    spec = find_spec(model)
    frozen = freezing.frozen_parameters(model)
    training = {
        "epoch": epoch,
        "metrics": {key: float(value) for key, value in (metrics or {}).items()},
        "frozen": {"parameters": frozen, "held": freezing.held_modules(model)},
        "optimizer": optimizer_state(optimizer, model) if optimizer else None,
        "scheduler": scheduler.state_dict() if scheduler else None,
        "scaler": scaler.state_dict() if scaler else None,
        "raw": dict(raw) if raw else None,
        "progress": dict(progress or {}),
        "machine": dict(machine or {}),
        "settings": dict(settings or {}),
    }
    config = Config(spec, f"{type(model).__module__}.{type(model).__qualname__}", rebuild_lines(spec))
    plain = stripped(model) if whole else None
    return writing.snapshot_of(model, config, training, shared=frozen, plain=plain, base=base)


def load_checkpoint(
    folder: str | PathLike[str],
    model: nn.Module | None = None,
    *,
    optimizer: Optimizer | None = None,
    scheduler: Stateful | None = None,
    scaler: Stateful | None = None,
    base: str | Path | None = None,
    trust: str | None = None,
    offline: bool = False,
) -> nn.Module:
    """The model of a checkpoint, a plain `nn.Module` with its weights and what was frozen, in eval mode.

    >>> import tempfile, zoo
    >>> model = zoo.load("resnet18", classes=["ant", "bee"], weights=None)
    >>> saved = zoo.save_checkpoint(tempfile.mkdtemp() + "/epoch-0001", model)
    >>> zoo.spec_of(zoo.load_checkpoint(saved.folder)).head.classes
    ('ant', 'bee')

    `folder` is a checkpoint or a run, which stands for its best checkpoint. The model is built from the
    checkpoint unless one is given, which is then loaded in place. An `optimizer` gets its saved state and
    trains the returned model from then on, its parameters found by name; a `scheduler` gets its state.
    `base` says where the weights are that a delta refers to, if they have moved; `offline` keeps from downloading
    them. Given a checkpoint's `model.pt`, a pickle, the model comes from there: that runs code, so `trust` must be
    the sha256 of that very file.

    Raises CheckpointError when the checkpoint is absent, damaged, or does not fit, or a pickle is not trusted.
    """
    place = located(folder)
    if trust is not None and not place.is_file():
        raise UsageError(f"{folder} is no pickle, so there is nothing to trust.", "leave --trust-pickle out")
    if place.is_file():
        given = [each for each in (model, optimizer, scheduler, scaler, base) if each is not None]
        return _whole_model(place, trust, alone=not given)
    moved = Path(base) if base else None
    try:
        return _loaded(place, model, optimizer, scheduler, scaler, moved, offline=offline)
    except (CheckpointError, FileNotFoundError):
        if place == Path(folder).expanduser() or place.exists():
            raise
    # A run that goes on removed it meanwhile, when it had a better one.
    place = reading.checkpoint_at(folder)
    return _loaded(place, model, optimizer, scheduler, scaler, moved, offline=offline)


def _loaded(
    place: Path,
    model: nn.Module | None,
    optimizer: Optimizer | None,
    scheduler: Stateful | None,
    scaler: Stateful | None,
    base: Path | None,
    *,
    offline: bool,
) -> nn.Module:
    reading.verify(place)
    config = reading.read_config(place)
    if model is None and config.spec is None:
        raise CheckpointError(
            f"{place} holds a {config.model_class} that zoo knows nothing about.",
            "build the model yourself, then: zoo.load_checkpoint(FOLDER, model=model)",
        )
    state = state_of(place, config.spec, base, offline=offline)
    if model is None:
        assert config.spec is not None
        model = rebuild(config.spec, sum(each.numel() for each in state.values()))
    inner = unwrapped(model)
    reading.restore_weights(place, inner, state)
    training = reading.read_training(place)
    try:
        freezing.restore(inner, training["frozen"]["parameters"], training["frozen"]["held"])
        reading.restore_training(place, training, inner, optimizer=optimizer, scheduler=scheduler, scaler=scaler)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"the training state of {place} cannot be put back: {error}.") from error
    return model.eval()


def located(path: str | PathLike[str]) -> Path:
    """The checkpoint that a path means, a run's best one, or the file of a whole model.

    Raises CheckpointError when it is none of them.
    """
    path = Path(path).expanduser()
    return path if path.is_file() and path.suffix in (".pt", ".pth") else reading.checkpoint_at(path)


def _whole_model(path: Path, trust: str | None, *, alone: bool) -> nn.Module:
    """The pickled model of a checkpoint, with what the checkpoint beside it says about it."""
    if not alone:
        raise CheckpointError(f"{path} is a whole model: there is nothing else to put it into.", "give its folder")
    model = read_module(path, trust)
    if files.is_complete(path.parent):
        reading.verify(path.parent)
        set_spec(model, reading.read_config(path.parent).spec)
    return model.eval()


def stripped(model: nn.Module) -> nn.Module:
    """A copy on the CPU in eval mode that has nothing of zoo's: no spec, no handles, nothing frozen.

    Raises UsageError for a model that is cut, whose forward is zoo's.
    """
    if surgery.is_cut(model):
        raise UsageError(
            f"this {type(model).__name__} was cut by zoo, and torch alone cannot build it again.",
            "save its state alone, and load that into a model that was cut at the same place",
        )
    plain = copy.deepcopy(model).to("cpu")
    freezing.unfreeze(plain)
    set_spec(plain, None)
    trace_own(plain)
    for parameter in plain.parameters():
        parameter.grad = None
    return plain.eval()
