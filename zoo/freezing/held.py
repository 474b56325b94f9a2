"""Keeping the frozen part in eval mode.

`model.train()` reaches a module through its children's `train`. A handle in the place of that method, one on
each frozen root, answers it. The handle is a plain object of an importable class that refers to its module:
`deepcopy` and pickle therefore give a copy a handle of its own, and a part that is taken out of the model
keeps it. Nothing is registered with the module, so its keys, hooks and class stay the library's.
"""

from collections.abc import Collection, Iterable, Sequence

from torch import nn

from zoo.freezing.order import RunningOrder
from zoo.names import is_under

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
        for part in self.module.modules():
            part.training = mode and not any(part is each for each in self.held)
        return self.module


def modules_to_hold(model: nn.Module, frozen: Collection[str], order: RunningOrder) -> list[str]:
    """The modules to keep in eval mode, in definition order.

    These are the modules whose parameters are all frozen, and the parameterless ones that receive only frozen
    results. A parameterless module that was not called in the recording goes with the module around it, which
    may use it in another way.
    """
    names = [name for name, _ in model.named_parameters()]
    fed_frozen = order.with_frozen_inputs({name for name in names if name not in frozen})
    chosen: list[str] = []
    for path, _ in model.named_modules():
        own = [name for name in names if is_under(name, path)]
        if own:
            hold = all(name in frozen for name in own)
        elif path in order.returned:
            hold = path in fed_frozen
        else:
            hold = path.rpartition(".")[0] in chosen
        if hold and path:
            chosen.append(path)
    return chosen


def hold(model: nn.Module, modules: Sequence[str]) -> None:
    """Put a handle on each frozen root and these modules in eval mode, now and from now on."""
    for root in _roots(modules):
        module = model.get_submodule(root)
        handle = EvalHandle(module, [model.get_submodule(path) for path in modules if is_under(path, root)])
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
            for name, part in module.named_modules():
                if any(part is each for each in handle.held):
                    found.append(f"{path}.{name}" if path and name else path or name)
    return found


def _roots(modules: Iterable[str]) -> list[str]:
    """The paths that lie below no other of them; definition order names a parent before its parts."""
    roots: list[str] = []
    for path in modules:
        if not any(is_under(path, root) for root in roots):
            roots.append(path)
    return roots
