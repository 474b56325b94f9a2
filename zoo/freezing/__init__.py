"""Freezing: what a policy means for a model, and keeping it true.

Its parts: `order` records what runs when, `dividing` makes blocks of it, `words` and `policy` turn a text into
parameter names, `held` keeps frozen modules in eval mode through every `model.train()`.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.freezing import held, policy
from zoo.freezing.dividing import Block, BlockRow, blocks_of, in_words, rows_of
from zoo.freezing.order import RunningOrder, record
from zoo.markup import table
from zoo.recipe.policies import words
from zoo.registry import find_spec, input_shape, taking, unwrapped
from zoo.units import some


@dataclass(frozen=True)
class Frozen:
    """What is frozen in a model."""

    policy: str
    parameters: tuple[str, ...]
    """The names of the frozen parameters, in definition order."""
    held: tuple[str, ...]
    """The modules that stay in eval mode, in definition order."""
    meaning: str = ""
    """Which blocks that is, as `blocks 1-3 of 9 (conv1 … layer1.1)`."""
    revived: tuple[str, ...] | None = None
    """What `zoo.unfreeze` trains again, in definition order; None where that did not make this."""

    def __repr__(self) -> str:
        what = f"{self.meaning}, " if self.meaning else ""
        counts = f"{some(len(self.parameters), 'parameter')}, {some(len(self.held), 'module')} in eval mode"
        changed = "" if self.revived is None else f"; {some(len(self.revived), 'parameter')} trained again"
        return f"Frozen({self.policy!r}: {what}{counts}{changed})"

    def _repr_html_(self) -> str:
        first = {name.partition(".")[0] for name in self.parameters}
        depth = 2 if len(first) < 2 else 1
        parts = [".".join(name.split(".")[:depth]) for name in (*self.parameters, *self.held)]
        frozen, held = (
            Counter(parts[: len(self.parameters)]),
            Counter(parts[len(self.parameters) :]),
        )
        rows = [(part, frozen[part] or None, held[part] or None) for part in dict.fromkeys(parts) if part]
        caption = f"frozen by {self.policy}" + (f": {self.meaning}" if self.meaning else "")
        return table(caption, rows, ("part", "parameters", "modules in eval mode"))


def freeze(
    model: nn.Module,
    policy_text: str,
    *,
    unfreeze: str | None = None,
    sample: Tensor | None = None,
    order: RunningOrder | None = None,
) -> Frozen:
    """Freeze what a policy says, in place, and keep the frozen part in eval mode.

    A policy names what is frozen, separated by commas: `none`, `backbone`, `until:PATH` (all that has run
    when the module at PATH returns), `from:PATH` (all that runs from its start on, but the head), `first:N`,
    `last:N` (so many blocks of `zoo.blocks`), `norm`, `bias` (all of the backbone but its norm layers, but
    its bias terms), or globs over parameter names. `unfreeze` takes out what the same words name; there
    `norm` and `bias` are those themselves. The whole model is set: what an earlier policy froze and this one
    does not is trained again, but for parameters that the model's own code does not train. Frozen norm layers
    keep their statistics and frozen dropout does not fire, also after `model.train()`.

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
    policy.require_meant(policy_text, unfreeze)
    model = unwrapped(model)
    order = order or observe(model, sample)
    frozen = policy.resolve(model, policy_text, unfreeze, order)
    return apply(model, frozen, order, policy_text if unfreeze is None else f"{policy_text} -{unfreeze}")


def unfreeze(model: nn.Module, pattern: str | None = None, *, sample: Tensor | None = None) -> Frozen:
    """Train again what the words of a policy name, or everything; returns what is still frozen, and what is not now.

    >>> import zoo
    >>> model = zoo.load("resnet18", classes=5, weights=None)
    >>> _ = zoo.freeze(model, "backbone")
    >>> zoo.unfreeze(model, "layer4.*").parameters[-1]
    'layer3.1.bn2.bias'
    >>> zoo.unfreeze(model, "last:3")
    Frozen('all but last:3': blocks 1-6 of 9 (conv1 … layer3.0), 39 parameters, 42 modules in eval mode; \
6 parameters trained again)

    Raises UsageError when a word names no parameter, or there is no word. Where all that is named was trained
    already, nothing is `revived`.
    """
    model = unwrapped(model)
    before = frozen_parameters(model)
    if pattern is None:
        return dataclasses.replace(apply(model, (), None, "none"), revived=tuple(before))
    policy.require_meant(None, pattern)
    order = observe(model, sample)
    named = {name for each in words(pattern) for name in policy.taken_out(each, model, order)}
    made = apply(model, [name for name in before if name not in named], order, f"all but {pattern}")
    return dataclasses.replace(made, revived=tuple(name for name in before if name in named))


def blocks(model: nn.Module, *, sample: Tensor | None = None, order: RunningOrder | None = None) -> list[Block]:
    """The blocks of a model in running order, which `first:N` and `last:N` count; the head is none of them.

    >>> import zoo
    >>> model = zoo.load("resnet18", classes=5, weights=None)
    >>> [block.name for block in zoo.blocks(model)][:3]
    ['conv1', 'layer1.0', 'layer1.1']

    One batch is run to see them; give `sample` for a model whose input zoo does not know.
    """
    model = unwrapped(model)
    return blocks_of(model, order or observe(model, sample))


def block_rows(model: nn.Module, order: RunningOrder) -> list[BlockRow]:
    """The blocks of a model with their sizes and what is trained of them now."""
    model = unwrapped(model)
    return rows_of(model, blocks_of(model, order))


def apply(model: nn.Module, frozen: Iterable[str], order: RunningOrder | None, policy_text: str) -> Frozen:
    """Freeze exactly these parameters and hold the modules that belong to them in eval mode."""
    model = unwrapped(model)
    chosen = set(frozen)
    spec = find_spec(model)
    never = chosen.union(spec.fixed if spec else ())
    held.release(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in never and _can_train(parameter))
    modules: list[str] = []
    if chosen and order is not None:
        modules = held.modules_to_hold(model, chosen, order)
        held.hold(model, modules)
    meaning = in_words(blocks_of(model, order), chosen) if chosen and order is not None else ""
    return Frozen(policy_text, tuple(frozen_parameters(model)), tuple(modules), meaning)


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
        parameter.requires_grad_(name not in set(parameters) and _can_train(parameter))
    held.hold(model, modules)


def _can_train(parameter: nn.Parameter) -> bool:
    """Whether it has a gradient at all: whole numbers, a quantized table's say, have none."""
    return parameter.is_floating_point() or parameter.is_complex()


def held_modules(model: nn.Module) -> list[str]:
    """The modules that stay in eval mode whatever `model.train()` says, in definition order."""
    return held.held_modules(unwrapped(model))


def observe(model: nn.Module, sample: Tensor | None = None) -> RunningOrder:
    """Record the running order on a sample, or on a batch of one in the shape that the model is known for."""
    model = unwrapped(model)
    if sample is None:
        shape = input_shape(model, 1, "zoo.freeze(model, policy")
        parameter = next(model.parameters())
        sample = torch.zeros(shape, device=parameter.device, dtype=parameter.dtype)
    with taking(model, sample.shape):
        return record(model, sample)


__all__ = [
    "Block",
    "Frozen",
    "apply",
    "block_rows",
    "blocks",
    "freeze",
    "frozen_parameters",
    "held_modules",
    "observe",
    "restore",
    "unfreeze",
]
