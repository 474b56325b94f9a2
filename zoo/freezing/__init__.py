"""Freezing: what a policy means for a model, and keeping it true.

Three parts: `order` records what runs when, `policy` turns a text into parameter names, `held` keeps frozen
modules in eval mode through every `model.train()`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.errors import UsageError
from zoo.freezing import held, policy
from zoo.freezing.order import RunningOrder, record
from zoo.registry import find_spec, unwrapped


@dataclass(frozen=True)
class Frozen:
    """What is frozen in a model."""

    policy: str
    parameters: tuple[str, ...]
    """The names of the frozen parameters, in definition order."""
    held: tuple[str, ...]
    """The modules that stay in eval mode, in definition order."""

    def __repr__(self) -> str:
        return f"Frozen({self.policy!r}: {len(self.parameters)} parameters, {len(self.held)} modules in eval mode)"


def freeze(
    model: nn.Module,
    policy_text: str,
    *,
    unfreeze: str | None = None,
    sample: Tensor | None = None,
    order: RunningOrder | None = None,
) -> Frozen:
    """Freeze what a policy says, in place, and keep the frozen part in eval mode.

    A policy is `none`, `backbone`, `until:PATH` (all that has run when the module at PATH returns), or
    globs over parameter names, separated by commas; `unfreeze` takes globs back out. The whole model is
    set: what an earlier policy froze and this one does not is trained again. Frozen norm layers keep their
    statistics and frozen dropout does not fire, also after `model.train()`.

    >>> import zoo
    >>> model = zoo.load("resnet18", classes=5, weights=None)
    >>> zoo.freeze(model, "until:layer3").parameters[-1]
    'layer3.1.bn2.bias'
    >>> model.train().layer1.training, model.layer4.training
    (False, True)

    One batch is run to see what comes before what. Its shape is the one that zoo knows for its own models;
    for others give `sample`, a float tensor of shape (batch, channels, height, width).

    Raises UsageError when the policy matches nothing or everything, or cannot be meant.
    """
    model = unwrapped(model)
    order = order or observe(model, sample)
    frozen = policy.resolve(model, policy_text, unfreeze, order)
    return apply(model, frozen, order, policy_text if unfreeze is None else f"{policy_text} -{unfreeze}")


def unfreeze(model: nn.Module, pattern: str | None = None, *, sample: Tensor | None = None) -> Frozen:
    """Train again what a glob or path matches, or everything; returns what is still frozen.

    >>> import zoo
    >>> model = zoo.load("resnet18", classes=5, weights=None)
    >>> _ = zoo.freeze(model, "backbone")
    >>> zoo.unfreeze(model, "layer4.*").parameters[-1]
    'layer3.1.bn2.bias'

    Raises UsageError when the pattern matches no parameter.
    """
    model = unwrapped(model)
    names = [name for name, _ in model.named_parameters()]
    if pattern is None:
        return apply(model, (), None, "none")
    revived = {name for each in policy.patterns(pattern) for name in policy.match(each, names, model)}
    left = [name for name in frozen_parameters(model) if name not in revived]
    return apply(model, left, observe(model, sample) if left else None, f"all but {pattern}")


def apply(model: nn.Module, frozen: Iterable[str], order: RunningOrder | None, policy_text: str) -> Frozen:
    """Freeze exactly these parameters and hold the modules that belong to them in eval mode."""
    model = unwrapped(model)
    chosen = set(frozen)
    held.release(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in chosen)
    modules: list[str] = []
    if chosen and order is not None:
        modules = held.modules_to_hold(model, chosen, order)
        held.hold(model, modules)
    return Frozen(policy_text, tuple(frozen_parameters(model)), tuple(modules))


def frozen_parameters(model: nn.Module) -> list[str]:
    """The names of the parameters that are not trained, in definition order."""
    return [name for name, parameter in unwrapped(model).named_parameters() if not parameter.requires_grad]


def restore(model: nn.Module, parameters: Sequence[str], modules: Sequence[str]) -> None:
    """Put a freeze state back as it was saved, without running a batch.

    Raises ValueError when a name is not in the model.
    """
    names = {name for name, _ in model.named_parameters()}
    known = {name for name, _ in model.named_modules()}
    foreign = sorted((set(parameters) - names) | (set(modules) - known))
    if foreign:
        raise ValueError(f"the freeze state names {foreign[0]!r}, which the model does not have")
    held.release(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in set(parameters))
    held.hold(model, modules)


def held_modules(model: nn.Module) -> list[str]:
    """The modules that stay in eval mode whatever `model.train()` says, in definition order."""
    return held.held_modules(unwrapped(model))


def observe(model: nn.Module, sample: Tensor | None = None) -> RunningOrder:
    """Record the running order on a sample, or on a batch of one in the shape that the model is known for."""
    model = unwrapped(model)
    if sample is None:
        spec = find_spec(model)
        if spec is None:
            raise UsageError(
                f"one batch has to run to see what this {type(model).__name__} does, and its shape is unknown.",
                "give one: zoo.freeze(model, policy, sample=torch.zeros(1, 3, 224, 224))",
            )
        parameter = next(model.parameters())
        size = spec.preprocessing.size
        sample = torch.zeros(1, len(spec.preprocessing.mean), *size, device=parameter.device, dtype=parameter.dtype)
    return record(model, sample)


__all__ = [
    "Frozen",
    "apply",
    "freeze",
    "frozen_parameters",
    "held_modules",
    "observe",
    "restore",
    "unfreeze",
]
