"""Configurations of transformers: read, rid of what names code, and what they state of pictures."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.errors import CheckpointError, UsageError
from zoo.registry import others
from zoo.sources.hub import from_hub, snapshot

# Values of a configuration that transformers would follow to code elsewhere, an attention kernel of the hub's too.
_NEVER = (
    "auto_map",
    "architectures",
    "transformers_version",
    "torch_dtype",
    "dtype",
    "attn_implementation",
    "experts_implementation",
    "quantization_config",
)
REFUSED: Mapping[str, str] = {
    "dinat": "its attention needs the package natten, compiled for the installed torch",
    "imagegpt": "it reads a picture as a text of colour clusters (input_ids), not as pixels",
    "shieldgemma2": "it answers a written policy about a picture, and has no classifier that could be replaced",
    "siglip2": "it takes cut-out patches with a mask and the shape of each picture, not pictures of one size",
    "timm_wrapper": "its models are those of the source timm, where they have the same names",
}
"""Model types that classify pictures and cannot be fine-tuned, and why."""


def is_folder(name: str) -> bool:
    """Whether a name means a folder on this machine, not a repository on the hub."""
    return name.startswith((".", "/", "~")) or Path(name).expanduser().is_dir()


def folder_of(name: str, *, offline: bool) -> Path:
    """The folder with configuration and weights, downloaded where it is a hub name that is missing."""
    if not is_folder(name):
        return snapshot(name, offline=offline)
    folder = Path(name).expanduser()
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"hf:{name} is no folder of a transformers model: it has no config.json.",
            "give a folder that save_pretrained wrote, or a hub name like hf:google/vit-base-patch16-224",
        )
    return folder


def configuration_of(name: str, *, offline: bool) -> dict[str, Any]:
    """The values of a model's configuration file, without its weights."""
    file = (
        folder_of(name, offline=offline) / "config.json"
        if is_folder(name)
        else from_hub(name, "config.json", offline=offline)
    )
    values = read_configuration(file)
    # Before hundreds of megabytes of weights are downloaded for nothing.
    checked_type(values)
    return values


def read_configuration(file: Path) -> dict[str, Any]:
    """The values of a `config.json`; raises CheckpointError when it is damaged or of an unknown kind."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}.") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{file} is no configuration of a transformers model.")
    chosen = classes_named(values)
    return plain(values) | ({"architectures": chosen} if chosen else {})


def classes_named(values: Mapping[str, Any]) -> list[str]:
    """Those of the names in `architectures` that are one of several classes of the model's type."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as TYPES

    classes = TYPES.get(str(values.get("model_type")), ())
    named = values.get("architectures")
    several = classes if isinstance(classes, tuple) else ()
    return [each for each in several if isinstance(named, list | tuple) and each in named][:1]


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what names code: only values that describe the architecture."""
    return {
        key: plain(value) if key.endswith("_config") and isinstance(value, Mapping) else value
        for key, value in values.items()
        if key not in _NEVER and not key.startswith("_")
    }


def arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration's class is given to make one of these values."""
    return {key: value for key, value in plain(values).items() if key != "model_type"}


def checked_type(values: Mapping[str, Any]) -> str:
    """The model type, looked up among transformers' image classifiers; raises UsageError when it is none.

    A wrapped timm model hands texts of its configuration to timm, which follows them to files and to the hub.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as TYPES

    stated = values.get("model_type")
    kind = stated if isinstance(stated, str) else repr(stated)
    if kind in REFUSED:
        raise UsageError(
            f"a transformers model of type {kind!r} is no image classifier that zoo takes: {REFUSED[kind]}.",
            "a timm model is loaded by its own name, timm:NAME"
            if kind == "timm_wrapper"
            else "zoo list --source hf shows others",
        )
    if kind not in TYPES:
        refused = others.refusal("hf", kind)
        raise refused or UsageError(
            f"a transformers model of type {kind!r} is no image classifier that zoo takes.",
            f"types: {', '.join(name for name in TYPES if name not in REFUSED)}",
        )
    return kind


VISION = ("vision_config", "backbone_config")
"""Where a configuration of several parts has the one that sees, which says channels and size."""
_CHANNELS = ("num_channels", "stem_num_channels")


def channels_of(values: Mapping[str, Any]) -> int | None:
    """The number of channels that a configuration states, itself or of its part that sees."""
    parts = [values, *(values[key] for key in VISION if isinstance(values.get(key), Mapping))]
    return next((int(part[key]) for part in parts for key in _CHANNELS if part.get(key) is not None), None)


def stated_size(values: Mapping[str, Any]) -> Any:
    """The size of pictures that a configuration states, itself or in its part that sees."""
    parts = [values, *(values[key] for key in VISION if isinstance(values.get(key), Mapping))]
    return next((part["image_size"] for part in parts if part.get("image_size") is not None), None)


def edges(size: Any) -> tuple[int, int]:
    """Height and width of a size as transformers writes one: a number, two, or a mapping.

    >>> edges(224), edges({"height": 48, "width": 32})
    ((224, 224), (48, 32))
    """
    if isinstance(size, Mapping) and "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size["shortest_edge"])
    if isinstance(size, Mapping):
        return int(size["height"]), int(size["width"])
    if isinstance(size, int):
        return size, size
    height, width = size
    return int(height), int(width)
