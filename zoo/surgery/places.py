"""Places in a model by their dotted names: looking there, and putting something else there."""

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from zoo.errors import UsageError
from zoo.markup import table
from zoo.names import is_under, join, matching, near_hint
from zoo.registry import Kind, find_spec, set_spec


def get_module(model: nn.Module, path: str) -> nn.Module:
    """The module at a dotted path.

    >>> import zoo
    >>> zoo.get_module(zoo.load("resnet18", classes=5, weights=None), "fc")
    Linear(in_features=512, out_features=5, bias=True)

    Raises UsageError with near paths when there is none.
    """
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if path not in modules:
        same = dict(model.named_modules(remove_duplicate=False)).get(path)
        first = next((name for name, each in modules.items() if each is same), None)
        if first is not None:
            raise UsageError(f"{path!r} is another name of {first!r} in this {type(model).__name__}.", "take that one")
        raise UsageError(
            f"this {type(model).__name__} has no module at {path!r}.",
            *near_hint(path, modules),
            "zoo.find_modules(model, '*') lists all.",
        )
    return modules[path]


def replace_module(model: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """Put a module at a dotted path, in place, and return the one that stood there.

    The new module gets the mode (train or eval), device and precision of the old one.

    >>> import torch, zoo
    >>> model = zoo.load("resnet18", classes=5, weights=None)
    >>> zoo.replace_module(model, "avgpool", torch.nn.AdaptiveMaxPool2d(1))
    AdaptiveAvgPool2d(output_size=(1, 1))

    Raises UsageError with near paths when there is no such place, and for what is no module.
    """
    _require_module(module, "replace_module")
    old = get_module(model, path)
    if not path:
        raise UsageError("the whole model cannot be replaced within itself.", "give a path like 'classifier.6'")
    parent, _, name = path.rpartition(".")
    _adapt(module, old, model)
    model.get_submodule(parent)._modules[name] = module
    _note(model, path)
    return old


def _note(model: nn.Module, path: str, new: str | None = None, moved: str | None = None) -> None:
    """Let the facts about a model say that it was changed at a path, that what lies below `new` is trained like a head,
    and that what was at the path is now at `moved`."""
    spec = find_spec(model)
    if spec is None:
        return

    def renamed(name: str) -> str:
        return f"{moved}{name.removeprefix(path)}" if moved and is_under(name, path) else name

    added = [name for name, _ in model.named_parameters() if new is not None and is_under(name, new)]
    made = dataclasses.replace(
        spec,
        fresh=(*map(renamed, spec.fresh), *added),
        fixed=tuple(map(renamed, spec.fixed)),
        adapted=tuple(map(renamed, spec.adapted)),
        pool_path=spec.pool_path and renamed(spec.pool_path),
        changed=tuple(dict.fromkeys((*spec.changed, path))),
    )
    set_spec(model, made)


def _require_module(module: object, what: str) -> None:
    """Raise UsageError for what is no module but its class, its name or anything else."""
    if isinstance(module, nn.Module):
        return
    made = f"{module.__name__}(…)" if isinstance(module, type) and issubclass(module, nn.Module) else "nn.Dropout(0.1)"
    given = module.__name__ if isinstance(module, type) else repr(module)
    raise UsageError(f"{given:.60} is no module.", f"give one: zoo.{what}(model, path, {made})")


def _adapt(module: nn.Module, old: nn.Module, model: nn.Module) -> None:
    """Give a new module the mode, device and precision of another one, or of the model where that has none."""
    example = next(old.parameters(), None)
    if example is None:
        example = next(model.parameters(), None)
    if example is not None:
        module.to(device=example.device, dtype=example.dtype)
    module.train(old.training)


class Modules(dict[str, nn.Module]):
    """Modules by their dotted names, shown as a line each."""

    def __repr__(self) -> str:
        width = max(map(len, self), default=0)
        shown = [f"{path:<{width}}  {_line(module)}" for path, module in list(self.items())[:_SHOWN]]
        more = [f"… and {len(self) - _SHOWN} more"] if len(self) > _SHOWN else []
        return "\n".join([*shown, *more])

    def _repr_html_(self) -> str:
        rows = [(path, _line(module)) for path, module in list(self.items())[:_SHOWN]]
        count = f"{len(self)} modules" + (f", the first {_SHOWN}" if len(self) > _SHOWN else "")
        return table(count, rows, ("path", "module"))


_SHOWN = 50


def _line(module: nn.Module) -> str:
    """A module as one line: itself, or its class where it has parts."""
    return type(module).__name__ if any(True for _ in module.children()) else repr(module)


def find_modules(model: nn.Module, pattern: str) -> Modules:
    """The modules that a glob over dotted names means, or a path with all below it, in the order of definition.

    >>> import zoo
    >>> zoo.find_modules(zoo.load("resnet18", classes=5, weights=None), "layer4.*.relu")
    layer4.0.relu  ReLU(inplace=True)
    layer4.1.relu  ReLU(inplace=True)

    Raises UsageError with near paths when it means none.
    """
    modules = {path: module for path, module in model.named_modules() if path}
    found = matching(pattern, modules) if pattern else []
    if not found:
        raise UsageError(
            f"{pattern!r} matches no module of this {type(model).__name__}.",
            *near_hint(
                pattern.strip("*?."), sorted({*modules, *(path.rpartition(".")[2] for path in modules)}, key=len)
            ),
            "zoo.find_modules(model, '*') lists all.",
        )
    return Modules({path: modules[path] for path in found})


@dataclass(frozen=True)
class Change:
    """What an insertion did."""

    path: str
    """The dotted name of the new module."""
    after: str
    """The dotted name that the module before it has now."""
    module: nn.Module = field(repr=False)
    """The new module."""
    moved: str = ""
    """Where the module before it stood, if its keys have another name now."""

    def __repr__(self) -> str:
        moved = f"; what was {self.moved} is {self.after}" if self.moved else ""
        return f"Change({self.path} is new, {_line(self.module)}, behind {self.after}{moved})"


def insert_after(model: nn.Module, path: str, module: nn.Module) -> Change:
    """Put a module behind the one at a dotted path, in place, to work on what that gives.

    Within an `nn.Sequential` it stands as `NAME_after`, and all keys stay. Elsewhere both become a Sequential at the
    path, the old module as `PATH.0` and the new one as `PATH.1`. The new module gets the mode (train or eval),
    device and precision of the old one; the policy `backbone` trains it, as it trains the head. A checkpoint of the
    model then loads into one that was changed the same way: `zoo.load_checkpoint(folder, model=model)`.

    >>> import torch, zoo
    >>> zoo.insert_after(zoo.load("vgg11", classes=5, weights=None), "features.2", torch.nn.Dropout2d(0.1))
    Change(features.2_after is new, Dropout2d(p=0.1, inplace=False), behind features.2)
    >>> zoo.insert_after(zoo.load("resnet18", classes=5, weights=None), "layer3", torch.nn.Dropout2d(0.1))
    Change(layer3.1 is new, Dropout2d(p=0.1, inplace=False), behind layer3.0; what was layer3 is layer3.0)

    Raises UsageError with near paths when there is no such place, for what is no module, where a head stands, and for
    one that does not take what is there.
    """
    _require_module(module, "insert_after")
    old = get_module(model, path)
    _require_no_head(model, path)
    around = get_module(model, path.rpartition(".")[0])
    with _undone(model, around, f"a {type(module).__name__} does not take what {path!r} gives"):
        return _insert(model, path, old, module, around)


def _insert(model: nn.Module, path: str, old: nn.Module, module: nn.Module, around: nn.Module) -> Change:
    parent, _, name = path.rpartition(".")
    if type(around) is not nn.Sequential or not path:
        replace_module(model, path, nn.Sequential(module))
        both = get_module(model, path)
        both._modules.update({"0": old, "1": module})
        _note(model, path, f"{path}.1", f"{path}.0")
        return Change(f"{path}.1", f"{path}.0", module, path)
    new = f"{name}_after"
    while new in around._modules:
        new += "_after"
    _adapt(module, old, model)
    children = list(around._modules.items())
    children.insert([each for each, _ in children].index(name) + 1, (new, module))
    around._modules.clear()
    around._modules.update(children)
    _note(model, path, join(parent, new))
    return Change(join(parent, new), path, module)


@contextlib.contextmanager
def _undone(model: nn.Module, around: nn.Module, what: str) -> Iterator[None]:
    """Put back what the body changes where a model whose pictures are known does not run with it."""
    spec, before = find_spec(model), dict(around._modules)
    yield
    if spec is None:
        return
    example = next(model.parameters())
    try:
        with looking(model):
            model(torch.zeros(spec.shape(1), device=example.device, dtype=example.dtype))
    # Layers refuse what does not fit in their own ways.
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        around._modules.clear()
        around._modules.update(before)
        set_spec(model, spec)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{what}: {reason:.160}.", "the model is as it was") from error


def _require_no_head(model: nn.Module, path: str) -> None:
    """Refuse a place that is a head, within one or around one, which zoo would lose sight of there."""
    spec = find_spec(model)
    places = (*spec.head_paths, spec.head.pool_path) if spec and spec.head else spec.head_paths if spec else ()
    for place in places:
        if place and (is_under(place, path) or is_under(path, place)):
            raise UsageError(
                f"at {path!r} stands the head of this {type(model).__name__}, {place}.",
                "put a head of your own there: zoo.swap_head(model, nn.Sequential(…))",
            )


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
def looking(model: nn.Module, *, training: bool = False) -> Iterator[None]:
    """A model in eval (or train) mode without gradients; flags and random numbers are afterwards as they were."""
    # By the flags themselves, since a frozen part answers `eval()` in its own way.
    flags = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in flags:
            module.training = training
        gpus = {each.device for each in model.parameters() if each.is_cuda}
        with torch.no_grad(), torch.random.fork_rng(devices=gpus):
            yield
    finally:
        for module, flag in flags:
            module.training = flag
