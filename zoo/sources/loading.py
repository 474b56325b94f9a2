"""Loading a backbone from any source and giving it a head.

Every source ends in the same surgery, so the head's place, its check and its initial values do not depend
on the library that builds the model.
"""

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo import surgery
from zoo.checkpoint import reading
from zoo.checkpoint.delta import Base, joined
from zoo.checkpoint.foreign import folders
from zoo.checkpoint.weights import SUFFIXES, load_matching, read_tensors
from zoo.checkpoint.writing import DELTA, WEIGHTS
from zoo.errors import CheckpointError, UsageError, ZooError
from zoo.files import read_manifest
from zoo.head import building as heads
from zoo.head import presets
from zoo.names import is_under, listed
from zoo.registry import (
    HeadSpec,
    Mode,
    ModelSpec,
    Preprocessing,
    Task,
    find,
    outputs_of,
    require_usable,
    set_spec,
    spec_of,
)
from zoo.seeding import derive
from zoo.sources import hf, inputs, pooling
from zoo.sources.bases import base_of, checked, is_from_base, weights_text
from zoo.sources.building import build, check_known, check_places, create, spec_of_built
from zoo.sources.given import read_given

MODES = ("replace", "append")


def load(
    name: str,
    classes: int | Sequence[str] | None = None,
    *,
    weights: str | Path | None = "default",
    head: str | nn.Module = "linear",
    mode: Mode = "replace",
    task: Task = "single-label",
    seed: int | None = None,
    offline: bool = False,
    allow_partial: bool = False,
    channels: int | None = None,
    img_size: int | tuple[int, int] | None = None,
) -> nn.Module:
    """A pretrained model of any source, with a new head for your classes; it stays the library's own class.

    >>> import zoo
    >>> model = zoo.load("resnet18", classes=["ant", "bee"], weights=None)
    >>> type(model).__module__, model.fc.out_features
    ('torchvision.models.resnet', 2)

    `name` is written `source:name`; a bare one is looked up in torchvision, then timm. `classes` are names
    or a count; None keeps the library's own classifier. `weights` is `default`, the name of a set, a file
    (.safetensors, .pth, .ckpt), a checkpoint folder of zoo's or of transformers, or None for random values.
    `head` is a preset or a module that takes the features; `mode` replaces the last layer, or appends behind it.
    `task` is `single-label`, `binary` (two classes, one output, for the second), `multi-label` or `regression`
    (`classes` name the targets).
    With `seed` what is random depends on it alone: one head starts the same whichever library built its model.
    `channels` is how many the pictures have, where it is not three: the first layer's weights are summed or
    repeated. `img_size` is their height and width in pixels, where it is not the pretrained one: position
    embeddings are interpolated as the model's own library does it.

    Raises UsageError for what cannot be meant, CheckpointError for weights that are refused or do not fit
    (unless `allow_partial`), StorageError when they cannot be downloaded.
    """
    source, plain = find(name)
    labels = _labels(classes)
    if mode not in MODES:
        raise UsageError(f"mode is {mode!r}.", f"modes: {', '.join(MODES)}")
    require_usable(source, plain)
    weights = None if weights in (None, "none") else str(weights)
    given = _as_path(weights)
    known = _known(given, f"{source}:{plain}")
    size, count = inputs.size_of(img_size), channels
    if known is not None:
        size, count = size or known.size, len(known.mean) if channels is None else channels
    with _seeded(seed, "weights"):
        built = build(source, plain, None if given else weights, given, offline=offline)
        model, spec = built.model, spec_of_built(source, built)
        wanted = inputs.wanted(model, spec, count, size)
    if built.lacks_classifier and (mode == "append" or labels is None):
        raise UsageError(
            f"{spec.full_name} comes without a classifier, so there is none to {'append to' if labels else 'keep'}.",
            "give it classes, and a head in its place: the mode is replace",
        )
    lacking = [name for name in built.missing if spec.in_head(name)]
    if lacking and (mode == "append" or labels is None) and not allow_partial:
        raise CheckpointError(
            f"the weights of {spec.full_name} lack the classifier that would be kept: {listed(lacking)} is missing.",
            "replace it with one for your classes, or start it from random values with --allow-partial",
        )
    report = ""
    if given:
        model, spec, report = _load_file(model, spec, given, mode, labels is None, allow_partial, wanted)
    if wanted is not None and model is not wanted.model:
        if given or weights is not None or source == "own":
            model, spec = inputs.carried(model, spec, wanted)
        else:
            model, spec = wanted.model, dataclasses.replace(spec, arguments=wanted.arguments)
    prepared = inputs.preprocessing_for(spec.preprocessing, count, size)
    spec = dataclasses.replace(spec, report=report, preprocessing=prepared)
    if (len(prepared.mean), prepared.size) != (len(built.preprocessing.mean), built.preprocessing.size):
        inputs.check_takes(model, spec)
    set_spec(model, spec)
    if labels is not None:
        with _seeded(seed, "head"):
            _put_head(model, head, labels, mode, task)
    return model.eval()


def _known(path: Path | None, name: str) -> Preprocessing | None:
    """How pictures were prepared for a checkpoint of the same architecture, where that is what a path means."""
    if path is None or not path.is_dir() or folders.is_transformers(path):
        return None
    spec = reading.read_config(reading.checkpoint_at(path)).spec
    same = spec is not None and _architecture(spec.full_name) == _architecture(name)
    return spec.preprocessing if spec is not None and same else None


def _architecture(name: str) -> str:
    """A full name without the tag by which timm tells weights apart."""
    return name.partition(".")[0] if name.startswith("timm:") else name


@contextlib.contextmanager
def _seeded(seed: int | None, purpose: str) -> Iterator[None]:
    """torch's generator seeded for a purpose and put back, or left alone where there is no seed."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, purpose))
        yield


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
    spec = spec_of(model)
    old = surgery.get_module(model, spec.head_prefix)
    present: Task = spec.head.task if spec.head else "single-label"
    mode = spec.head.mode if spec.head else "replace"
    _put_head(model, head, _labels(classes) or _present(model), mode, task or present)
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
    spec = spec_of(model)
    if spec.head is not None:
        raise UsageError(
            f"this {spec.full_name} has no original classifier any more: its head is {spec.head.preset}.",
            "append to a model loaded without classes, or change the head with zoo.swap_head",
        )
    original = surgery.get_module(model, spec.head_path)
    _put_head(model, head, _labels(classes) or _present(model), "append", task)
    return original


def rebuild(spec: ModelSpec) -> nn.Module:
    """The model that a checkpoint's facts describe, its head included, with random weights.

    Raises UsageError when its source or its own registration is gone, or its head was a custom module,
    CheckpointError for facts that no model was saved with.
    """
    if spec.head is not None and spec.head.layers is None:
        raise UsageError(
            f"the head of this {spec.full_name} was a module of its author's own, which a checkpoint cannot build.",
            "build the model yourself, then: zoo.load_checkpoint(FOLDER, model=model)",
        )
    try:
        return _rebuilt(spec)
    except ZooError:
        raise
    # Anybody may have written the facts, and each library fails on wrong ones in its own ways.
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"the {spec.full_name} of the checkpoint cannot be built: {reason}.") from error


def _rebuilt(spec: ModelSpec) -> nn.Module:
    check_known(spec)
    model = create(spec.source, spec.name, spec.arguments)
    check_places(model, spec)
    if spec.head is not None:
        assert spec.head.layers is not None
        if spec.head.pool is not None and spec.head.pool_path is not None:
            pooling.stand(model, spec.head.pool_path, heads.build([spec.head.pool]))
        for at, layers in zip(spec.head_paths, (spec.head.layers, *spec.head.more_layers), strict=True):
            new = heads.build(layers)
            if spec.head.mode == "append":
                new = nn.Sequential(surgery.get_module(model, at), new)
            surgery.replace_module(model, at, new)
        if spec.source == "hf":
            hf.set_classes(model, spec.head)
    set_spec(model, spec)
    return model.eval()


def _as_path(weights: str | None) -> Path | None:
    """The path that `weights` means, where it is one: it exists, has a suffix of weights, or a separator."""
    if weights is None or weights == "default":
        return None
    path = Path(weights).expanduser()
    looks_like_one = path.suffix in SUFFIXES or "/" in weights or "\\" in weights
    return path if path.exists() or looks_like_one else None


def _labels(classes: int | Sequence[str] | None) -> tuple[str, ...] | None:
    if classes is None:
        return None
    labels = tuple(str(place) for place in range(classes)) if isinstance(classes, int) else tuple(classes)
    if not labels or isinstance(classes, str):
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


def _load_file(
    model: nn.Module,
    spec: ModelSpec,
    path: Path,
    mode: Mode,
    keep_head: bool,
    partial: bool,
    wanted: inputs.Wanted | None,
) -> tuple[nn.Module, ModelSpec, str]:
    """Put a file's or a checkpoint's weights into the model that they fit; the head's may be absent if it goes.

    A checkpoint of zoo's says how its pictures were prepared; a run stands for its best one.
    """
    state: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()
    made_for: Mapping[str, Any] | None = None
    if path.is_dir() and not folders.is_transformers(path):
        path = reading.checkpoint_at(path)
        reading.verify(path)
        config = reading.read_config(path)
        state = state_of(path, config.spec)
        usual = config.spec.preprocessing if config.spec else spec.preprocessing
        made_for = config.spec.arguments if config.spec else None
        if config.spec is not None:
            target = (wanted.arguments, wanted.size) if wanted else (spec.arguments, spec.preprocessing.size)
            inputs.require_told_apart(config.spec, *target)
    else:
        given = read_given(model, spec, path)
        if wanted is not None and inputs.fits(wanted, model, given.state):
            given = read_given(wanted.model, spec, path)
        state, usual, notes = given.state, given.preprocessing, given.notes
    if wanted is not None and (made_for == wanted.arguments or inputs.fits(wanted, model, state)):
        model, spec = wanted.model, dataclasses.replace(spec, arguments=wanted.arguments)
    optional = spec.head_paths if mode == "replace" and not keep_head else ()
    report = load_matching(model, state, heads=optional, partial=partial, called=str(path), notes=notes)
    lacking = {*report.missing, *_names(report.misshapen)}
    fresh = tuple(name for name, _ in model.named_parameters() if name in lacking)
    made = dataclasses.replace(spec, weights=str(path), preprocessing=usual, fresh=(*spec.fresh, *fresh))
    return model, made, str(report)


def state_of(
    checkpoint: Path, spec: ModelSpec | None, base: Path | None = None, *, offline: bool = False
) -> dict[str, Tensor]:
    """The state dict of a verified checkpoint; that of a delta is put together with its base, which may be given.

    Raises CheckpointError when the base is missing, or is not the one that the delta was saved with.
    """
    facts = read_manifest(checkpoint)["base"]
    if facts is None:
        return read_tensors(checkpoint / WEIGHTS)
    if spec is None:
        raise CheckpointError(f"{checkpoint} is a delta of a model that zoo knows nothing about.")
    weights = checked(facts, spec, checkpoint, base, offline=offline)
    return joined(read_tensors(checkpoint / DELTA), base_state(spec, weights), str(facts.get("state")), str(checkpoint))


def base_state(spec: ModelSpec, weights: str) -> dict[str, Tensor]:
    """What a model of this spec gets from its weights, under the names that it has beside its head."""
    head = spec.head
    model = load(
        spec.full_name,
        head.classes if head else None,
        weights=weights,
        mode=head.mode if head else "replace",
        task=head.task if head else "single-label",
        seed=0,
        allow_partial=True,
        channels=len(spec.preprocessing.mean),
        img_size=spec.preprocessing.size,
    )
    loaded = spec_of(model)
    return {name: tensor for name, tensor in model.state_dict().items() if is_from_base(loaded, name)}


def base_again(spec: ModelSpec) -> Base:
    """The base of a model that may have been trained since: its weights are loaded anew."""
    return base_of(spec, base_state(spec, weights_text(spec)))


def _names(misshapen: Sequence[str]) -> list[str]:
    return [text.partition(":")[0] for text in misshapen]


def _put_head(model: nn.Module, head: str | nn.Module, labels: tuple[str, ...], mode: Mode, task: Task) -> None:
    """Build a head for the features that stand at each place of one, put it there, and note it in the spec."""
    spec = spec_of(model)
    wanted = presets.find(head) if isinstance(head, str) else head
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
        heads.check(head, features, classes, kind)
        layers, new = None, head
    else:
        if pooled is None:
            presets.require_takes(head, kind, spec.full_name)
        count = pooled.features if pooled else features
        layers = presets.layers_of(head, count, classes, kind, bias=spec.bias or mode == "append")
        new = heads.build(layers)
    if mode == "append" and not appended:
        new = nn.Sequential(place, new)
    return layers, new
