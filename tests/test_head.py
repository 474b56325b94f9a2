"""Heads: presets and modules of one's own, in the place of the last layer or behind it."""

from typing import Any

import pytest
import torch
from torch import nn

import zoo
from zoo.head.building import build, source_of
from zoo.head.presets import find, layers_of

PICTURES = torch.zeros(2, 3, 64, 64)
NAMES = ["ant", "bee", "cow"]


def load(name: str = "resnet18", classes: Any = NAMES, **given: Any) -> nn.Module:
    return zoo.load(name, classes, weights=None, **given)


@pytest.mark.parametrize("preset", ["linear", "mlp"])
@pytest.mark.parametrize("kind", ["vector", "map"])
def test_a_preset_turns_features_into_scores(preset: str, kind: Any) -> None:
    head = build(layers_of(find(preset), features=16, classes=3, kind=kind))
    shape = (2, 16) if kind == "vector" else (2, 16, 5, 4)
    assert head(torch.zeros(shape)).shape == (2, 3, *shape[2:])


@pytest.mark.parametrize("preset", ["linear", "mlp"])
def test_on_a_map_a_head_computes_the_same_at_every_place(preset: str) -> None:
    vector = build(layers_of(find(preset), features=16, classes=3, kind="vector")).eval()
    spread = build(layers_of(find(preset), features=16, classes=3, kind="map")).eval()
    for one, other in zip(vector.parameters(), spread.parameters(), strict=True):
        other.data.copy_(one.data.reshape(other.shape))
    rows = torch.randn(2, 16)
    torch.testing.assert_close(spread(rows[:, :, None, None])[:, :, 0, 0], vector(rows))


def test_the_expression_builds_the_same_head() -> None:
    layers = layers_of(find("mlp"), features=16, classes=3, kind="map")
    written = eval(source_of(layers), {"nn": nn})
    assert repr(written) == repr(build(layers))


@pytest.mark.parametrize("layer", ["Sigmoid", "os.system", "", None])
def test_a_layer_that_is_not_listed_is_refused(layer: str | None) -> None:
    with pytest.raises(zoo.UsageError, match=r"(a head cannot have a layer|needs a name)"):
        build([{"layer": layer}])


def test_an_unknown_preset_names_near_ones() -> None:
    with pytest.raises(zoo.UsageError, match=r"no head is called 'lineer'\.\n  near: linear"):
        load(head="lineer")


def test_squeezenet_gets_a_convolution() -> None:
    model = load("squeezenet1_1", head="mlp")
    assert [type(part).__name__ for part in model.classifier[1]] == ["Conv2d", "ReLU", "Dropout", "Conv2d"]  # type: ignore[index, union-attr]
    assert model(PICTURES).shape == (2, 3)


def test_class_names_are_kept_and_a_count_gives_numbers() -> None:
    for classes, names in ((NAMES, ("ant", "bee", "cow")), (3, ("0", "1", "2"))):
        head = zoo.spec_of(load(classes=classes)).head
        assert head is not None
        assert head.classes == names


@pytest.mark.parametrize("classes", [0, -1, [], "ant", ["ant", "ant"]])
def test_classes_that_cannot_be_meant_are_refused(classes: Any) -> None:
    with pytest.raises(zoo.UsageError, match=r"classes (is|has a name twice)"):
        load(classes=classes)


def test_swapping_replaces_the_head_and_keeps_the_backbone() -> None:
    model = load()
    before, old = model.layer4[0].conv1.weight.clone(), model.fc  # type: ignore[index, union-attr]
    assert zoo.swap_head(model, "mlp", classes=5) is old
    assert model(PICTURES).shape == (2, 5)
    assert torch.equal(model.layer4[0].conv1.weight, before)  # type: ignore[index, union-attr]
    zoo.swap_head(model)
    assert isinstance(model.fc, nn.Linear)
    assert model(PICTURES).shape == (2, 5), "without classes the present ones stay"


def test_an_appended_head_is_swapped_behind_the_original() -> None:
    model = load(mode="append")
    original = model.fc[0]  # type: ignore[index]
    zoo.swap_head(model, "mlp", classes=4)
    assert model.fc[0] is original  # type: ignore[index]
    assert model.fc[1][0].in_features == 1000  # type: ignore[index, union-attr]
    assert model(PICTURES).shape == (2, 4)
    zoo.freeze(model, "backbone")
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {"fc.1.0.weight", "fc.1.0.bias", "fc.1.3.weight", "fc.1.3.bias"}


def test_appending_twice_is_refused() -> None:
    model = load()
    with pytest.raises(zoo.UsageError, match="has no original classifier any more"):
        zoo.append_head(model, classes=2)


def test_a_module_of_ones_own_is_a_head() -> None:
    own = nn.Sequential(nn.LayerNorm(512), nn.Linear(512, 3))
    model = load(head=own)
    assert model.fc is own
    assert zoo.swap_head(model, nn.Linear(512, 2), classes=2) is own
    assert model(PICTURES).shape == (2, 2)


@pytest.mark.parametrize(
    ("head", "message"),
    [(nn.Linear(512, 5), r"gives 5 scores .* 3 classes"), (nn.Linear(100, 3), "does not take .* 512 features")],
)
def test_a_head_for_another_count_is_refused(head: nn.Module, message: str) -> None:
    with pytest.raises(zoo.UsageError, match=message):
        load(head=head)
    model = load()
    present = model.fc
    with pytest.raises(zoo.UsageError, match=message):
        zoo.swap_head(model, head)
    assert model.fc is present, "a refused head leaves the model as it was"


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(zoo.UsageError, match=r"mode is 'prepend'\.\n  modes: replace, append"):
        load(mode="prepend")
