"""Which models there are and what is known of each, without importing the libraries that build them.

The facts of torchvision, timm and transformers are read from an index that ships with zoo, one file a
source, and that `tools/build_index.py` makes again from the installed libraries. A user's own models are
added with `register`.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from zoo.errors import UsageError, ZooError
from zoo.names import near

SOURCES = ("torchvision", "timm", "hf", "own")
SPEC_ATTRIBUTE = "zoo_spec"

Kind = Literal["vector", "map", "tokens"]
Mode = Literal["replace", "append"]


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the input that weights were trained for."""

    size: tuple[int, int]
    """Height and width of the input, in pixels."""
    resize: tuple[int, int]
    """What the picture is scaled to before the central crop, height and width in pixels."""
    fit: Literal["crop", "squash"] = "crop"
    """`crop` scales the shorter side and keeps the shape of things; `squash` scales both sides."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    order: Literal["RGB", "BGR"] = "RGB"

    def at(self, size: int) -> "Preprocessing":
        """The same at another input size, the margin around the crop kept in proportion."""
        height, width = (round(edge * size / old) for edge, old in zip(self.resize, self.size, strict=True))
        return dataclasses.replace(self, size=(size, size), resize=(height, width))


@dataclass(frozen=True)
class HeadSpec:
    """The head that was put on a model."""

    preset: str
    """The preset's name, or `custom` for a module of the user's own."""
    mode: Mode
    path: str
    """The dotted name of the new module itself."""
    classes: tuple[str, ...]
    layers: tuple[Mapping[str, Any], ...] | None
    """The layers with all their arguments, enough to build the head again; None for a custom module."""


@dataclass(frozen=True)
class ModelSpec:
    """The facts about one loaded model; `spec_of` finds it."""

    source: str
    name: str
    weights: str | None
    """What was loaded: a named set, a file, a folder, or None for random weights."""
    head_path: str
    """Where the library keeps its classifier."""
    features: int
    """How many numbers the head receives a picture, or channels for a map."""
    kind: Kind
    """What the head receives: a vector, or a map with channels first."""
    preprocessing: Preprocessing
    bias: bool = True
    """Whether the library's own classifier has a bias; its linear replacement is then of the same form."""
    pool_path: str | None = None
    licence: str | None = None
    head: HeadSpec | None = None
    """What stands at the head's place now; None means the library's own classifier."""
    fresh: tuple[str, ...] = ()
    """Parameters that loading had to initialise and that are therefore trained like the head."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What else the library's builder was given."""
    report: str = ""
    """What of a file of weights matched, was missing or unexpected; empty for published weights."""

    @property
    def full_name(self) -> str:
        """Source and name as one, `torchvision:vgg16`."""
        return f"{self.source}:{self.name}"

    @property
    def head_prefix(self) -> str:
        """The dotted name below which the head's parameters lie."""
        return self.head.path if self.head else self.head_path


# By name, since this layer knows no torch; a user's own child called `module` is no wrapper's.
WRAPPERS = {
    "AveragedModel": "module",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "OptimizedModule": "_orig_mod",
}


def unwrapped(model: Any) -> Any:
    """The model inside DistributedDataParallel, DataParallel or a compiled wrapper, or the model itself."""
    while type(model).__name__ in WRAPPERS:
        model = model._modules[WRAPPERS[type(model).__name__]]
    return model


def spec_of(model: Any) -> ModelSpec:
    """The facts about a model that zoo loaded, also through DDP and torch.compile.

    >>> import zoo
    >>> zoo.spec_of(zoo.load("resnet18", classes=5, weights=None)).head_path
    'fc'

    Raises UsageError for a model that zoo knows nothing about.
    """
    spec = find_spec(model)
    if spec is None:
        raise UsageError(
            f"zoo knows nothing about this {type(unwrapped(model)).__name__}: it was not made by zoo.load.",
            "load it with zoo.load, or zoo.register it first; globs, zoo.get_module and",
            "zoo.replace_module work on any nn.Module",
        )
    return spec


def find_spec(model: Any) -> ModelSpec | None:
    """Like `spec_of`, with None for a model that zoo knows nothing about."""
    spec = getattr(unwrapped(model), "__dict__", {}).get(SPEC_ATTRIBUTE)
    return spec if isinstance(spec, ModelSpec) else None


def set_spec(model: Any, spec: ModelSpec | None) -> None:
    """Attach the facts to a model as an ordinary attribute, which deepcopy and pickle carry along."""
    if spec is None:
        vars(unwrapped(model)).pop(SPEC_ATTRIBUTE, None)
    else:
        vars(unwrapped(model))[SPEC_ATTRIBUTE] = spec


@dataclass(frozen=True)
class Entry:
    """What the index knows of one model."""

    source: str
    name: str
    parameters: int
    """With the library's own classifier."""
    head_path: str | None
    features: int | None
    kind: Kind | None
    pool_path: str | None
    places: tuple[str, ...]
    """Where one can freeze up to, in running order."""
    weights: Mapping[str, Mapping[str, Any]]
    """Each named set of weights and what the library states of it."""
    default: str | None
    """The set that is loaded when none is named."""
    preprocessing: Preprocessing
    fixed_size: bool
    refused: str | None = None
    """Why this model cannot be fine-tuned, where that is so."""

    @property
    def full_name(self) -> str:
        """Source and name as one, `torchvision:vgg16`."""
        return f"{self.source}:{self.name}"

    @property
    def accuracy(self) -> float | None:
        """The ImageNet top-1 accuracy of the default weights in percent, where the library states one."""
        stated = self.weights.get(self.default or "", {}).get("accuracy")
        return float(stated) if stated is not None else None


@dataclass(frozen=True)
class Registration:
    """A user's own model."""

    name: str
    build: Callable[[], Any]
    head_path: str
    preprocessing: Preprocessing
    licence: str | None = None


_registered: dict[str, Registration] = {}


def register(
    name: str,
    build: Callable[[], Any],
    *,
    head_path: str,
    input_size: tuple[int, int] = (224, 224),
    mean: tuple[float, ...] = (0.485, 0.456, 0.406),
    std: tuple[float, ...] = (0.229, 0.224, 0.225),
    licence: str | None = None,
) -> None:
    """Add a model of one's own, which then loads as `own:NAME`.

    `build` takes nothing and returns the model with its original classifier at `head_path`.
    `input_size` is height and width in pixels; `mean` and `std` are per channel, for values from 0 to 1.

    >>> import torch, zoo
    >>> def tiny():
    ...     return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10))
    >>> zoo.register("tiny", tiny, head_path="1", input_size=(8, 8))
    >>> zoo.load("own:tiny", classes=2, weights=None)[1]
    Linear(in_features=192, out_features=2, bias=True)

    Raises UsageError when the name is taken.
    """
    if name in _registered:
        raise UsageError(f"a model called 'own:{name}' is registered already.", "choose another name")
    preprocessing = Preprocessing(size=input_size, resize=input_size, mean=mean, std=std)
    _registered[name] = Registration(name, build, head_path, preprocessing, licence)


def registration(name: str) -> Registration:
    """The registration of an own model; raises UsageError when there is none."""
    if name not in _registered:
        raise _unknown("own:" + name)
    return _registered[name]


@functools.cache
def index(source: str) -> Mapping[str, Any]:
    """The shipped index of one source, as it stands in the file."""
    path = Path(__file__).parent / "index" / f"{source}.json"
    loaded: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def entry(source: str, name: str) -> Entry | None:
    """What the index knows of a model, or None; a timm tag (`resnet50.a1_in1k`) selects its weights."""
    if source == "own" or source not in SOURCES:
        return None
    plain, _, tag = name.partition(".") if source == "timm" else (name, "", "")
    facts = index(source)["models"].get(plain)
    if facts is None or (tag and tag not in facts["weights"]):
        return None
    return _entry(source, name, facts, tag or facts["default"])


def _entry(source: str, name: str, facts: Mapping[str, Any], default: str | None) -> Entry:
    usual = index(source)["preprocessing"]
    stated = facts["weights"].get(default, {}).get("preprocessing", facts.get("preprocessing", 0))
    return Entry(
        source=source,
        name=name,
        parameters=facts["parameters"],
        head_path=facts.get("head"),
        features=facts.get("features"),
        kind=facts.get("kind"),
        pool_path=facts.get("pool"),
        places=tuple(facts.get("places", ())),
        weights=facts["weights"],
        default=default,
        preprocessing=preprocessing_from(usual[stated]),
        fixed_size=facts.get("fixed_size", False),
        refused=facts.get("refused"),
    )


def preprocessing_from(facts: Mapping[str, Any]) -> Preprocessing:
    """Preprocessing out of the index or a checkpoint's config, every value checked.

    Raises ValueError when something is missing, unknown or of the wrong kind.
    """
    unknown = facts.keys() - {each.name for each in dataclasses.fields(Preprocessing)}
    if unknown:
        raise ValueError(f"preprocessing has no {sorted(unknown)}")
    made = Preprocessing(
        size=_pair(facts["size"]),
        resize=_pair(facts["resize"]),
        fit=facts.get("fit", "crop"),
        interpolation=facts.get("interpolation", "bilinear"),
        mean=tuple(float(value) for value in facts["mean"]),
        std=tuple(float(value) for value in facts["std"]),
        order=facts.get("order", "RGB"),
    )
    if (
        made.fit not in ("crop", "squash")
        or made.interpolation not in ("nearest", "bilinear", "bicubic", "lanczos")
        or made.order not in ("RGB", "BGR")
        or len(made.mean) != len(made.std)
        or min(*made.size, *made.resize) < 1
        or min(made.std) <= 0
    ):
        raise ValueError(f"preprocessing {dict(facts)} is not one")
    return made


def _pair(value: Iterable[int]) -> tuple[int, int]:
    height, width = (int(edge) for edge in value)
    return height, width


def known(source: str | None = None) -> list[str]:
    """The full names of all models, of one source or of every one."""
    names = []
    for each in (source,) if source else SOURCES:
        models = _registered if each == "own" else index(each)["models"]
        names += [f"{each}:{name}" for name in models]
    return names


def find(text: str) -> tuple[str, str]:
    """Source and name of what a user typed; bare names are looked up in torchvision, timm, then own.

    >>> find("vgg16")
    ('torchvision', 'vgg16')
    >>> find("timm:resnet50.a1_in1k")
    ('timm', 'resnet50.a1_in1k')

    Raises UsageError with the nearest names for one that no source has.
    """
    source, colon, name = text.partition(":")
    if colon:
        if source not in SOURCES:
            raise UsageError(
                f"no source is called {source!r} (in {text!r}).",
                f"sources: {', '.join(SOURCES)}; a name is written like torchvision:vgg16",
            )
        if source == "hf":
            return source, name
        found = name in _registered if source == "own" else entry(source, name) is not None
        if found:
            return source, name
        raise _unknown(text)
    for candidate in ("torchvision", "timm"):
        if entry(candidate, text) is not None:
            return candidate, text
    if text in _registered:
        return "own", text
    raise _unknown(text)


def _unknown(text: str) -> ZooError:
    source, _, name = text.rpartition(":")
    if source in ("timm", "") and "." in name and entry("timm", name.partition(".")[0]):
        tags = index("timm")["models"][name.partition(".")[0]]["weights"]
        return UsageError(
            f"timm:{name.partition('.')[0]} has no weights called {name.partition('.')[2]!r}.",
            f"it has: {', '.join(tags) or 'none'}",
        )
    places = (source,) if source in SOURCES else SOURCES
    found = [
        f"{place}:{match}"
        for match in near(name, (full.partition(":")[2] for each in places for full in known(each)))
        for place in places
        if f"{place}:{match}" in set(known(place))
    ]
    stem = name.rstrip("0123456789_.") or name
    version = index("timm")["version"]
    hints = [f"near: {', '.join(found[:5])}"] if found else []
    return UsageError(
        f"no model is called {text!r}.",
        *hints,
        f"zoo list '{stem}*' shows what there is (timm names as of timm {version}).",
    )


def list_models(
    pattern: str = "*",
    *,
    source: str | None = None,
    pretrained: bool = False,
    max_parameters: float | None = None,
) -> list[Entry]:
    """The models whose name matches a glob, in the order of the index.

    With `pretrained` only those with weights, timm's one entry per set of weights.

    >>> [entry.full_name for entry in list_models("vgg1?", source="torchvision")][:2]
    ['torchvision:vgg11', 'torchvision:vgg13']

    Raises UsageError for an unknown source.
    """
    if source is not None and source not in SOURCES:
        raise UsageError(f"no source is called {source!r}.", f"sources: {', '.join(SOURCES)}")
    rows: list[Entry] = []
    for each in (source,) if source else SOURCES[:-1]:
        if each == "own":
            continue
        for name, facts in index(each)["models"].items():
            if max_parameters is not None and facts["parameters"] > max_parameters:
                continue
            if pretrained and each == "timm":
                names = [(f"{name}.{tag}", tag) for tag in facts["weights"]]
            elif pretrained and not facts["weights"]:
                continue
            else:
                names = [(name, facts["default"])]
            rows += [
                _entry(each, full, facts, tag)
                for full, tag in names
                if fnmatchcase(full, pattern) or fnmatchcase(f"{each}:{full}", pattern)
            ]
    return rows
