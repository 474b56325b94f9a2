"""Reading files of weights that anybody wrote, and putting them into a model.

Nothing in a file is executed, and nothing is allocated for it before its own figures have been compared with what
is there: `headers` does so for safetensors, `pickled` for what torch writes.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from zoo.checkpoint.foreign.headers import read_header
from zoo.checkpoint.foreign.pickled import opened, read_pickled
from zoo.checkpoint.foreign.wrappings import AVERAGES, Found, unwrap, without_wrappers
from zoo.errors import CheckpointError
from zoo.names import is_under, listed, printable

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".th", ".tar", ".ckpt")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file or of a pickled state dict, on the CPU.

    A state dict may be wrapped under `state_dict`, `model` or the like; what DataParallel and torch.compile put
    before its names is taken off.

    Raises CheckpointError when the file is absent, damaged, or wants to run code.
    """
    return without_wrappers(read_wrapped(path).state)


def read_wrapped(path: Path) -> Found:
    """The state dict of a file under the names that it has there, and where in the file it lay.

    Raises CheckpointError when the file is absent, damaged, or wants to run code.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(
            f"the weights {path} cannot be read: it {what}.",
            f"give a file ({', '.join(SUFFIXES[:3])}), a checkpoint folder, the name of a set, or none",
        )
    loaded = _read_safetensors(path) if is_safetensors(path) else read_pickled(path)
    found = unwrap(loaded)
    if not found.state:
        raise CheckpointError(
            f"{path} holds no state dict: {_described(loaded)}.",
            "a state dict maps names to tensors, alone or under state_dict, model or model_state_dict",
        )
    # Plain tensors: a pickle can give those that it makes attributes and hooks.
    return Found({name: torch.Tensor.detach(tensor) for name, tensor in found.state.items()}, found.key)


def is_safetensors(path: Path) -> bool:
    """Whether a file is to be read as safetensors: by its name, or because it begins like one."""
    if path.suffix == ".safetensors":
        return True
    with opened(path) as file:
        start = file.read(10)
    return start[6:9] == b"\0\0{" and not start.startswith((b"PK", b"\x80"))


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
    read_header(path)
    try:
        return safetensors.torch.load_file(path)
    # The library tells of a file that has gone meanwhile as it tells of any failure.
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} is no safetensors file or is damaged: {printable(str(error))}.") from error


def _described(loaded: object) -> str:
    if isinstance(loaded, Mapping):
        return f"it maps {printable(listed([str(key) for key in loaded]))}" if loaded else "it is empty"
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
    notes: tuple[str, ...] = ()
    """How the tensors were found in the file."""

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
        return printable(", ".join((*parts, *self.notes)))


def note_of(key: str) -> tuple[str, ...]:
    """What to tell about where a state dict lay in its file, where that is not what one would expect."""
    average = any(part in AVERAGES for part in key.split("."))
    return (f"from {key}, the average of its training",) if average else ()


def load_matching(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    heads: Iterable[str],
    partial: bool,
    called: str,
    notes: Iterable[str] = (),
) -> LoadReport:
    """Copy the tensors that fit into a model; what lies under `heads` may be absent.

    `notes` go into the report.

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
        notes=tuple(notes),
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
