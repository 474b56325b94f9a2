"""The blocks of well-known architectures are those of their papers: none is cut within, and no stack is one block."""

from collections.abc import Callable, Mapping

import pytest
import timm
import torch
import transformers
from torch import nn
from torchvision import models

from zoo.freezing.order import places, record


def _numbered(path: str, *counts: int) -> list[str]:
    """The same path for each number; `{}` stands for the stage, where there are several."""
    return [f"{path.format(stage)}.{number}" for stage, count in enumerate(counts) for number in range(count)]


def _hf(kind: str, **given: object) -> nn.Module:
    config = transformers.AutoConfig.for_model(kind, **given)
    made: nn.Module = transformers.AutoModelForImageClassification.from_config(config)
    return made


MODELS: Mapping[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "googlenet": (
        lambda: models.googlenet(init_weights=False, aux_logits=False),
        [
            *("conv1", "conv2", "conv3"),
            *(
                f"inception{size}{letter}"
                for size, letters in ((3, "ab"), (4, "abcde"), (5, "ab"))
                for letter in letters
            ),
            "fc",
        ],
    ),
    "mobilenet_v3_small": (
        models.mobilenet_v3_small,
        [*_numbered("features", 13), "classifier.0", "classifier.3"],
    ),
    "resnet of transformers": (
        lambda: _hf("resnet", embedding_size=8, hidden_sizes=[8, 16, 16], depths=[2, 3, 2]),
        ["resnet.embedder", *_numbered("resnet.encoder.stages.{}.layers", 2, 3, 2), "classifier.1"],
    ),
    "timm:mobileone_s0": (
        lambda: timm.create_model("mobileone_s0"),
        ["stem", *_numbered("stages.{}", 4, 16, 20, 2), "head"],
    ),
    "timm:hgnet_tiny": (
        lambda: timm.create_model("hgnet_tiny"),
        ["stem", "stages.0", "stages.1", "stages.2.downsample", *_numbered("stages.2.blocks", 2), "stages.3", "head"],
    ),
    "timm:skresnet18": (
        lambda: timm.create_model("skresnet18"),
        ["conv1", "bn1", *(f"layer{stage}.{number}" for stage in (1, 2, 3, 4) for number in (0, 1)), "fc"],
    ),
    "vgg16": (
        models.vgg16,
        [f"features.{n}" for n in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)]
        + ["classifier.0", "classifier.3", "classifier.6"],
    ),
    "mobilenet_v1 of transformers": (
        lambda: _hf("mobilenet_v1", depth_multiplier=0.25),
        ["mobilenet_v1.conv_stem", *_numbered("mobilenet_v1.layer", 26), "classifier"],
    ),
    "mobilenet_v2": (models.mobilenet_v2, [*_numbered("features", 19), "classifier.1"]),
    "resnet18": (
        models.resnet18,
        ["conv1", "bn1", *(f"layer{stage}.{number}" for stage in (1, 2, 3, 4) for number in (0, 1)), "fc"],
    ),
    "vit_b_32": (
        models.vit_b_32,
        ["conv_proj", *(f"encoder.layers.encoder_layer_{n}" for n in range(12)), "encoder.ln", "heads.head"],
    ),
    "convnext_tiny": (
        models.convnext_tiny,
        [
            "features.0",
            *_numbered("features.1", 3),
            *("features.2.0", "features.2.1", *_numbered("features.3", 3)),
            *("features.4.0", "features.4.1", *_numbered("features.5", 9)),
            *("features.6.0", "features.6.1", *_numbered("features.7", 3)),
            *("classifier.0", "classifier.2"),
        ],
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_blocks_of_well_known_architectures(name: str) -> None:
    build, expected = MODELS[name]
    with torch.device("meta"):
        model = build()
        order = record(model, torch.zeros(1, 3, 224, 224))
    assert places(model, order) == expected
