"""Optimizers with parameters in named groups, and the learning rate as a function of the step."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from zoo.names import is_under


@dataclass(frozen=True)
class Group:
    """Parameters that share a peak learning rate and a weight decay."""

    names: tuple[str, ...]
    lr: float
    wd: float


def groups_of(model: nn.Module, *, head: Sequence[str], lr: float, backbone_lr: float | None, wd: float) -> list[Group]:
    """The trained parameters by learning rate and decay; norms and biases do not decay.

    `head` are the paths that train with `lr`; everything else takes `backbone_lr` where it is given.
    """
    found: dict[tuple[float, float], list[str]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        in_head = any(is_under(name, path) for path in head)
        rate = lr if in_head or backbone_lr is None else backbone_lr
        found.setdefault((rate, wd if parameter.dim() > 1 else 0.0), []).append(name)
    return [Group(tuple(names), rate, decay) for (rate, decay), names in found.items()]


def optimizer_of(model: nn.Module, groups: Sequence[Group], *, opt: str, momentum: float) -> Optimizer:
    """AdamW, or SGD with momentum, over these groups."""
    parameters = dict(model.named_parameters())
    given = [
        {
            "params": [parameters[name] for name in group.names],
            "lr": group.lr,
            "weight_decay": group.wd,
            "peak": group.lr,
        }
        for group in groups
    ]
    if opt == "sgd":
        return torch.optim.SGD(given, momentum=momentum)
    return torch.optim.AdamW(given)


def schedule_of(sched: str, *, steps: int, warmup: int) -> Callable[[int], float]:
    """The share of the peak learning rate at a step, counted from 0 within a stage.

    It rises in a line over `warmup` steps, then stays, or falls to 0 along half a cosine
    (SGDR, arXiv 1608.03983, without restarts).

    >>> schedule = schedule_of("cosine", steps=10, warmup=2)
    >>> [round(schedule(step), 2) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.04]
    """

    def share(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if sched == "constant":
            return 1.0
        return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return share


def set_rates(optimizer: Optimizer, share: float) -> None:
    """Set each group's learning rate to this share of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
