"""Image classifiers of transformers, by hub name or from a local folder."""

import contextlib
import copy
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.checkpoint.foreign import folders
from zoo.errors import CheckpointError, UsageError
from zoo.names import is_under
from zoo.registry import HeadSpec, Preprocessing, Task, others
from zoo.sources.channels import run_once
from zoo.sources.hub import NoSuchFile, from_hub, snapshot

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
_RESAMPLING: Mapping[int, Literal["nearest", "bilinear", "bicubic", "lanczos"]] = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
}


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
    _checked_type(values)
    return values


def read_configuration(file: Path) -> dict[str, Any]:
    """The values of a `config.json`; raises CheckpointError when it is damaged or of an unknown kind."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}.") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{file} is no configuration of a transformers model.")
    chosen = _classes_named(values)
    return plain(values) | ({"architectures": chosen} if chosen else {})


def _classes_named(values: Mapping[str, Any]) -> list[str]:
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


def _arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration's class is given to make one of these values."""
    return {key: value for key, value in plain(values).items() if key != "model_type"}


def _checked_type(values: Mapping[str, Any]) -> str:
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


def create(values: Mapping[str, Any]) -> nn.Module:
    """The classifier that a configuration describes, with random weights.

    Raises UsageError when there is none for this type, CheckpointError when the values make no sense.
    """
    from transformers import AutoConfig, AutoModelForImageClassification

    kind = _checked_type(values)
    with _explained(f"the configuration of this {kind} model cannot be used"):
        config = AutoConfig.for_model(kind, **_arguments(values))
        # Types with several classes look through this list, which must not be None.
        config.architectures = _classes_named(values)
        model: nn.Module = AutoModelForImageClassification.from_config(config, trust_remote_code=False)
    return model


# Where a configuration says how many channels pictures have, and how large they are; wrapped ones say it inside.
_VISION = ("vision_config", "backbone_config")
_CHANNELS = ("num_channels", "stem_num_channels")


def channels_of(values: Mapping[str, Any]) -> int | None:
    """The number of channels that a configuration states, itself or of its part that sees."""
    parts = [values, *(values[key] for key in _VISION if isinstance(values.get(key), Mapping))]
    return next((int(part[key]) for part in parts for key in _CHANNELS if part.get(key) is not None), None)


def states_channels(model: nn.Module) -> bool:
    """Whether a model's configuration says how many channels its pictures have; some classes build for three."""
    return channels_of(model.config.to_dict()) is not None  # type: ignore[operator, union-attr]


def size_of(model: nn.Module) -> tuple[int, int]:
    """The size of pictures that a model's configuration states."""
    config = _part_with(model.config, "image_size")
    return _edges(config.image_size)


def input_configuration(
    model: nn.Module, values: Mapping[str, Any], channels: int | None, size: tuple[int, int] | None
) -> dict[str, Any]:
    """A configuration for pictures of other channels or another size; a model that takes any keeps its own size."""
    made = copy.deepcopy(dict(values))
    if channels is not None:
        _set_channels(model, made, channels)
    if size is not None and not _takes_any(model, size):
        _set(model, made, "image_size", size[0] if size[0] == size[1] else list(size))
    return made


def resized(model: nn.Module, name: str, shape: Sequence[int], size: tuple[int, int]) -> Tensor:
    """A table of positions for another size, interpolated by the module that it belongs to.

    Raises UsageError when that cannot.
    """
    path = name
    while path:
        path = path.rpartition(".")[0]
        interpolate = getattr(model.get_submodule(path), "interpolate_pos_encoding", None)
        if callable(interpolate):
            table = model.get_parameter(name)
            tokens = torch.zeros(1, shape[-2], shape[-1], dtype=table.dtype, device=table.device)
            with torch.no_grad():
                found: Tensor = interpolate(tokens, *size).reshape(tuple(shape))
            return found
    raise UsageError(f"nothing in this {type(model).__name__} interpolates {name}.")


def _part_with(config: Any, key: str) -> Any:
    """The configuration, or its part that sees, that has a key; raises UsageError when none has."""
    parts = [config, *(getattr(config, part, None) for part in _VISION)]
    found = next((part for part in parts if getattr(part, key, None) is not None), None)
    if found is None:
        raise UsageError(f"the configuration of this {type(config).__name__.removesuffix('Config')} has no {key}.")
    return found


def _set(model: nn.Module, values: dict[str, Any], key: str, value: Any) -> None:
    """Put a value where the model's own configuration has it."""
    config: Any = model.config
    part = _part_with(config, key)
    if part is config:
        values[key] = value
        return
    where = next(name for name in _VISION if getattr(config, name, None) is part)
    values[where] = {**values.get(where, {}), key: value}


def _set_channels(model: nn.Module, values: dict[str, Any], channels: int) -> None:
    config: Any = model.config
    _set(model, values, "stem_num_channels" if hasattr(config, "stem_num_channels") else "num_channels", channels)
    if hasattr(config, "stem_channels"):
        # HGNet-V2 states them a second time, as those that come into its stem.
        values["stem_channels"] = [channels, *config.stem_channels[1:]]


def _takes_any(model: nn.Module, size: tuple[int, int]) -> bool:
    """Whether a model runs at a size, and not only because it counts as many places there as at its own."""
    known = _stated_size(model.config.to_dict())  # type: ignore[operator, union-attr]
    if known is not None and math.prod(_edges(known)) == math.prod(size) and _edges(known) != size:
        return _runs_at(model, (2 * size[0], size[1])) and _runs_at(model, size)
    return _runs_at(model, size)


def _runs_at(model: nn.Module, size: tuple[int, int]) -> bool:
    channels = channels_of(model.config.to_dict()) or 3  # type: ignore[operator, union-attr]
    try:
        run_once(model, torch.zeros(1, channels, *size))
    except (AssertionError, RuntimeError, ValueError, TypeError, IndexError):
        return False
    return True


def load(folder: Path) -> tuple[nn.Module, tuple[str, ...]]:
    """The classifier of a folder with its weights, and the parameters that the weights lack.

    Raises CheckpointError when the weights cannot be read or do not fit.
    """
    from transformers import AutoConfig, AutoModelForImageClassification

    values = folders.read_config(folder)
    kind = _checked_type(values)
    if (folder / "adapter_config.json").exists():
        raise CheckpointError(
            f"{folder} is refused: its adapter_config.json names a model elsewhere.",
            "merge the adapter into its model and save that, or remove the file",
        )
    # transformers gets values and tensors, and no folder in which it would follow what the files name.
    state = folders.read_folder(folder)
    with _explained(f"the model in {folder} cannot be loaded"):
        config = AutoConfig.for_model(kind, **_arguments(values))
        # Only chooses among the classes of this type.
        config.architectures = [str(each) for each in values.get("architectures") or []]
        with torch.device("meta"):
            described = AutoModelForImageClassification.from_config(config, trust_remote_code=False)
        model, report = type(described).from_pretrained(None, config=config, state_dict=state, output_loading_info=True)
    model = model.float()
    for each in (*model.parameters(), *model.buffers()):
        # transformers takes them as they lie in the file. Kernels give other bits where memory is not aligned, and a
        # resumed run, whose memory is, would not be the same run.
        each.data = each.data.clone()
    return model, tuple(sorted(report["missing_keys"]))


def translated(model: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A state dict under the names that the installed transformers gives to a model's tensors.

    Published files keep the names of the version that wrote them, and transformers alone knows them all. What
    it does not know keeps its name, and what has another shape has it here too, so that both are told.
    """
    if state.keys() <= model.state_dict().keys():
        return state
    with _explained("these weights cannot be read as those of a transformers model"):
        read, report = type(model).from_pretrained(  # type: ignore[attr-defined]
            None, config=model.config, state_dict=dict(state), ignore_mismatched_sizes=True, output_loading_info=True
        )
    misshapen = {name: torch.empty(shape, device="meta") for name, shape, _ in report["mismatched_keys"]}
    known = {name: each for name, each in read.state_dict().items() if name not in report["missing_keys"]}
    return known | misshapen | {name: state[name] for name in report["unexpected_keys"] if name in state}


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Keep transformers' log and bars quiet, and turn its many errors into one that says what failed."""
    import transformers

    level, bars = transformers.utils.logging.get_verbosity(), transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    # What makes no sense fails within transformers in as many ways as it can be wrong.
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"{what}: {reason}", "it needs config.json and model.safetensors of an image classifier"
        ) from error
    finally:
        transformers.utils.logging.set_verbosity(level)
        if bars:
            transformers.utils.logging.enable_progress_bar()


def head_path(model: nn.Module) -> str | tuple[str, ...] | None:
    """The linear layer outside the base model that produces the classes; all of them where there are several."""
    base = _base_path(model)
    count = int(model.config.num_labels)  # type: ignore[union-attr, arg-type]
    fitting = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module.out_features == count
    ]
    found = tuple(name for name in fitting if not (base and is_under(name, base)))
    if not found and not outside_base(model):
        # Perceiver's base model holds all of it; what decodes its latents last are the classes.
        found = tuple(fitting[-1:])
    return found[0] if len(found) == 1 else found or None


def outside_base(model: nn.Module) -> tuple[str, ...]:
    """The parameters that are no part of the base model and are therefore trained with the head.

    Some classifiers (CLIP's, SigLIP's) hold no base model of their own; then the head alone is outside.
    """
    base = _base_path(model)
    if not base:
        return ()
    return tuple(name for name, _ in model.named_parameters() if not is_under(name, base))


def _base_path(model: nn.Module) -> str:
    """Where the base model stands within the classifier; empty where it has no place of its own."""
    base = str(getattr(model, "base_model_prefix", ""))
    return base if base in dict(model.named_children()) else ""


def class_names(values: Mapping[str, Any]) -> tuple[str, ...]:
    """What a configuration calls its outputs; none where it only numbers them, as transformers does unasked."""
    stated = values.get("id2label")
    if not isinstance(stated, Mapping):
        return ()
    # Numbers as texts, where they were read from a file.
    names = [stated.get(str(place), stated.get(place)) for place in range(len(stated))]
    told = any(name != f"LABEL_{place}" for place, name in enumerate(names))
    return tuple(str(name) for name in names) if told and None not in names else ()


def classes_in_configuration(head: HeadSpec) -> dict[str, Any]:
    """What a configuration says of a head's outputs, so that the library itself computes the loss of the task.

    >>> classes_in_configuration(HeadSpec("linear", "replace", "fc", ("ant", "bee"), None, task="binary"))
    {'id2label': {0: 'bee'}, 'label2id': {'bee': 0}, 'problem_type': 'multi_label_classification'}
    """
    names = head.output_names
    return {
        "id2label": dict(enumerate(names)),
        "label2id": {name: place for place, name in enumerate(names)},
        "problem_type": _PROBLEMS[head.task],
    }


# transformers has no word for one output of two classes; a single label of any number is the same loss.
_PROBLEMS: Mapping[Task, str] = {
    "single-label": "single_label_classification",
    "binary": "multi_label_classification",
    "multi-label": "multi_label_classification",
    "regression": "regression",
}


def set_classes(model: nn.Module, head: HeadSpec) -> None:
    """Tell the model's own configuration of its new classes and task, so that it saves and loads with them."""
    for key, value in classes_in_configuration(head).items():
        setattr(model.config, key, value)
    model.num_labels = head.outputs  # type: ignore[assignment]


def preprocessing(name: str, values: Mapping[str, Any], *, offline: bool) -> Preprocessing:
    """How pictures are prepared, as the model's own processor does it; without one, as its configuration suggests."""
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
        raise CheckpointError(f"{file} cannot be read: {str(error).splitlines()[0]}") from error
    stated: dict[str, Any] = {**processor.to_dict(), "class": type(processor).__name__}
    return stated


def preprocessing_of(stated: Mapping[str, Any], values: Mapping[str, Any]) -> Preprocessing:
    """The facts of an image processor; without any, the input size is the model's and values go from -1 to 1."""
    size = stated.get("size") or _stated_size(values) or 224
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
        resize = target = _edges(size)
    if stated.get("do_center_crop") and stated.get("crop_size") and not stated.get("crop_pct"):
        target = _edges(stated["crop_size"])
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


def _stated_size(values: Mapping[str, Any]) -> Any:
    """The size of pictures that a configuration states, itself or in its part that sees."""
    parts = [values, *(values[key] for key in _VISION if isinstance(values.get(key), Mapping))]
    return next((part["image_size"] for part in parts if part.get("image_size") is not None), None)


def _edges(size: Any) -> tuple[int, int]:
    if isinstance(size, Mapping) and "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size["shortest_edge"])
    if isinstance(size, Mapping):
        return int(size["height"]), int(size["width"])
    if isinstance(size, int):
        return size, size
    height, width = size
    return int(height), int(width)
