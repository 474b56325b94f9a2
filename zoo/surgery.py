"""Taking modules out of a model and putting others in, by their dotted names.

Surgery is in place, as torch models are. Every function checks that the place exists.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from zoo.errors import UsageError
from zoo.names import near_hint
from zoo.registry import Kind


def get_module(model: nn.Module, path: str) -> nn.Module:
    """The module at a dotted path.

    >>> import zoo
    >>> zoo.get_module(zoo.load("resnet18", classes=5, weights=None), "fc")
    Linear(in_features=512, out_features=5, bias=True)

    Raises UsageError with near paths when there is none.
    """
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if path not in modules:
        raise UsageError(
            f"this {type(model).__name__} has no module at {path!r}.",
            *near_hint(path, modules),
            "zoo.summary(model) shows all.",
        )
    return modules[path]


def replace_module(model: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """Put a module at a dotted path, in place, and return the one that stood there.

    The new module gets the mode (train or eval), device and precision of the old one.

    >>> import torch, zoo
    >>> model = zoo.load("resnet18", classes=5, weights=None)
    >>> zoo.replace_module(model, "avgpool", torch.nn.AdaptiveMaxPool2d(1))
    AdaptiveAvgPool2d(output_size=(1, 1))

    Raises UsageError with near paths when there is no such place.
    """
    old = get_module(model, path)
    if not path:
        raise UsageError("the whole model cannot be replaced within itself.", "give a path like 'classifier.6'")
    parent, _, name = path.rpartition(".")
    example = next(old.parameters(), None)
    if example is None:
        example = next(model.parameters(), None)
    if example is not None:
        module.to(device=example.device, dtype=example.dtype)
    module.train(old.training)
    model.get_submodule(parent)._modules[name] = module
    return old


def ends_in(module: nn.Module) -> tuple[int, int, Kind] | None:
    """What a classifier takes and gives: features, classes, and whether it works on a vector or a map.

    None for a module that is neither a linear layer nor a 1×1 convolution.

    >>> ends_in(nn.Conv2d(512, 1000, kernel_size=1))
    (512, 1000, 'map')
    """
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features, "vector"
    if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1:
        return module.in_channels, module.out_channels, "map"
    return None


@contextlib.contextmanager
def looking(model: nn.Module) -> Iterator[None]:
    """A model in eval mode without gradients for the body, which leaves it, and the random numbers, as they were."""
    # By the flags themselves, since a frozen part answers `eval()` in its own way.
    flags = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in flags:
            module.training = False
        with torch.no_grad(), torch.random.fork_rng():
            yield
    finally:
        for module, flag in flags:
            module.training = flag
