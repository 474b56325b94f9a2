"""Image classifiers of transformers, by hub name or from a local folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from zoo.errors import CheckpointError, StorageError, UsageError
from zoo.names import is_under
from zoo.registry import Preprocessing
from zoo.sources.hub import from_hub, snapshot

# Values of a configuration that transformers would follow to code elsewhere.
_NEVER = ("auto_map", "architectures", "transformers_version", "torch_dtype", "dtype", "_name_or_path")
_RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


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
    return read_configuration(file)


def read_configuration(file: Path) -> dict[str, Any]:
    """The values of a `config.json`; raises CheckpointError when it is damaged or of an unknown kind."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}.") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{file} is no configuration of a transformers model.")
    return plain(values)


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what names code: only values that describe the architecture."""
    return {key: value for key, value in values.items() if key not in _NEVER and not key.startswith("_")}


def create(values: Mapping[str, Any]) -> nn.Module:
    """The classifier that a configuration describes, with random weights.

    The model type is looked up among transformers' image classifiers, and never imported by its name.

    Raises UsageError when there is none for this type.
    """
    from transformers import AutoConfig, AutoModelForImageClassification
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as TYPES

    values = plain(values)
    kind = values.pop("model_type", None)
    if kind not in TYPES:
        raise UsageError(f"a transformers model of type {kind!r} is no image classifier.", f"types: {', '.join(TYPES)}")
    config = AutoConfig.for_model(kind, **values)
    model: nn.Module = AutoModelForImageClassification.from_config(config, trust_remote_code=False)
    return model


def load(folder: Path) -> tuple[nn.Module, tuple[str, ...]]:
    """The classifier of a folder with its weights, and the parameters that the weights lack.

    Raises CheckpointError when the weights cannot be read or do not fit.
    """
    import transformers
    from transformers import AutoModelForImageClassification

    read_configuration(folder / "config.json")
    level = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    try:
        model, report = AutoModelForImageClassification.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"the model in {folder} cannot be loaded: {str(error).splitlines()[0]}",
            "it needs config.json and model.safetensors of an image classifier",
        ) from error
    finally:
        transformers.utils.logging.set_verbosity(level)
    return model.float(), tuple(sorted(report["missing_keys"]))


def head_path(model: nn.Module) -> str | None:
    """The last layer outside the base model that produces the classes."""
    import torch

    base = str(getattr(model, "base_model_prefix", ""))
    count = int(model.config.num_labels)  # type: ignore[union-attr, arg-type]
    found = None
    for name, module in model.named_modules():
        if is_under(name, base) and base:
            continue
        if isinstance(module, torch.nn.Linear) and module.out_features == count:
            found = name
    return found


def outside_base(model: nn.Module) -> tuple[str, ...]:
    """The parameters that are no part of the base model and are therefore trained with the head."""
    base = str(getattr(model, "base_model_prefix", ""))
    return tuple(name for name, _ in model.named_parameters() if not is_under(name, base))


def set_classes(model: nn.Module, classes: tuple[str, ...]) -> None:
    """Tell the model's own configuration of its new classes, so that it saves and loads as one of them."""
    model.config.id2label = dict(enumerate(classes))  # type: ignore[union-attr]
    model.config.label2id = {name: place for place, name in enumerate(classes)}  # type: ignore[union-attr]
    model.num_labels = len(classes)  # type: ignore[assignment]


def preprocessing(name: str, values: Mapping[str, Any], *, offline: bool) -> Preprocessing:
    """How pictures are prepared, from the processor's configuration or else from the model's."""
    try:
        file = (
            Path(name).expanduser() / "preprocessor_config.json"
            if is_folder(name)
            else from_hub(name, "preprocessor_config.json", offline=offline)
        )
        stated = json.loads(file.read_text(encoding="utf-8"))
    except (StorageError, OSError):
        stated = {}
    except ValueError as error:
        raise CheckpointError(f"{file} cannot be read: {error}.") from error
    return preprocessing_of(stated, values)


def preprocessing_of(stated: Mapping[str, Any], values: Mapping[str, Any]) -> Preprocessing:
    """The facts of an image processor's configuration; what it leaves out follows the model's."""
    size = stated.get("size", values.get("image_size", 224))
    fit: Any = "squash"
    if isinstance(size, Mapping) and "shortest_edge" in size:
        fit, edge = "crop", size["shortest_edge"]
        crop_share = stated.get("crop_pct")
        if crop_share and edge < 384:
            target, resize = (edge, edge), (int(edge / crop_share),) * 2
        else:
            target = _edges(stated.get("crop_size", edge)) if stated.get("do_center_crop") else (edge, edge)
            resize = (edge, edge)
    else:
        resize = _edges(size)
        target = _edges(stated["crop_size"]) if stated.get("do_center_crop") and "crop_size" in stated else resize
    normal = stated.get("do_normalize", True)
    return Preprocessing(
        size=target,
        resize=(int(resize[0]), int(resize[1])),
        fit=fit,
        interpolation=_RESAMPLING.get(stated.get("resample", 2), "bilinear"),  # type: ignore[arg-type]
        mean=tuple(stated.get("image_mean", (0.5,) * 3)) if normal else (0.0,) * 3,
        std=tuple(stated.get("image_std", (0.5,) * 3)) if normal else (1.0,) * 3,
        order="BGR" if stated.get("do_flip_channel_order") else "RGB",
    )


def _edges(size: Any) -> tuple[int, int]:
    if isinstance(size, Mapping):
        return int(size["height"]), int(size["width"])
    if isinstance(size, int):
        return size, size
    height, width = size
    return int(height), int(width)
