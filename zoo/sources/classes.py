"""What the outputs of a model are called.

A head has the names that it was given. A library's own classifier has those of the data that its published weights
were trained on, which torchvision keeps with the weights, timm beside its models, and transformers in the model's
configuration. Weights of another origin may mean anything by the same thousand outputs, so nothing is guessed there.
"""

from pathlib import Path

from torch import nn

from zoo import surgery
from zoo.checkpoint.foreign import folders
from zoo.errors import UsageError
from zoo.registry import ModelSpec, spec_of, unwrapped
from zoo.sources import hf, timm, torchvision


def class_names(model: nn.Module, *, original: bool = False) -> tuple[str, ...]:
    """What the outputs of a model are called, in their order.

    >>> import zoo
    >>> zoo.class_names(zoo.load("resnet18", classes=["ant", "bee"], weights=None))
    ('ant', 'bee')

    For a model with the library's own classifier they are those of its published weights: 'tench', 'goldfish' and 998
    more, mostly. With `original` they are those for a model with an appended head, too, which learns from these
    outputs.

    Raises UsageError when there is no such classifier in the model, or nothing says what its outputs mean.
    """
    model, spec = unwrapped(model), spec_of(model)
    if spec.head is not None and not original:
        return spec.head.classes
    if spec.head is not None and spec.head.mode != "append":
        raise UsageError(
            f"this {spec.full_name} has no original classifier any more: its head is {spec.head.preset}.",
            "append a head instead, or leave `original` out for the head's own classes",
        )
    names = _published(spec) if spec.weights is not None else ()
    ends = surgery.ends_in(surgery.get_module(model, spec.head_path + (".0" if spec.head is not None else "")))
    outputs = ends[1] if ends else 0
    if not names or len(names) != outputs:
        origin = "random" if spec.weights is None else spec.weights
        raise UsageError(
            f"nothing says what the {outputs} outputs of {spec.full_name} mean: its weights are {origin}.",
            "published weights, or a file of them under its published name, are known",
        )
    return names


def _published(spec: ModelSpec) -> tuple[str, ...]:
    """The names that came with the weights of a model; none where nothing says."""
    weights = str(spec.weights)
    if spec.source == "hf":
        folder = Path(weights).expanduser()
        if weights != "default" and not (folder.is_dir() and folders.is_transformers(folder)):
            return ()
        return hf.class_names(spec.arguments["config"] if weights == "default" else folders.read_config(folder))
    if spec.source == "torchvision":
        return torchvision.class_names(spec.name, torchvision.set_of_file(spec.name, Path(weights)) or weights)
    # A file of timm's is called model.safetensors whatever it holds; a set is named by its tag.
    if spec.source == "timm" and weights == (spec.name.partition(".")[2] or "default"):
        return timm.class_names(spec.name)
    return ()
