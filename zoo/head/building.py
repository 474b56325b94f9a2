"""The modules that lists of layers describe, and the Python that builds the same with torch alone."""

import ast
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn

from zoo import layers as own
from zoo.errors import UsageError
from zoo.head.known import LAYERS, OWN, mistake_of_size, mistakes_between, mistakes_in
from zoo.registry import Kind


def build(layers: Sequence[Mapping[str, Any]]) -> nn.Module:
    """The module that a list of layers describes: the layer itself, or a Sequential of several.

    >>> build([{"layer": "Linear", "in_features": 4, "out_features": 2}])
    Linear(in_features=4, out_features=2, bias=True)

    Raises UsageError for what heads cannot have.
    """
    mistakes = mistakes_of(layers)
    if mistakes or not layers:
        raise UsageError(*(mistakes or ["a head has at least one layer."]))
    made = []
    for values in layers:
        given = {key: value for key, value in values.items() if key != "layer"}
        made.append(getattr(own if values["layer"] in OWN else nn, values["layer"])(**given))
    return made[0] if len(made) == 1 else nn.Sequential(*made)


def mistakes_of(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with layers whose arguments are all numbers, as a checkpoint holds them."""
    mistakes = []
    for place, values in enumerate(layers, 1):
        known = LAYERS.get(str(values.get("layer")))
        mistakes += mistakes_in(values, f"layer {place}", words=False, pools=known is not None and known.pools)
    return mistakes or mistakes_between(layers, None, {})[0] or mistake_of_size(layers)


def check(head: nn.Module, features: int, classes: int, kind: Kind) -> None:
    """Run a head of the user's own on zeros, to see that it takes these features and gives these scores.

    >>> check(nn.Linear(4, 2), features=4, classes=2, kind="vector")

    Raises UsageError when it does not, and when it gives probabilities instead of scores.
    """
    example = next(head.parameters(), torch.empty(0))
    shape = (2, features) if kind == "vector" else (2, features, 7, 7)
    flags = [(module, module.training) for module in head.modules()]
    head.eval()
    try:
        with torch.no_grad():
            scores = head(torch.zeros(shape, device=example.device, dtype=example.dtype))
    # A module of the user's own fails in as many ways as there is code.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"this head does not take the model's {features} features ({reason}).") from error
    finally:
        for module, flag in flags:
            module.training = flag
    given = scores.shape[1] if isinstance(scores, Tensor) and scores.dim() > 1 else "no"
    if given != classes:
        raise UsageError(f"this head gives {given} scores a picture, and there are {classes} classes.")
    if kind == "map" and scores.dim() != 4:
        raise UsageError(
            f"this head gives scores of shape {tuple(scores.shape)} for a map, and the model goes on with a map.",
            "leave the pooling to the model: a 1×1 convolution gives scores at every place",
        )
    if classes > 1 and bool((scores >= 0).all()) and torch.allclose(scores.sum(1), torch.ones_like(scores.sum(1))):
        raise UsageError(
            "this head gives probabilities, which sum to one, and the loss of training takes scores.",
            "leave its softmax out; zoo predict tells probabilities of what it gives",
        )


def source_of(layers: Sequence[Mapping[str, Any]]) -> str:
    """The Python expression that builds the same with torch and the lines of `definitions_of` alone.

    >>> source_of([{"layer": "Linear", "in_features": 4, "out_features": 2}])
    'nn.Linear(in_features=4, out_features=2)'
    """
    calls = []
    for values in layers:
        given = ", ".join(f"{key}={value!r}" for key, value in values.items() if key != "layer")
        calls.append(f"{'' if values['layer'] in OWN else 'nn.'}{values['layer']}({given})")
    return calls[0] if len(calls) == 1 else f"nn.Sequential({', '.join(calls)})"


def definitions_of(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    """The lines of Python that define those of the layers that are not torch's own, their docstrings left out.

    >>> definitions_of([{"layer": "ConcatPool"}])[:3]
    ['import torch', 'from torch import Tensor', 'class ConcatPool(nn.Module):']
    """
    names = list(dict.fromkeys(values["layer"] for values in layers if values["layer"] in OWN))
    lines = ["import torch", "from torch import Tensor"] if names else []
    for name in names:
        tree = ast.parse(inspect.getsource(getattr(own, name)))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                node.body = node.body[1:]
        lines += ast.unparse(tree).splitlines()
    return lines


def trace_own(model: nn.Module) -> None:
    """Put what torch.fx traces of each layer of `zoo.layers` in its place, so that torch alone can unpickle the model.

    Keys, numbers and gradients stay as they are; `model` itself is none of these layers.
    """
    kinds = tuple(getattr(own, name) for name in OWN)
    for parent in list(model.modules()):
        for name, module in parent.named_children():
            if isinstance(module, kinds):
                parent._modules[name] = torch.fx.symbolic_trace(module).train(module.training)
