"""A user's own models: those added with `register`, and those that installed packages bring.

A package names its models in the entry-point group `zoo.models`. Listing them reads the names alone; the package is
imported when a model of its is loaded.

    [project.entry-points."zoo.models"]
    tiny-net = "my_package:tiny_net"   # a function that returns a zoo.OwnModel
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from zoo.errors import UsageError
from zoo.registry.specs import Preprocessing

GROUP = "zoo.models"
NAME = re.compile(r"[\w][\w.-]*")


@dataclass(frozen=True)
class OwnModel:
    """A model of one's own as a value, which an installed package gives for a name.

    >>> OwnModel(build=lambda: None, head_path="fc", input_size=(32, 32)).mean
    (0.485, 0.456, 0.406)
    """

    build: Callable[[], Any]
    """Takes nothing and returns the model with its original classifier."""
    head_path: str
    """The dotted name of that classifier."""
    input_size: tuple[int, int] = (224, 224)
    """Height and width in pixels."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """Of each channel, for values from 0 to 1."""
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    licence: str | None = None


@dataclass(frozen=True)
class Registration:
    """A user's own model."""

    name: str
    build: Callable[[], Any]
    head_path: str
    preprocessing: Preprocessing
    licence: str | None = None


@dataclass(frozen=True)
class Brought:
    """A model that an installed package names."""

    package: str
    """Its name and version."""
    point: EntryPoint


REGISTERED: dict[str, Registration] = {}


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

    Raises UsageError when the name is taken, or is none.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a model.", "take letters, digits, '_', '.' and '-'")
    if name in REGISTERED:
        raise UsageError(f"a model called 'own:{name}' is registered already.", "choose another name")
    packages = [each.package for each in brought().get(name, ())]
    if packages:
        raise UsageError(f"a model called 'own:{name}' is brought by {packages[0]} already.", "choose another name")
    REGISTERED[name] = _registration(name, OwnModel(build, head_path, input_size, mean, std, licence))


def names() -> list[str]:
    """The names of all own models; no package is imported for it."""
    return list(dict.fromkeys((*REGISTERED, *brought())))


def brought() -> Mapping[str, tuple[Brought, ...]]:
    """What installed packages bring, by name; more than one for a name that several of them use."""
    found: dict[str, tuple[Brought, ...]] = {}
    for point in entry_points(group=GROUP):
        if NAME.fullmatch(point.name):
            package = f"{point.dist.name} {point.dist.version}" if point.dist else point.module
            found[point.name] = (*found.get(point.name, ()), Brought(package, point))
    return found


def registered(name: str) -> Registration | None:
    """The registration of an own model, its package imported where one brings it, or None.

    Raises UsageError that names the package when that cannot be used.
    """
    if name in REGISTERED:
        return REGISTERED[name]
    several = brought().get(name, ())
    if not several:
        return None
    if len(several) > 1:
        packages = " and ".join(each.package for each in several)
        raise UsageError(f"own:{name} is brought by {packages}, so that none can be meant.", "uninstall all but one")
    return _imported(name, several[0])


def _imported(name: str, found: Brought) -> Registration:
    """The registration that a package gives for a name."""
    called = f"own:{name} of {found.package}"
    remedy = "mend or update that package; its entry point is a function that returns a zoo.OwnModel"
    try:
        function = found.point.load()
    # A package fails to import in as many ways as there is code.
    except Exception as error:
        raise UsageError(f"{called} cannot be loaded: {found.point.value} gives {_told(error)}", remedy) from error
    if not callable(function):
        raise UsageError(f"{called} cannot be loaded: {found.point.value} is a {type(function).__name__}.", remedy)
    try:
        given = function()
    except Exception as error:
        raise UsageError(f"{called} cannot be loaded: {found.point.value}() gives {_told(error)}", remedy) from error
    if not isinstance(given, OwnModel):
        kind = type(given).__name__
        raise UsageError(f"{called} cannot be loaded: {found.point.value}() returned a {kind}.", remedy)
    return _registration(name, given)


def _registration(name: str, given: OwnModel) -> Registration:
    if not callable(given.build) or (hasattr(given.build, "state_dict") and not isinstance(given.build, type)):
        raise UsageError(
            f"own:{name} has build {given.build!r:.60}, and it takes a function that makes a new model each time.",
            "build=lambda: Net()",
        )
    if not _numbers(given.input_size, int) or len(given.input_size) != 2:
        raise UsageError(
            f"own:{name} has input_size {given.input_size!r}.", "give height and width in pixels: input_size=(224, 224)"
        )
    if not _numbers(given.mean, float) or not _numbers(given.std, float):
        raise UsageError(
            f"own:{name} has mean {given.mean!r} and std {given.std!r}.", "give a number for each channel: mean=(0.5,)"
        )
    if len(given.mean) != len(given.std) or not given.mean or min(given.std) <= 0 or min(given.input_size) < 1:
        raise UsageError(
            f"own:{name} has input_size {given.input_size}, mean {given.mean} and std {given.std}.",
            "mean and std are of as many channels, std above 0, the size in pixels",
        )
    size = (int(given.input_size[0]), int(given.input_size[1]))
    prepared = Preprocessing(size=size, resize=size, mean=tuple(given.mean), std=tuple(given.std))
    return Registration(name, given.build, given.head_path, prepared, given.licence)


def _numbers(values: object, kind: type) -> bool:
    """Whether these are some numbers, whole ones for `int`."""
    kinds = int if kind is int else int | float
    return isinstance(values, tuple | list) and all(isinstance(each, kinds) for each in values)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}"
