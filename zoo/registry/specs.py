"""The facts about a loaded model, which go along with it as an ordinary attribute."""

import contextlib
import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from zoo.errors import UsageError
from zoo.markup import table
from zoo.names import is_under

SPEC_ATTRIBUTE, POOL_ATTRIBUTE = "zoo_spec", "zoo_pool"
"""Where a model keeps its facts, and its own pool while that of a head stands in its place."""

Kind = Literal["vector", "map", "tokens"]
Mode = Literal["replace", "append"]
Task = Literal["single-label", "binary", "multi-label", "regression"]
"""One class of several, one output for two classes, any number of labels, or numbers."""


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

    def at(self, size: int | tuple[int, int]) -> "Preprocessing":
        """The same at another input size, the margin around the crop kept in proportion."""
        target = (size, size) if isinstance(size, int) else size
        height, width = (round(edge * new / old) for edge, new, old in zip(self.resize, target, self.size, strict=True))
        return dataclasses.replace(self, size=target, resize=(height, width))

    def with_channels(self, channels: int) -> "Preprocessing":
        """The same for pictures of so many channels; each gets the mean of the known ones, as timm's loader does.

        >>> Preprocessing((8, 8), (8, 8), mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2)).with_channels(1).mean
        (0.5,)
        """
        if channels == len(self.mean):
            return self
        mean, std = (sum(values) / len(values) for values in (self.mean, self.std))
        return dataclasses.replace(self, mean=(mean,) * channels, std=(std,) * channels, order="RGB")


@dataclass(frozen=True)
class HeadSpec:
    """The head that was put on a model."""

    preset: str
    """The preset's name, the absolute path of a file, or `custom` for a module of the user's own."""
    mode: Mode
    path: str
    """The dotted name of the new module itself."""
    classes: tuple[str, ...]
    """The classes by name; of two in a binary task the second is the positive one. In a regression, the targets."""
    layers: tuple[Mapping[str, Any], ...] | None
    """The layers with all their arguments, enough to build the head again; None for a custom module."""
    pool: Mapping[str, Any] | None = None
    """The layer that stands in the place of the model's own pool, with all its arguments; None where that does."""
    pool_path: str | None = None
    """The place of that layer."""
    more_layers: tuple[tuple[Mapping[str, Any], ...], ...] = ()
    """The same for each of the model's other heads, whose features differ in some models."""
    task: Task = "single-label"
    mean: tuple[float, ...] = ()
    """In a regression: what each output is added to after `std` times it, to be in the unit of its target."""
    std: tuple[float, ...] = ()

    @property
    def called(self) -> str:
        """The preset's name, or that of its file without the folder."""
        return Path(self.preset).stem

    @property
    def outputs(self) -> int:
        """How many numbers the head gives a picture."""
        return outputs_of(self.classes, self.task)

    @property
    def output_names(self) -> tuple[str, ...]:
        """What each output stands for: the single one of a binary task for its second class."""
        return self.classes[-self.outputs :]


def outputs_of(classes: Sequence[str], task: Task) -> int:
    """How many outputs these classes take.

    >>> outputs_of(["ant", "bee"], "single-label"), outputs_of(["ant", "bee"], "binary")
    (2, 1)

    Raises UsageError for a task that there is none of, or a binary one of other than two classes.
    """
    if task not in get_args(Task):
        raise UsageError(f"task is {task!r}.", f"tasks: {', '.join(get_args(Task))}")
    if task == "binary" and len(classes) != 2:
        raise UsageError(
            f"a binary task has two classes, and here {len(classes)} are given.",
            "name them in order, the second is the positive one; or take the task single-label",
        )
    return 1 if task == "binary" else len(classes)


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
    more_heads: tuple[str, ...] = ()
    """Other places where the library keeps a classifier, which get the same head (a distilled model's, say)."""
    more_features: tuple[int, ...] = ()
    """How many numbers each of those receives."""
    bias: bool = True
    """Whether the library's own classifier has a bias; its linear replacement is then of the same form."""
    pool_path: str | None = None
    licence: str | None = None
    head: HeadSpec | None = None
    """What stands at the head's place now; None means the library's own classifier."""
    fresh: tuple[str, ...] = ()
    """Parameters that loading had to initialise and that are therefore trained like the head."""
    adapted: tuple[str, ...] = ()
    """What of the backbone was made from the weights' own, for other channels or another size."""
    fixed: tuple[str, ...] = ()
    """Parameters that the model's own code does not train, a table of positions say: no policy does either."""
    changed: tuple[str, ...] = ()
    """Where zoo put other modules by its user's hand, so that no builder makes the model again."""
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
        """The dotted name below which the head's parameters lie, the first where there are several heads."""
        return self.head.path if self.head else self.head_path

    @property
    def head_paths(self) -> tuple[str, ...]:
        """All places where the library keeps a classifier; most models have one."""
        return (self.head_path, *self.more_heads)

    @property
    def head_prefixes(self) -> tuple[str, ...]:
        """The dotted names below which the parameters of all heads lie, those of a head's pool too."""
        below = self.head_prefix.removeprefix(self.head_path)
        pool = (self.head.pool_path,) if self.head and self.head.pool_path else ()
        return (*(path + below for path in self.head_paths), *pool)

    def shape(self, count: int) -> tuple[int, int, int, int]:
        """The shape of a batch of so many pictures: their number, channels, height and width."""
        return (count, len(self.preprocessing.mean), *self.preprocessing.size)

    def _repr_html_(self) -> str:
        height, width = self.preprocessing.size
        rows = [
            ("weights", self.weights or "random"),
            ("input", f"{len(self.preprocessing.mean)} × {height} × {width}"),
            ("head", f"{self.head.called if self.head else 'the original one'} at {', '.join(self.head_prefixes)}"),
            ("it receives", f"{self.features} ({self.kind})"),
            *([("classes", ", ".join(self.head.classes)), ("task", self.head.task)] if self.head else []),
            ("licence", self.licence),
        ]
        return table(self.full_name, rows)

    def in_head(self, name: str) -> bool:
        """Whether a dotted name is a head's or lies below one."""
        return any(is_under(name, prefix) for prefix in self.head_prefixes)


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


def input_shape(model: Any, count: int, asking: str) -> tuple[int, int, int, int]:
    """The shape of a batch of so many pictures that a model is known for.

    >>> import zoo
    >>> input_shape(zoo.load("resnet18", classes=5, weights=None), 2, "zoo.freeze(model, policy")
    (2, 3, 224, 224)

    Raises UsageError for a model that zoo knows nothing about, with how the one who is `asking` is given a batch.
    """
    spec = find_spec(model)
    if spec is None:
        raise UsageError(
            f"one batch has to run to see what this {type(unwrapped(model)).__name__} does, and its shape is unknown.",
            f"give one: {asking}, sample=torch.zeros({count}, 3, 224, 224))",
        )
    return spec.shape(count)


@contextlib.contextmanager
def taking(
    model: Any,
    shape: Sequence[int],
    hint: str = "give one that it takes: sample=torch.zeros(batch, channels, height, width)",
) -> Iterator[None]:
    """While a batch of this shape runs through a model, its own error as one that says so.

    Raises UsageError, with the reason that the model gives and what to do.
    """
    try:
        yield
    # Modules refuse what they are given in their own ways; memory that runs out is no such way.
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, AssertionError) as error:
        if type(error).__name__ == "OutOfMemoryError":
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"this {type(unwrapped(model)).__name__} does not run on a batch of shape {tuple(shape)}: {reason[:160]}",
            hint,
        ) from error


def set_spec(model: Any, spec: ModelSpec | None) -> None:
    """Attach the facts to a model as an ordinary attribute that copies and pickles carry along; None takes all off."""
    if spec is None:
        for name in (SPEC_ATTRIBUTE, POOL_ATTRIBUTE):
            vars(unwrapped(model)).pop(name, None)
    else:
        vars(unwrapped(model))[SPEC_ATTRIBUTE] = spec


LARGEST = 2**14
"""The most pixels that a picture's edge may have by a file: one that says more asks for all memory there is."""


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
        or not made.mean
        or len(made.mean) != len(made.std)
        or not all(1 <= edge <= LARGEST for edge in (*made.size, *made.resize))
        or not all(map(math.isfinite, (*made.mean, *made.std)))
        or min(made.std) <= 0
    ):
        raise ValueError(f"preprocessing {dict(facts)} is not one")
    return made


def _pair(value: Iterable[int]) -> tuple[int, int]:
    height, width = (int(edge) for edge in value)
    return height, width
