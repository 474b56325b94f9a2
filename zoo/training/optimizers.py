"""Optimizers with parameters in named groups, and the learning rate as a function of the step."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from zoo.names import is_under, join
from zoo.recipe import RISE, WITH_MOMENTUM, state_numbers


@dataclass(frozen=True)
class Group:
    """Parameters that share a peak learning rate and a weight decay."""

    names: tuple[str, ...]
    lr: float
    wd: float


def groups_of(
    model: nn.Module,
    *,
    head: Sequence[str],
    lr: float,
    backbone_lr: float | None,
    wd: float,
    shares: Mapping[str, float] | None = None,
) -> list[Group]:
    """The trained parameters by learning rate and decay; norms and biases do not decay.

    `head` are the paths that train with `lr`; everything else takes `backbone_lr` where it is given. `shares` says
    by name what part of that rate a parameter gets; one that it does not name gets all of it.
    """
    found: dict[tuple[float, float], list[str]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        in_head = any(is_under(name, path) for path in head)
        rate = (lr if in_head or backbone_lr is None else backbone_lr) * (shares or {}).get(name, 1.0)
        found.setdefault((rate, wd if parameter.dim() > 1 else 0.0), []).append(name)
    return [Group(tuple(names), rate, decay) for (rate, decay), names in found.items()]


def optimizer_of(
    model: nn.Module,
    groups: Sequence[Group],
    *,
    opt: str,
    momentum: float,
    nesterov: bool = False,
    head: Sequence[str] = (),
) -> Optimizer:
    """The optimizer of torch.optim with this name over these groups; what is not given is torch's own default.

    Weight decay is decoupled with adamw and muon, added to the gradient with the others; rprop has none. `head` are
    the paths whose matrices muon leaves to AdamW.
    """
    parameters = dict(model.named_parameters())
    matrices = matrices_of(model, head) if opt == "muon" else frozenset()
    given = [
        {"params": [parameters[name] for name in names], "lr": group.lr, "weight_decay": group.wd, "peak": group.lr}
        for group in groups
        for names in _parted(group.names, matrices)
    ]
    if opt == "muon":
        return MuonAndAdamW(given, {parameters[name] for name in matrices}, momentum=momentum)
    more: dict[str, Any] = {"momentum": momentum} if opt in WITH_MOMENTUM else {}
    if opt == "sgd":
        more["nesterov"] = nesterov
    made: Optimizer = _CLASSES[opt](given, **more)
    return made


_CLASSES: dict[str, Any] = {
    name.lower(): getattr(torch.optim, name)
    for name in (
        *("AdamW", "Adam", "SGD", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta", "Adamax", "ASGD"),
        *("Adafactor", "Rprop"),
    )
}


class MuonAndAdamW(Optimizer):
    """Muon for the matrices within the network, AdamW for everything else, as its author uses it.

    Muon (https://kellerjordan.github.io/posts/muon) steps along the nearest orthogonal matrix of the momentum.
    Its steps are scaled to the size of AdamW's (arXiv 2502.16982), so one learning rate serves both.
    """

    def __init__(self, groups: list[dict[str, Any]], matrices: Collection[Tensor], *, momentum: float) -> None:
        super().__init__(groups, {})
        of_muon = [all(each in matrices for each in group["params"]) for group in self.param_groups]
        makers: dict[bool, Callable[[list[dict[str, Any]]], Optimizer]] = {
            True: lambda part: torch.optim.Muon(part, momentum=momentum, adjust_lr_fn="match_rms_adamw"),
            False: torch.optim.AdamW,
        }
        self.parts: list[Optimizer] = []
        for muon, make in makers.items():
            part = [group for group, of in zip(self.param_groups, of_muon, strict=True) if of is muon]
            if part:
                optimizer = make(part)
                # One set of groups and one state: what is saved, restored and scheduled here is what they use.
                for mine, theirs in zip(part, optimizer.param_groups, strict=True):
                    mine.update(theirs)
                optimizer.param_groups = part
                optimizer.state = self.state
                self.parts.append(optimizer)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of both."""
        for part in self.parts:
            part.step()


def matrices_of(model: nn.Module, head: Sequence[str]) -> frozenset[str]:
    """Which trained parameters muon orthogonalizes: matrices within the network, neither a head nor an embedding."""
    tables = {
        join(path, name)
        for path, module in model.named_modules()
        if isinstance(module, nn.Embedding)
        for name, _ in module.named_parameters(recurse=False)
    }
    return frozenset(
        name
        for name, each in model.named_parameters()
        if each.requires_grad and each.dim() == 2 and name not in tables
        if not any(is_under(name, path) for path in head)
    )


def _parted(names: Sequence[str], matrices: Collection[str]) -> list[list[str]]:
    parts = [name for name in names if name in matrices], [name for name in names if name not in matrices]
    return [part for part in parts if part]


def state_bytes(model: nn.Module, *, opt: str, momentum: float, head: Sequence[str]) -> int:
    """The bytes that an optimizer keeps for what a model trains, but for a few counters."""
    matrices = matrices_of(model, head) if opt == "muon" else frozenset()
    return sum(
        each.element_size() * state_numbers(opt, tuple(each.shape), momentum=momentum, matrix=name in matrices)
        for name, each in model.named_parameters()
        if each.requires_grad
    )


def schedule_of(
    sched: str, *, steps: int, warmup: int, every: int | None = None, gamma: float | None = None
) -> Callable[[int], float]:
    """The share of the peak learning rate at a step, counted from 0 within a stage of so many steps.

    It rises in a line over `warmup` steps. Then it stays (constant), falls to 0 in a line (linear) or along half a
    cosine (cosine: SGDR, arXiv 1608.03983, without restarts), or is multiplied by `gamma` after every `every` steps
    from the stage's start (step; a tenth after each third of the stage unless given). one-cycle (arXiv 1708.07120,
    with the figures of torch's OneCycleLR) rises from 1/25 over 30 % of the steps, or over `warmup` where that is
    longer, and falls to 1/250,000, both along half a cosine; the momentum stays as it is.

    >>> schedule = schedule_of("cosine", steps=10, warmup=2)
    >>> [round(schedule(step), 2) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.04]
    >>> schedule = schedule_of("step", steps=9, warmup=0, every=3, gamma=0.5)
    >>> [schedule(step) for step in (0, 2, 3, 6)]
    [1.0, 1.0, 0.5, 0.25]
    """
    if sched == "one-cycle":
        return _one_cycle(steps, max(warmup, round(RISE * steps)))
    gap = every or max(1, math.ceil(steps / 3))
    rest = max(1, steps - warmup)
    courses: dict[str, Callable[[int], float]] = {
        "constant": lambda step: 1.0,
        "linear": lambda step: 1.0 - (step - warmup) / rest,
        "cosine": lambda step: 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / rest)),
        "step": lambda step: float((0.1 if gamma is None else gamma) ** (step // gap)),
    }
    course = courses[sched]
    return lambda step: (step + 1) / warmup if step < warmup else course(step)


def _one_cycle(steps: int, rise: int) -> Callable[[int], float]:
    def between(start: float, end: float, part: float) -> float:
        return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * part))

    def share(step: int) -> float:
        if step < rise:
            return between(START, 1.0, step / rise)
        return between(1.0, START * END, (step - rise) / max(1, steps - 1 - rise))

    return share


START, END = 1 / 25, 1e-4
"""Where one-cycle begins, as a share of the peak, and where it ends, as a share of its beginning."""


def set_rates(optimizer: Optimizer, share: float) -> None:
    """Set each group's learning rate to this share of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
