"""Weights that a user gives: a file of whoever's making, or a folder of transformers.

Any other than zoo's own does not say how its pictures were prepared. Size, mean and standard deviation are then
those of the architecture's default weights, and pictures are scaled by the field's common rule (shorter side to
8/7 of the input, bilinear), whatever the source, so that the same file gives the same results through each library.
A file with the name of a published torchvision set is that set; a folder may hold its processor's configuration.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from zoo.checkpoint.foreign import folders
from zoo.checkpoint.foreign.wrappings import Found, without_prefix
from zoo.checkpoint.weights import note_of, read_wrapped
from zoo.registry import ModelSpec, Preprocessing
from zoo.sources import hf, torchvision
from zoo.sources.building import without_auxiliary


@dataclass(frozen=True)
class Given:
    """What was read, under the names of the model that it is for."""

    state: Mapping[str, Tensor]
    preprocessing: Preprocessing
    notes: tuple[str, ...] = ()
    """How the tensors were found, where that is not what one would expect."""


def read_given(model: nn.Module, spec: ModelSpec, path: Path) -> Given:
    """The weights of a file or a folder of transformers, named as this model names them; raises CheckpointError."""
    found = Found(folders.read_folder(path)) if path.is_dir() else read_wrapped(path)
    state: Mapping[str, Tensor] = found.state
    if spec.source == "torchvision":
        state = torchvision.translated(spec.name, state)
    fitted = without_prefix(state, model.state_dict())
    state = fitted.state
    if spec.source == "torchvision":
        state = without_auxiliary(state, model)
    if spec.source == "hf":
        state = hf.translated(model, state)
    notes = (*note_of(found.key), *([fitted.note] if fitted.note else []))
    return Given(state, _preprocessing(spec, path), notes)


def _preprocessing(spec: ModelSpec, path: Path) -> Preprocessing:
    if spec.source == "hf" and (path / "preprocessor_config.json").is_file():
        return hf.preprocessing(str(path), folders.read_config(path), offline=True)
    if spec.source == "torchvision" and torchvision.set_of_file(spec.name, path) is not None:
        return spec.preprocessing
    height, width = spec.preprocessing.size
    larger = (int(height / 0.875), int(width / 0.875))
    return dataclasses.replace(spec.preprocessing, resize=larger, interpolation="bilinear", fit="crop")
