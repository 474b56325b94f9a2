"""Heads: short lists of layers that turn features into class scores.

A preset lists layers of `torch.nn` with their arguments; the words `features` and `classes` stand for the
numbers of the model at hand. On a map of features, as in squeezenet, each linear layer becomes the
1×1 convolution that computes the same at every place.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo import catalog
from zoo.errors import UsageError
from zoo.registry import Kind

LAYERS: Mapping[str, type[nn.Module]] = {
    "Conv2d": nn.Conv2d,
    "Dropout": nn.Dropout,
    "GELU": nn.GELU,
    "Linear": nn.Linear,
    "ReLU": nn.ReLU,
}


def layers_of(preset: str, features: int, classes: int, kind: Kind, *, bias: bool = True) -> tuple[dict[str, Any], ...]:
    """The layers of a preset with every argument as a number; `bias` is that of the last one.

    >>> layers_of("linear", features=512, classes=5, kind="vector")
    ({'layer': 'Linear', 'in_features': 512, 'out_features': 5},)

    Raises UsageError when there is no such preset, or it does not take this kind of features.
    """
    read = catalog.read("heads", preset)
    if kind not in read["takes"]:
        raise UsageError(f"the head {preset!r} takes a {' or '.join(read['takes'])}, and this model gives it {kind}.")
    numbers = {"features": features, "classes": classes}
    resolved = []
    for layer in read["layers"]:
        values = {key: numbers.get(value, value) if isinstance(value, str) else value for key, value in layer.items()}
        resolved.append(_at_every_place(values) if kind == "map" else values)
    if not bias:
        resolved[-1]["bias"] = False
    return tuple(resolved)


def _at_every_place(values: dict[str, Any]) -> dict[str, Any]:
    if values["layer"] != "Linear":
        return values
    return {
        "layer": "Conv2d",
        "in_channels": values["in_features"],
        "out_channels": values["out_features"],
        "kernel_size": 1,
    }


def build(layers: Sequence[Mapping[str, Any]]) -> nn.Module:
    """The module that a list of layers describes: the layer itself, or a Sequential of several.

    >>> build([{"layer": "Linear", "in_features": 4, "out_features": 2}])
    Linear(in_features=4, out_features=2, bias=True)

    Raises UsageError for a layer that heads cannot have.
    """
    made = []
    for values in layers:
        given = dict(values)
        name = given.pop("layer", None)
        if name not in LAYERS:
            raise UsageError(f"a head cannot have a layer {name!r}.", f"layers: {', '.join(LAYERS)}")
        made.append(LAYERS[name](**given))
    return made[0] if len(made) == 1 else nn.Sequential(*made)


def check(head: nn.Module, features: int, classes: int, kind: Kind) -> None:
    """Run a head of the user's own on zeros, to see that it takes these features and gives these scores.

    >>> check(nn.Linear(4, 2), features=4, classes=2, kind="vector")

    Raises UsageError when it does not.
    """
    example = next(head.parameters(), torch.empty(0))
    shape = (2, features) if kind == "vector" else (2, features, 7, 7)
    flags = [(module, module.training) for module in head.modules()]
    head.eval()
    try:
        with torch.no_grad():
            scores = head(torch.zeros(shape, device=example.device, dtype=example.dtype))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise UsageError(
            f"this head does not take the model's {features} features ({str(error).splitlines()[0]})."
        ) from error
    finally:
        for module, flag in flags:
            module.training = flag
    given = scores.shape[1] if isinstance(scores, Tensor) and scores.dim() > 1 else "no"
    if given != classes:
        raise UsageError(f"this head gives {given} scores a picture, and there are {classes} classes.")


def source_of(layers: Sequence[Mapping[str, Any]]) -> str:
    """The Python expression that builds the same with torch alone.

    >>> source_of([{"layer": "Linear", "in_features": 4, "out_features": 2}])
    'nn.Linear(in_features=4, out_features=2)'
    """
    calls = []
    for values in layers:
        given = ", ".join(f"{key}={value!r}" for key, value in values.items() if key != "layer")
        calls.append(f"nn.{values['layer']}({given})")
    return calls[0] if len(calls) == 1 else f"nn.Sequential({', '.join(calls)})"
