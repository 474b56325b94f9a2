"""Multiply-adds are what other counters say: ptflops, on models of each kind, and torchvision, of its own models.

Ours come from torch's counter and are of convolutions and matrix products alone, one for each multiplication with
its addition. ptflops counts the additions of biases too, which are under one in a hundred here. It knows attention by
its matrix products, not as one operation, so that torch is asked for these; other operations, norms among them, count
for nothing in both.
"""

import io
from collections.abc import Callable, Mapping

import pytest
import timm
import torch
import transformers
from ptflops import get_model_complexity_info
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torchvision import models

from tools.looking import multiply_adds_and_pool
from zoo.registry import entry, index

SIZE = (224, 224)
BIASES = 0.01


def _hf(kind: str, **given: object) -> nn.Module:
    config = transformers.AutoConfig.for_model(kind, num_labels=10, **given)
    made: nn.Module = transformers.AutoModelForImageClassification.from_config(config)
    return made


MODELS: Mapping[str, Callable[[], nn.Module]] = {
    "plain convolutions": models.resnet18,
    "depthwise convolutions": models.mobilenet_v2,
    "grouped convolutions": models.resnext50_32x4d,
    "a ViT of torchvision": models.vit_b_32,
    "a ViT of timm": lambda: timm.create_model("vit_tiny_patch16_224"),
    "windows of torchvision": models.swin_t,
    "windows of timm": lambda: timm.create_model("swin_tiny_patch4_window7_224"),
    "a ViT of transformers": lambda: _hf("vit", num_hidden_layers=2),
    "windows of transformers": lambda: _hf("swin", depths=[1, 1], num_heads=[3, 6]),
}


@pytest.mark.parametrize("kind", MODELS)
def test_multiply_adds_are_those_of_ptflops(kind: str) -> None:
    with torch.device("meta"):
        model = MODELS[kind]()
    ours, _ = multiply_adds_and_pool(model, SIZE, None)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        theirs, _ = get_model_complexity_info(
            model, (3, *SIZE), backend="aten", as_strings=False, print_per_layer_stat=False, ost=io.StringIO()
        )
    assert isinstance(theirs, int)
    assert ours <= theirs <= (1 + BIASES) * ours


def test_multiply_adds_of_torchvision_are_those_that_it_publishes() -> None:
    """It gives thousands of millions to three digits, counted by fvcore, at the size of each set of weights."""
    from torchvision.models import get_model_weights

    looked_at = 0
    for name in index("torchvision")["models"]:
        found = entry("torchvision", name)
        assert found
        if found.multiply_adds is None:
            assert found.refused, name
            continue
        for chosen in get_model_weights(name):
            size = index("torchvision")["preprocessing"][found.weights[chosen.name]["preprocessing"]]["size"]
            # Some weights are for larger or smaller pictures than those that the index counts for.
            if tuple(size) == found.preprocessing.size:
                assert found.multiply_adds / 1e9 == pytest.approx(chosen.meta["_ops"], abs=0.001), chosen
                looked_at += 1
    assert looked_at > 100
