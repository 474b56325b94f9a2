"""A dry run tries a real batch, tells what a run would take, and leaves everything as it was."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.finetuning.conftest import TINY, Train
from zoo import finetuning
from zoo.finetuning.preparing import Plan
from zoo.finetuning.reporting import Reporter


@pytest.fixture
def plan(tmp_path: Path, pictures: Path) -> Any:
    def call(recipe: str | None = None, **given: Any) -> Plan:
        usual = {"model": TINY, "data": str(pictures), "epochs": 4, "batch-size": 4, "workers": 0, "device": "cpu"}
        return finetuning.plan_for(recipe, {**usual, **given}, out=tmp_path / "runs", reporter=Reporter())

    return call


def test_it_tells_what_a_run_would_take(plan: Any, train: Train) -> None:
    estimate = finetuning.rehearse(plan())
    assert estimate.steps == 16
    assert estimate.loss > 0
    assert 0 < estimate.step_seconds < 10
    assert estimate.steps * estimate.step_seconds <= estimate.seconds < 60
    assert estimate.peak is not None
    assert estimate.peak > 50e6
    assert estimate.free_bytes > estimate.disk_bytes == 2 * estimate.checkpoint_bytes
    run = train()
    tensors = sum((run.last / name).stat().st_size for name in ("model.safetensors", "training.safetensors"))
    assert 0.5 * tensors < estimate.checkpoint_bytes <= tensors


def test_steps_of_all_stages_count(plan: Any) -> None:
    assert finetuning.rehearse(plan("probe-then-fine-tune", epochs=5)).steps == 20


@pytest.mark.parametrize(
    ("keep", "epochs", "kept"),
    [
        ("last", 4, 1),
        ("best,last", 1, 1),
        ("best", 4, 2),
        ("every:1", 4, 4),
        ("every:3", 10, 4),
        ("best,every:2", 4, 3),
        ("best,last,every:3", 10, 5),
    ],
)
def test_the_disk_holds_what_is_kept_at_most(plan: Any, keep: str, epochs: int, kept: int) -> None:
    estimate = finetuning.rehearse(plan(keep=keep, epochs=epochs))
    assert estimate.disk_bytes == kept * estimate.checkpoint_bytes


def test_a_full_checkpoint_takes_more(plan: Any) -> None:
    assert finetuning.rehearse(plan(save="full")).checkpoint_bytes > finetuning.rehearse(plan()).checkpoint_bytes


def test_nothing_is_written_and_the_model_is_as_before(plan: Any, tmp_path: Path) -> None:
    rehearsed = plan("probe-then-fine-tune")
    before = {name: value.clone() for name, value in rehearsed.model.state_dict().items()}
    state = torch.get_rng_state()
    finetuning.rehearse(rehearsed)
    assert all(torch.equal(value, before[name]) for name, value in rehearsed.model.state_dict().items())
    assert all(parameter.grad is None for parameter in rehearsed.model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert not (tmp_path / "runs").exists()


def test_a_rehearsed_plan_trains_as_if_it_had_not_been(plan: Any, train: Train) -> None:
    rehearsed = plan()
    finetuning.rehearse(rehearsed)
    run = finetuning.carry_out(rehearsed, reporter=Reporter())
    straight = train(epochs=4)
    assert (run.last / "model.safetensors").read_bytes() == (straight.last / "model.safetensors").read_bytes()
