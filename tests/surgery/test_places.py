"""Modules are taken out and put in by their dotted names, and nothing else of the model changes."""

import copy
import json
from pathlib import Path

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


def test_modules_are_found_by_globs_and_paths_in_order(model: nn.Module) -> None:
    found = zoo.find_modules(model, "*.bn*")
    assert list(found) == [path for path, _ in model.named_modules() if ".bn" in path]
    assert all(module is zoo.get_module(model, path) for path, module in found.items())
    assert list(zoo.find_modules(model, "layer4.0.downsample")) == [
        f"layer4.0.downsample{end}" for end in ("", ".0", ".1")
    ]
    lines = repr(zoo.find_modules(model, "layer[12]")).splitlines()
    assert lines == ["layer1  Sequential", "layer2  Sequential"]
    assert repr(zoo.find_modules(model, "*")).splitlines()[-1] == "… and 17 more"


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("*.bm2", "bn2"),
        ("layr4.*", "layer4"),
        ("layer9", "near: layer4, layer3"),
        ("", "zoo.find_modules"),
        ("fc.weight", "zoo.find_modules"),
    ],
)
def test_a_pattern_that_matches_no_module_names_near_ones(model: nn.Module, pattern: str, near: str) -> None:
    with pytest.raises(zoo.UsageError, match="matches no module of this ResNet") as caught:
        zoo.find_modules(model, pattern)
    assert near in str(caught.value)


class Times(nn.Module):
    """Multiplies by a number that it learns."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, features: Tensor) -> Tensor:
        return features * self.factor


@pytest.mark.parametrize("path", ["layer3", "avgpool", "layer4.1.bn2"])
def test_what_is_inserted_works_on_what_the_module_before_it_gives(model: nn.Module, path: str) -> None:
    pictures, seen = torch.randn(2, 3, 64, 64), []
    model.eval()
    model(pictures)
    zoo.get_module(model, path).register_forward_hook(lambda *given: seen.append(given[2].clone()))
    change = zoo.insert_after(model, path, Times(3.0))
    change.module.register_forward_hook(lambda *given: seen.append(given[2].clone()))
    seen.clear()
    model(pictures)
    assert torch.equal(seen[1], 3 * seen[0])
    assert zoo.get_module(model, change.path) is change.module
    assert not change.module.training


def test_within_a_sequential_all_keys_stay() -> None:
    model = zoo.load("vgg11", 2, weights=None)
    keys = list(model.state_dict())
    change = zoo.insert_after(model, "features.3", Times(1.0))
    assert repr(change) == "Change(features.3_after is new, Times(), behind features.3)"
    assert [key for key in model.state_dict() if not key.startswith("features.3_after")] == keys
    assert [name for name, _ in model.features.named_children()][3:6] == ["3", "3_after", "4"]  # type: ignore[union-attr]
    again = zoo.insert_after(model, "features.3", Times(1.0))
    assert again.path == "features.3_after_after"
    assert zoo.freeze(model, "until:features.3_after").parameters[-1] == "features.3_after.factor"


def test_elsewhere_the_moved_keys_are_told(model: nn.Module) -> None:
    old, keys = model.layer3, set(model.state_dict())
    change = zoo.insert_after(model, "layer3", Times(1.0))
    assert repr(change).endswith("behind layer3.0; what was layer3 is layer3.0)")
    assert zoo.get_module(model, "layer3.0") is old
    moved = {key.replace("layer3.", "layer3.0.") if key.startswith("layer3.") else key for key in keys}
    assert set(model.state_dict()) == moved | {"layer3.1.factor"}
    assert [name for name, _ in model.named_children()][6] == "layer3"


@pytest.mark.parametrize("path", ["layer33", "", "fc.weight"])
def test_nothing_is_inserted_where_nothing_is(model: nn.Module, path: str) -> None:
    keys = list(model.state_dict())
    with pytest.raises(zoo.UsageError):
        zoo.insert_after(model, path, Times(1.0))
    assert list(model.state_dict()) == keys


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("relu", "'relu' is no module"),
        (None, "None is no module"),
        (nn.ReLU, r"(?s)ReLU is no module.*model, path, ReLU"),
    ],
)
def test_what_is_no_module_is_not_put_in(model: nn.Module, given: object, words: str) -> None:
    keys = list(model.state_dict())
    for change in (zoo.insert_after, zoo.replace_module):
        with pytest.raises(zoo.UsageError, match=words):
            change(model, "layer3", given)  # type: ignore[arg-type]
    assert list(model.state_dict()) == keys


@pytest.mark.parametrize("path", ["features.3", "features"])
def test_what_is_inserted_is_trained_beside_a_frozen_backbone(path: str) -> None:
    model = zoo.load("squeezenet1_1", 2, weights=None)
    change = zoo.insert_after(model, path, Times(1.0))
    zoo.freeze(model, "backbone")
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    assert trained == {f"{change.path}.factor", "classifier.1.weight", "classifier.1.bias"}


@pytest.mark.parametrize("path", ["classifier", "classifier.1"])
def test_behind_a_head_nothing_is_inserted_that_zoo_would_not_see(path: str) -> None:
    model = zoo.load("squeezenet1_1", 2, weights=None)
    with pytest.raises(zoo.UsageError, match=r"stands the head of this SqueezeNet, classifier.1(?s:.*)zoo.swap_head"):
        zoo.insert_after(model, path, Times(1.0))
    assert zoo.get_module(model, "classifier.1").out_channels == 2


@pytest.mark.parametrize("path", ["layer2", "layer3.0"])
def test_what_does_not_take_what_is_there_is_not_inserted(model: nn.Module, path: str) -> None:
    pictures = torch.randn(1, 3, 64, 64)
    before, keys, spec = model.eval()(pictures), list(model.state_dict()), zoo.spec_of(model)
    with pytest.raises(
        zoo.UsageError, match=rf"a Conv2d does not take what '{path}' gives: (?s:.*)the model is as it was"
    ):
        zoo.insert_after(model, path, nn.Conv2d(7, 7, 1))
    assert (list(model.state_dict()), zoo.spec_of(model)) == (keys, spec)
    assert torch.equal(model(pictures), before)


def test_another_name_of_a_module_is_told() -> None:
    shared = nn.ReLU()
    with pytest.raises(zoo.UsageError, match="'1' is another name of '0'"):
        zoo.get_module(nn.Sequential(shared, shared), "1")


@pytest.mark.parametrize("insert", [True, False])
def test_a_checkpoint_of_a_changed_model_is_loaded_into_one_alone(
    model: nn.Module, insert: bool, tmp_path: Path
) -> None:
    def change(changed: nn.Module) -> nn.Module:
        if insert:
            zoo.insert_after(changed, "layer3", nn.Conv2d(256, 256, 1))
        else:
            zoo.replace_module(changed, "avgpool", nn.AdaptiveMaxPool2d(1))
        return changed.eval()

    pictures, folder = torch.randn(1, 3, 64, 64), tmp_path / "one"
    zoo.save_checkpoint(folder, change(model))
    assert json.loads((folder / "config.json").read_text())["rebuild"] == []
    with pytest.raises(zoo.UsageError, match=r"was changed at (layer3|avgpool), which a checkpoint cannot build"):
        zoo.load_checkpoint(folder)
    again = zoo.load_checkpoint(folder, model=change(zoo.load("resnet18", 3, weights=None)))
    assert torch.equal(again(pictures), model(pictures))
