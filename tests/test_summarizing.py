"""The summary's numbers are the model's own."""

import json

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.summarizing import Line, Summary


@pytest.fixture
def model() -> nn.Module:
    return zoo.load("resnet18", classes=5, weights=None)


def lines_of(summary: Summary) -> dict[str, Line]:
    return {line.path: line for line in summary.lines}


def count(module: nn.Module, trained: bool = False) -> int:
    return sum(each.numel() for each in module.parameters() if each.requires_grad or not trained)


def test_parameters_are_counted_module_by_module(model: nn.Module) -> None:
    zoo.freeze(model, "until:layer3")
    summary = zoo.summary(model)
    assert (summary.name, summary.parameters) == ("torchvision:resnet18", 11_179_077)
    assert summary.trained == 8_396_293 == count(model, trained=True)
    for path, line in lines_of(summary).items():
        module = zoo.get_module(model, path)
        assert (line.parameters, line.trained) == (count(module), count(module, trained=True)), path
        assert line.type == type(module).__name__


def test_shapes_are_those_of_one_picture(model: nn.Module) -> None:
    shapes = {path: line.shape for path, line in lines_of(zoo.summary(model)).items()}
    assert shapes[""] == (5,)
    assert (shapes["conv1"], shapes["layer4"], shapes["avgpool"]) == ((64, 112, 112), (512, 7, 7), (512, 1, 1))
    small = {path: line.shape for path, line in lines_of(zoo.summary(model, sample=torch.zeros(3, 3, 64, 64))).items()}
    assert (small["conv1"], small["layer4"], small["fc"]) == ((64, 32, 32), (512, 2, 2), (5,))


def test_it_says_what_is_trained_frozen_or_both_and_what_stays_in_eval_mode(model: nn.Module) -> None:
    zoo.freeze(model, "layer4.0.*, layer1")
    lines = lines_of(zoo.summary(model.train()))
    assert {path: lines[path].state for path in ("", "layer1", "layer2", "layer4", "layer4.0", "layer4.1", "relu")} == {
        "": "part", "layer1": "frozen", "layer2": "trained", "layer4": "part",
        "layer4.0": "frozen", "layer4.1": "trained", "relu": "",
    }  # fmt: skip
    assert (lines["layer1"].mode, lines["layer2"].mode, lines["layer4.0"].mode) == ("eval", "train", "eval")


def test_blocks_alike_are_folded_into_one_line() -> None:
    model = zoo.load("timm:vit_tiny_patch16_224", classes=2, weights=None)
    line = lines_of(zoo.summary(model))["blocks.0"]
    assert (line.repeats, line.last) == (12, "blocks.11")
    assert "blocks.5" not in lines_of(zoo.summary(model))
    zoo.freeze(model, "until:blocks.3")
    lines = lines_of(zoo.summary(model))
    assert {path: (lines[path].repeats, lines[path].last, lines[path].state) for path in ("blocks.0", "blocks.4")} == {
        "blocks.0": (4, "blocks.3", "frozen"), "blocks.4": (8, "blocks.11", "trained"),
    }  # fmt: skip


@pytest.mark.parametrize(("depth", "paths"), [(0, {""}), (1, {"", "0", "1"}), (9, {"", "0", "1", "1.0", "1.0.0"})])
def test_the_tree_is_opened_to_a_depth(depth: int, paths: set[str]) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Sequential(nn.Linear(2, 2))))
    assert set(lines_of(zoo.summary(model, depth=depth))) == paths


def test_of_a_model_of_unknown_input_the_shapes_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(2, 3))
    assert [line.shape for line in zoo.summary(model).lines] == [None, None]
    assert [line.shape for line in zoo.summary(model, sample=torch.zeros(4, 2)).lines] == [(3,), (3,)]
    assert zoo.summary(model).name == "Sequential"


def test_a_weight_that_two_layers_share_is_counted_once() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    assert zoo.summary(model).parameters == 4


def test_a_wrapped_model_is_looked_into(model: nn.Module) -> None:
    assert zoo.summary(nn.DataParallel(model)) == zoo.summary(model)


def test_looking_changes_nothing() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.drop = nn.BatchNorm1d(2), nn.Dropout(0.5)

        def forward(self, rows: Tensor) -> Tensor:
            scores: Tensor = self.drop(self.norm(rows)) + torch.rand(2)
            return scores

    model = Noisy().train()
    model.norm.eval()
    chance = torch.random.get_rng_state()
    zoo.summary(model, sample=torch.ones(3, 2))
    assert torch.equal(torch.random.get_rng_state(), chance)
    assert [module.training for module in model.modules()] == [True, False, True]
    assert model.norm.num_batches_tracked == 0
    assert not any(module._forward_hooks for module in model.modules())


def test_the_text_and_the_values_say_the_same(model: nn.Module) -> None:
    zoo.freeze(model, "backbone")
    summary = zoo.summary(model)
    values = json.loads(json.dumps(summary.to_values()))
    assert (values["parameters"], values["trained"]) == (11_179_077, 2_565)
    assert [each["path"] for each in values["modules"]] == [line.path for line in summary.lines]
    fc = next(each for each in values["modules"] if each["path"] == "fc")
    assert (fc["shape"], fc["trained"], fc["state"], fc["mode"]) == ([5], 2_565, "trained", "eval")
    first, *_, last = str(summary).splitlines()
    assert first.split() == ["torchvision:resnet18", "ResNet", "5", "11,179,077", "part"]
    assert last == "trained 2,565 of 11,179,077 (0.0229 %)"
