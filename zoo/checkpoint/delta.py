"""Deltas: of a model whose backbone is frozen, a checkpoint needs only what its base weights do not have.

The base is named, with the sha256 of its file, and the whole state dict has a digest of its own: what is put
together again is bit for bit what was saved, or it is refused.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from zoo.checkpoint.tensors import raw
from zoo.errors import CheckpointError


@dataclass(frozen=True)
class Base:
    """Weights that are kept elsewhere."""

    model: str
    weights: str
    """What loads them: `default`, the name of a set, a file or a checkpoint."""
    file: str
    """The name of the file that the hash is of."""
    sha256: str
    digests: Mapping[str, str] = field(repr=False)
    """The digest of each tensor that they give the model."""

    def facts(self) -> dict[str, Any]:
        """What a manifest says about the base."""
        return {"model": self.model, "weights": self.weights, "file": self.file, "sha256": self.sha256}


def digest(tensor: Tensor) -> str:
    """The sha256 of a tensor's type, shape and values."""
    found = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    found.update(raw(tensor))
    return found.hexdigest()


def digests_of(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The digest of every tensor of a state dict."""
    return {name: digest(tensor) for name, tensor in state.items()}


def digest_of_all(digests: Mapping[str, str]) -> str:
    """One digest for those of a whole state dict."""
    lines = (f"{name} {digests[name]}\n" for name in sorted(digests))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def joined(delta: Mapping[str, Tensor], base: Mapping[str, Tensor], expected: str, called: str) -> dict[str, Tensor]:
    """A delta and the tensors of its base as one state dict; raises CheckpointError unless it is what was saved."""
    state = {**base, **delta}
    if digest_of_all(digests_of(state)) != expected:
        raise CheckpointError(
            f"{called} and its base give other weights than were saved.",
            "its base, or the library that reads it, is not the one it was saved with",
        )
    return state
