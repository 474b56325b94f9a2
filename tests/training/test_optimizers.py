"""Groups of parameters, optimizers over them, and the course of the learning rate."""

import math

import pytest
import torch
from torch import nn

from zoo.training.optimizers import Group, groups_of, optimizer_of, schedule_of, set_rates


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
