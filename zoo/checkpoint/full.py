"""The whole model in two more forms, for those who want to run it without building it.

`model.pt` is a pickle of the library's and torch's classes: everything of zoo's is taken off first.
`model.pt2` is an exported program that takes (batch, channels, height, width) and gives logits.
"""

import errno
import os
import warnings
from pathlib import Path
from pickle import PicklingError

import torch
from torch import Tensor, nn

from zoo import files
from zoo.registry import ModelSpec


def write(folder: Path, plain: nn.Module, spec: ModelSpec | None) -> tuple[str, ...]:
    """Write both forms of a model that is on the CPU, in eval mode and stripped of all that is zoo's.

    What cannot be written is told and left out.
    """
    notes = []
    try:
        torch.save(plain, folder / "model.pt")
    except (AttributeError, TypeError, RuntimeError, PicklingError) as error:
        _raise_if_full(folder, error)
        (folder / "model.pt").unlink(missing_ok=True)
        notes.append(f"model.pt was left out: this model cannot be pickled ({_first_line(error)})")
    if spec is None:
        notes.append("model.pt2 was left out: the shape of an input is unknown for a model that zoo did not load")
        return tuple(notes)
    try:
        _export(plain, spec, folder / "model.pt2")
    # torch.export fails in as many ways as models have; whatever it is, the checkpoint itself is good.
    except Exception as error:
        _raise_if_full(folder, error)
        (folder / "model.pt2").unlink(missing_ok=True)
        notes.append(f"model.pt2 was left out: torch.export cannot follow this model ({_first_line(error)})")
    return tuple(notes)


class _Logits(nn.Module):
    """Gives the tensor alone where a model returns it within an object, as those of transformers do."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.model(pictures).logits
        return logits


def _export(plain: nn.Module, spec: ModelSpec, path: Path) -> None:
    program = plain if spec.source != "hf" else _Logits(plain)
    # The archive keeps a copy of the sample, so it is zeros; two pictures, as one would be taken as a constant.
    sample = torch.zeros(2, len(spec.preprocessing.mean), *spec.preprocessing.size)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        exported = torch.export.export(
            program, (sample,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False
        )
        torch.export.save(exported, path)


def _raise_if_full(folder: Path, error: Exception) -> None:
    """torch tells of a full disk as of any other failure; that one must not pass for the model's fault."""
    if files.free_space(folder) < 1_000_000:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:160] or type(error).__name__
