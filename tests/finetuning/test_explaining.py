"""What goes wrong in the middle of the work is told in words that a user can act on, whatever the work is for."""

import multiprocessing
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import zoo
from tests.conftest import Command
from tests.finetuning.conftest import Listener, Train, same_weights
from zoo import finetuning
from zoo.errors import NumericsError, OutOfMemoryError, UsageError
from zoo.finetuning.reporting import Reporter

NORMED, PUTTING = "own:tests-normed", "own:tests-putting"


class Normed(nn.Module):
    """A batch norm on a vector, which cannot learn from one picture."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 8, 3), nn.BatchNorm1d(8), nn.Linear(8, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.norm(self.conv(pictures).mean(dim=(2, 3))))
        return scores


class Putting(nn.Module):
    """Puts numbers into places, of which torch has no way that repeats itself, not even on a CPU."""

    asked: ClassVar[list[bool]] = []

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        if self.training:
            self.asked.append(torch.are_deterministic_algorithms_enabled())
            # What torch refuses needs no part in the scores.
            torch.zeros(4).put_(torch.tensor([0]), torch.ones(1))
        scores: Tensor = self.fc(self.conv(pictures).mean(dim=(2, 3)))
        return scores


@pytest.fixture(scope="module", autouse=True)
def _models() -> None:
    zoo.register(NORMED.partition(":")[2], Normed, head_path="fc", input_size=(16, 16))
    zoo.register(PUTTING.partition(":")[2], Putting, head_path="fc", input_size=(16, 16))


def test_an_operation_that_cannot_repeat_itself_is_named_where_it_shall(
    train: Train, pictures: Path, tmp_path: Path
) -> None:
    told = r"put_ has no way on cpu that repeats itself bit for bit(?s:.*)leave --deterministic out"
    with pytest.raises(UsageError, match=told):
        train(model=PUTTING, device="cpu", deterministic=True)
    given = {"model": PUTTING, "data": str(pictures), "workers": 0, "device": "cpu", "deterministic": True}
    plan = finetuning.plan_for(None, given, out=tmp_path / "dry", reporter=Reporter())
    with pytest.raises(UsageError, match=told):
        finetuning.rehearse(plan)
    with pytest.raises(UsageError, match=told):
        zoo.lr_find(PUTTING, pictures, workers=0, device="cpu", settings={"deterministic": True})
    assert not torch.are_deterministic_algorithms_enabled()
    Putting.asked.clear()
    train("free", model=PUTTING, deterministic=False)
    assert set(Putting.asked) == {False}


def test_a_run_that_failed_leaves_no_process_behind_while_its_error_is_looked_at(train: Train) -> None:
    with pytest.raises(NumericsError) as kept:
        train(workers=1, lr=1e30)
    assert kept.value is not None
    assert multiprocessing.active_children() == []


def test_a_batch_of_one_picture_is_told_by_all_that_train_on_it(train: Train, pictures: Path, tmp_path: Path) -> None:
    told = "a batch norm cannot learn from a single number a channel"
    with pytest.raises(UsageError, match=told):
        train(model=NORMED, batch_size=1)
    given = {"model": NORMED, "data": str(pictures), "batch-size": 1, "workers": 0, "device": "cpu"}
    plan = finetuning.plan_for(None, given, out=tmp_path / "dry", reporter=Reporter())
    with pytest.raises(UsageError, match=told):
        finetuning.rehearse(plan)
    with pytest.raises(UsageError, match=told):
        zoo.lr_find(NORMED, pictures, batch_size=1, workers=0, device="cpu")


@pytest.mark.parametrize("work", ["dry run", "range test"])
def test_too_little_memory_is_told_before_a_run_too(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    given = {"model": NORMED, "data": str(pictures), "batch-size": 4, "workers": 0, "device": "cpu"}
    plan = finetuning.plan_for(None, given, out=tmp_path / "dry", reporter=Reporter())
    monkeypatch.setattr(Normed, "forward", full)
    monkeypatch.setattr("zoo.finetuning.rates.prepare", lambda *_, **__: plan)
    with pytest.raises(OutOfMemoryError, match=r"too little memory for steps of 4 pictures(?s:.*)--batch-size"):
        finetuning.rehearse(plan) if work == "dry run" else zoo.lr_find(NORMED, pictures)


def kill_a_worker() -> None:
    """The one that was begun first, which reads what is trained on."""
    min(multiprocessing.active_children(), key=lambda each: each.pid or 0).kill()


def test_a_worker_that_the_system_ended_is_told_and_the_run_goes_on_without(
    train: Train, tmp_path: Path, zoo_command: Command
) -> None:
    unbroken = train("unbroken", epochs=3)
    with pytest.raises(OutOfMemoryError, match=r"was ended from outside(?s:.*)zoo resume RUN --workers 0") as raised:
        train(epochs=3, workers=1, reporter=Listener(at_step={5: kill_a_worker}))
    assert raised.value.exit_code == 7
    assert zoo_command("resume", tmp_path / "runs" / "run", "--workers", 0).code == 0
    assert same_weights(tmp_path / "runs" / "run" / "epoch-0003", unbroken.last)
