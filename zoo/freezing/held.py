"""Keeping the frozen part in eval mode.

`model.train()` reaches a module through its children's `train`. A handle in the place of that method, one on
each frozen root, answers it. The handle is a plain object of an importable class that refers to its module:
`deepcopy` and pickle therefore give a copy a handle of its own, and a part that is taken out of the model
keeps it. Nothing is registered with the module, so its keys, hooks and class stay the library's.
"""

from collections.abc import Collection, Iterable, Sequence

from torch import nn

from zoo.freezing.order import RunningOrder
from zoo.names import join, upwards

_SLOT = "train"


class EvalHandle:
    """Stands in for the `train` method of a frozen root.

    `module` is the root, `held` the modules below it, itself included, that stay in eval mode; a module that
    is put into the root later is none of them and follows `train()` as usual.
    """

    def __init__(self, module: nn.Module, held: Collection[nn.Module]) -> None:
        self.module = module
        self.held = tuple(held)

    def __call__(self, mode: bool = True) -> nn.Module:
        """What `train` does: nothing to the frozen part, the usual to the rest."""
        held = {id(part) for part in self.held}
        for part in self.module.modules():
            part.training = mode and id(part) not in held
        return self.module


def modules_to_hold(model: nn.Module, frozen: Collection[str], order: RunningOrder) -> list[str]:
    """The modules to keep in eval mode, in definition order.

    These are the modules whose parameters are all frozen, and the parameterless ones that receive only frozen
    results. A parameterless module that was not called in the recording may be used in another way by any part of
    the module around it, as timm's rotary positions are, which vary in training: it is held where that module has
    something frozen.
    """
    names = [name for name, _ in model.named_parameters()]
    fed_frozen = order.with_frozen_inputs({name for name in names if name not in frozen})
    with_parameters = {path for name in names for path in upwards(name)}
    with_trained = {path for name in names if name not in frozen for path in upwards(name)}
    with_frozen = {path for name in names if name in frozen for path in upwards(name)}
    chosen: dict[str, None] = {}
    for path, _ in model.named_modules():
        if path in with_parameters:
            hold = path not in with_trained
        elif path in order.returned:
            hold = path in fed_frozen
        else:
            around = path.rpartition(".")[0]
            hold = around in chosen or around in with_frozen
        if hold and path:
            chosen[path] = None
    return list(chosen)


def hold(model: nn.Module, modules: Sequence[str]) -> None:
    """Put a handle on each frozen root and these modules in eval mode, now and from now on."""
    for root, paths in _by_root(modules).items():
        module = model.get_submodule(root)
        handle = EvalHandle(module, [model.get_submodule(path) for path in paths])
        vars(module)[_SLOT] = handle
        handle(module.training)


def release(model: nn.Module) -> None:
    """Take all handles away; the modules then have the mode of the model itself."""
    for module in model.modules():
        if isinstance(vars(module).get(_SLOT), EvalHandle):
            del vars(module)[_SLOT]
            module.train(model.training)


def held_modules(model: nn.Module) -> list[str]:
    """The modules that a handle keeps in eval mode, in definition order."""
    found = []
    for path, module in model.named_modules():
        handle = vars(module).get(_SLOT)
        if isinstance(handle, EvalHandle):
            held = {id(part) for part in handle.held}
            found += [join(path, name) for name, part in module.named_modules() if id(part) in held]
    return found


def _by_root(modules: Iterable[str]) -> dict[str, list[str]]:
    """The paths by the outermost of them that they lie under; definition order names a parent before its parts."""
    roots: dict[str, list[str]] = {}
    for path in modules:
        root = next((each for each in upwards(path) if each in roots), path)
        roots.setdefault(root, []).append(path)
    return roots
