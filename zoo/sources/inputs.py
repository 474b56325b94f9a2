"""Models for pictures of other channels or of another size than those their weights were trained on.

A model is built for the pictures that are wanted, and gets the weights of the usual one: its first layer is adapted
(`channels`), its position embeddings are interpolated by its own library, everything else is the same.
"""

import copy
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo import surgery
from zoo.checkpoint.weights import load_state
from zoo.errors import UsageError, ZooError
from zoo.registry import LARGEST, ModelSpec, Preprocessing
from zoo.sources import channels as first
from zoo.sources import hf, timm, torchvision
from zoo.sources.building import SIZES, create

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Wanted:
    """A model of the same architecture for other pictures, its weights still random."""

    model: nn.Module
    arguments: Mapping[str, Any]
    size: Size


def size_of(given: int | Size | None) -> Size | None:
    """Height and width of what was given as a size; raises UsageError for one that no picture has."""
    if given is None:
        return None
    edges = given if isinstance(given, tuple | list) else (given, given)
    if len(edges) != 2 or not all(type(edge) is int and 1 <= edge <= LARGEST for edge in edges):
        raise UsageError(
            f"img_size is {given!r}.", f"it takes pixels from 1 to {LARGEST:,}: a number, or height and width"
        )
    return edges[0], edges[1]


def preprocessing_for(usual: Preprocessing, channels: int | None, size: Size | None) -> Preprocessing:
    """How pictures of these channels and this size are prepared, where they differ from the usual ones."""
    made = usual if channels is None else usual.with_channels(channels)
    return made if size is None else made.at(size)


def wanted(model: nn.Module, spec: ModelSpec, channels: int | None, size: Size | None) -> Wanted | None:
    """The model built for these pictures, or None where the usual one takes them as it is.

    Raises UsageError where its library cannot build it so.
    """
    if channels is not None and channels < 1:
        raise UsageError(f"channels is {channels}.", "it takes 1 or more: 1 for grey, 4 for colour with transparency")
    if channels == len(spec.preprocessing.mean):
        channels = None
    if size == spec.preprocessing.size:
        size = None
    try:
        arguments = _arguments(model, spec, channels, size)
        if arguments == spec.arguments:
            return None
        if spec.source == "own":
            other = copy.deepcopy(model)
            first.widen(other, arguments["stem"], arguments["channels"])
        else:
            other = create(spec.source, spec.name, arguments, initialise=True)
    except UsageError:
        raise
    # Libraries refuse what they are given in their own ways: assertions, value errors, keywords they do not have.
    except (ZooError, AssertionError, RuntimeError, ValueError, TypeError, ZeroDivisionError) as error:
        raise _cannot_take(spec, channels, size, error) from error
    return Wanted(other, arguments, size or spec.preprocessing.size)


def require_told_apart(before: ModelSpec, arguments: Mapping[str, Any], size: Size) -> None:
    """Refuse a size at which a model that is built for one has as many places as at that of its weights.

    Its tables of positions then have the same shape in another arrangement, and its library takes them over as they
    are.
    """
    usual = before.preprocessing.size
    apart = _built_for(arguments) != _built_for(before.arguments)
    if apart and usual != size and math.prod(usual) == math.prod(size):
        raise UsageError(
            f"{before.full_name} has as many places at {size[0]} × {size[1]} as at the {usual[0]} × {usual[1]} of its"
            " weights, whose positions would be taken for others.",
            "take a size with more or fewer pixels, or start from random weights with --weights none",
        )


def _built_for(arguments: Mapping[str, Any]) -> list[Any]:
    """What a builder is told of the size; a model that takes any is told nothing, or always the same."""
    return [*(arguments.get(key) for key in SIZES), hf.stated_size(arguments.get("config", {}))]


def check_takes(model: nn.Module, spec: ModelSpec) -> None:
    """Run a batch of zeros of the size and channels that a spec says; raises UsageError when the model refuses it."""
    example = next(model.parameters())
    shape = spec.shape(1)
    try:
        with surgery.looking(model):
            model(torch.zeros(shape, device=example.device, dtype=example.dtype))
    except (AssertionError, RuntimeError, ValueError, TypeError, IndexError) as error:
        raise _cannot_take(spec, shape[1], spec.preprocessing.size, error) from error


def fits(found: Wanted, usual: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict is already one for the pictures that are wanted, where the two models differ."""
    before, after = _shapes(usual.state_dict()), _shapes(found.model.state_dict())
    shapes = _shapes(state)
    changed = [name for name in after if name in shapes and before.get(name) != after[name]]
    return bool(changed) and all(shapes[name] == after[name] for name in changed)


def carried(usual: nn.Module, spec: ModelSpec, found: Wanted) -> tuple[nn.Module, ModelSpec]:
    """The model that is wanted with the weights of the usual one, and its spec.

    Raises UsageError for a weight that has another shape there and that nobody knows how to carry over.
    """
    arguments = found.arguments
    require_told_apart(spec, arguments, found.size)
    before = len(spec.preprocessing.mean)
    after = _channels_in(arguments) or before
    state, target = dict(usual.state_dict()), found.model.state_dict()
    changed = tuple(name for name in target if name in state and state[name].shape != target[name].shape)
    parameters = {name for name, _ in found.model.named_parameters()}
    for name in changed:
        if _is_first(state[name], target[name], before, after):
            state[name] = first.adapted(state[name], before, after)
        elif name not in parameters:
            # Tables of indices, which follow from the size alone.
            state[name] = target[name]
    left = [name for name in changed if state[name].shape != target[name].shape]
    if state.keys() != target.keys():
        left += sorted(state.keys() ^ target.keys())
    model = found.model
    if left:
        stuck = [name for name in left if _goes_by_channels(state, target, name, before, after)]
        model = _resized(usual, spec, found, state, stuck or left, hopeless=bool(stuck))
    else:
        load_state(model, state)
    made = dataclasses.replace(spec, arguments=arguments, adapted=changed)
    if spec.arguments.get("transform_input") and not arguments.get("transform_input"):
        # What these two models did to their input themselves is now done before.
        usual_one = spec.preprocessing
        half = (0.5,) * len(usual_one.mean)
        made = dataclasses.replace(made, preprocessing=dataclasses.replace(usual_one, mean=half, std=half))
    return model, made


def _arguments(model: nn.Module, spec: ModelSpec, channels: int | None, size: Size | None) -> Mapping[str, Any]:
    """What a source's builder is given for these pictures."""
    given = dict(spec.arguments)
    match spec.source:
        case "torchvision":
            return given | torchvision.input_arguments(model, given, channels, size)
        case "timm":
            return given | timm.input_arguments(spec.name, channels, size)
        case "hf":
            if channels is not None and not hf.states_channels(model):
                given |= _replaced(model, spec, channels)
                channels = None
            return given | {"config": hf.input_configuration(model, given["config"], channels, size)}
        case _:
            return given if channels is None else given | _replaced(model, spec, channels)


def _replaced(model: nn.Module, spec: ModelSpec, channels: int) -> dict[str, Any]:
    """What says that the first layer is replaced, where no builder makes it for other channels."""
    shape = spec.shape(1)
    return {"channels": channels, "stem": first.first_layer(model, torch.zeros(shape))}


def _channels_in(arguments: Mapping[str, Any]) -> int | None:
    found = arguments.get("channels", arguments.get("in_chans"))
    if found is None and "config" in arguments:
        found = hf.channels_of(arguments["config"])
    return int(found) if found is not None else None


def _is_first(old: Tensor, new: Tensor, before: int, after: int) -> bool:
    """Whether two weights are of one convolution over the channels of a picture, in whole groups of them."""
    return (
        old.dim() == new.dim() == 4
        and before != after
        and old.shape[:1] + old.shape[2:] == new.shape[:1] + new.shape[2:]
        and old.shape[1] * after == new.shape[1] * before
    )


def _goes_by_channels(
    state: Mapping[str, Tensor], target: Mapping[str, Tensor], name: str, before: int, after: int
) -> bool:
    """Whether a weight differs by the channels alone, and is yet no convolution's.

    timm would leave such a first layer at random values.
    """
    if before == after or name not in state or name not in target:
        return False
    return state[name].numel() * after == target[name].numel() * before


def _resized(
    usual: nn.Module, spec: ModelSpec, found: Wanted, state: dict[str, Tensor], left: list[str], *, hopeless: bool
) -> nn.Module:
    """The model with its position embeddings interpolated as its own library does it."""
    try:
        if hopeless:
            raise ValueError("its first layer is no convolution")
        if spec.source == "timm":
            return timm.resized(spec.name, state, found.arguments, like=found.model)
        if spec.source == "torchvision":
            state = torchvision.resized(usual, found.model, state)
        elif spec.source == "hf":
            target = found.model.state_dict()
            size = hf.size_of(found.model)
            state |= {name: hf.resized(usual, name, target[name].shape, size) for name in left}
        load_state(found.model, state)
    except (ZooError, AssertionError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"{spec.full_name} cannot take pictures of another size or channels with its weights: {left[0]} would"
            f" have another shape, and {spec.source} does not carry it over.",
            "leave --img-size and --channels out, or start from random weights with --weights none",
        ) from error
    return found.model


def _cannot_take(spec: ModelSpec, channels: int | None, size: Size | None, error: Exception) -> UsageError:
    height, width = size or spec.preprocessing.size
    which = f" with {channels} channel{'s' if channels > 1 else ''}" if channels not in (None, 3) else ""
    text = error.message if isinstance(error, ZooError) else str(error)
    if size is not None and size[0] != size[1] and isinstance(error.__cause__, TypeError):
        # A class of transformers computes with one edge where it gets two.
        text = "it is built for square pictures alone"
    reason = (text.splitlines() or [type(error).__name__])[0][:120]
    return UsageError(
        f"{spec.full_name} cannot take pictures of {height} × {width}{which}: {reason}",
        "leave --img-size and --channels out, or take what the model knows; zoo info shows it",
    )


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}
