"""Classification models of torchvision."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from zoo.errors import UsageError
from zoo.registry import Preprocessing
from zoo.sources.channels import widen
from zoo.sources.hub import from_url

# Where each family keeps its classifier; the family is the name of the model's class.
HEAD_PATHS = {
    "AlexNet": "classifier.6",
    "ConvNeXt": "classifier.2",
    "DenseNet": "classifier",
    "EfficientNet": "classifier.1",
    "GoogLeNet": "fc",
    "Inception3": "fc",
    "MNASNet": "classifier.1",
    "MaxVit": "classifier.5",
    "MobileNetV2": "classifier.1",
    "MobileNetV3": "classifier.3",
    "RegNet": "fc",
    "ResNet": "fc",
    "ShuffleNetV2": "fc",
    "SqueezeNet": "classifier.1",
    "SwinTransformer": "head",
    "VGG": "classifier.6",
    "VisionTransformer": "heads.head",
}
WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")
# These spend seconds on random values that loading overwrites at once.
WITH_INIT_SWITCH = ("googlenet", "inception_v3", "vgg")


def arguments(name: str, weights: str | None, *, pretrained: bool) -> dict[str, Any]:
    """What the builder is given beside the class count, so that the model can be built again.

    The auxiliary classifiers of googlenet and inception_v3 served their first training and are left out. A
    vision transformer's positions belong to one input size, that of its weights.
    """
    if name in WITH_AUXILIARY_HEADS:
        return {"aux_logits": False, "transform_input": pretrained}
    if name.startswith("vit_"):
        return {"image_size": preprocessing(name, weights).size[0]}
    return {}


def create(name: str, given: Mapping[str, Any], *, initialise: bool = True) -> nn.Module:
    """The model with random weights and its original class count."""
    from torchvision.models import get_model

    keywords = dict(given)
    channels, stem = keywords.pop("channels", None), keywords.pop("stem", None)
    if name.startswith(WITH_INIT_SWITCH):
        keywords["init_weights"] = initialise
    model: nn.Module = get_model(name, weights=None, **keywords)
    if channels is not None:
        widen(model, str(stem), channels)
    return model


def input_arguments(
    model: nn.Module, given: Mapping[str, Any], channels: int | None, size: tuple[int, int] | None
) -> dict[str, Any]:
    """What the builder is given for pictures of other channels or another size.

    torchvision itself builds for three channels alone, so the path of the first layer, which is replaced, goes
    along. googlenet and inception_v3 change their input channel by channel, which only three allow.
    """
    found: dict[str, Any] = {}
    if channels is not None:
        found["channels"] = channels
        found["stem"] = next(name for name, each in model.named_modules() if isinstance(each, nn.Conv2d))
        if given.get("transform_input"):
            found["transform_input"] = False
    if size is not None and "image_size" in given:
        if size[0] != size[1]:
            raise UsageError("a vision transformer of torchvision takes square pictures alone.")
        found["image_size"] = size[0]
    if size is not None and type(model).__name__ == "MaxVit":
        found["input_size"] = list(size)
    return found


def resized(usual: nn.Module, wanted: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with the positions of a vision transformer interpolated, as torchvision's own function does it."""
    from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

    if not isinstance(wanted, VisionTransformer):
        raise UsageError(f"torchvision carries no weights of a {type(usual).__name__} over to another size.")
    return dict(interpolate_embeddings(wanted.image_size, wanted.patch_size, OrderedDict(state)))


def head_path(model: nn.Module) -> str | None:
    """Where the family keeps its classifier."""
    return HEAD_PATHS.get(type(model).__name__)


def locate(name: str, weights: str, *, offline: bool) -> Path:
    """The file of a named set of weights, downloaded where it is missing."""
    chosen = _weights(name, weights)
    return from_url(chosen.url, offline=offline, size=f" ({chosen.meta['_file_size']:.0f} MB)")


def preprocessing(name: str, weights: str | None) -> Preprocessing:
    """How pictures are prepared for a set of weights, or for the default one."""
    return preprocessing_of(_weights(name, weights or "DEFAULT").transforms())


def preprocessing_of(transform: Any) -> Preprocessing:
    """The facts of torchvision's own evaluation transform."""
    (crop,), (resize,) = transform.crop_size, transform.resize_size
    return Preprocessing(
        size=(crop, crop),
        resize=(resize, resize),
        interpolation=transform.interpolation.value,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
    )


def licence(name: str, weights: str | None) -> str | None:
    """The licence of a set of weights, where torchvision states one."""
    if weights is None:
        return None
    stated = _weights(name, weights).meta.get("license")
    return str(stated) if stated else None


def class_names(name: str, weights: str) -> tuple[str, ...]:
    """What the outputs of a set of weights are called; none for what is no set."""
    from torchvision.models import get_model_weights

    sets = {each.name: each for each in get_model_weights(name)}
    return tuple(sets[weights].meta.get("categories") or ()) if weights in sets else ()


def set_name(name: str, weights: str) -> str:
    """The name of a set of weights, `default` resolved to the set that it means now."""
    return str(_weights(name, weights).name)


def set_of_file(name: str, file: Path) -> str | None:
    """The published set whose file has this name, or None."""
    from torchvision.models import get_model_weights

    return next((each.name for each in get_model_weights(name) if Path(each.url).name == file.name), None)


def translated(name: str, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A state dict under today's names: densenet's published files still have the dots of old module names."""
    if not name.startswith("densenet"):
        return state
    return {_OLD_DENSENET.sub(r"\1\2", key): value for key, value in state.items()}


_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


def _weights(name: str, weights: str) -> Any:
    from torchvision.models import get_model_weights

    sets = get_model_weights(name)
    wanted = sets.DEFAULT.name if weights in ("default", "DEFAULT") else weights
    by_name = {each.name: each for each in sets}
    if wanted not in by_name:
        raise UsageError(
            f"torchvision:{name} has no weights called {weights!r}.",
            f"it has: {', '.join(by_name)}; or give a file, or none",
        )
    return by_name[wanted]
