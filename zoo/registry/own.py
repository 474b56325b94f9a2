"""A user's own models, added with `register`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zoo.errors import UsageError
from zoo.registry.specs import Preprocessing


@dataclass(frozen=True)
class Registration:
    """A user's own model."""

    name: str
    build: Callable[[], Any]
    head_path: str
    preprocessing: Preprocessing
    licence: str | None = None


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

    Raises UsageError when the name is taken.
    """
    if name in REGISTERED:
        raise UsageError(f"a model called 'own:{name}' is registered already.", "choose another name")
    preprocessing = Preprocessing(size=input_size, resize=input_size, mean=mean, std=std)
    REGISTERED[name] = Registration(name, build, head_path, preprocessing, licence)
