"""The state of a training, as named tensors and plain values.

An optimizer's state is kept by parameter name, since torch's own order of parameters can change silently.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from zoo.errors import CheckpointError

_TENSOR, _ITEMS, _COUNTER = "$tensor", "$items", "$counter"


class Stateful(Protocol):
    """A scheduler or a gradient scaler: anything with a state of its own."""

    def state_dict(self) -> dict[str, Any]:
        """The state."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take a state over."""
        ...


@dataclass
class Packed:
    """Plain values, with the tensors among them kept aside under the names that the values refer to."""

    values: Any
    tensors: dict[str, Tensor]


def pack(value: Any, name: str) -> Packed:
    """Any state of numbers, texts, lists, mappings and tensors, ready for JSON and safetensors.

    Raises CheckpointError for anything else, such as a function.
    """
    tensors: dict[str, Tensor] = {}
    return Packed(_pack(value, name, tensors), tensors)


def _pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else {"$float": repr(value)}
    if isinstance(value, Tensor):
        tensors[name] = value.detach().to("cpu").clone(memory_format=torch.contiguous_format)
        return {_TENSOR: name}
    if isinstance(value, list | tuple):
        return [_pack(each, f"{name}.{place}", tensors) for place, each in enumerate(value)]
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and not isinstance(value, Counter):
            return {key: _pack(each, f"{name}.{key}", tensors) for key, each in value.items()}
        items = [[_pack(key, name, tensors), _pack(each, f"{name}.{key}", tensors)] for key, each in value.items()]
        return {_COUNTER if isinstance(value, Counter) else _ITEMS: items}
    raise CheckpointError(
        f"{name} is a {type(value).__name__}, which a checkpoint cannot keep.",
        "a state holds numbers, texts, lists, mappings and tensors; LambdaLR's functions are not among them",
    )


def unpack(values: Any, tensors: Mapping[str, Tensor] | None) -> Any:
    """What `pack` was given, except that tuples have become lists; without tensors they stay references."""
    if isinstance(values, list):
        return [unpack(each, tensors) for each in values]
    if not isinstance(values, Mapping):
        return values
    if values.keys() == {_TENSOR} and tensors is None:
        return values
    if values.keys() == {_TENSOR}:
        assert tensors is not None
        if values[_TENSOR] not in tensors:
            raise CheckpointError(f"the training state lacks the tensor {values[_TENSOR]!r}.")
        return tensors[values[_TENSOR]]
    if values.keys() == {"$float"}:
        return float(values["$float"])
    if values.keys() == {_ITEMS}:
        return {unpack(key, tensors): unpack(each, tensors) for key, each in values[_ITEMS]}
    if values.keys() == {_COUNTER}:
        return Counter({unpack(key, tensors): each for key, each in values[_COUNTER]})
    return {key: unpack(each, tensors) for key, each in values.items()}


def optimizer_state(optimizer: Optimizer, model: nn.Module) -> dict[str, Any]:
    """An optimizer's groups and state by parameter name.

    Raises CheckpointError when it trains a parameter that is not the model's.
    """
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    foreign = [each for group in optimizer.param_groups for each in group["params"] if each not in names]
    if foreign:
        raise CheckpointError(
            f"the optimizer trains {len(foreign)} parameters that are not the model's.",
            "make the optimizer from the parameters of the model that is saved",
        )
    return {
        "class": type(optimizer).__name__,
        "groups": [
            {**group, "params": [names[parameter] for parameter in group["params"]]} for group in optimizer.param_groups
        ],
        "state": {names[parameter]: dict(state) for parameter, state in optimizer.state.items()},
    }


def restore_optimizer(
    optimizer: Optimizer, model: nn.Module, saved: Mapping[str, Any], *, exactly: bool = True
) -> None:
    """Put a saved state into an optimizer and let it train this model's parameters, found by name.

    Unless `exactly`, the optimizer keeps its own groups and settings, and takes over what is known of its
    parameters; an optimizer of another class takes nothing.

    Raises CheckpointError when class, groups or names do not fit.
    """
    by_name = dict(model.named_parameters())
    if not exactly:
        _take_over(optimizer, by_name, saved)
        return
    if saved["class"] != type(optimizer).__name__ or len(saved["groups"]) != len(optimizer.param_groups):
        raise CheckpointError(
            f"the checkpoint has the state of {saved['class']} with {len(saved['groups'])} groups; this is"
            f" {type(optimizer).__name__} with {len(optimizer.param_groups)}.",
        )
    lacking = [name for group in saved["groups"] for name in group["params"] if name not in by_name]
    if lacking:
        raise CheckpointError(f"the optimizer's state names {lacking[0]!r}, which the model does not have.")
    for group, kept in zip(optimizer.param_groups, saved["groups"], strict=True):
        for key, value in kept.items():
            if _is_number(group.get(key)) and not _is_number(value):
                raise CheckpointError(f"the optimizer's state has {value!r:.40} for {key}, which is no number.")
            # JSON knows no tuples; betas were one and optimizers may rely on it.
            group[key] = tuple(value) if isinstance(group.get(key), tuple) else value
        group["params"] = [by_name[name] for name in kept["params"]]
    optimizer.state.clear()
    for name, state in saved["state"].items():
        optimizer.state[by_name[name]] = _state_for(by_name[name], state)
    for group in optimizer.param_groups:
        # torch's own rule: these kinds of optimizers count their steps on the device.
        if group.get("fused") or group.get("capturable"):
            for parameter in group["params"]:
                counters = optimizer.state.get(parameter, {})
                if "step" in counters:
                    counters["step"] = counters["step"].to(parameter.device)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _take_over(optimizer: Optimizer, by_name: Mapping[str, Tensor], saved: Mapping[str, Any]) -> None:
    if saved["class"] != type(optimizer).__name__:
        return
    trained = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    for name, state in saved["state"].items():
        if name in by_name and by_name[name] in trained:
            optimizer.state[by_name[name]] = _state_for(by_name[name], state)


def _state_for(parameter: Tensor, state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value if key in COUNTERS else _like(parameter, value) for key, value in state.items()}


COUNTERS = frozenset({"step", "mu_product"})
"""What torch keeps on the CPU, also for parameters on a GPU."""


def _like(parameter: Tensor, value: Any) -> Any:
    """A kept value on the device of its parameter, and in its memory order where it has its shape."""
    if not isinstance(value, Tensor):
        return value
    if value.shape != parameter.shape or not value.dim():
        return value.to(parameter.device)
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
