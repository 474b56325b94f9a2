"""Building a model in its own library, and looking whether its head stands where the library says."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any

import torch
from torch import Tensor, nn

from zoo import surgery
from zoo.checkpoint.weights import load_state, read_weights
from zoo.errors import CheckpointError, UsageError
from zoo.head import building as heads
from zoo.names import listed
from zoo.registry import Kind, ModelSpec, Preprocessing, entry, entry_of_type, find_spec, registration, taking
from zoo.sources import hf, timm, torchvision
from zoo.sources.channels import widen
from zoo.training.loop import logits_of


@dataclass
class Built:
    """A model as its source makes it, and the facts that only the source knows."""

    model: nn.Module
    name: str
    weights: str | None
    head_path: str | tuple[str, ...] | None
    """One place, several for a model of several heads, or None where none is known."""
    preprocessing: Preprocessing
    licence: str | None
    arguments: Mapping[str, Any]
    fresh: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """Those of `fresh` that the weights should have had."""
    lacks_classifier: bool = False
    """Whether there is no original classifier, and what stands in its place only shows what a head receives."""


def build(
    source: str, name: str, weights: str | None, file: Path | None, *, before: ModelSpec | None, offline: bool
) -> Built:
    """The model of a source with published weights, or with random ones; `before` is what a checkpoint says of it."""
    match source:
        case "torchvision":
            return _build_torchvision(name, weights, file, before, offline=offline)
        case "timm":
            return _build_timm(name, weights, offline=offline)
        case "hf":
            return _build_hf(name, weights, offline=offline)
        case _:
            return _build_own(name, weights)


def _build_torchvision(
    name: str, weights: str | None, file: Path | None, before: ModelSpec | None, *, offline: bool
) -> Built:
    if weights is not None:
        weights = torchvision.set_name(name, weights)
    # A file that carries the name of a published set is that set, got by hand.
    published = torchvision.set_of_file(name, file) if file else weights
    given = torchvision.arguments(name, published, pretrained=bool(file or weights))
    if before is not None and "transform_input" in given and "transform_input" in before.arguments:
        # What the weights were trained behind, they are used behind.
        given["transform_input"] = before.arguments["transform_input"]
    if weights is None:
        model = torchvision.create(name, given, initialise=file is None)
    else:
        state = read_weights(torchvision.locate(name, weights, offline=offline))
        model = torchvision.create(name, given, initialise=False)
        load_state(model, without_auxiliary(torchvision.translated(name, state), model))
    return Built(
        model,
        name,
        weights,
        torchvision.head_path(model),
        torchvision.preprocessing(name, published),
        torchvision.licence(name, published),
        given,
    )


def without_auxiliary(state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """A state dict without the classifiers that `torchvision.arguments` leaves out."""
    heads = [name for name in ("aux1", "aux2", "AuxLogits") if getattr(model, name, model) is None]
    if not heads:
        return state
    return {key: value for key, value in state.items() if key.partition(".")[0] not in heads}


def _build_timm(name: str, weights: str | None, *, offline: bool) -> Built:
    if weights is None:
        model = timm.create(name)
    else:
        name = timm.tag_of(name, weights)
        file = timm.locate(name, offline=offline)
        state = None if timm.only_timm_reads(name) else read_weights(file)
        model = timm.create_with(name, state, file)
    return Built(
        model,
        name,
        name.partition(".")[2] or "default" if weights else None,
        timm.head_path(model),
        timm.preprocessing(name),
        timm.licence(name) if weights else None,
        {},
        lacks_classifier=timm.lacks_classifier(model),
    )


def _build_hf(name: str, weights: str | None, *, offline: bool) -> Built:
    missing: tuple[str, ...] = ()
    if weights not in (None, "default"):
        raise UsageError(f"hf:{name} has no weights called {weights!r}.", "give a file, a folder, or none")
    values = hf.configuration_of(name, offline=offline)
    if weights is None:
        model = hf.create(values)
        preprocessing = hf.preprocessing(name, values, offline=offline)
    else:
        folder = hf.folder_of(name, offline=offline)
        model, missing = hf.load(folder)
        preprocessing = hf.preprocessing(str(folder), values, offline=offline)
    fresh = tuple(dict.fromkeys((*missing, *hf.outside_base(model))))
    return Built(
        model,
        name,
        weights,
        hf.head_path(model),
        preprocessing,
        None,
        {"config": values},
        fresh,
        missing,
    )


def _build_own(name: str, weights: str | None) -> Built:
    registered = registration(name)
    try:
        model = registered.build()
    # It is somebody's own code, which fails in as many ways as there is code.
    except Exception as error:
        reason = (str(error).splitlines() or ["no message"])[0]
        raise UsageError(f"the builder of own:{name} gives {type(error).__name__}: {reason}") from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"the builder of own:{name} returned a {type(model).__name__}, not an nn.Module.")
    if find_spec(model) is not None:
        raise UsageError(
            f"the builder of own:{name} returned a model that it gave before.", "let it make a new one each time"
        )
    # The builder decides what its default is; only a name cannot be meant.
    if weights not in (None, "default"):
        raise UsageError(f"own:{name} has no weights called {weights!r}.", "give a file, or none")
    return Built(
        model,
        name,
        weights,
        registered.head_path,
        registered.preprocessing,
        registered.licence,
        {},
    )


def create(source: str, name: str, given: Mapping[str, Any], *, initialise: bool = False) -> nn.Module:
    """The model of a source with random weights and its original classifier, as a checkpoint describes it.

    Weights that will be loaded need no random values first, which `initialise` asks for.
    """
    match source:
        case "torchvision":
            return torchvision.create(name, given, initialise=initialise)
        case "timm":
            return timm.create(name, given)
        case "hf":
            model = hf.create(given["config"])
        case _:
            model = _build_own(name, None).model
    if "channels" in given:
        widen(model, given["stem"], given["channels"])
    return model


def spec_of_built(source: str, built: Built) -> ModelSpec:
    """The spec, after looking whether the head's place holds what its source says."""
    paths = _places(built.head_path)
    if not paths:
        raise UsageError(
            f"{source}:{built.name} states no place of a classifier, so no head can stand there.",
            "zoo list shows models that can be fine-tuned",
        )
    found = [_classifier_at(source, built, path) for path in paths]
    classifier, (features, _, kind) = found[0]
    spec = ModelSpec(
        source=source,
        name=built.name,
        weights=built.weights,
        head_path=paths[0],
        features=features,
        kind=kind,
        more_heads=paths[1:],
        more_features=tuple(ends[0] for _, ends in found[1:]),
        bias=classifier.bias is not None,
        preprocessing=built.preprocessing,
        pool_path=_pool_path(source, built),
        licence=built.licence,
        arguments=built.arguments,
        fixed=tuple(name for name, each in built.model.named_parameters() if not each.requires_grad),
    )
    if source == "own":
        _require_used(built.model, spec)
    fresh = tuple(name for name in built.fresh if name in built.missing or not spec.in_head(name))
    return dataclasses.replace(spec, fresh=fresh)


def _require_used(model: nn.Module, spec: ModelSpec) -> None:
    """Refuse a stated place of a head from which the classes of a model do not come: that of somebody's own may not."""
    for path in spec.head_paths:
        stated = surgery.get_module(model, path)
        names = [name for name, each in model.named_modules(remove_duplicate=False) if each is stated]
        if len(names) > 1:
            raise UsageError(f"{spec.full_name} has one classifier under the names {listed(names)}.", "let it have one")
        given: list[object] = []
        handle = stated.register_forward_hook(lambda *args, given=given: given.append(args[-1]))
        example, shape = next(model.parameters()), spec.shape(1)
        try:
            ways = "register it with the input_size, mean and std of pictures that it takes"
            with taking(model, shape, ways), surgery.looking(model):
                out = model(torch.zeros(shape, device=example.device, dtype=example.dtype))
        finally:
            handle.remove()
        if not isinstance(out, Tensor) and not hasattr(out, "logits"):
            raise UsageError(
                f"{spec.full_name} returns a {type(out).__name__}, where zoo looks for class scores.",
                "let its forward return them alone, as a tensor, or in an object as its logits",
            )
        scores = logits_of(out)
        _, outputs, _ = surgery.ends_in(stated) or (0, 0, None)
        if not given or scores.shape[1:] != (outputs,):
            gives = f"gives {outputs} numbers, and the model scores of shape {tuple(scores.shape)}"
            does = gives if given else "does not run"
            raise UsageError(
                f"the classifier of {spec.full_name} is said to be at {path}, which {does}.",
                "register it with head_path=… of the module that gives the class scores",
            )
        _require_scores(spec, given[-1], scores)


def _require_scores(spec: ModelSpec, given: object, scores: Tensor) -> None:
    """Refuse a model that makes probabilities of its classifier's scores: the loss would make them a second time."""
    if not isinstance(given, Tensor) or given.shape != scores.shape:
        return
    sums = scores.sum(1)
    shares = scores.shape[1] > 1 and bool((scores >= 0).all()) and torch.allclose(sums, torch.ones_like(sums))
    for name, found in (("softmax", shares), ("sigmoid", torch.allclose(scores, given.sigmoid()))):
        if found and not torch.equal(scores, given):
            raise UsageError(
                f"{spec.full_name} returns probabilities: its classifier's scores go through a {name}, and the loss"
                " of training takes the scores themselves.",
                "let its forward return what the classifier gives; zoo predict tells probabilities of it",
            )


def _places(stated: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (stated,) if isinstance(stated, str) else stated or ()


def check_places(model: nn.Module, spec: ModelSpec) -> None:
    """Refuse heads elsewhere than where a model's source keeps them; raises CheckpointError."""
    match spec.source:
        case "torchvision":
            stated = _places(torchvision.head_path(model))
        case "timm":
            stated = _places(timm.head_path(model))
        case "hf":
            stated = _places(hf.head_path(model))
        case _:
            stated = _places(registration(spec.name).head_path)
    if spec.head_paths != stated:
        raise CheckpointError(
            f"the checkpoint puts the head of {spec.full_name} at {listed(spec.head_paths)}, and its place is"
            f" {listed(stated) or 'unknown'}."
        )


def _pool_path(source: str, built: Built) -> str | None:
    """Where the index says that the map becomes the vector of features, if that module is there."""
    kind = built.arguments.get("config", {}).get("model_type")
    known = entry_of_type(kind) if source == "hf" else entry(source, built.name)
    return known.pool_path if known and known.pool_path in dict(built.model.named_modules()) else None


def _classifier_at(source: str, built: Built, path: str) -> tuple[nn.Module, tuple[int, int, Kind]]:
    """The classifier that stands at a place, and what it takes and gives; raises UsageError when it is none."""
    classifier = surgery.get_module(built.model, path)
    ends = surgery.ends_in(classifier)
    if ends is None:
        raise UsageError(
            f"the classifier of {source}:{built.name} at {path} is a {type(classifier).__name__}, neither a linear"
            " layer nor a 1×1 convolution."
        )
    return classifier, ends


SIZES = ("image_size", "input_size", "img_size")
"""The arguments by which builders are told for which size they build, where the configuration does not say it."""
# What a checkpoint may hand to a library's builder; anything else could name files and addresses.
_ARGUMENTS: Mapping[str, Mapping[str, type | UnionType]] = {
    "torchvision": {
        "aux_logits": bool,
        "transform_input": bool,
        "image_size": int,
        "input_size": list,
        "channels": int,
        "stem": str,
    },
    "timm": {"in_chans": int, "img_size": int | list},
    "hf": {"config": dict, "channels": int, "stem": str},
    "own": {"channels": int, "stem": str},
}


def check_known(spec: ModelSpec) -> None:
    """Refuse names, arguments and layers that zoo itself would not have written; raises CheckpointError."""
    head = spec.head
    lists = ([head.pool] if head.pool else [], head.layers or (), *head.more_layers) if head else ()
    for layers in lists:
        mistakes = heads.mistakes_of(layers)
        if mistakes:
            raise CheckpointError(f"the head that the checkpoint gives {spec.full_name} is none: {mistakes[0]}.")
    if spec.source in ("torchvision", "timm") and entry(spec.source, spec.name) is None:
        raise CheckpointError(f"the checkpoint names a model {spec.full_name!r} that zoo does not know.")
    allowed = _ARGUMENTS.get(spec.source, {})
    for key, value in spec.arguments.items():
        if key not in allowed or not isinstance(value, allowed[key]):
            raise CheckpointError(f"the checkpoint gives {spec.full_name} {key}={value!r:.80}, which is not allowed.")
    _check_inputs(spec)


def _check_inputs(spec: ModelSpec) -> None:
    """Refuse channels and sizes of a model that are not those of the pictures that are prepared for it."""
    known = spec.preprocessing
    channels = spec.arguments.get("in_chans", spec.arguments.get("channels"))
    if channels not in (None, len(known.mean)) or ("channels" in spec.arguments) != ("stem" in spec.arguments):
        raise CheckpointError(
            f"the checkpoint's {spec.full_name} takes {channels} channels, its pictures have {len(known.mean)}."
        )
    for key in SIZES:
        value = spec.arguments.get(key)
        edges = [value, value] if isinstance(value, int) else value
        if value is not None and edges != list(known.size):
            raise CheckpointError(
                f"the checkpoint gives {spec.full_name} {key}={value!r:.80}, and its pictures are {known.size}."
            )
