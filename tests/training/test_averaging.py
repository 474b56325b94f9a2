"""The moving average of the weights, against its definition."""

import contextlib
import copy

import torch
from torch import Tensor, nn

from zoo.training.averaging import Average, decay_at, moving


def model_of() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3)).train()


def moved(model: nn.Module, seed: int) -> dict[str, Tensor]:
    """The model with other weights, statistics and counters, and a copy of them."""
    generator = torch.Generator().manual_seed(seed)
    for each in model.state_dict().values():
        each += torch.randn(each.shape, generator=generator) if each.is_floating_point() else 1
    return copy.deepcopy(model.state_dict())


def test_it_is_what_its_definition_says() -> None:
    model = model_of()
    expected = copy.deepcopy(model.state_dict())
    average = Average(model, 0.3)
    for step in range(4):
        state = moved(model, step)
        average.update(step)
        for name, value in state.items():
            decay = min(0.3, (1 + step) / (10 + step))
            float_value = value.is_floating_point()
            expected[name] = decay * expected[name] + (1 - decay) * value if float_value else value
    with average.applied():
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, expected[name])


def test_the_model_has_its_own_weights_again_afterwards() -> None:
    model = model_of()
    average = Average(model, 0.9)
    own = moved(model, 1)
    average.update(0)
    with contextlib.suppress(KeyError), average.applied() as raw:
        assert all(torch.equal(raw[name], own[name]) for name in own)
        assert not torch.equal(model[0].weight, own["0.weight"])
        raise KeyError
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())


def test_what_is_frozen_is_no_part_of_it() -> None:
    model = model_of()
    model[0].requires_grad_(False)
    model[1].requires_grad_(False).eval()
    assert moving(model).keys() == {"2.weight", "2.bias"}


def test_its_start_is_soon_forgotten() -> None:
    assert decay_at(0, 0.999) == 0.1
    assert [decay_at(step, 0.5) for step in (8, 1000)] == [0.5, 0.5]
    assert decay_at(100_000, 0.999) == 0.999
