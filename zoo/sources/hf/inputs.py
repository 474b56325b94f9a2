"""Models of transformers for pictures of other channels or another size."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import UsageError
from zoo.sources.hf.configuration import VISION, channels_of, edges, stated_size
from zoo.surgery import looking


def states_channels(model: nn.Module) -> bool:
    """Whether a model's configuration says how many channels its pictures have; some classes build for three."""
    return channels_of(model.config.to_dict()) is not None  # type: ignore[operator, union-attr]


def size_of(model: nn.Module) -> tuple[int, int]:
    """The size of pictures that a model's configuration states."""
    config = _part_with(model.config, "image_size")
    return edges(config.image_size)


def input_configuration(
    model: nn.Module, values: Mapping[str, Any], channels: int | None, size: tuple[int, int] | None
) -> dict[str, Any]:
    """A configuration for pictures of other channels or another size; a model that takes any keeps its own size."""
    made = copy.deepcopy(dict(values))
    if channels is not None:
        _set_channels(model, made, channels)
    if size is not None and not _takes_any(model, size):
        _set(model, made, "image_size", size[0] if size[0] == size[1] else list(size))
    return made


def resized(model: nn.Module, name: str, shape: Sequence[int], size: tuple[int, int]) -> Tensor:
    """A table of positions for another size, interpolated by the module that it belongs to.

    Raises UsageError when that cannot.
    """
    path = name
    while path:
        path = path.rpartition(".")[0]
        interpolate = getattr(model.get_submodule(path), "interpolate_pos_encoding", None)
        if callable(interpolate):
            table = model.get_parameter(name)
            tokens = torch.zeros(1, shape[-2], shape[-1], dtype=table.dtype, device=table.device)
            with torch.no_grad():
                found: Tensor = interpolate(tokens, *size).reshape(tuple(shape))
            return found
    raise UsageError(f"nothing in this {type(model).__name__} interpolates {name}.")


def _part_with(config: Any, key: str) -> Any:
    """The configuration, or its part that sees, that has a key; raises UsageError when none has."""
    parts = [config, *(getattr(config, part, None) for part in VISION)]
    found = next((part for part in parts if getattr(part, key, None) is not None), None)
    if found is None:
        raise UsageError(f"the configuration of this {type(config).__name__.removesuffix('Config')} has no {key}.")
    return found


def _set(model: nn.Module, values: dict[str, Any], key: str, value: Any) -> None:
    """Put a value where the model's own configuration has it."""
    config: Any = model.config
    part = _part_with(config, key)
    if part is config:
        values[key] = value
        return
    where = next(name for name in VISION if getattr(config, name, None) is part)
    values[where] = {**values.get(where, {}), key: value}


def _set_channels(model: nn.Module, values: dict[str, Any], channels: int) -> None:
    config: Any = model.config
    _set(model, values, "stem_num_channels" if hasattr(config, "stem_num_channels") else "num_channels", channels)
    if hasattr(config, "stem_channels"):
        # HGNet-V2 states them a second time, as those that come into its stem.
        values["stem_channels"] = [channels, *config.stem_channels[1:]]


def _takes_any(model: nn.Module, size: tuple[int, int]) -> bool:
    """Whether a model runs at a size, and not only because it counts as many places there as at its own."""
    known = stated_size(model.config.to_dict())  # type: ignore[operator, union-attr]
    if known is not None and math.prod(edges(known)) == math.prod(size) and edges(known) != size:
        return _runs_at(model, (2 * size[0], size[1])) and _runs_at(model, size)
    return _runs_at(model, size)


def _runs_at(model: nn.Module, size: tuple[int, int]) -> bool:
    channels = channels_of(model.config.to_dict()) or 3  # type: ignore[operator, union-attr]
    try:
        with looking(model):
            model(torch.zeros(1, channels, *size))
    except (AssertionError, RuntimeError, ValueError, TypeError, IndexError):
        return False
    return True
