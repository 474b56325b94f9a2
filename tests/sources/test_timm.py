from typing import ClassVar

from .contract import SourceContract

MODELS = ("mobilenetv2_100", "vit_tiny_patch16_224", "resnet10t")


class TestTimm(SourceContract):
    models: ClassVar[dict[str, str]] = {
        f"timm:{name}": f"import timm\nmodel = timm.create_model({name!r}, num_classes={{classes}})" for name in MODELS
    }
