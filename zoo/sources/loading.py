"""Loading a backbone from any source and giving it a head.

Every source ends in the same surgery, so the head's place, its check and its initial values do not depend
on the library that builds the model.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.checkpoint import reading
from zoo.checkpoint.delta import Base, joined
from zoo.checkpoint.foreign import folders
from zoo.checkpoint.weights import SUFFIXES, load_matching, read_tensors
from zoo.checkpoint.writing import DELTA, WEIGHTS
from zoo.errors import CheckpointError, UsageError
from zoo.files import read_manifest
from zoo.names import listed
from zoo.registry import (
    Mode,
    ModelSpec,
    Task,
    find,
    require_usable,
    set_spec,
    spec_of,
)
from zoo.seeding import derive
from zoo.sources import inputs
from zoo.sources.bases import base_of, checked, is_from_base, weights_text
from zoo.sources.building import Built, build, spec_of_built
from zoo.sources.given import read_given
from zoo.sources.heads import labels_of, put_head

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
    labels = labels_of(classes)
    if mode not in MODES:
        raise UsageError(f"mode is {mode!r}.", f"modes: {', '.join(MODES)}")
    require_usable(source, plain)
    if labels is None and (head, mode, task) != ("linear", "replace", "single-label"):
        raise UsageError(
            "a head, a mode or a task is for classes of your own, and none are given.",
            "give classes, names or a count; without them the library's own classifier stays",
        )
    if channels is not None and type(channels) is not int:
        raise UsageError(f"channels is {channels!r}; it takes a whole number, 1 or more")
    weights = None if weights in (None, "none") else str(weights)
    given = _as_path(weights)
    known = _known(given, f"{source}:{plain}")
    size, count = inputs.size_of(img_size), channels
    if known is not None:
        size, count = size or known.preprocessing.size, len(known.preprocessing.mean) if channels is None else channels
    with _seeded(seed, "weights"):
        built = build(source, plain, None if given else weights, given, before=known, offline=offline)
        _require_channels(known, count, len(built.preprocessing.mean))
        model, spec = built.model, spec_of_built(source, built)
        wanted = inputs.wanted(model, spec, count, size)
    if mode == "append" or labels is None:
        _require_classifier(built, spec, "append to" if labels else "keep", partial=allow_partial)
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
            put_head(model, head, labels, mode, task)
    return model.eval()


def _require_classifier(built: Built, spec: ModelSpec, purpose: str, *, partial: bool) -> None:
    """Refuse a model whose original classifier is to stay, where there is none or its weights are missing."""
    if built.lacks_classifier:
        raise UsageError(
            f"{spec.full_name} comes without a classifier, so there is none to {purpose}.",
            "give it classes, and a head in its place: the mode is replace",
        )
    lacking = [name for name in built.missing if spec.in_head(name)]
    if lacking and not partial:
        raise CheckpointError(
            f"the weights of {spec.full_name} lack the classifier that would be kept: {listed(lacking)} is missing.",
            "replace it with one for your classes, or start it from random values with --allow-partial",
        )


def _require_channels(known: ModelSpec | None, count: int | None, usual: int) -> None:
    """Refuse a checkpoint whose first layer was changed already, for pictures of yet another number of channels."""
    has = len(known.preprocessing.mean) if known is not None else usual
    if has not in (usual, count):
        raise UsageError(
            f"the checkpoint takes pictures of {has} channel{'s' if has > 1 else ''}, and its first layer cannot be"
            f" made into one for {count}.",
            "leave --channels out, or begin with the pretrained weights",
        )


def _known(path: Path | None, name: str) -> ModelSpec | None:
    """The facts in a checkpoint of the same architecture, where that is what a path means."""
    if path is None or not path.is_dir() or folders.is_transformers(path):
        return None
    spec = reading.read_config(reading.checkpoint_at(path)).spec
    same = spec is not None and _architecture(spec.full_name) == _architecture(name)
    return spec if same else None


def _architecture(name: str) -> str:
    """A full name without the tag by which timm tells weights apart."""
    return name.partition(".")[0] if name.startswith("timm:") else name


@contextlib.contextmanager
def _seeded(seed: int | None, purpose: str) -> Iterator[None]:
    """torch's generator seeded for a purpose and put back, or left alone where there is no seed."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, purpose))
        yield


def _as_path(weights: str | None) -> Path | None:
    """The path that `weights` means, where it is one: it exists, has a suffix of weights, or a separator."""
    if weights is None or weights == "default":
        return None
    path = Path(weights).expanduser()
    looks_like_one = path.suffix in SUFFIXES or "/" in weights or "\\" in weights
    return path if path.exists() or looks_like_one else None


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
    made = dataclasses.replace(spec, weights=str(path.resolve()), preprocessing=usual, fresh=(*spec.fresh, *fresh))
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
    base_tensors = base_state(spec, weights, offline=offline)
    return joined(read_tensors(checkpoint / DELTA), base_tensors, str(facts.get("state")), str(checkpoint))


def base_state(spec: ModelSpec, weights: str, *, offline: bool = False) -> dict[str, Tensor]:
    """What a model of this spec gets from its weights, under the names that it has beside its head."""
    head = spec.head
    model = load(
        spec.full_name,
        head.classes if head else None,
        weights=weights,
        mode=head.mode if head else "replace",
        task=head.task if head else "single-label",
        seed=0,
        offline=offline,
        allow_partial=True,
        channels=len(spec.preprocessing.mean),
        img_size=spec.preprocessing.size,
    )
    loaded = spec_of(model)
    return {name: tensor for name, tensor in model.state_dict().items() if is_from_base(loaded, name)}


def base_again(spec: ModelSpec) -> Base:
    """The base of a model that may have been trained since: its weights are loaded anew."""
    if spec.changed:
        raise UsageError(
            f"a delta of {spec.full_name}, which was changed at {listed(spec.changed)}, has nothing to refer to.",
            "save it whole, with --save state",
        )
    return base_of(spec, base_state(spec, weights_text(spec)))


def _names(misshapen: Sequence[str]) -> list[str]:
    return [text.partition(":")[0] for text in misshapen]
