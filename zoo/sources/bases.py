"""Weights that a delta refers to: finding their files, and making sure that they are the ones that were meant."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo import files
from zoo.checkpoint.delta import Base, digest
from zoo.checkpoint.foreign.folders import is_transformers, weight_files
from zoo.checkpoint.reading import checkpoint_at
from zoo.errors import CheckpointError, StorageError, UsageError, ZooError
from zoo.registry import ModelSpec
from zoo.sources import hf, timm, torchvision


def weights_text(spec: ModelSpec) -> str:
    """What loads the weights that a model started from, from any working directory."""
    if spec.weights is None:
        return "none"
    path = Path(spec.weights).expanduser()
    if path.exists():
        return str(path.resolve())
    return "default" if spec.source in ("hf", "own") else spec.weights


def base_of(spec: ModelSpec, state: Mapping[str, Tensor]) -> Base:
    """The base that a model was loaded from, by its state dict from before any training.

    Raises UsageError for a model whose weights come from no file.
    """
    if spec.weights is None or (spec.source == "own" and not Path(spec.weights).exists()):
        what = "random" if spec.weights is None else "its builder's own"
        raise UsageError(
            f"a delta of {spec.full_name} has nothing to refer to: its weights are {what}.",
            "save it whole, with --save state",
        )
    weights = weights_text(spec)
    name, sha256 = _identity(_files_of(spec, weights, offline=False))
    digests = {key: digest(tensor) for key, tensor in state.items() if is_from_base(spec, key)}
    return Base(spec.full_name, weights, name, sha256, digests)


def is_from_base(spec: ModelSpec, name: str) -> bool:
    """Whether the weights file has a tensor as it is, and not the head or what loading made anew or of others."""
    return not spec.in_head(name) and name not in (*spec.fresh, *spec.adapted)


def checked(
    facts: Mapping[str, Any], spec: ModelSpec, checkpoint: Path, given: Path | None = None, *, offline: bool = False
) -> str:
    """What loads the base of a delta, `given` or where it was, after comparing the file's hash.

    Raises CheckpointError when it is missing or is another one.
    """
    weights, named = str(given or facts.get("weights")), str(facts.get("file"))
    advice = "say where it is now with --base FILE, which resume, predict, evaluate and export take"
    try:
        # Names in a file must not make zoo ask a hub for them; the sets of torchvision and timm are their own.
        _, found = _identity(_files_of(spec, weights, offline=offline or spec.source == "hf"))
    except (ZooError, OSError) as error:
        reason = error.message if isinstance(error, ZooError) else str(error)
        raise CheckpointError(f"{checkpoint} is a delta, and its base {named} is missing: {reason}", advice) from error
    if found != facts.get("sha256"):
        raise CheckpointError(
            f"{checkpoint} is a delta, and its base {weights} is another file than the one it was saved with.", advice
        )
    return weights


def _files_of(spec: ModelSpec, weights: str, *, offline: bool) -> Sequence[Path]:
    path = Path(weights).expanduser()
    if is_transformers(path):
        return weight_files(path)
    if path.is_dir():
        # A manifest names the hash of every file beside it, and of a base in turn.
        return [checkpoint_at(path) / files.MANIFEST]
    if path.is_file():
        return [path]
    if path.is_absolute():
        raise StorageError(f"there is no {path}.")
    match spec.source:
        case "torchvision":
            return [torchvision.locate(spec.name, torchvision.set_name(spec.name, weights), offline=offline)]
        case "timm":
            return [timm.locate(timm.tag_of(spec.name, weights), offline=offline)]
        case "hf":
            return weight_files(hf.folder_of(spec.name, offline=offline))
        case _:
            raise UsageError(f"{spec.full_name} has no file of weights.")


def _identity(found: Sequence[Path]) -> tuple[str, str]:
    """The name and the hash of a file, or of several together."""
    hashes = [files.sha256(path) for path in found]
    if len(found) == 1:
        return found[0].name, hashes[0]
    lines = "".join(f"{path.name} {each}\n" for path, each in zip(found, hashes, strict=True))
    return f"{found[0].name} and {len(found) - 1} more", hashlib.sha256(lines.encode()).hexdigest()
