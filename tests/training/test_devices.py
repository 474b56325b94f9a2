"""Which device and precision a text means, and what a device is asked for."""

import os
from typing import Any

import pytest
import torch
from torch import nn

from zoo.errors import UsageError
from zoo.training.devices import Device, default_workers, peak_memory, pick
from zoo.units import some


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda _: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_auto_is_the_cpu_in_full_precision() -> None:
    assert pick("auto", "auto") == Device(torch.device("cpu"), None)
    assert pick("cpu", "bf16") == Device(torch.device("cpu"), torch.bfloat16)
    assert pick("cpu", "off").scaler() is None


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("text", ["cuda", "cuda:0", "mps", "gpu", ""])
def test_a_device_that_is_absent_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(UsageError, match=r"no device '.*' here\.\n  devices: auto, cpu$"):
        pick(text, "auto")


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_is_taken_where_there_is_one() -> None:
    assert pick("auto", "auto") == Device(torch.device("cuda"), torch.float16)
    assert pick("cuda:1", "off") == Device(torch.device("cuda:1"), None)
    assert pick("cpu", "auto") == Device(torch.device("cpu"), None)
    with pytest.raises(UsageError, match="devices: auto, cpu, cuda, cuda:0, cuda:1"):
        pick("cuda:2", "auto")


@pytest.mark.usefixtures("no_gpu")
def test_mps_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick("auto", "auto").device.type == "mps"


def test_half_precision_on_the_cpu_is_refused_with_what_works() -> None:
    with pytest.raises(UsageError, match=r"amp is fp16, which needs a GPU(?s:.)*bf16"):
        pick("cpu", "fp16")


@pytest.mark.parametrize(("amp", "dtype"), [(None, torch.float32), (torch.bfloat16, torch.bfloat16)])
def test_the_context_computes_in_the_precision(amp: torch.dtype | None, dtype: torch.dtype) -> None:
    with Device(torch.device("cpu"), amp).autocast():
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype is dtype


def test_algorithms_that_repeat_themselves_are_taken_for_the_body_alone() -> None:
    memory: Any = torch.utils.deterministic
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = True
    try:
        with pick("cpu", "off", deterministic=True).algorithms():
            assert torch.are_deterministic_algorithms_enabled()
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
            assert not memory.fill_uninitialized_memory
            assert not torch.backends.cudnn.benchmark
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")
        assert torch.is_deterministic_algorithms_warn_only_enabled(), "as they were before"
        assert memory.fill_uninitialized_memory
        assert torch.backends.cudnn.benchmark
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = False
    with pick("cpu", "off").algorithms():
        assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(ValueError, match="within"), pick("cpu", "off", deterministic=True).algorithms():
        raise ValueError("within")
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_repeats_itself_where_it_is_asked_to_and_a_cpu_always() -> None:
    assert [pick(name, "off").repeats for name in ("cpu", "cuda")] == [True, False]
    assert pick("cuda", "auto", deterministic=True).repeats


def test_a_device_says_what_it_is() -> None:
    assert str(pick("cpu", "off", deterministic=True)).endswith(", deterministic")
    assert str(Device(torch.device("cpu"), None)) == f"cpu, float32, {some(torch.get_num_threads(), 'thread')}"
    assert "bfloat16 mixed" in str(Device(torch.device("cpu"), torch.bfloat16))


@pytest.mark.parametrize(("cores", "workers", "on_gpu"), [(1, 0, 1), (2, 0, 2), (8, 2, 8), (16, 2, 8)])
def test_workers_leave_the_computing_its_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, on_gpu: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert default_workers(Device(torch.device("cpu"), None)) == workers
    assert default_workers(Device(torch.device("cuda"), None)) == on_gpu


def test_peak_memory_is_of_this_process() -> None:
    peak = peak_memory(Device(torch.device("cpu"), None))
    assert peak is not None
    assert 50e6 < peak < 1e12


def test_a_model_and_its_pictures_are_placed_with_their_values_kept() -> None:
    device = Device(torch.device("cpu"), None)
    model, pictures = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    expected = model(pictures)
    torch.testing.assert_close(device.place(model)(device.send(pictures)), expected)
    assert torch.equal(device.send(pictures), pictures)
