"""How pictures are prepared for a model of transformers, by its image processor's configuration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from zoo.errors import CheckpointError
from zoo.registry import Preprocessing, preprocessing_from
from zoo.sources.hf.configuration import channels_of, edges, is_folder, stated_size
from zoo.sources.hub import NoSuchFile, from_hub

_RESAMPLING: Mapping[int, Literal["nearest", "bilinear", "bicubic", "lanczos"]] = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
}


def preprocessing(name: str, values: Mapping[str, Any], *, offline: bool) -> Preprocessing:
    """How pictures are prepared, as the model's own processor does it; without one, as its configuration suggests.

    Raises CheckpointError where what is stated makes no sense: anybody may have written it.
    """
    try:
        return preprocessing_from(vars(_stated(name, values, offline=offline)))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise CheckpointError(
            f"what hf:{name} says of how pictures are prepared makes no sense: {reason}.",
            "it is in preprocessor_config.json, or in config.json where there is none",
        ) from error


def _stated(name: str, values: Mapping[str, Any], *, offline: bool) -> Preprocessing:
    try:
        file = (
            Path(name).expanduser() / "preprocessor_config.json"
            if is_folder(name)
            else from_hub(name, "preprocessor_config.json", offline=offline)
        )
    except NoSuchFile:
        return preprocessing_of({}, values)
    return preprocessing_of(_processor(file) if file.is_file() else {}, values)


def _processor(file: Path) -> dict[str, Any]:
    """What the processor of a configuration file goes by, its class's defaults included."""
    from transformers import AutoImageProcessor

    try:
        processor = AutoImageProcessor.from_pretrained(file.parent, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{file} cannot be read: {str(error).splitlines()[0]:.160}") from error
    stated: dict[str, Any] = {**processor.to_dict(), "class": type(processor).__name__}
    return stated


def preprocessing_of(stated: Mapping[str, Any], values: Mapping[str, Any]) -> Preprocessing:
    """The facts of an image processor; without any, the input size is the model's and values go from -1 to 1."""
    size = stated.get("size") or stated_size(values) or 224
    fit: Literal["crop", "squash"] = "squash"
    if isinstance(size, Mapping) and "shortest_edge" in size:
        edge = int(size["shortest_edge"])
        fit, resize, target = "crop", (edge, edge), (edge, edge)
        if stated.get("crop_pct"):
            # ConvNeXT's rule: small inputs are the centre of a larger picture, large ones the whole, squashed.
            fit = "crop" if edge < 384 else "squash"
            resize = (int(edge / stated["crop_pct"]),) * 2 if edge < 384 else resize
        elif str(stated.get("class", "")).startswith("Levit"):
            resize = (int(256 / 224 * edge),) * 2
    else:
        resize = target = edges(size)
    if stated.get("do_center_crop") and stated.get("crop_size") and not stated.get("crop_pct"):
        target = edges(stated["crop_size"])
    normal = stated.get("do_normalize", not stated)
    count = channels_of(values) or 3
    mean = stated.get("image_mean") or (0.5,) * count
    std = stated.get("image_std") or (0.5,) * count
    if stated.get("include_top"):
        # EfficientNet's processor divides by the deviation a second time.
        std = tuple(value * value for value in std)
    return Preprocessing(
        size=target,
        resize=resize,
        fit=fit,
        interpolation=_RESAMPLING.get(stated.get("resample", 2), "bilinear"),
        mean=tuple(mean) if normal or not stated else (0.0,) * len(mean),
        std=tuple(std) if normal or not stated else (1.0,) * len(std),
        order="BGR" if stated.get("do_flip_channel_order") else "RGB",
    )
