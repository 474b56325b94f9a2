from typing import ClassVar

from .contract import SourceContract

MODELS = ("resnet18", "vgg11", "squeezenet1_1", "mobilenet_v2", "vit_b_32")
WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")
LINES = """
from torchvision.models import get_model
model = get_model({name!r}, num_classes={{classes}}{more})
"""


class TestTorchvision(SourceContract):
    models: ClassVar[dict[str, str]] = {name: LINES.format(name=name, more="") for name in MODELS} | {
        name: LINES.format(name=name, more=", aux_logits=False, init_weights=True") for name in WITH_AUXILIARY_HEADS
    }
    large = ("vgg11", "vit_b_32", "inception_v3")
