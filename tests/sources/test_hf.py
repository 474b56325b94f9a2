from pathlib import Path
from typing import ClassVar

import pytest
import torch
from transformers import AutoModelForImageClassification, ConvNextConfig, Dinov2Config, ResNetConfig, ViTConfig

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
