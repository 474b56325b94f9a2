"""Where a run computes: the device, mixed precision, memory."""

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import UsageError
from zoo.units import some


@dataclass(frozen=True)
class Device:
    """A device, the precision on it, and whether it repeats its operations bit for bit."""

    device: torch.device
    amp: torch.dtype | None
    """The lower precision of mixed precision, or None for float32 throughout."""
    deterministic: bool = False
    """Whether only algorithms are taken that give the same bits every time; a CPU with equal threads has no others."""

    @property
    def repeats(self) -> bool:
        """Whether the same work comes out the same, bit for bit."""
        return self.deterministic or self.device.type == "cpu"

    @contextlib.contextmanager
    def algorithms(self) -> Iterator[None]:
        """The algorithms of the body: those that repeat themselves where that was asked for, then torch's as before.

        Within it torch raises RuntimeError for an operation that has none.
        """
        if not self.deterministic:
            yield
            return
        # cuBLAS sums in an order of its own unless its workspace is of one of two sizes, which it is told only so.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        measures = torch.backends.cudnn.benchmark
        # torch says nothing of its types to others.
        memory: Any = torch.utils.deterministic
        filled = memory.fill_uninitialized_memory
        torch.use_deterministic_algorithms(True)
        # Who measures takes another algorithm each time.
        torch.backends.cudnn.benchmark = False
        # It takes time, and nothing here reads memory that was not written.
        memory.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
            torch.backends.cudnn.benchmark = measures
            memory.fill_uninitialized_memory = filled

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which a forward pass runs."""
        if self.amp is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.amp)

    def scaler(self) -> torch.amp.GradScaler | None:
        """The scaler that float16 needs against vanishing gradients."""
        return torch.amp.GradScaler(self.device.type) if self.amp is torch.float16 else None

    def place(self, model: nn.Module) -> nn.Module:
        """The model on the device, its weights in the order in which convolutions are fastest.

        Channels last: on two CPU cores a mobilenet_v2 answers in two thirds of the time of torch's usual order.
        """
        return model.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def send(self, pictures: Tensor) -> Tensor:
        """Pictures (batch, channels, height, width) on the device in that same order."""
        return pictures.to(self.device, non_blocking=True, memory_format=torch.channels_last)

    def __str__(self) -> str:
        precision = {None: "float32", torch.float16: "float16 mixed", torch.bfloat16: "bfloat16 mixed"}[self.amp]
        asked = ", deterministic" if self.deterministic else ""
        if self.device.type == "cpu":
            return f"cpu, {precision}, {some(torch.get_num_threads(), 'thread')}{asked}"
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else ""
        return f"{self.device}{f' ({name})' if name else ''}, {precision}{asked}"


def pick(device: str, amp: str, *, deterministic: bool = False) -> Device:
    """The device that a text means, and mixed precision where the device has it.

    Raises UsageError with the devices that there are.
    """
    chosen = _device(device)
    if amp == "auto":
        if chosen.type != "cuda":
            return Device(chosen, None, deterministic)
        lower = torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16
        return Device(chosen, lower, deterministic)
    if amp == "fp16" and chosen.type == "cpu":
        raise UsageError("amp is fp16, which needs a GPU.", "on the CPU it is bf16 or off")
    return Device(chosen, {"off": None, "fp16": torch.float16, "bf16": torch.bfloat16}[amp], deterministic)


def _device(text: str) -> torch.device:
    available = ["cpu"]
    if torch.cuda.is_available():
        available += ["cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if text == "auto":
        return torch.device(next((each for each in ("cuda", "mps") if each in available), "cpu"))
    if text not in available:
        raise UsageError(f"there is no device {text!r} here.", f"devices: auto, {', '.join(available)}")
    return torch.device(text)


LIBRARIES = {"torchvision": ("torchvision",), "timm": ("torchvision", "timm"), "hf": ("torchvision", "transformers")}
"""Of whose versions a run's numbers may depend, by the source of its model; torchvision prepares every picture."""


def machine(device: Device, source: str) -> dict[str, Any]:
    """What the numbers of a run with a model of some source depend on, beside its settings."""
    name = f"cpu {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    more: dict[str, Any] = {}
    if device.device.type == "cuda":
        name = torch.cuda.get_device_name(device.device)
        more = {"cudnn": str(torch.backends.cudnn.version()), "deterministic": device.deterministic}
    elif device.device.type != "cpu":
        name = device.device.type
    return {
        "torch": torch.__version__,
        "device": name,
        "precision": str(device.amp or torch.float32),
        "threads": torch.get_num_threads(),
        "processes": 1,
        **more,
        **{library: version(library) for library in ("pillow", *LIBRARIES.get(source, ("torchvision",)))},
    }


@contextlib.contextmanager
def threads(count: Any) -> Iterator[None]:
    """So many threads for the body, where it is a number that this machine could have meant, then as before."""
    before = torch.get_num_threads()
    if isinstance(count, int) and not isinstance(count, bool) and 0 < count <= 4 * (os.cpu_count() or 1):
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def default_workers(device: Device) -> int:
    """How many processes read pictures; on the CPU few or none, since its cores compute."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cores) if device.device.type == "cuda" else min(2, cores // 4)


def peak_memory(device: Device) -> int | None:
    """The most memory that was in use, in bytes: the device's since `forget_peak`, or of the CPU the process's ever."""
    if device.device.type == "cuda":
        return torch.cuda.max_memory_allocated(device.device)
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak(device: Device) -> None:
    """Let `peak_memory` of a GPU count from here on; what a process once held is known of it until its end."""
    if device.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device.device)


def synchronize(device: Device) -> None:
    """Wait until the device has done what it was given, so that a clock can be read."""
    if device.device.type == "cuda":
        torch.cuda.synchronize(device.device)
    elif device.device.type == "mps":
        torch.mps.synchronize()
