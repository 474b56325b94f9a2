"""What a policy means, and what is said about one that means nothing."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForImageClassification, ViTConfig

import zoo


@pytest.fixture
def model() -> nn.Module:
    return zoo.load("mobilenet_v2", classes=3, weights=None)


def trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_none_trains_everything(model: nn.Module) -> None:
    zoo.freeze(model, "backbone")
    frozen = zoo.freeze(model, "none")
    assert frozen.parameters == frozen.held == ()
    assert all(module.training for module in model.train().modules())


def test_backbone_trains_the_head_alone(model: nn.Module) -> None:
    frozen = zoo.freeze(model, "backbone")
    assert trained(model) == {"classifier.1.weight", "classifier.1.bias"}
    assert len(frozen.parameters) == 156


def test_globs_freeze_and_unfreeze(model: nn.Module) -> None:
    frozen = zoo.freeze(model, "features.*", unfreeze="features.1[78].*, features.16").parameters
    revived = ("features.16.", "features.17.", "features.18.")
    assert trained(model) == {name for name, _ in model.named_parameters() if name.startswith((*revived, "classifier"))}
    assert "features.15.conv.0.0.weight" in frozen
    assert model.train().features[18].training  # type: ignore[index, union-attr]
    assert not model.features[15].training  # type: ignore[index, union-attr]


def test_a_path_means_all_below_it_and_nothing_beside_it(model: nn.Module) -> None:
    frozen = zoo.freeze(model, "features.1").parameters
    assert frozen
    assert all(name.startswith("features.1.") for name in frozen)


def test_a_new_policy_takes_the_place_of_the_old_one(model: nn.Module) -> None:
    zoo.freeze(model, "backbone")
    assert all(name.startswith("features.0.") for name in zoo.freeze(model, "features.0.*").parameters)
    assert model.train().features[5].training  # type: ignore[index, union-attr]


def test_unfreezing_a_part_leaves_the_rest(model: nn.Module) -> None:
    zoo.freeze(model, "backbone")
    left = zoo.unfreeze(model, "features.18.*")
    assert {"features.18.0.weight", "features.18.1.bias"} <= trained(model)
    assert "features.17.conv.0.0.weight" in left.parameters
    assert model.train().features[18][1].training  # type: ignore[index, union-attr]
    assert not model.features[17].training  # type: ignore[index, union-attr]


@pytest.mark.parametrize(
    ("policy", "unfreeze", "message"),
    [
        ("feature.*", None, r"'feature\.\*' matches no parameter of .*_v2.*'features\.\*' \(156 parameters\)"),
        ("features.99", None, r"'features\.99' matches no parameter.*near: 'features\.9'"),
        ("features.*", "clasifier.*", r"^unfreeze 'clasifier\.\*' matches no parameter.*'classifier\.\*'"),
        ("until:features.19", None, r"names no module.*near: .*features\.18"),
        ("until:classifier", None, "freezes every parameter .* so nothing would be trained"),
        ("*", None, "freezes every parameter .* so nothing would be trained"),
        ("features.*, classifier.*", None, "freezes every parameter"),
        ("features.*", "*", "leaves nothing frozen"),
        ("backbone", "features.*", "leaves nothing frozen"),
        ("", None, "^freeze is ''; it is empty; policies: none, backbone"),
        (" , ", None, "^freeze is ' , '; it is empty"),
        ("until:", None, "until:PATH takes the name of a module"),
        ("features.0", ",", "^unfreeze is ','; it takes nothing out"),
    ],
)  # fmt: skip
def test_what_matches_nothing_or_everything_is_refused(
    model: nn.Module, policy: str, unfreeze: str | None, message: str
) -> None:
    zoo.freeze(model, "features.0.*")
    before = trained(model)
    with pytest.raises(zoo.UsageError, match=f"(?s){message}"):
        zoo.freeze(model, policy, unfreeze=unfreeze)
    assert trained(model) == before, "a refused policy leaves the model as it was"


def test_unfreezing_what_is_not_there_is_refused(model: nn.Module) -> None:
    zoo.freeze(model, "backbone")
    with pytest.raises(zoo.UsageError, match=r"'features\.40' matches no parameter"):
        zoo.unfreeze(model, "features.40")


def test_a_place_before_the_first_parameter_freezes_nothing() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(zoo.UsageError, match=r"freezes nothing: .* has no parameter that runs before 0 returns"):
        zoo.freeze(model, "until:0", sample=torch.zeros(1, 4))


def test_backbone_needs_a_model_that_zoo_knows() -> None:
    with pytest.raises(zoo.UsageError, match="zoo knows nothing about this Sequential"):
        zoo.freeze(nn.Sequential(nn.Linear(4, 2)), "backbone", sample=torch.zeros(1, 4))


def test_backbone_of_an_appended_head_holds_the_original_layer() -> None:
    model = zoo.load("mobilenet_v2", classes=3, weights=None, mode="append")
    zoo.freeze(model, "backbone")
    assert trained(model) == {"classifier.1.1.weight", "classifier.1.1.bias"}


def test_what_a_transformers_file_lacks_is_trained_with_the_head(tmp_path: Path) -> None:
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    config = ViTConfig(image_size=16, patch_size=8, num_labels=3, **small)
    AutoModelForImageClassification.from_config(config).save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    for name in ("vit.layernorm.weight", "vit.layernorm.bias"):
        del state[name]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model = zoo.load(f"hf:{tmp_path}", classes=2)
    zoo.freeze(model, "backbone")
    assert trained(model) == {
        "vit.layernorm.weight", "vit.layernorm.bias", "classifier.weight", "classifier.bias",
    }  # fmt: skip


def test_unfreezing_tells_what_is_trained_again(model: nn.Module) -> None:
    zoo.freeze(model, "features.*")
    first, again = (zoo.unfreeze(model, "features.18.*") for _ in range(2))
    assert first.revived == tuple(name for name, _ in model.named_parameters() if name.startswith("features.18."))
    assert again.revived == ()
    assert again.parameters == first.parameters
    assert repr(first).endswith("; 3 parameters trained again)")
    assert repr(again).endswith("; 0 parameters trained again)")
    assert zoo.unfreeze(model).revived == first.parameters
    assert zoo.freeze(model, "backbone").revived is None
    with pytest.raises(zoo.UsageError, match="unfreeze is ' , '; it takes nothing out"):
        zoo.unfreeze(model, " , ")
    with pytest.raises(zoo.UsageError, match=r"^unfreeze 'feature' matches no parameter"):
        zoo.unfreeze(model, "feature")


def test_taking_something_out_of_nothing_is_refused(model: nn.Module) -> None:
    with pytest.raises(zoo.UsageError, match=r"^unfreeze is 'last:1'; it takes nothing out, as freeze is none"):
        zoo.freeze(model, "none", unfreeze="last:1")
    with pytest.raises(zoo.UsageError, match=r"^unfreeze is 'last:1'; it takes nothing out, as freeze is none"):
        zoo.freeze(model, "none,", unfreeze="last:1")
    assert zoo.freeze(model, "none,").parameters == ()
