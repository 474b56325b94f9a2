import json
import re
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification, ConvNextConfig, Dinov2Config, ResNetConfig, ViTConfig

import zoo

from .contract import SourceContract

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
CONFIGS = {
    "vit": ViTConfig(image_size=32, patch_size=8, hidden_dropout_prob=0.5, **SMALL),
    "resnet": ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
    "convnext": ConvNextConfig(image_size=32, hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, drop_path_rate=0.5),
    "dinov2": Dinov2Config(image_size=28, patch_size=14, drop_path_rate=0.5, **SMALL),
}
LINES = """
from transformers import AutoConfig, AutoModelForImageClassification
model = AutoModelForImageClassification.from_config(AutoConfig.from_pretrained("{place}/NAME", num_labels={classes}))
"""


def write_model(folder: Path, name: str) -> Path:
    """A folder as save_pretrained writes it, with random weights and three classes."""
    config = type(CONFIGS[name]).from_dict(CONFIGS[name].to_dict())
    config.num_labels = 3
    torch.manual_seed(0)
    AutoModelForImageClassification.from_config(config).save_pretrained(folder / name)
    return folder / name


class TestHf(SourceContract):
    models: ClassVar[dict[str, str]] = {name: LINES.replace("NAME", name) for name in CONFIGS}

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("hf")
        for name in CONFIGS:
            write_model(folder, name)
        return folder

    @classmethod
    def full_name(cls, name: str, place: Path) -> str:
        return f"hf:{place / name}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path, "vit")


def edit(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def without(folder: Path, start: str) -> None:
    state = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in state.items() if not name.startswith(start)}
    assert len(kept) < len(state)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def test_it_saves_as_one_of_transformers_with_the_names_of_the_classes(folder: Path, tmp_path: Path) -> None:
    model = zoo.load(f"hf:{folder}", ["ant", "bee"])
    model.save_pretrained(tmp_path / "mine")
    again = AutoModelForImageClassification.from_pretrained(tmp_path / "mine")
    assert again.config.id2label == {0: "ant", 1: "bee"}
    assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())


def test_the_weights_of_the_folder_are_loaded_and_none_leaves_them(folder: Path) -> None:
    kept = load_file(folder / "model.safetensors")["vit.layernorm.weight"].fill_(3.0)
    state = load_file(folder / "model.safetensors") | {"vit.layernorm.weight": kept}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    for weights, value in (("default", 3.0), (None, 1.0), (folder / "model.safetensors", 3.0)):
        model = zoo.load(f"hf:{folder}", 2, weights=weights)
        assert (model.state_dict()["vit.layernorm.weight"] == value).all(), weights


@pytest.mark.parametrize("given", [{"mode": "append"}, {"classes": None}])
def test_append_needs_the_original_classifier_in_the_file(folder: Path, given: dict[str, Any]) -> None:
    without(folder, "classifier")
    assert zoo.load(f"hf:{folder}", 2).state_dict()["classifier.weight"].shape[0] == 2
    with pytest.raises(zoo.CheckpointError, match=r"lack the classifier .* classifier\.weight"):
        zoo.load(f"hf:{folder}", **{"classes": 2, **given})
    model = zoo.load(f"hf:{folder}", 2, mode="append", allow_partial=True)
    assert not {name for name in zoo.freeze(model, "backbone").parameters if name.startswith("classifier")}


@pytest.mark.parametrize(
    "values",
    [
        {"model_type": "timm_wrapper", "architecture": "hf-hub:owner/evil"},
        {"model_type": "antigravity"},
        {"model_type": ["vit"]},
        {"model_type": None},
        {"hidden_size": "x"},
        {"hidden_act": "os.system"},
        {"num_hidden_layers": -1, "num_labels": -5},
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(folder: Path, values: dict[str, Any]) -> None:
    edit(folder, **values)
    for weights in ("default", None):
        with pytest.raises((zoo.CheckpointError, zoo.UsageError)):
            zoo.load(f"hf:{folder}", 2, weights=weights)


def test_code_that_a_configuration_names_is_left_alone(folder: Path) -> None:
    (folder / "evil.py").write_text("raise SystemExit('imported')")
    edit(
        folder,
        auto_map={"AutoConfig": "evil.Config", "AutoModelForImageClassification": "evil.Model"},
        attn_implementation="owner/kernel",
    )
    for weights in ("default", None):
        model = zoo.load(f"hf:{folder}", 2, weights=weights)
        assert type(model).__name__ == "ViTForImageClassification"


def test_pictures_are_prepared_as_the_folder_says(folder: Path) -> None:
    assert zoo.spec_of(zoo.load(f"hf:{folder}", 2)).preprocessing.size == (32, 32)
    stated = {"size": {"height": 40, "width": 48}, "resample": 3, "image_mean": [0.1] * 3, "image_std": [0.2] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(stated | {"image_processor_type": "ViTImageProcessor"}))
    got = zoo.spec_of(zoo.load(f"hf:{folder}", 2)).preprocessing
    assert (got.resize, got.interpolation, got.mean, got.std) == ((40, 48), "bicubic", (0.1,) * 3, (0.2,) * 3)


@pytest.mark.parametrize(
    "stated",
    [
        [1],
        {"size": {"height": 0, "width": 0}},
        {"size": {"height": 10**7, "width": 10**7}},
        {"image_mean": "x"},
        {"image_std": [0, 0, 0]},
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}, "crop_pct": "x"},
    ],
)
def test_pictures_that_cannot_be_prepared_as_the_folder_says_are_refused(folder: Path, stated: Any) -> None:
    if isinstance(stated, dict):
        stated = {"image_processor_type": "ViTImageProcessor"} | stated
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))
    with pytest.raises(zoo.CheckpointError, match="pictures are prepared makes no sense"):
        zoo.load(f"hf:{folder}", classes=2)


def test_weights_for_another_configuration_are_refused(folder: Path) -> None:
    edit(folder, hidden_size=24)
    with pytest.raises(zoo.CheckpointError, match="cannot be loaded"):
        zoo.load(f"hf:{folder}", 2)
    with pytest.raises(zoo.CheckpointError, match=r"\(1, 1, 16\) in the file, \(1, 1, 24\) in the model"):
        zoo.load(f"hf:{folder}", 2, weights=folder / "model.safetensors")


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_damaged_folder_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("{")
    with pytest.raises(zoo.CheckpointError, match=re.escape(str(folder))):
        zoo.load(f"hf:{folder}", 2)


def test_a_folder_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(zoo.UsageError, match=r"is no folder of a transformers model: it has no config\.json"):
        zoo.load(f"hf:{tmp_path}", 2)


def test_weights_lie_in_memory_as_torch_itself_would_put_them(folder: Path) -> None:
    """Kernels give other bits where tensors are not aligned, and those of a resumed run always are."""
    model = zoo.load(f"hf:{folder}", 2)
    assert {each.data_ptr() % 64 for each in model.state_dict().values() if each.numel()} == {0}
