"""A checkpoint gives back what was saved, bit for bit, and training goes on as if nothing had happened."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer, lr_scheduler

import zoo

PICTURES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))

OWN_NET = """
import torch, zoo
from torch import nn

def net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )

zoo.register("round-net", net, head_path="8", input_size=(8, 8))
"""


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    exec(OWN_NET, {})


def made(policy: str = "0.*, 1.*") -> nn.Module:
    model = zoo.load("own:round-net", ["ant", "bee", "cow"])
    if policy != "none":
        zoo.freeze(model, policy)
    return model


def step(model: nn.Module, optimizer: Optimizer, scheduler: Any = None, times: int = 1, seed: int = 0) -> None:
    torch.manual_seed(seed)
    for _ in range(times):
        model.train()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(PICTURES), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


def same(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "AdamW": lambda groups: AdamW(groups, lr=0.01, betas=(0.8, 0.9), amsgrad=True),
    "SGD": lambda groups: SGD(groups, lr=0.01, momentum=0.9, nesterov=True),
}
SCHEDULERS: dict[str, Callable[[Optimizer], Any]] = {
    "OneCycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=20),
    "MultiStep": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [2, 4, 4], gamma=0.5),
    "Cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=10),
    "warm-up then Cosine": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2), lr_scheduler.CosineAnnealingLR(optimizer, 8)],
        milestones=[2],
    ),
}


def groups_of(model: nn.Module, order: int = 1) -> list[dict[str, Any]]:
    """Two groups of learning rates; their parameters forwards or backwards."""
    parameters = [each for each in model.parameters() if each.requires_grad][::order]
    head = {id(each) for each in model[8].parameters()}  # type: ignore[index]
    return [
        {"params": [each for each in parameters if id(each) not in head], "lr": 0.001},
        {"params": [each for each in parameters if id(each) in head]},
    ]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_bit_for_bit(optimizer: str, scheduler: str, tmp_path: Path) -> None:
    model = made()
    steps = OPTIMIZERS[optimizer](groups_of(model))
    schedule = SCHEDULERS[scheduler](steps)
    step(model, steps, schedule, times=3)
    zoo.save_checkpoint(tmp_path / "epoch-0001", model, optimizer=steps, scheduler=schedule)
    # In another order of parameters, and with other values, which the checkpoint's take the place of.
    other = made(policy="none")
    again = OPTIMIZERS[optimizer](groups_of(other, order=-1))
    schedule_again = SCHEDULERS[scheduler](again)
    loaded = zoo.load_checkpoint(tmp_path / "epoch-0001", optimizer=again, scheduler=schedule_again)
    assert same(model, loaded)
    assert not loaded.training
    step(model, steps, schedule, times=3, seed=1)
    step(loaded, again, schedule_again, times=3, seed=1)
    assert same(model, loaded)
    assert schedule.get_last_lr() == schedule_again.get_last_lr()
    assert schedule.state_dict() == schedule_again.state_dict()


def test_without_the_optimizers_state_training_goes_on_otherwise(tmp_path: Path) -> None:
    model = made()
    steps = OPTIMIZERS["AdamW"](groups_of(model))
    step(model, steps, times=3)
    zoo.save_checkpoint(tmp_path / "epoch-0001", model, optimizer=steps)
    loaded = zoo.load_checkpoint(tmp_path / "epoch-0001")
    step(model, steps, seed=1)
    step(loaded, OPTIMIZERS["AdamW"](groups_of(loaded)), seed=1)
    assert not same(model, loaded)


def test_a_gradient_scaler_comes_back(tmp_path: Path) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=7)
    zoo.save_checkpoint(tmp_path / "epoch-0001", made(), scaler=scaler)
    other = torch.amp.GradScaler("cpu")
    zoo.load_checkpoint(tmp_path / "epoch-0001", scaler=other)
    assert other.state_dict() == scaler.state_dict()
    assert other.get_scale() == 4.0


def test_what_is_frozen_comes_back_and_holds(tmp_path: Path) -> None:
    model = made()
    zoo.save_checkpoint(tmp_path / "epoch-0001", model)
    loaded = zoo.load_checkpoint(tmp_path / "epoch-0001")
    flags = [(name, parameter.requires_grad) for name, parameter in model.named_parameters()]
    assert [(name, parameter.requires_grad) for name, parameter in loaded.named_parameters()] == flags
    before = {name: value.clone() for name, value in loaded.state_dict().items()}
    step(loaded, SGD(loaded.parameters(), lr=0.1))
    moved = {
        name.partition(".")[0] for name, value in loaded.state_dict().items() if not torch.equal(value, before[name])
    }
    assert moved == {"4", "5", "8"}
    modes = [module.training for module in loaded]  # type: ignore[union-attr]
    assert modes == [False, False, False, False, True, True, True, True, True]


IN_A_FRESH_PROCESS = """
import sys
model = zoo.load_checkpoint(sys.argv[1])
optimizer = torch.optim.AdamW(model.parameters(), lr=0.5)
zoo.load_checkpoint(sys.argv[1], model, optimizer=optimizer)
torch.manual_seed(1)
model.train()
generator = torch.Generator().manual_seed(0)
loss = nn.functional.cross_entropy(model(torch.randn(4, 3, 8, 8, generator=generator)), torch.tensor([0, 1, 2, 0]))
loss.backward()
optimizer.step()
torch.save(model.state_dict(), sys.argv[2])
"""


def test_a_fresh_process_goes_on_with_the_same_numbers(tmp_path: Path) -> None:
    model = made()
    steps = AdamW(model.parameters(), lr=0.01)
    step(model, steps, times=2)
    zoo.save_checkpoint(tmp_path / "epoch-0001", model, optimizer=steps)
    command = [sys.executable, "-c", OWN_NET + IN_A_FRESH_PROCESS, tmp_path / "epoch-0001", tmp_path / "after.pth"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    step(model, steps, seed=1)
    after = torch.load(tmp_path / "after.pth")
    assert all(torch.equal(value, after[name]) for name, value in model.state_dict().items())


class Tied(nn.Module):
    """Nothing that zoo knows: its two layers share one weight, another is not contiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.other.weight = self.one.weight
        self.turned = nn.Parameter(torch.randn(3, 5).t())

    def forward(self, rows: Tensor) -> Tensor:
        scores: Tensor = self.other(self.one(rows))
        return scores


def test_ones_own_module_comes_back_into_one_like_it(tmp_path: Path) -> None:
    model, other = Tied(), Tied()
    zoo.save_checkpoint(tmp_path / "mine", model, optimizer=SGD(model.parameters(), lr=0.1))
    assert zoo.load_checkpoint(tmp_path / "mine", other) is other
    assert same(model, other)
    assert other.one.weight is other.other.weight
    with safe_open(tmp_path / "mine" / "model.safetensors", "pt") as tensors:
        assert sorted(tensors.keys()) == ["one.weight", "other.weight", "turned"]
    with pytest.raises(zoo.CheckpointError, match=r"holds a .*Tied that zoo knows nothing about"):
        zoo.load_checkpoint(tmp_path / "mine")
