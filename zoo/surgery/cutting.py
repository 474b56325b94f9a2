"""Feature extractors: a model up to one of its modules.

The model's own `forward` runs, and stops when the module has returned; so any model can be cut, whatever its code
does. A handle in the place of `forward` stops it. As with frozen parts it is of an importable class and refers to its
model, so that copies and pickles have handles of their own, and nothing else changes: the class, the keys, what is
frozen, and how it answers `train()`. What runs only behind the cut is None in the extractor.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from zoo.errors import UsageError
from zoo.registry import input_shape, set_spec, taking, unwrapped
from zoo.surgery.places import get_module, looking


def cut_at(model: nn.Module, path: str, *, sample: Tensor | None = None) -> nn.Module:
    """A copy of a model that ends where the module at a dotted path returns, and gives what that gives.

    >>> import torch, zoo
    >>> features = zoo.cut_at(zoo.load("resnet18", classes=5, weights=None), "layer3")
    >>> features(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 256, 4, 4])
    >>> [name for name, _ in features.named_children()]
    ['conv1', 'bn1', 'relu', 'maxpool', 'layer1', 'layer2', 'layer3']

    Nothing behind the cut is computed, or kept: parameters and modules that only what follows uses are None. What
    runs before it stays under its name, in its mode, trained or frozen as it was. A module that runs several times
    counts when it returns for the last time. The copy has weights of its own; the model stays as it is.

    What runs before the cut is seen on one batch, in train and in eval mode: `sample`, or the input size that zoo
    knows for its own models.

    The copy can be copied, pickled, wrapped (DataParallel, DistributedDataParallel) and compiled, there in parts.
    torch.export and torch.fx do not follow a forward that is left in the middle: for them
    `torchvision.models.feature_extraction.create_feature_extractor(model, {"layer3": "features"})` makes a graph of
    a model that torch.fx can trace.

    Raises UsageError with near paths when there is no such place, or the model does not run it.
    """
    model = unwrapped(model)
    get_module(model, path)
    if not path:
        raise UsageError("the whole model cannot be cut behind itself.", "give a path like 'layer3'")
    sample = _sample_for(model) if sample is None else sample
    with taking(model, sample.shape):
        runs = [_watched(model, path, sample, training=training) for training in (False, True)]
    if not runs[0].calls or runs[0].calls != runs[1].calls:
        how = "does not run" if not any(run.calls for run in runs) else "runs another number of times in training"
        raise UsageError(f"this {type(model).__name__} cannot be cut at {path!r}: it {how}.")
    # What a copy is said to have made already is not copied; None is how torch notes what is absent.
    cut: nn.Module = copy.deepcopy(model, {id(each): None for each in _absent(model, runs)})
    set_spec(cut, None)
    Cut(cut, path, runs[0].calls).attach()
    return cut


def is_cut(model: nn.Module) -> bool:
    """Whether a model, or one within it, is what `cut_at` gave."""
    return any(isinstance(getattr(vars(each).get("forward"), "__self__", None), Cut) for each in model.modules())


class Cut:
    """Has the methods that stand in for those of a model that is cut."""

    def __init__(self, model: nn.Module, path: str, calls: int) -> None:
        self.model = model
        self.path = path
        self.calls = calls

    def attach(self) -> None:
        """Put them into the model, as bound methods, which copies and pickles take along with it."""
        vars(self.model).update(forward=self.forward, _replicate_for_data_parallel=self.replica)

    def replica(self) -> nn.Module:
        """What DataParallel puts on another device, cut by itself; with the methods here it would run this model."""
        made: nn.Module = type(self.model)._replicate_for_data_parallel(self.model)
        Cut(made, self.path, self.calls).attach()
        return made

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module at the path gives when it returns for the last time; torch.export is refused."""
        if torch.compiler.is_exporting():
            raise UsageError(
                f"torch.export cannot follow a {type(self.model).__name__} that is cut: it leaves its forward at"
                f" {self.path}.",
                "torchvision.models.feature_extraction.create_feature_extractor gives a graph, which it can",
            )
        left = [self.calls]

        def stop(module: nn.Module, args: Any, out: Any) -> None:
            left[0] -= 1
            if not left[0]:
                raise _Reached(out)

        handle = self.model.get_submodule(self.path).register_forward_hook(stop)
        try:
            type(self.model).forward(self.model, *args, **kwargs)
        except _Reached as reached:
            return reached.out
        finally:
            handle.remove()
        raise RuntimeError(f"{self.path} has not run {self.calls} times, as it did when the model was cut there")


class _Reached(BaseException):
    """The place of the cut has returned; no `except Exception` of a model's own stops it."""

    def __init__(self, out: Any) -> None:
        self.out = out


class _Uses(TorchDispatchMode):
    """Notes which tensors operations read."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.read: set[int] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.read.update(id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        return func(*args, **(kwargs or {}))


@dataclass
class _Run:
    """What a batch used before the module at the path returned for the last time."""

    calls: int
    entered: set[str]
    read: set[int]
    ever: set[str]
    """The modules that ran at all."""


def _watched(model: nn.Module, path: str, sample: Tensor, *, training: bool) -> _Run:
    """Run a batch in one of the modes and leave the model as it was."""
    uses, ever = _Uses(), set[str]()
    run = _Run(0, set(), set(), ever)

    def enter(name: str) -> Callable[..., None]:
        return lambda module, args: ever.add(name)

    def leave(module: nn.Module, args: Any, out: Any) -> None:
        run.calls += 1
        run.entered, run.read = set(ever), set(uses.read)

    handles = [module.register_forward_pre_hook(enter(name)) for name, module in model.named_modules()]
    handles.append(model.get_submodule(path).register_forward_hook(leave))
    buffers = [(each, each.detach().clone()) for each in model.buffers()]
    try:
        with looking(model, training=training), uses:
            model(sample)
    finally:
        for handle in handles:
            handle.remove()
        with torch.no_grad():
            for each, before in buffers:
                each.copy_(before)
    return run


def _absent(model: nn.Module, runs: Sequence[_Run]) -> list[nn.Module | nn.Parameter]:
    """The parameters that only what follows the cut uses, and the modules that run only there."""
    read = set[int]().union(*(run.read for run in runs))
    entered = set[str]().union(*(run.entered for run in runs))
    ever = set[str]().union(*(run.ever for run in runs))
    around = {name[:end] for name in entered for end, letter in enumerate(name) if letter == "."}
    gone: list[nn.Module | nn.Parameter] = [each for each in model.parameters() if id(each) not in read]
    for name, module in model.named_modules():
        parameters = [id(each) in read for each in module.parameters()]
        if name and name not in entered | around and not any(parameters) and (parameters or name in ever):
            gone.append(module)
    return gone


def _sample_for(model: nn.Module) -> Tensor:
    """Two pictures of zeros in the shape that the model is known for; two, since norms refuse to train on one."""
    shape, example = input_shape(model, 2, "zoo.cut_at(model, path"), next(model.parameters())
    return torch.zeros(shape, device=example.device, dtype=example.dtype)
