"""Finding models by name, the user's own among them, and the facts that a loaded model carries."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import zoo
from zoo import registry
from zoo.errors import UsageError
from zoo.registry import own


@pytest.fixture(autouse=True)
def no_registrations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "REGISTERED", {})


def build() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10))


def register(name: str) -> None:
    zoo.register(name, build, head_path="1", input_size=(8, 8))


@pytest.fixture
def model() -> nn.Module:
    register("tiny")
    return zoo.load("own:tiny", classes=["ant", "bee"], weights=None)


def refusal(name: str) -> str:
    with pytest.raises(UsageError) as caught:
        registry.find(name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "source"),
    [("resnet18", "torchvision"), ("mobilenetv2_100", "timm"), ("resnet50.a1_in1k", "timm"), ("mine", "own")],
)
def test_a_bare_name_is_looked_up_in_torchvision_then_timm_then_own(text: str, source: str) -> None:
    register("mine")
    register("resnet18")
    register("mobilenetv2_100")
    assert registry.find(text) == (source, text)


@pytest.mark.parametrize(
    "text", ["timm:resnet18", "own:resnet18", "torchvision:resnet18", "hf:OWNER/new", "hf:./folder"]
)
def test_a_name_with_its_source_is_found_there(text: str) -> None:
    register("resnet18")
    assert ":".join(registry.find(text)) == text


def test_an_unknown_source_is_told_with_those_there_are() -> None:
    assert refusal("keras:vgg16").splitlines() == [
        "no source is called 'keras' (in 'keras:vgg16').",
        "  sources: torchvision, timm, hf, own; a name is written like torchvision:vgg16",
    ]


def test_an_unknown_name_gets_the_nearest_ones_with_their_sources() -> None:
    text = refusal("resnet81")
    assert "no model is called 'resnet81'" in text
    assert "torchvision:resnet18" in text
    assert "timm:resnet18" in text
    assert f"zoo list 'resnet*' shows what there is (timm names as of timm {registry.index('timm')['version']})" in text


def test_an_unknown_name_of_a_source_gets_near_names_of_that_source() -> None:
    text = refusal("timm:resnet81")
    assert "timm:resnet18" in text
    assert "torchvision:" not in text


def test_an_own_name_is_near_too() -> None:
    register("mushroom-net")
    assert "near: own:mushroom-net" in refusal("mushroom_net")
    assert "near: own:mushroom-net" in refusal("own:mushroomnet")
    absent = refusal("own:qqq")
    assert absent.startswith("no model is called 'own:qqq'")
    assert "zoo.register('qqq', …), or install the package that brings it" in absent


@pytest.mark.parametrize("text", ["timm:resnet50.a9_in1k", "resnet50.a9_in1k"])
def test_an_unknown_tag_gets_the_tags_there_are(text: str) -> None:
    assert "timm:resnet50 has no weights called 'a9_in1k'.\n  it has: " in refusal(text)
    assert "a1_in1k" in refusal(text)


def test_a_tag_selects_its_weights() -> None:
    tagged = registry.entry("timm", "resnet50.a1_in1k")
    other = registry.entry("timm", "resnet50.tv_in1k")
    assert tagged
    assert other
    assert (tagged.default, other.default) == ("a1_in1k", "tv_in1k")
    assert tagged.preprocessing.interpolation == "bicubic"
    assert other.preprocessing.interpolation == "bilinear"


def test_a_name_can_be_registered_once() -> None:
    register("tiny")
    with pytest.raises(UsageError, match="'own:tiny' is registered already"):
        register("tiny")


WRAPPERS: dict[str, Callable[[nn.Module], Any]] = {
    "data parallel": nn.DataParallel,
    "compiled": torch.compile,
    "compiled data parallel": lambda model: torch.compile(nn.DataParallel(model)),
    "averaged": torch.optim.swa_utils.AveragedModel,
    "copied": copy.deepcopy,
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_facts_are_found_through_what_wraps_a_model(wrapper: str, model: nn.Module) -> None:
    spec = zoo.spec_of(WRAPPERS[wrapper](model))
    assert spec == zoo.spec_of(model)
    assert (spec.full_name, spec.head_prefix) == ("own:tiny", "1")
    assert spec.head is not None
    assert spec.head.classes == ("ant", "bee")


@pytest.fixture
def alone() -> Iterator[None]:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("alone")
def test_the_facts_are_found_through_distributed_training(model: nn.Module) -> None:
    assert zoo.spec_of(nn.parallel.DistributedDataParallel(model)).full_name == "own:tiny"


@pytest.mark.parametrize("wrapper", [lambda model: model, nn.DataParallel])
def test_a_model_without_facts_is_told_clearly(wrapper: Callable[[nn.Module], nn.Module]) -> None:
    with pytest.raises(UsageError, match=r"knows nothing about this Sequential: it was not made by zoo.load"):
        zoo.spec_of(wrapper(build()))


def test_what_is_no_model_is_told_clearly() -> None:
    with pytest.raises(UsageError, match="knows nothing about this str"):
        zoo.spec_of("vgg16")


def names(**filters: Any) -> list[str]:
    return [entry.full_name for entry in zoo.list_models(**filters)]


def test_a_glob_is_over_names_with_or_without_their_source() -> None:
    assert names(pattern="vgg1?", source="torchvision") == [f"torchvision:vgg{depth}" for depth in (11, 13, 16, 19)]
    assert names(pattern="timm:vgg16") == ["timm:vgg16"]
    assert names(pattern="vgg16") == ["torchvision:vgg16", "timm:vgg16"]
    assert names(pattern="no-such-*") == []


def test_without_a_source_every_library_is_listed() -> None:
    assert {entry.source for entry in zoo.list_models()} == {"torchvision", "timm", "hf"}


def test_pretrained_models_of_timm_are_listed_by_each_set_of_weights() -> None:
    assert names(pattern="resnet18", source="timm") == ["timm:resnet18"]
    tagged = names(pattern="resnet18.*", source="timm", pretrained=True)
    assert "timm:resnet18.a1_in1k" in tagged
    assert all(entry.weights for entry in zoo.list_models(pretrained=True))


def test_the_largest_are_left_out() -> None:
    small = zoo.list_models(max_parameters=2e6)
    assert {entry.full_name for entry in small} >= {"torchvision:squeezenet1_1", "timm:test_vit"}
    assert all(entry.parameters is not None and entry.parameters <= 2e6 for entry in small)


def test_an_unknown_source_cannot_be_listed() -> None:
    with pytest.raises(UsageError, match="no source is called 'keras'"):
        zoo.list_models(source="keras")


@pytest.mark.parametrize(
    ("key", "value"),
    [("size", [0, 224]), ("std", [0.2, 0.0, 0.2]), ("mean", [0.5]), ("fit", "pad"), ("order", "GBR"), ("flip", True)],
)
def test_preprocessing_out_of_a_file_is_checked(key: str, value: object) -> None:
    good: dict[str, object] = {"size": [8, 8], "resize": [9, 9], "mean": [0.5] * 3, "std": [0.5] * 3}
    assert registry.preprocessing_from(good).size == (8, 8)
    with pytest.raises(ValueError, match="preprocessing"):
        registry.preprocessing_from({**good, key: value})


def test_preprocessing_at_another_size_keeps_the_margin() -> None:
    usual = registry.Preprocessing(size=(224, 224), resize=(256, 256))
    assert usual.at(448).resize == (512, 512)


@pytest.mark.parametrize("size", [64, (64,), (64, 64, 3)])
def test_an_input_size_that_is_no_height_and_width_is_told(size: Any) -> None:
    with pytest.raises(zoo.UsageError, match=r"input_size .*64"):
        zoo.register("sized", torch.nn.Identity, head_path="fc", input_size=size)


def test_a_file_in_the_place_of_a_model_is_told_where_it_goes(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(b"")
    with pytest.raises(zoo.UsageError, match=r"is a file or a folder\.\n.*MODEL --weights .*mine\.pth"):
        registry.find(str(tmp_path / "mine.pth"))
