"""Putting heads on models: in the place of the last layer, behind it, or in the place of another head."""

import copy
import dataclasses
import operator
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from zoo import surgery
from zoo.errors import UsageError
from zoo.head import building, presets
from zoo.names import is_under, require_order
from zoo.registry import HeadSpec, Mode, ModelSpec, Task, outputs_of, set_spec, spec_of, unwrapped
from zoo.sources import hf, pooling


def swap_head(
    model: nn.Module,
    head: str | nn.Module = "linear",
    *,
    classes: int | Sequence[str] | None = None,
    task: Task | None = None,
) -> nn.Module:
    """Put another head in the place of the present one, in place; returns the head that stood there.

    `head` is a preset or a module; it takes what the present head takes: the features, or the outputs of
    the original classifier where the present head was appended. Without `classes` the present ones are kept, and
    without `task` the present one.

    >>> import zoo
    >>> model = zoo.load("resnet18", classes=2, weights=None)
    >>> old = zoo.swap_head(model, "mlp", classes=5)
    >>> old.out_features, model.fc[-1].out_features
    (2, 5)

    Raises UsageError when zoo knows nothing about the model.
    """
    model, spec = unwrapped(model), spec_of(model)
    old = surgery.get_module(model, spec.head_prefix)
    present: Task = spec.head.task if spec.head else "single-label"
    mode = spec.head.mode if spec.head else "replace"
    put_head(model, head, labels_of(classes) or _present(model), mode, task or present)
    return old


def append_head(
    model: nn.Module,
    head: str | nn.Module = "linear",
    *,
    classes: int | Sequence[str] | None = None,
    task: Task = "single-label",
) -> nn.Module:
    """Put a head behind the present last layer, whose outputs become its features; returns that layer.

    The present layer stays reachable at `PATH.0`, the new one stands at `PATH.1`.

    >>> import zoo
    >>> model = zoo.load("vgg11", weights=None)
    >>> original = zoo.append_head(model, classes=5)
    >>> model.classifier[6]
    Sequential(
      (0): Linear(in_features=4096, out_features=1000, bias=True)
      (1): Linear(in_features=1000, out_features=5, bias=True)
    )

    Raises UsageError when zoo knows nothing about the model, or its classifier is not the original any more.
    """
    model, spec = unwrapped(model), spec_of(model)
    if spec.head is not None:
        raise UsageError(
            f"this {spec.full_name} has no original classifier any more: its head is {spec.head.preset}.",
            "append to a model loaded without classes, or change the head with zoo.swap_head",
        )
    original = surgery.get_module(model, spec.head_path)
    put_head(model, head, labels_of(classes) or _present(model), "append", task)
    return original


def labels_of(classes: int | Sequence[str] | None) -> tuple[str, ...] | None:
    """The names that classes or their count mean, None where none are given; raises UsageError for what means none.

    >>> labels_of(2), labels_of(["ant", "bee"])
    (('0', '1'), ('ant', 'bee'))
    """
    if classes is None:
        return None
    count = classes if hasattr(classes, "__index__") else None
    require_order("classes", classes)
    if isinstance(classes, str | bool) or not (count is not None or isinstance(classes, Iterable)):
        raise UsageError(f"classes is {classes!r}.", "give a count of 1 or more, or a list of names")
    # Names that are numbers come back from a checkpoint as texts, so that they are texts from the start.
    labels = tuple(map(str, classes if count is None else range(operator.index(count))))  # type: ignore[arg-type]
    if not labels:
        raise UsageError(f"classes is {classes!r}.", "give a count of 1 or more, or a list of names")
    if len(set(labels)) < len(labels):
        raise UsageError(f"classes has a name twice: {', '.join(labels)}.")
    return labels


def _present(model: nn.Module) -> tuple[str, ...]:
    spec = spec_of(model)
    if spec.head:
        return spec.head.classes
    ends = surgery.ends_in(surgery.get_module(model, spec.head_path))
    assert ends is not None, "checked when the model was loaded"
    return tuple(str(place) for place in range(ends[1]))


def put_head(model: nn.Module, head: str | nn.Module, labels: tuple[str, ...], mode: Mode, task: Task) -> None:
    """Build a head for the features that stand at each place of one, put it there, and note it in the spec."""
    spec = spec_of(model)
    wanted = presets.find(head) if isinstance(head, str) else head
    if not isinstance(wanted, presets.Preset | nn.Module):
        raise UsageError(
            f"head is {head!r:.80}.", "give the name of one, the path of a file, or a module like nn.Linear(512, 5)"
        )
    outputs = outputs_of(labels, task)
    _require_signs(model, spec, task)
    features = (spec.features, *spec.more_features)
    appended = spec.head is not None and spec.head.mode == "append"
    with pooling.changed(model, wanted, mode) as pooled:
        # A module of the user's own stands at the first place itself; the others get copies of it.
        found = [
            _head_for(model, at, copy.deepcopy(wanted) if number else wanted, features[number], outputs, mode, pooled)
            for number, at in enumerate(spec.head_paths)
        ]
    for at, (_, new) in zip(spec.head_paths, found, strict=True):
        surgery.replace_module(model, f"{at}.1" if mode == "append" and appended else at, new)
    fresh = spec.fresh
    if mode == "append" and spec.head is None:
        for at in spec.head_paths:
            fresh = tuple(f"{at}.0{name.removeprefix(at)}" if is_under(name, at) else name for name in fresh)
    made = HeadSpec(
        preset=wanted.name if isinstance(wanted, presets.Preset) else "custom",
        mode=mode,
        path=spec.head_path if mode == "replace" else f"{spec.head_path}.1",
        classes=labels,
        layers=found[0][0],
        pool=pooled.layer if pooled else None,
        pool_path=pooled.path if pooled else None,
        more_layers=tuple(layers for layers, _ in found[1:] if layers is not None),
        task=task,
    )
    if spec.source == "hf":
        hf.set_classes(model, made)
    set_spec(model, dataclasses.replace(spec, head=made, fresh=fresh))


def _require_signs(model: nn.Module, spec: ModelSpec, task: Task) -> None:
    """Refuse tasks whose outputs must go below 0 for a model that cuts them off, as squeezenet does.

    A softmax compares outputs with one another, so it takes them; an output of its own could never say no.
    """
    if task != "single-label" and is_above_zero(model, spec.head_path):
        raise UsageError(
            f"{spec.full_name} has a ReLU behind its head, so no output is below 0, as {task} needs it.",
            "take another model, or the task single-label",
        )


def is_above_zero(model: nn.Module, head_path: str) -> bool:
    """Whether a ReLU behind the head keeps all outputs from being below 0."""
    parent, _, name = head_path.rpartition(".")
    holder = surgery.get_module(model, parent) if parent else model
    if not isinstance(holder, nn.Sequential):
        return False
    # Not by number: torchvision's vision transformers name what their head's container holds.
    names = [each for each, _ in holder.named_children()]
    return any(isinstance(holder.get_submodule(each), nn.ReLU | nn.ReLU6) for each in names[names.index(name) + 1 :])


def _head_for(
    model: nn.Module,
    at: str,
    head: presets.Preset | nn.Module,
    features: int,
    classes: int,
    mode: Mode,
    pooled: pooling.Pooled | None,
) -> tuple[tuple[dict[str, Any], ...] | None, nn.Module]:
    """The layers of a head for one place, None for a module of the user's own, and what is to stand there."""
    spec = spec_of(model)
    place = surgery.get_module(model, at)
    appended = spec.head is not None and spec.head.mode == "append"
    kind = spec.kind
    if mode == "append":
        ends = surgery.ends_in(surgery.get_module(model, f"{at}.0") if appended else place)
        assert ends is not None, "checked when the model was loaded"
        _, features, kind = ends
    if isinstance(head, nn.Module):
        building.check(head, features, classes, kind)
        layers, new = None, head
    else:
        if pooled is None:
            presets.require_takes(head, kind, spec.full_name)
        count = pooled.features if pooled else features
        layers = presets.layers_of(head, count, classes, kind, bias=spec.bias or mode == "append")
        new = building.build(layers)
    if mode == "append" and not appended:
        new = nn.Sequential(place, new)
    return layers, new
