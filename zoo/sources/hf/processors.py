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

    Two of them keep a picture's shape, which batches do not: Donut's, whose padding becomes scaling here, and
    TextNet's, of whose result the square in the middle is taken.

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
    return stated_by(processor)


def stated_by(processor: Any) -> dict[str, Any]:
    """What an image processor goes by, its class among them, by which some go their own ways."""
    return {**processor.to_dict(), "image_processor_type": type(processor).__name__}


def preprocessing_of(stated: Mapping[str, Any], values: Mapping[str, Any]) -> Preprocessing:
    """The facts of an image processor; without any, the input size is the model's and values go from -1 to 1."""
    kind = str(stated.get("image_processor_type", ""))
    size = stated.get("size") or stated_size(values) or 224
    if kind.startswith("PPLCNet") and stated.get("resize_short"):
        size = {"shortest_edge": stated["resize_short"]}
    fit: Literal["crop", "squash"] = "squash"
    if isinstance(size, Mapping) and "shortest_edge" in size:
        edge = int(size["shortest_edge"])
        fit, resize, target = "crop", (edge, edge), (edge, edge)
        if stated.get("crop_pct"):
            # ConvNeXT's rule: small inputs are the centre of a larger picture, large ones the whole, squashed.
            fit = "crop" if edge < 384 else "squash"
            resize = (int(edge / stated["crop_pct"]),) * 2 if edge < 384 else resize
        elif kind.startswith("Levit"):
            resize = (int(256 / 224 * edge),) * 2
    else:
        resize = target = edges(size)
    if stated.get("do_center_crop") and stated.get("crop_size") and not stated.get("crop_pct"):
        target = edges(stated["crop_size"])
        if kind.startswith("Perceiver"):
            # It takes the share `size / crop_size` out of the middle, and scales that to `size`.
            fit, resize, target = "crop", target, resize
    mean, std = _normalization(stated, channels_of(values) or 3)
    flips = bool(stated.get("do_flip_channel_order"))
    if kind.startswith("PPLCNet"):
        # It exchanges the channels at the end, with their means.
        flips, mean, std = True, mean[::-1], std[::-1]
    return Preprocessing(
        size=target,
        resize=resize,
        fit=fit,
        interpolation=_RESAMPLING.get(stated.get("resample", 2), "bilinear"),
        mean=mean,
        std=std,
        order="BGR" if flips else "RGB",
    )


def _normalization(stated: Mapping[str, Any], channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and the deviation of values from 0 to 1 by which a processor's own steps come to the same."""
    mean = tuple(stated.get("image_mean") or (0.5,) * channels)
    std = tuple(stated.get("image_std") or (0.5,) * channels)
    if not stated:
        return mean, std
    if not stated.get("do_normalize"):
        mean, std = (0.0,) * len(mean), (1.0,) * len(std)
    scale = 255.0
    if stated.get("do_rescale", True):
        scale *= stated.get("rescale_factor", 1 / 255)
        if stated.get("rescale_offset"):
            mean = tuple(value + 1 for value in mean)
    if stated.get("include_top"):
        # EfficientNet's processor divides by the deviation a second time.
        std = tuple(value * value for value in std)
    if scale == 1:
        return mean, std
    return tuple(value / scale for value in mean), tuple(value / scale for value in std)
