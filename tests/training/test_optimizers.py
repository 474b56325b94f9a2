"""Groups of parameters, optimizers over them, and the course of the learning rate."""

import copy
import math
from typing import get_args

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from zoo.recipe import Opt, Sched
from zoo.training.optimizers import (
    Group,
    groups_of,
    matrices_of,
    optimizer_of,
    schedule_of,
    set_rates,
    state_bytes,
)


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LayerNorm(4), nn.Linear(4, 2))


def test_norms_and_biases_do_not_decay(model: nn.Sequential) -> None:
    groups = groups_of(model, head=["4"], lr=0.1, backbone_lr=None, wd=0.5)
    decay = {name: group.wd for group in groups for name in group.names}
    assert {name for name, wd in decay.items() if wd} == {"0.weight", "4.weight"}
    assert decay.keys() == {name for name, _ in model.named_parameters()}
    assert {group.lr for group in groups} == {0.1}


def test_the_backbone_can_have_a_rate_of_its_own(model: nn.Sequential) -> None:
    groups = groups_of(model, head=["4", "3.bias"], lr=0.1, backbone_lr=0.01, wd=0.5)
    rates = {name: group.lr for group in groups for name in group.names}
    assert {name for name, lr in rates.items() if lr == 0.1} == {"4.weight", "4.bias", "3.bias"}
    assert {lr for name, lr in rates.items() if name[0] in "01"} == {0.01}


def test_frozen_parameters_are_in_no_group(model: nn.Sequential) -> None:
    model[0].requires_grad_(False)
    groups = groups_of(model, head=["4"], lr=0.1, backbone_lr=None, wd=0.5)
    assert not any(name.startswith("0.") for group in groups for name in group.names)


def test_optimizers_are_those_of_torch_over_these_groups(model: nn.Sequential) -> None:
    groups = [Group(("0.weight",), 0.1, 0.5), Group(("0.bias", "4.bias"), 0.2, 0.0)]
    adamw = optimizer_of(model, groups, opt="adamw", momentum=0.7)
    sgd = optimizer_of(model, groups, opt="sgd", momentum=0.7)
    assert type(adamw) is torch.optim.AdamW
    assert type(sgd) is torch.optim.SGD
    assert [group["momentum"] for group in sgd.param_groups] == [0.7, 0.7]
    for optimizer in (adamw, sgd):
        assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [(0.1, 0.5), (0.2, 0.0)]
        assert [len(group["params"]) for group in optimizer.param_groups] == [1, 2]
        assert optimizer.param_groups[0]["params"][0] is model[0].weight


def test_decay_shrinks_weights_alone(model: nn.Sequential) -> None:
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = optimizer_of(
        model, groups_of(model, head=["4"], lr=0.1, backbone_lr=None, wd=0.5), opt="sgd", momentum=0
    )
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in model.named_parameters():
        shrunk = 0.95 if name in ("0.weight", "4.weight") else 1.0
        torch.testing.assert_close(value.detach(), before[name] * shrunk)


def test_cosine_rises_then_falls_to_nothing() -> None:
    share = schedule_of("cosine", steps=100, warmup=10)
    assert [share(step) for step in range(10)] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert share(10) == 1.0
    assert share(55) == pytest.approx(0.5)
    assert share(99) == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))
    assert all(share(step) > share(step + 1) for step in range(10, 99))


def test_constant_stays_after_the_warm_up() -> None:
    share = schedule_of("constant", steps=10, warmup=4)
    assert [share(step) for step in range(10)] == [0.25, 0.5, 0.75, *[1.0] * 7]


def test_a_schedule_that_only_warms_up_has_no_end() -> None:
    assert [schedule_of("cosine", steps=3, warmup=3)(step) for step in range(3)] == pytest.approx([1 / 3, 2 / 3, 1.0])


def test_rates_are_set_from_the_peak_of_each_group(model: nn.Sequential) -> None:
    optimizer = optimizer_of(model, [Group(("0.weight",), 0.1, 0), Group(("0.bias",), 0.2, 0)], opt="sgd", momentum=0)
    set_rates(optimizer, 0.5)
    set_rates(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.025, 0.05]


def test_linear_falls_in_a_line_to_nothing() -> None:
    share = schedule_of("linear", steps=12, warmup=2)
    assert [share(step) for step in range(12)] == pytest.approx([0.5, 1.0, *[(10 - done) / 10 for done in range(10)]])


def test_step_drops_after_every_so_many_steps() -> None:
    share = schedule_of("step", steps=7, warmup=1, every=2, gamma=0.1)
    assert [share(step) for step in range(7)] == pytest.approx([1.0, 1.0, 0.1, 0.1, 0.01, 0.01, 0.001])
    thirds = schedule_of("step", steps=9, warmup=0)
    assert [thirds(step) for step in range(9)] == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01])


@pytest.mark.parametrize("steps", [10, 100, 333])
def test_one_cycle_is_that_of_torch(steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=steps, pct_start=(round(0.3 * steps) + 1) / steps, cycle_momentum=False
    )
    share = schedule_of("one-cycle", steps=steps, warmup=0)
    for step in range(steps):
        assert share(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        if step < steps - 1:
            optimizer.step()
            theirs.step()


def test_a_longer_warm_up_makes_the_rise_of_one_cycle_longer() -> None:
    share = schedule_of("one-cycle", steps=10, warmup=6)
    assert max(range(10), key=share) == 6
    assert max(range(10), key=schedule_of("one-cycle", steps=10, warmup=1)) == 3


@pytest.mark.parametrize("sched", get_args(Sched))
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_short_stage_has_rates_too(sched: str, steps: int) -> None:
    for warmup in range(steps + 1):
        share = schedule_of(sched, steps=steps, warmup=warmup)
        assert all(0 < share(step) <= 1 for step in range(steps))


@pytest.fixture
def deep() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 6), nn.Linear(6, 2))


def stepped(model: nn.Module, opt: str, *, steps: int = 2, momentum: float = 0.9, **more: bool) -> Optimizer:
    groups = groups_of(model, head=["4"], lr=0.01, backbone_lr=None, wd=0.1)
    optimizer = optimizer_of(model, groups, opt=opt, momentum=momentum, head=["4"], **more)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("opt", [each for each in get_args(Opt) if each != "muon"])
def test_each_optimizer_is_that_of_torch(deep: nn.Sequential, opt: str) -> None:
    made = type(stepped(deep, opt))
    assert made.__name__.lower() == opt
    assert made is getattr(torch.optim, made.__name__)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("opt", get_args(Opt))
def test_what_an_optimizer_keeps_is_known_before_it_is_made(deep: nn.Sequential, opt: str, momentum: float) -> None:
    optimizer = stepped(deep, opt, momentum=momentum)
    kept = [value for state in optimizer.state.values() for value in state.values() if value.dim()]
    counted = sum(value.numel() * value.element_size() for value in kept)
    assert counted == state_bytes(deep, opt=opt, momentum=momentum, head=["4"])


def test_muon_takes_the_matrices_within_and_adamw_the_rest(deep: nn.Sequential) -> None:
    """Each of the two does just what it does alone."""
    mine, theirs = deep, copy.deepcopy(deep)
    assert matrices_of(mine, ["4"]) == {"3.weight"}
    stepped(mine, "muon", momentum=0.8)
    parameters = dict(theirs.named_parameters())
    muon = torch.optim.Muon(
        [parameters.pop("3.weight")], lr=0.01, weight_decay=0.1, momentum=0.8, adjust_lr_fn="match_rms_adamw"
    )
    adamw = torch.optim.AdamW(
        [{"params": [each], "weight_decay": 0.1 if each.dim() > 1 else 0.0} for each in parameters.values()], lr=0.01
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        for parameter in theirs.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        muon.step()
        adamw.step()
    for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_embeddings_are_no_matrices_of_muon() -> None:
    model = nn.ModuleDict({"table": nn.Embedding(5, 4), "inner": nn.Linear(4, 4), "head": nn.Linear(4, 2)})
    assert matrices_of(model, ["head"]) == {"inner.weight"}
    model["inner"].requires_grad_(False)
    assert matrices_of(model, ["head"]) == frozenset()


def test_nesterov_is_sgds_own(deep: nn.Sequential) -> None:
    assert stepped(deep, "sgd", nesterov=True).param_groups[0]["nesterov"] is True
    assert stepped(deep, "sgd").param_groups[0]["nesterov"] is False


@pytest.mark.parametrize("opt", [each for each in get_args(Opt) if each != "rprop"])
def test_weight_decay_is_every_optimizers_but_one(deep: nn.Sequential, opt: str) -> None:
    assert {group["weight_decay"] for group in stepped(deep, opt).param_groups} == {0.0, 0.1}
