"""Tensors as bytes: the safetensors format, and what is hashed."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy
import torch
from torch import Tensor

from zoo.errors import CheckpointError


def safetensors(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The bytes of a safetensors file, piece by piece, so that they can be hashed on their way to the disk.

    Every tensor is written with memory of its own, so that every key of a tied weight is there. The format is
    that of https://huggingface.co/docs/safetensors: widest numbers first, which keeps them aligned.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    start = 0
    for name in order:
        tensor = tensors[name]
        if tensor.dtype not in _DTYPES:
            raise CheckpointError(f"{name} holds {tensor.dtype}, which a safetensors file cannot.")
        end = start + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        yield raw(tensors[name])


def raw(tensor: Tensor) -> memoryview:
    """A tensor's bytes in row-major order, without a copy where they lie so already."""
    if not tensor.numel():
        return memoryview(b"")
    # numpy knows no bfloat16, and puts a tensor into order on one thread, beside the training's.
    whole = tensor.detach().cpu()
    bits = whole.view(_BITS[whole.element_size()]).numpy() if whole.dtype != torch.bool else whole.numpy()
    return numpy.ascontiguousarray(bits).reshape(-1).data.cast("B")


_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.uint16: "U16",
    torch.int32: "I32",
    torch.uint32: "U32",
    torch.int64: "I64",
    torch.uint64: "U64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.complex64: "C64",
}
