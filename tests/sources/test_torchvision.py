from typing import ClassVar

import pytest
import torch
from torchvision.models import get_model

import zoo

from .contract import SourceContract

MODELS = ("resnet18", "vgg11", "squeezenet1_1", "mobilenet_v2", "vit_b_32")
WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")
OTHER_FAMILIES = (
    "convnext_tiny", "densenet121", "efficientnet_b0", "maxvit_t", "mnasnet0_5", "mobilenet_v3_small",
    "regnet_y_400mf", "shufflenet_v2_x0_5", "swin_t",
)  # fmt: skip
LINES = """
from torchvision.models import get_model
model = get_model({name!r}, num_classes={{classes}}{more})
"""


class TestTorchvision(SourceContract):
    models: ClassVar[dict[str, str]] = {name: LINES.format(name=name, more="") for name in MODELS} | {
        name: LINES.format(name=name, more=", aux_logits=False, init_weights=True") for name in WITH_AUXILIARY_HEADS
    }
    large = ("vgg11", "vit_b_32", "inception_v3")


def test_unknown_weights_are_answered_with_those_there_are() -> None:
    with pytest.raises(zoo.UsageError, match=r"has no weights called 'V1'\.\n  it has: IMAGENET1K_V1, IMAGENET1K_V2"):
        zoo.load("resnet50", classes=2, weights="V1")


@pytest.mark.parametrize("name", OTHER_FAMILIES)
def test_every_family_has_its_head_where_the_library_keeps_it(name: str) -> None:
    model, own = zoo.load(name, classes=3, weights=None), get_model(name, num_classes=3)
    assert isinstance(zoo.get_module(model, zoo.spec_of(model).head_path), torch.nn.Linear)
    own.load_state_dict(model.state_dict(), strict=True)
