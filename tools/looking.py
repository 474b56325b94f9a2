"""What running a model on one batch shows of it, without real memory where that is possible."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from zoo.freezing.order import RunningOrder, record
from zoo.names import is_under

LARGEST_IN_MEMORY = 400e6
"""Parameters of the largest model that is built for real where the meta device fails."""


class LeftOut(Exception):  # noqa: N818
    """Why a model does not enter the index."""


def ran(build: Callable[[], nn.Module], size: tuple[int, int]) -> tuple[nn.Module, RunningOrder | None]:
    """The model and its running order, without real memory where that is possible."""
    model, reason = None, ""
    for without_values in (torch.device("meta"), _parameters_on_meta()):
        try:
            with without_values:
                model = build().to("meta")
            return model, record(model, torch.zeros(1, 3, *size, device="meta"))
        except Exception as error:  # whatever a library's code raises when tensors have no values
            reason = in_words(error)
    if model is None:
        raise LeftOut(f"it cannot be built: {reason}")
    if parameters_of(model) > LARGEST_IN_MEMORY:
        return model, None
    print(f"\rin memory: {type(model).__name__}, since on the meta device {reason}", flush=True)
    model = build()
    return model, record(model, torch.zeros(1, 3, *size))


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Drop the values of parameters alone, as soon as a module gets them.

    This is for builders that compute counts of layers or rates with tensors, which have no values at all
    inside `torch.device("meta")`.
    """
    register = nn.Module.register_parameter

    def on_meta(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and not param.is_meta:
            param = nn.Parameter(param.detach().to("meta"), param.requires_grad)
        register(self, name, param)

    nn.Module.register_parameter = on_meta  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def parameters_of(model: nn.Module) -> int:
    """How many numbers a model learns."""
    return sum(parameter.numel() for parameter in model.parameters())


def runs_at(model: nn.Module, size: tuple[int, int]) -> bool:
    """Whether a model takes pictures of a height and width."""
    try:
        _run(model, size)
    except Exception:  # a refusal has no class of its own
        return False
    return True


def multiply_adds_and_pool(model: nn.Module, size: tuple[int, int], head: str | None) -> tuple[int, str | None]:
    """What one picture costs, and the module that makes a map, channels first or last, the vector for the head.

    The cost are the multiplications, each with its addition, of convolutions and matrix products. There is no such
    module where a model pools within its `forward`, by a token, or behind its head; it has no parameters.
    """
    counter = FlopCounterMode(display=False)
    # The counter asks each tensor that learns for its gradient's function, which none has here.
    model.requires_grad_(False)
    with _pools_noted(model, head) as reached, counter:
        _run(model, size)
    return int(counter.get_total_flops()) // 2, reached[0] if reached else None


@contextmanager
def _pools_noted(model: nn.Module, head: str | None) -> Iterator[list[str]]:
    """The pool that ran last when the head was reached, as soon as it was."""
    pools: list[str] = []
    reached: list[str] = []

    def watch(name: str, module: nn.Module) -> Iterator[RemovableHandle]:
        def enter(_: nn.Module, given: tuple[Any, ...]) -> None:
            if head is not None and is_under(name, head):
                reached.extend(pools[-1:])
            # What still works on a map shows that the pool before it was another one.
            if _is_map(given):
                pools.clear()

        def leave(_: nn.Module, given: tuple[Any, ...], out: Any) -> None:
            if not _is_map(given) or not isinstance(out, Tensor):
                return
            batch, first, *_, last = given[0].shape
            # The outermost returns last: timm's pools hold one of torch and a flatten.
            if out.shape in [(batch, first), (batch, first, 1, 1), (batch, last), (batch, 1, 1, last)]:
                pools.append(name)

        yield module.register_forward_pre_hook(enter)
        if not any(True for _ in module.parameters()):
            yield module.register_forward_hook(leave)

    handles = [handle for name, module in model.named_modules() if name for handle in watch(name, module)]
    try:
        yield reached
    finally:
        for handle in handles:
            handle.remove()


def _is_map(given: tuple[Any, ...]) -> bool:
    return (
        bool(given)
        and isinstance(given[0], Tensor)
        and given[0].dim() == 4
        and sum(edge > 1 for edge in given[0].shape[1:]) > 1
    )


def _run(model: nn.Module, size: tuple[int, int]) -> None:
    device = next(model.parameters()).device
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, *size, device=device))


def in_words(error: Exception) -> str:
    """The kind of an error and the start of what it says, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
