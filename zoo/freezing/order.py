"""The running order of a model: what ran when, on which inputs, recorded on one batch.

Definition order is no substitute: it differs from the order of execution in most architectures that are
more than a chain. The recording follows tensors through every operation, so that one pass answers, for any
policy, which parameters come before a place and which modules receive only frozen results.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakIdKeyDictionary

from zoo.names import is_under, join


@dataclass
class _Operation:
    """One tensor operation: the values it reads, the values it makes, the parameters among what it reads."""

    reads: tuple[int, ...]
    makes: tuple[int, ...]
    parameters: tuple[str, ...]


@dataclass
class _Call:
    """One call of a module, noted at its start with the values it received."""

    module: str
    reads: tuple[int, ...]


@dataclass
class RunningOrder:
    """What one batch showed."""

    events: list[_Operation | _Call] = field(default_factory=list)
    returned: dict[str, int] = field(default_factory=dict)
    """For each module that ran, the number of operations done when it returned for the last time."""
    entered: dict[str, int] = field(default_factory=dict)
    """For each module that ran, the number of operations done when it started for the first time."""
    restarted: dict[str, int] = field(default_factory=dict)
    """The same for the start of its last call."""
    calls: dict[str, int] = field(default_factory=dict)
    """How often each module ran."""
    used: dict[str, int] = field(default_factory=dict)
    """For each parameter that was used, the number of the last operation that read it."""
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """The shape of each module's last output where that is a tensor, the batch first."""

    def before(self, path: str) -> set[str] | None:
        """The parameters whose last use lies before a module's last return; None if it never ran.

        A list of modules returns when the last of them does.
        """
        moments = [moment for name, moment in self.returned.items() if is_under(name, path)]
        if not moments:
            return None
        boundary = self.returned.get(path, max(moments))
        return {name for name, last in self.used.items() if last <= boundary}

    def since(self, path: str) -> set[str] | None:
        """The parameters whose last use lies after a module's first start; None if it never ran.

        A list of modules starts with the first of them.
        """
        moments = [moment for name, moment in self.entered.items() if is_under(name, path)]
        return {name for name, last in self.used.items() if last > min(moments)} if moments else None

    def with_frozen_inputs(self, trained: Collection[str]) -> set[str]:
        """The modules that received nothing which depends on a trained parameter, in any of their calls."""
        live: set[int] = set()
        called: dict[str, bool] = {}
        for event in self.events:
            touched = not live.isdisjoint(event.reads)
            if isinstance(event, _Call):
                called[event.module] = called.get(event.module, True) and not touched
            elif touched or any(name in trained for name in event.parameters):
                live.update(event.makes)
        return {name for name, frozen in called.items() if frozen}


def record(model: nn.Module, sample: Tensor) -> RunningOrder:
    """Run one batch in eval mode without gradients and note what happens; the model is left as it was.

    Parameters, buffers, training flags and the state of the random generator stay untouched.
    """
    # Without a word on devices, torch would start every GPU to keep its generator; here nothing draws from one.
    order = RunningOrder()
    recorder = _Recorder(order, {id(parameter): name for name, parameter in model.named_parameters()})
    with _eval_mode(model), _hooked(model, recorder), torch.random.fork_rng(devices=[]), torch.no_grad(), recorder:
        model(sample)
    return order


class _Recorder(TorchDispatchMode):
    """Numbers every value; an operation in place makes a new number for the same tensor."""

    def __init__(self, order: RunningOrder, parameters: dict[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.order = order
        self.parameters = parameters
        self.numbers = WeakIdKeyDictionary()
        self.values = 0
        self.operations = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        read = _tensors((args, kwargs))
        reads = tuple(self.number(tensor) for tensor in read)
        out = func(*args, **(kwargs or {}))
        self.operations += 1
        names = tuple(self.parameters[id(tensor)] for tensor in read if id(tensor) in self.parameters)
        for name in names:
            self.order.used[name] = self.operations
        makes = []
        for tensor in _tensors(out):
            makes.append(self.number(tensor, new=True))
            # Written in place through a view, the tensor that it views has changed too.
            if tensor._base is not None and any(tensor is each for each in read):
                makes.append(self.number(tensor._base, new=True))
        self.order.events.append(_Operation(reads, tuple(makes), names))
        return out

    def number(self, tensor: Tensor, new: bool = False) -> int:
        if new or tensor not in self.numbers:
            self.values += 1
            self.numbers[tensor] = self.values
        return int(self.numbers[tensor])


@contextmanager
def _hooked(model: nn.Module, recorder: _Recorder) -> Iterator[None]:
    order = recorder.order
    handles: list[RemovableHandle] = []
    for name, module in model.named_modules():

        def enter(_: nn.Module, args: Any, kwargs: Any, name: str = name) -> None:
            reads = tuple(recorder.number(tensor) for tensor in _tensors((args, kwargs)))
            order.events.append(_Call(name, reads))
            order.entered.setdefault(name, recorder.operations)
            order.restarted[name] = recorder.operations
            order.calls[name] = order.calls.get(name, 0) + 1

        def leave(_: nn.Module, args: Any, out: Any, name: str = name) -> None:
            # A name that returns again moves to the end: the running order is that of the last returns.
            order.returned.pop(name, None)
            order.returned[name] = recorder.operations
            if isinstance(out, Tensor):
                order.shapes[name] = tuple(out.shape)

        handles += [
            module.register_forward_pre_hook(enter, with_kwargs=True),
            module.register_forward_hook(leave),
        ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """All in eval mode by the flags themselves, since a frozen part answers `eval()` in its own way."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in flags:
            module.training = False
        yield
    finally:
        for module, flag in flags:
            module.training = flag


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def places(model: nn.Module, order: RunningOrder) -> list[str]:
    """The blocks up to which one would freeze a model, in running order.

    Plain containers are opened, and so is a module that mostly consists of one container of equal blocks;
    everything else is a block. Blocks without parameters are left out.
    """
    moments = {name: moment for moment, name in enumerate(order.returned)}
    blocks = [name for name in _blocks(model, "", model) if name in moments]
    return sorted(blocks, key=moments.__getitem__)


def _blocks(module: nn.Module, path: str, model: nn.Module) -> Iterable[str]:
    for name, child in module.named_children():
        full = join(path, name)
        if not _size(child):
            continue
        if type(child) in CONTAINERS or any(_is_main_stack(part, child, model) for part in child.modules()):
            yield from _blocks(child, full, model)
        else:
            yield full


def _is_main_stack(part: nn.Module, module: nn.Module, model: nn.Module) -> bool:
    """Whether a part repeats one kind of block, a list of them some kinds, and holds most of a module's parameters.

    A row of single layers, convolutions with their norms, say, is the inside of a block, unless it holds most of
    the model's layers, as in MobileNet v1.
    """
    if not isinstance(part, CONTAINERS):
        return False
    blocks = list(part.children())
    kinds = len({type(block) for block in blocks})
    return (
        len(blocks) > 1
        and (kinds == 1 or (isinstance(part, nn.ModuleList) and kinds < len(blocks)))
        and any(True for _ in blocks[0].children())
        and _size(part) > _size(module) / 2
        and (any(_layers(block) > 1 for block in blocks) or _layers(part) > _layers(model) / 2)
    )


def _layers(module: nn.Module) -> int:
    """How many layers multiply by weights; norms have vectors alone."""
    return sum(parameter.dim() > 1 for parameter in module.parameters())


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
