"""Models of timm, by architecture or with a pretrained tag."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from zoo.errors import UsageError
from zoo.registry import Preprocessing, entry
from zoo.sources.hub import from_hub, from_url


def create(name: str, given: Mapping[str, Any] | None = None) -> nn.Module:
    """The model with random weights and its original class count, one where that is none."""
    from timm import create_model

    return _with_classifier(create_model(name, pretrained=False, **(given or {})))


def input_arguments(name: str, channels: int | None, size: tuple[int, int] | None) -> dict[str, Any]:
    """What the builder is given for pictures of other channels or another size.

    Models that take any size have no argument for it.
    """
    found: dict[str, Any] = {}
    if channels is not None:
        found["in_chans"] = channels
    known = entry("timm", name)
    if size is not None and (_config(name).fixed_input_size or (known is not None and known.fixed_size)):
        found["img_size"] = size[0] if size[0] == size[1] else list(size)
    return found


def resized(name: str, state: Mapping[str, Tensor], given: Mapping[str, Any], *, like: nn.Module) -> nn.Module:
    """The model for another size with these weights, which timm resamples as it does those of a file.

    They are the weights of a model, whose first layer and classes are as they shall be.
    """
    from timm import create_model

    overlay = {"state_dict": dict(state), "custom_load": False, "first_conv": None, "label_offset": 0}
    if lacks_classifier(like):
        given = {**given, "num_classes": 1}
    # timm's resampling of tables of positions warns of how it is written itself.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: nn.Module = create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **given)
    model.pretrained_cfg = model.default_cfg = like.pretrained_cfg
    return model


def create_with(name: str, state: Mapping[str, Tensor] | None, file: Path) -> nn.Module:
    """The model with published weights, whose keys timm translates where an architecture has moved on.

    `state` is None for the few files that only timm can read, which it then does itself.
    """
    from timm import create_model

    overlay = {"file": str(file)} if state is None else {"state_dict": dict(state), "custom_load": False}
    return _with_classifier(create_model(name, pretrained=True, pretrained_cfg_overlay=overlay))


def lacks_classifier(model: nn.Module) -> bool:
    """Whether the weights of an architecture (DINOv2's, say) come without a classifier."""
    return not getattr(model, "pretrained_cfg", {}).get("num_classes", 1)


def _with_classifier(model: nn.Module) -> nn.Module:
    """Give a model that comes without a classifier the one that `num_classes` makes, for a head to take its place."""
    if lacks_classifier(model) and head_path(model) in dict(model.named_modules()):
        model.reset_classifier(1)  # type: ignore[operator]
    return model


def only_timm_reads(name: str) -> bool:
    """Whether the published file has a format of its own."""
    return bool(_config(name).custom_load)


def tag_of(name: str, weights: str) -> str:
    """The name with the tag of the wanted set, the default one where none is named.

    Raises UsageError with the sets that there are.
    """
    from timm.models import list_pretrained

    plain, _, tag = name.partition(".")
    tags = [full.partition(".")[2] for full in list_pretrained(plain + ".*")]
    plain_too = plain in list_pretrained(plain)
    wanted = tag or _config(plain).tag or "" if weights == "default" else weights
    if wanted in tags:
        return f"{plain}.{wanted}"
    if plain_too and weights == "default":
        return plain
    has = f"it has: {', '.join(tags)}; or give a file, or none" if tags else "give a file, or none"
    raise UsageError(
        f"timm:{plain} has no {'pretrained weights' if weights == 'default' else f'weights called {weights!r}'}.",
        has,
    )


def locate(name: str, *, offline: bool) -> Path:
    """The published file of a name with its tag, downloaded where it is missing."""
    config = _config(name)
    if config.hf_hub_id:
        filename = config.hf_hub_filename or "model.safetensors"
        return from_hub(config.hf_hub_id, filename, offline=offline)
    return from_url(config.url, offline=offline)


def head_path(model: nn.Module) -> str | tuple[str, ...] | None:
    """Where timm says that the classifier is; several places for a model with several heads."""
    stated = getattr(model, "pretrained_cfg", {}).get("classifier")
    if isinstance(stated, list | tuple):
        return tuple(stated)
    # Some of the LeViTs have a second head that timm does not state.
    second = f"head_dist{stated.removeprefix('head')}" if stated else ""
    if stated and second in dict(model.named_modules()) and stated.startswith("head"):
        return stated, second
    return stated or None


def empty_pool(model: nn.Module) -> str | None:
    """Where a vision transformer takes a learned pool, while it has none and takes its class token or a mean."""
    return "attn_pool" if vars(model).get("attn_pool", model) is None else None


def preprocessing(name: str) -> Preprocessing:
    """How pictures are prepared for the weights of a name, with its tag or the default one."""
    return preprocessing_of(_config(name).to_dict())


def preprocessing_of(config: Mapping[str, Any]) -> Preprocessing:
    """The facts of timm's own evaluation transform for a pretrained configuration.

    Where that adds borders around the whole picture, as for `deepseek_vit_412m`, the middle of it is taken.
    """
    _, height, width = config["input_size"]
    crop = config["crop_pct"] or 0.875
    squash = config.get("crop_mode") == "squash"
    return Preprocessing(
        size=(height, width),
        resize=(int(height / crop), int(width / crop)),
        fit="squash" if squash else "crop",
        interpolation=config["interpolation"] if config["interpolation"] != "random" else "bilinear",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def licence(name: str) -> str | None:
    """The licence of the weights of a name, where timm states one."""
    stated = _config(name).license
    return str(stated) if stated else None


def class_names(name: str) -> tuple[str, ...]:
    """What the outputs of the weights of a name are called, where they or timm's lists of ImageNet say it."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    config = _config(name).to_dict()
    if config.get("label_names"):
        names = config["label_names"]
        told = config.get("label_descriptions") or {}
        return tuple(str(told.get(each, each)) for each in names)
    subset = infer_imagenet_subset(config)
    if subset is None:
        return ()
    known = ImageNetInfo(subset)
    return tuple(known.index_to_description(place) for place in range(known.num_classes()))


def _config(name: str) -> Any:
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(name, allow_unregistered=True)
    if config is None:
        raise UsageError(f"the installed timm knows no {name!r}.", "zoo list --source timm shows what there is")
    return config
