"""Outputs have the names that the weights were published with, or those of a head; nothing is guessed."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import ViTConfig, ViTForImageClassification

import zoo
from tests.conftest import Command
from zoo.registry import set_spec


def as_if(model: nn.Module, weights: str) -> nn.Module:
    """A model as if these weights had been loaded."""
    set_spec(model, dataclasses.replace(zoo.spec_of(model), weights=weights))
    return model


def folder_of(place: Path, **values: Any) -> Path:
    """A small network of transformers with four classes, as it saves itself."""
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    config = ViTConfig(image_size=32, patch_size=16, num_labels=4, **sizes)
    config.update(values)
    ViTForImageClassification(config).save_pretrained(place)
    return place


@pytest.mark.parametrize(
    ("name", "weights", "first"),
    [
        ("resnet18", "IMAGENET1K_V1", "tench"),
        ("squeezenet1_1", "somewhere/squeezenet1_1-b8a52dc0.pth", "tench"),
        ("timm:resnet18.a1_in1k", "a1_in1k", "tench, Tinca tinca"),
    ],
)
def test_published_weights_name_the_outputs_of_the_librarys_own_classifier(name: str, weights: str, first: str) -> None:
    model = as_if(zoo.load(name, weights=None), weights)
    names = zoo.class_names(model)
    assert len(names) == 1000
    assert names[0] == first
    assert names[985] == "daisy"
    zoo.append_head(model, classes=["rose", "daisy"])
    assert zoo.class_names(model) == ("rose", "daisy")
    assert zoo.class_names(model, original=True) == names


def test_a_configuration_of_transformers_names_them(tmp_path: Path) -> None:
    names = ["ant", "bee", "fly", "wasp"]
    folder = folder_of(tmp_path / "named", id2label=dict(enumerate(names)))
    assert zoo.class_names(zoo.load(f"hf:{folder}")) == tuple(names)
    appended = zoo.load(f"hf:{folder}", ["insect", "other"], mode="append")
    assert zoo.class_names(appended) == ("insect", "other")
    assert zoo.class_names(appended, original=True) == tuple(names)
    numbered = zoo.load(f"hf:{folder_of(tmp_path / 'numbered')}")
    with pytest.raises(zoo.UsageError, match="nothing says what the 4 outputs"):
        zoo.class_names(numbered)


def test_nothing_is_guessed() -> None:
    model = zoo.load("resnet18", weights=None)
    with pytest.raises(zoo.UsageError, match=r"what the 1000 outputs of torchvision:resnet18 mean.* are random"):
        zoo.class_names(model)
    for weights in ("mine.pth", "/tmp/resnet18.pth"):
        with pytest.raises(zoo.UsageError, match=f"its weights are {weights}"):
            zoo.class_names(as_if(model, weights))
    with pytest.raises(zoo.UsageError, match="no original classifier any more"):
        zoo.class_names(zoo.load("resnet18", 2, weights=None), original=True)
    with pytest.raises(zoo.UsageError):
        zoo.class_names(nn.Linear(2, 2))


def test_pictures_are_told_by_the_names_of_the_original_classes(
    assets: Path, tmp_path: Path, zoo_command: Command
) -> None:
    weights = tmp_path / "mobilenet_v2-b0353104.pth"
    shutil.copy(assets / "weights" / "mobilenet_v2" / "mobilenet_v2.pth", weights)
    zoo.save_checkpoint(tmp_path / "plain", zoo.load("mobilenet_v2", weights=weights))
    pictures = sorted((assets / "data" / "flowers5").rglob("daisy/*.jpg"))[:8]
    told = zoo.predict(tmp_path / "plain", pictures, top=5)
    assert sum("daisy" in each.classes for each in told) >= 5
    shown = zoo_command("predict", str(tmp_path / "plain"), str(pictures[0]), "--json")
    assert f'"{told[0].best}"' in shown.out
    assert torch.tensor(told[0].probabilities).sum() <= 1
