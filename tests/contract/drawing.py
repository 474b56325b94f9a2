"""Random weights of large models at the price of a copy; it imports torch alone, also where zoo cannot be."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

BLOCK = 1 << 18


class OneBlock(TorchFunctionMode):
    """Within it a large tensor is filled with one block of random numbers again and again.

    Drawing each number takes most of the time of building a large model, and the contract asks for no more than
    weights that differ from one another.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        more = kwargs or {}
        if func not in DRAWING:
            return func(*args, **more)
        # The functions of `nn.init` pass all by name.
        filled: Tensor = args[0] if args else more["tensor"]
        if filled.is_meta or filled.numel() <= BLOCK or not filled.is_contiguous():
            return func(*args, **more)
        # Rows of the tensor's own width, on which the scale of `kaiming_uniform_` depends.
        rows = max(1, min(len(filled), BLOCK * len(filled) // filled.numel()))
        block = torch.empty_like(filled[:rows], requires_grad=False)
        with torch.no_grad():
            func(block, *args[1:], **{key: value for key, value in more.items() if key != "tensor"})
            for part in filled.split(rows):
                part.copy_(block[: len(part)])
        return filled


DRAWING = (Tensor.uniform_, Tensor.normal_, nn.init.kaiming_uniform_)
