"""The whole model in two more forms, for those who want to run it without building it.

`model.pt` is a pickle of the library's and torch's classes: everything of zoo's is taken off first.
`model.pt2` is an exported program that takes (batch, channels, height, width) and gives logits.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from pickle import PicklingError
from typing import IO, Any, BinaryIO, cast

import torch
from torch import Tensor, nn

from zoo.registry import ModelSpec


def write(folder: Path, plain: nn.Module, spec: ModelSpec | None) -> tuple[str, ...]:
    """Write both forms of a model that is on the CPU, in eval mode and stripped of all that is zoo's.

    What cannot be written is told and left out.
    """
    notes = []
    try:
        with _Patient.opened(folder / "model.pt") as file:
            torch.save(plain, cast(IO[bytes], file))
    except (AttributeError, TypeError, RuntimeError, PicklingError) as error:
        (folder / "model.pt").unlink(missing_ok=True)
        notes.append(f"model.pt was left out: this model cannot be pickled ({_first_line(error)})")
    if spec is None:
        notes.append("model.pt2 was left out: the shape of an input is unknown for a model that zoo did not load")
        return tuple(notes)
    try:
        with _Patient.opened(folder / "model.pt2") as file:
            _export(plain, spec, file)
    except OSError:
        raise
    # torch.export fails in as many ways as models have; whatever it is, the checkpoint itself is good.
    except Exception as error:
        (folder / "model.pt2").unlink(missing_ok=True)
        notes.append(f"model.pt2 was left out: torch.export cannot follow this model ({_first_line(error)})")
    return tuple(notes)


class _Logits(nn.Module):
    """Gives the tensor alone where a model returns it within an object, as those of transformers do."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pictures: Tensor) -> Tensor:
        out = self.model(pictures)
        logits: Tensor = out.logits if hasattr(out, "logits") else out.last_hidden_state
        return logits


class _Patient(io.RawIOBase):
    """A file that torch writes to: an error of the disk waits until torch is done.

    torch's own files end the whole process when a disk is full, by an error in a destructor, and name no cause.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.file = file
        self.error: OSError | None = None

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: Path) -> Iterator["_Patient"]:
        """The file for the body; afterwards what went wrong with the disk is raised."""
        with path.open("wb", buffering=0) as file:
            patient = cls(file)
            yield patient
            if patient.error is not None:
                raise patient.error

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def seekable(self) -> bool:
        """As the file is."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place in the file, or nowhere once the disk has failed."""
        return self.file.seek(offset, whence) if self.error is None else 0

    def write(self, content: Any) -> int:
        """Write, or only count once the disk has failed."""
        rest = memoryview(content).cast("B")
        while self.error is None and rest:
            try:
                rest = rest[self.file.write(rest) :]
            except OSError as error:
                self.error = error
        return memoryview(content).nbytes

    def flush(self) -> None:
        """Nothing: what is written is with the system at once."""


def _export(plain: nn.Module, spec: ModelSpec, file: _Patient) -> None:
    program = plain if spec.source != "hf" else _Logits(plain)
    # The archive keeps a copy of the sample, so it is zeros; two pictures, as one would be taken as a constant.
    sample = torch.zeros(spec.shape(2))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        exported = torch.export.export(
            program, (sample,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False
        )
        torch.export.save(exported, cast(IO[bytes], file))


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:160] or type(error).__name__
