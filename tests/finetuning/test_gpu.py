"""What a GPU is to do: repeat itself where it is asked to, say when it is full, and give what a CPU can take over."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from tests.conftest import write_pictures
from tests.finetuning.conftest import Listener, changed, press_ctrl_c
from zoo.checkpoint import reading
from zoo.errors import OutOfMemoryError, Stopped, UsageError
from zoo.freezing import freeze

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

POOLED = "own:tests-pooled"


class Pooled(nn.Module):
    """Its pool, with several places, sums gradients in no order of its own on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(3), nn.Linear(72, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.pool(self.conv(pictures)).flatten(1))
        return scores


@pytest.fixture(scope="module", autouse=True)
def _pooled() -> None:
    zoo.register(POOLED.partition(":")[2], Pooled, head_path="fc", input_size=(16, 16))


Tune = Callable[..., zoo.Run]


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("data") / "imgs", {"ant": 24, "bee": 24}, size=160)


@pytest.fixture
def tune(coloured: Path, tmp_path: Path) -> Tune:
    """Train all of a network on a GPU for three epochs of two or three steps; what is given overrides."""

    def call(name: str, **given: Any) -> zoo.Run:
        usual = {"data": coloured, "weights": None, "epochs": 3, "batch_size": 16, "workers": 2, "device": "cuda"}
        usual |= {"recipe": "fine-tune", "keep": "best,every:1", "augment": "standard"}
        return zoo.finetune(**{**usual, "out": tmp_path / "runs", "name": name, **given})

    return call


@pytest.mark.parametrize("amp", ["auto", "fp16", "off"])
@pytest.mark.parametrize("model", ["resnet18", "timm:efficientnet_b0", "timm:vit_tiny_patch16_224", "convnext_tiny"])
def test_a_stopped_run_that_repeats_itself_goes_on_bit_for_bit(tune: Tune, model: str, amp: str) -> None:
    asked = {"model": model, "amp": amp, "deterministic": True}
    with pytest.raises(Stopped):
        tune("broken", **asked, reporter=Listener(at_step={4: press_ctrl_c}))
    unbroken, heard = tune("unbroken", **asked), Listener()
    broken = zoo.resume(unbroken.folder.parent / "broken", reporter=heard)
    assert changed(broken.last, unbroken.last) == set()
    assert not any("bit-exact" in note for note in heard.notes)
    assert heard.plan is not None
    assert str(heard.plan.device).endswith("mixed, deterministic" if amp != "off" else "float32, deterministic")


def test_without_it_a_run_that_goes_on_says_that_it_may_not_be_the_same(tune: Tune) -> None:
    with pytest.raises(Stopped):
        tune("run", model="resnet18", reporter=Listener(at_step={4: press_ctrl_c}))
    heard = Listener()
    folder = tune("other", model="resnet18").folder.parent / "run"
    zoo.resume(folder, reporter=heard)
    assert "perhaps not bit-exact" in " ".join(heard.notes)


def test_an_operation_that_cannot_repeat_itself_is_named(tune: Tune) -> None:
    with pytest.raises(UsageError, match=r"adaptive_avg_pool2d_backward_cuda has no way on cuda(?s:.*)--deterministic"):
        tune("run", model=POOLED, deterministic=True)
    frozen = tune("frozen", model=POOLED, deterministic=True, freeze="backbone", recipe="linear-probe")
    assert frozen.epochs == 3
    assert tune("free", model=POOLED).epochs == 3


@pytest.fixture
def nearly_full() -> Iterator[None]:
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.01)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("nearly_full")
def test_a_gpu_that_is_full_is_told_with_what_to_do(tune: Tune) -> None:
    with pytest.raises(OutOfMemoryError, match=r"too little memory for steps of 48 pictures(?s:.*)--batch-size"):
        tune("run", model="convnext_base", batch_size=48)


def test_a_checkpoint_of_a_gpu_gives_the_same_on_a_cpu(tune: Tune, coloured: Path) -> None:
    run = tune("run", model="resnet18", amp="off", lr=1e-3)
    assert run.peak is not None
    assert 1e7 < run.peak < 1e9, "the memory of the device in this run, not that of runs before it"
    assert all(value.device.type == "cpu" for value in zoo.load_checkpoint(run.best).state_dict().values())
    there, here = (zoo.predict(run.best, coloured, device=device, workers=0) for device in ("cuda", "cpu"))
    assert [each.path for each in there] == [each.path for each in here]
    for one, other in zip(there, here, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=5e-3)
    measured = [zoo.evaluate(run.best, coloured, device=device).metrics["loss"] for device in ("cuda", "cpu")]
    assert measured[0] == pytest.approx(measured[1], abs=5e-3)


def test_half_precision_keeps_its_scale(tune: Tune) -> None:
    asked = {"model": "resnet18", "amp": "fp16", "deterministic": True}
    with pytest.raises(Stopped):
        tune("run", **asked, reporter=Listener(at_step={4: press_ctrl_c}))
    unbroken = tune("other", **asked)
    broken = zoo.resume(unbroken.folder.parent / "run")
    one, other = (reading.read_training(run.last)["scaler"] for run in (broken, unbroken))
    assert one == other, "the scale, and for how many steps it held"
    assert one["scale"] > 0


def test_a_run_on_the_cpu_leaves_the_gpu_alone(coloured: Path, tmp_path: Path) -> None:
    lines = f"""
import torch, zoo
zoo.finetune("squeezenet1_1", {str(coloured)!r}, weights=None, epochs=1, img_size=32, device="cpu", workers=0,
             out={str(tmp_path)!r})
assert not torch.cuda.is_initialized()
"""
    subprocess.run([sys.executable, "-c", lines], check=True, timeout=120)


def test_random_numbers_of_the_gpu_go_on_as_they_were(tune: Tune) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4, device="cuda"), torch.rand(4, device="cuda")
    torch.manual_seed(3)
    assert torch.equal(torch.rand(4, device="cuda"), expected[0])
    tune("run", model="resnet18", epochs=1)
    assert torch.equal(torch.rand(4, device="cuda"), expected[1])


def test_what_is_frozen_stays_bit_equal(tune: Tune) -> None:
    model = zoo.load("resnet18", classes=2, weights=None)
    whole = {name: value.clone() for name, value in model.state_dict().items()}
    before = {name: value for name, value in whole.items() if not name.startswith("fc.")}
    frozen = freeze(model, "backbone")
    assert frozen
    run = tune("run", model=model, weights="default", freeze="backbone", recipe="linear-probe", lr=0.1)
    after = zoo.load_checkpoint(run.last).state_dict()
    assert [name for name, value in before.items() if not torch.equal(value, after[name])] == []
    assert not torch.equal(after["fc.weight"], whole["fc.weight"])
