"""What a person gives `zoo.load` and the functions on heads by mistake, and what could be taken for something else."""

from pathlib import Path
from typing import Any

import numpy
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import zoo
from zoo.registry import own


@pytest.mark.parametrize("given", [{"head": "mlp"}, {"mode": "append"}, {"task": "binary"}])
def test_what_is_for_classes_of_ones_own_is_refused_without_them(given: dict[str, Any]) -> None:
    with pytest.raises(zoo.UsageError, match="for classes of your own, and none are given"):
        zoo.load("squeezenet1_1", weights=None, **given)


@pytest.mark.parametrize("classes", [3.0, True, "ant", 0, [], object()])
def test_classes_that_are_neither_a_count_nor_names_are_refused(classes: Any) -> None:
    with pytest.raises(zoo.UsageError, match="classes is "):
        zoo.load("squeezenet1_1", classes, weights=None)


@pytest.mark.parametrize("kind", [set, frozenset])
def test_classes_without_an_order_are_refused(kind: type, tmp_path: Path) -> None:
    with pytest.raises(zoo.UsageError, match="classes is a set, ant, bee, which has no order"):
        zoo.load("squeezenet1_1", kind(["bee", "ant"]), weights=None)
    with pytest.raises(zoo.UsageError, match="classes is a set, ant, bee, which has no order"):
        zoo.finetune("squeezenet1_1", tmp_path, weights=None, classes=kind(["bee", "ant"]))


def test_a_count_may_be_of_numpy_and_names_become_texts() -> None:
    assert zoo.class_names(zoo.load("squeezenet1_1", numpy.int64(2), weights=None)) == ("0", "1")  # type: ignore[arg-type]
    assert zoo.class_names(zoo.load("squeezenet1_1", [7, 8], weights=None)) == ("7", "8")  # type: ignore[list-item]


@pytest.mark.parametrize("channels", ["1", 1.0, True])
def test_channels_are_a_whole_number(channels: Any) -> None:
    with pytest.raises(zoo.UsageError, match=r"channels is .* it takes a whole number"):
        zoo.load("squeezenet1_1", 2, weights=None, channels=channels)


class Failing(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        raise ValueError


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (nn.Linear, "head is <class"),
        (Failing(), r"does not take the model's 512 features \(ValueError\)"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 2)), "for a map, and the model goes on"),
    ],
)
def test_a_module_that_is_no_head_is_refused_and_the_old_one_stays(head: Any, message: str) -> None:
    model = zoo.load("squeezenet1_1", 2, weights=None)
    old = zoo.get_module(model, "classifier.1")
    with pytest.raises(zoo.UsageError, match=message):
        zoo.swap_head(model, head)
    assert zoo.get_module(model, "classifier.1") is old


def test_heads_are_put_on_the_model_within_a_wrapper() -> None:
    model = zoo.load("squeezenet1_1", weights=None)
    original = zoo.append_head(nn.DataParallel(model), classes=2)
    assert zoo.get_module(model, "classifier.1.0") is original
    zoo.swap_head(nn.DataParallel(model), classes=3)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


@pytest.mark.parametrize("policy", [["conv1"], 3])
def test_a_policy_is_one_text(policy: Any) -> None:
    with pytest.raises(zoo.UsageError, match=r"freeze is .*; it takes one text"):
        zoo.freeze(zoo.load("squeezenet1_1", 2, weights=None), policy)


def test_a_batch_that_a_model_does_not_take_is_told_with_its_shape() -> None:
    model, wrong = zoo.load("squeezenet1_1", 2, weights=None), torch.zeros(1, 1, 64, 64)
    for call in (
        lambda: zoo.freeze(model, "first:1", sample=wrong),
        lambda: zoo.cut_at(model, "features.3", sample=wrong),
        lambda: zoo.summary(model, sample=wrong),
    ):
        with pytest.raises(zoo.UsageError, match=r"does not run on a batch of shape \(1, 1, 64, 64\): .*channels"):
            call()


class OnTokens(nn.Module):
    """Gives its head every place of a picture, and takes the mean of the scores."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 1)
        self.fc = nn.Linear(8, 5)

    def forward(self, pictures: Tensor) -> Tensor:
        tokens = self.body(pictures).flatten(2).transpose(1, 2)
        scores: Tensor = self.fc(tokens).mean(1)
        return scores


def test_angles_are_measured_for_each_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(own, "REGISTERED", {})
    zoo.register("tokens", OnTokens, head_path="fc", input_size=(4, 4))
    model = zoo.load("own:tokens", 3, head="cosine")
    pictures = torch.randn(2, 3, 4, 4)
    tokens = model.body(pictures).flatten(2).transpose(1, 2)  # type: ignore[operator]
    fc: Any = model.fc
    expected = 10 * torch.cosine_similarity(tokens[:, :, None], fc.weight, dim=-1).mean(1)
    assert torch.allclose(model(pictures), expected, atol=1e-5)
    zoo.save_checkpoint(tmp_path / "one", model)
    assert torch.equal(zoo.load_checkpoint(tmp_path / "one")(pictures), model(pictures))


def test_weights_of_ones_own_do_not_have_the_names_of_the_published_classes(tiny_vit: Path, tmp_path: Path) -> None:
    model = zoo.load(f"hf:{tiny_vit}")
    assert zoo.class_names(model) == ("tench", "goldfish")
    safetensors.torch.save_file(model.state_dict(), tmp_path / "mine.safetensors")
    with pytest.raises(zoo.UsageError, match="nothing says what the 2 outputs"):
        zoo.class_names(zoo.load(f"hf:{tiny_vit}", weights=tmp_path / "mine.safetensors"))
    assert zoo.class_names(zoo.load(f"hf:{tiny_vit}", weights=tiny_vit)) == ("tench", "goldfish")


def test_a_googlenet_goes_on_behind_the_input_that_it_was_trained_behind(tmp_path: Path) -> None:
    model = zoo.load("googlenet", 2, weights=None)
    zoo.save_checkpoint(tmp_path / "one", model)
    again = zoo.load("googlenet", 3, weights=tmp_path / "one")
    assert again.transform_input is model.transform_input is False
    assert zoo.spec_of(again).arguments == zoo.spec_of(model).arguments


def test_a_base_is_looked_for_without_a_network_where_that_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    safetensors.torch.save_file(zoo.load("squeezenet1_1", weights=None).state_dict(), tmp_path / "base.safetensors")
    model = zoo.load("squeezenet1_1", 2, weights=tmp_path / "base.safetensors")
    zoo.save_checkpoint(tmp_path / "one", model, delta=True)
    asked: list[bool] = []
    load = zoo.load

    def noted(*args: Any, offline: bool = False, **more: Any) -> nn.Module:
        asked.append(offline)
        return load(*args, offline=offline, **more)

    monkeypatch.setattr("zoo.sources.loading.load", noted)
    zoo.load_checkpoint(tmp_path / "one", offline=True)
    assert asked == [True]


@pytest.fixture(scope="module")
def tiny_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of transformers with a classifier of two named classes."""
    from transformers import ViTConfig, ViTForImageClassification

    folder = tmp_path_factory.mktemp("vit")
    config = ViTConfig(
        image_size=16,
        patch_size=8,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        id2label={0: "tench", 1: "goldfish"},
        label2id={"tench": 0, "goldfish": 1},
    )
    ViTForImageClassification(config).save_pretrained(folder)
    return folder
