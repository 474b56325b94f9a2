"""The first layer of a model for pictures with another number of channels than its weights were trained on."""

import math

from torch import Tensor, nn

from zoo import surgery
from zoo.errors import CheckpointError, UsageError


def adapted(weight: Tensor, before: int, channels: int) -> Tensor:
    """The weights of a first convolution for other channels: summed for one, else repeated and scaled.

    A grey picture then gives what it gave as a colour picture with three equal channels, and more channels keep
    the size of what comes out. This is timm's `adapt_input_conv`, number for number, with its rule for stems that
    first move space into channels. `weight` has the shape (out, in, height, width).

    >>> import torch
    >>> adapted(torch.ones(1, 3, 1, 1), before=3, channels=1).flatten().tolist()
    [3.0]
    >>> adapted(torch.ones(1, 3, 1, 1), before=3, channels=4).flatten().tolist()
    [0.75, 0.75, 0.75, 0.75]

    Raises UsageError for weights that this rule does not cover.
    """
    if channels == before:
        return weight
    out, inputs, height, width = weight.shape if weight.dim() == 4 else (0, 0, 0, 0)
    if before == 1 or not inputs or inputs % before or (channels != 1 and inputs != before):
        raise UsageError(
            f"the first layer's weights of shape {tuple(weight.shape)}, for {before} channel{'s'[: before - 1]},"
            f" cannot be made into ones for {channels}.",
            "start from random weights with --weights none, or give pictures of that many channels",
        )
    values = weight.float()
    if channels == 1:
        values = values.reshape(out, inputs // before, before, height, width).sum(dim=2)
    else:
        values = values.repeat(1, math.ceil(channels / before), 1, 1)[:, :channels] * (before / float(channels))
    return values.to(weight.dtype)


def widen(model: nn.Module, path: str, channels: int) -> None:
    """Make the convolution at a path take so many channels, in place, its weights adapted.

    Raises CheckpointError when no plain convolution stands there.
    """
    layer = surgery.get_module(model, path)
    if not isinstance(layer, nn.Conv2d) or layer.groups != 1:
        raise CheckpointError(f"the layer {path} is a {type(layer).__name__}, not a convolution over all channels.")
    if layer.in_channels != channels:
        weight = adapted(layer.weight.detach(), layer.in_channels, channels)
        layer.in_channels = channels
        layer.weight = nn.Parameter(weight, layer.weight.requires_grad)


def first_layer(model: nn.Module, sample: Tensor) -> str:
    """The path of the layer that a batch of pictures reaches first, which must be a convolution over their channels.

    >>> import torch
    >>> first_layer(nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 3)), torch.zeros(1, 3, 8, 8))
    '1'

    Raises UsageError when it is something else.
    """
    called: list[str] = []
    layers = [
        (name, each) for name, each in model.named_modules() if next(each.parameters(recurse=False), None) is not None
    ]
    handles = [each.register_forward_pre_hook(lambda *_, name=name: called.append(name)) for name, each in layers]
    try:
        with surgery.looking(model):
            model(sample)
    finally:
        for handle in handles:
            handle.remove()
    first = dict(layers).get(called[0]) if called else None
    if not isinstance(first, nn.Conv2d) or first.groups != 1 or first.in_channels != sample.shape[1]:
        what = f"{called[0]!r} is a {type(first).__name__}" if called else "it has none"
        raise UsageError(
            f"the first layer of this {type(model).__name__} cannot take other channels: {what}, and only a"
            " convolution over all channels can be adapted.",
            "build the model for these channels yourself, and register it so",
        )
    return called[0]
