"""Modules are taken out and put in by their dotted names, and nothing else of the model changes."""

import copy

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.surgery import ends_in


@pytest.fixture
def model() -> nn.Module:
    return zoo.load("resnet18", classes=3, weights=None)


def test_the_module_at_a_path_is_the_models_own(model: nn.Module) -> None:
    assert zoo.get_module(model, "layer4.1.bn2") is model.layer4[1].bn2  # type: ignore[index, union-attr]
    assert zoo.get_module(model, "") is model


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("layer4.1.bn3", "layer4.1.bn2"),
        ("fcc", "fc"),
        ("layer4.1.bn2.weight", "layer4.1.bn2"),
        ("layer4.-1", "layer4.1"),
    ],
)
def test_a_path_that_is_not_there_names_near_ones(model: nn.Module, path: str, near: str) -> None:
    with pytest.raises(zoo.UsageError, match="this ResNet has no module at") as caught:
        zoo.get_module(model, path)
    assert near in str(caught.value).splitlines()[1]
    with pytest.raises(zoo.UsageError, match="this ResNet has no module at"):
        zoo.replace_module(model, path, nn.Identity())


def test_replacing_changes_the_place_alone_and_returns_the_old_module(model: nn.Module) -> None:
    old, before = model.layer1, copy.deepcopy(model.state_dict())
    new = nn.Conv2d(64, 64, 1)
    assert zoo.replace_module(model, "layer1", new) is old
    assert zoo.get_module(model, "layer1") is new
    kept = {name: value for name, value in model.state_dict().items() if not name.startswith("layer1.")}
    assert kept.keys() == {name for name in before if not name.startswith("layer1.")}
    assert all(torch.equal(value, before[name]) for name, value in kept.items())
    assert [name for name, _ in model.named_children()][4] == "layer1", "the order of definition stays"
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 3)


@pytest.mark.parametrize("training", [True, False])
def test_the_new_module_takes_over_mode_and_precision(model: nn.Module, training: bool) -> None:
    model.double().train(training)
    new = nn.Sequential(nn.Linear(512, 4), nn.Dropout())
    zoo.replace_module(model, "fc", new)
    assert [module.training for module in new.modules()] == [training] * 3
    assert {parameter.dtype for parameter in new.parameters()} == {torch.float64}


def test_a_place_without_parameters_takes_the_precision_of_the_model(model: nn.Module) -> None:
    new = nn.Conv2d(512, 512, 7)
    zoo.replace_module(model.half(), "avgpool", new)
    assert new.weight.dtype == torch.float16


def test_the_whole_model_cannot_be_replaced_within_itself(model: nn.Module) -> None:
    with pytest.raises(zoo.UsageError, match="cannot be replaced within itself"):
        zoo.replace_module(model, "", nn.Identity())


def test_surgery_works_on_any_module() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleDict({"a": nn.ModuleList([nn.Linear(4, 4)]), "b": nn.Identity()})

        def forward(self, rows: Tensor) -> Tensor:
            scores: Tensor = self.parts["b"](self.parts["a"][0](rows))  # type: ignore[index]
            return scores

    model = Branches()
    zoo.replace_module(model, "parts.a.0", nn.Linear(4, 2))
    zoo.replace_module(model, "parts.b", nn.Softmax(dim=-1))
    assert model(torch.zeros(3, 4)).shape == (3, 2)
    assert sorted(model.state_dict()) == ["parts.a.0.bias", "parts.a.0.weight"]


def test_a_classifier_is_known_by_what_it_takes_and_gives() -> None:
    assert ends_in(nn.Linear(8, 3)) == (8, 3, "vector")
    assert ends_in(nn.Conv2d(8, 3, 1)) == (8, 3, "map")
    assert ends_in(nn.Conv2d(8, 3, 3)) is None
    assert ends_in(nn.Conv2d(8, 4, 1, groups=2)) is None
    assert ends_in(nn.ReLU()) is None
