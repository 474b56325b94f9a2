"""Classifiers of transformers: built, loaded, and what they have to do with their head."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.checkpoint.foreign import folders
from zoo.errors import CheckpointError
from zoo.names import is_under
from zoo.registry import HeadSpec, Task
from zoo.sources.hf.configuration import arguments, checked_type, classes_named
from zoo.units import count


def require_modest(values: Mapping[str, Any], held: int) -> None:
    """Raise CheckpointError for a configuration of a model so large that weights of `held` numbers cannot be its.

    Otherwise a few digits in a file could take all memory there is.
    """
    with torch.device("meta"):
        _check_size(create(values), held)


def _check_size(described: nn.Module, held: int) -> None:
    # Files may lack the classifier, and hold a tied tensor once.
    most, found = 2 * held + _ROOM, sum(each.numel() for each in (*described.parameters(), *described.buffers()))
    if found > most:
        raise CheckpointError(
            f"the configuration describes a model of {count(found)} parameters, and its weights hold {count(held)}.",
            "put back the config.json that belongs to them",
        )


_ROOM = 50_000_000
"""Parameters that a model may have beside those of its weights: a base model gets a new classifier."""


def create(values: Mapping[str, Any]) -> nn.Module:
    """The classifier that a configuration describes, with random weights.

    Raises UsageError when there is none for this type, CheckpointError when the values make no sense.
    """
    from transformers import AutoConfig, AutoModelForImageClassification

    kind = checked_type(values)
    with _explained(f"the configuration of this {kind} model cannot be used"):
        config = AutoConfig.for_model(kind, **arguments(values))
        # Types with several classes look through this list, which must not be None.
        config.architectures = classes_named(values)
        model: nn.Module = AutoModelForImageClassification.from_config(config, trust_remote_code=False)
    return model


def load(folder: Path) -> tuple[nn.Module, tuple[str, ...]]:
    """The classifier of a folder with its weights, and the parameters that the weights lack.

    Raises CheckpointError when the weights cannot be read or do not fit.
    """
    from transformers import AutoConfig, AutoModelForImageClassification

    values = folders.read_config(folder)
    kind = checked_type(values)
    if (folder / "adapter_config.json").exists():
        raise CheckpointError(
            f"{folder} is refused: its adapter_config.json names a model elsewhere.",
            "merge the adapter into its model and save that, or remove the file",
        )
    # transformers gets values and tensors, and no folder in which it would follow what the files name.
    state = folders.read_folder(folder)
    with _explained(f"the model in {folder} cannot be loaded"):
        config = AutoConfig.for_model(kind, **arguments(values))
        # Only chooses among the classes of this type.
        config.architectures = [str(each) for each in values.get("architectures") or []]
        with torch.device("meta"):
            described = AutoModelForImageClassification.from_config(config, trust_remote_code=False)
    _check_size(described, sum(each.numel() for each in state.values()))
    with _explained(f"the model in {folder} cannot be loaded"):
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
