"""Training the steps before a checkpoint again: the same bits in a good run, and what differs in any other."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

import zoo
from tests.checkpoint.conftest import changed, forge
from tests.conftest import Command
from tests.finetuning.conftest import Listener
from tests.resuming.conftest import VIT, contents, run_stopped, stopped, tiny, unlike
from zoo.errors import Stopped
from zoo.training import loop
from zoo.units import some

Make = Callable[[Path, Path], Path]


def within_the_second_epoch(imgs: Path, out: Path) -> Path:
    return run_stopped(tiny(imgs, out), at_step=5)


def within_the_first_epoch(imgs: Path, out: Path) -> Path:
    return run_stopped(tiny(imgs, out, img_size=24), at_step=2)


def at_the_end_of_the_first_epoch(imgs: Path, out: Path) -> Path:
    return run_stopped(tiny(imgs, out, opt="sgd"), at_epoch=1)


def at_the_end_of_the_second_epoch(imgs: Path, out: Path) -> Path:
    return run_stopped(tiny(imgs, out, keep="every:1"), at_epoch=2)


def in_the_second_stage(imgs: Path, out: Path) -> Path:
    return run_stopped(tiny(imgs, out, recipe="probe-then-fine-tune", keep="best"), at_step=8)


def before_the_validation(imgs: Path, out: Path) -> Path:
    return run_stopped(tiny(imgs, out), at_step=6)


def of_a_vision_transformer(imgs: Path, out: Path) -> Path:
    return run_stopped(tiny(imgs, out, model=VIT, opt="sgd", amp="bf16"), at_step=5)


def stopped_twice(imgs: Path, out: Path) -> Path:
    folder = run_stopped(tiny(imgs, out), at_step=2)
    with pytest.raises(Stopped):
        zoo.resume(folder, reporter=stopped(at_step=6))
    return folder


GOOD: list[tuple[Make, int, str, str]] = [
    (within_the_second_epoch, 2, "epoch-0001", "epoch-0002-step-0002"),
    (within_the_first_epoch, 2, "the start", "epoch-0001-step-0002"),
    (at_the_end_of_the_first_epoch, 3, "the start", "epoch-0001"),
    (at_the_end_of_the_second_epoch, 3, "epoch-0001", "epoch-0002"),
    (in_the_second_stage, 5, "epoch-0001", "epoch-0003-step-0002"),
    (before_the_validation, 3, "epoch-0001", "epoch-0002-step-0003"),
    (of_a_vision_transformer, 2, "epoch-0001", "epoch-0002-step-0002"),
    (stopped_twice, 5, "epoch-0001", "epoch-0003-step-0002"),
]


@pytest.mark.parametrize(("make", "steps", "start", "newest"), GOOD, ids=[each[0].__name__ for each in GOOD])
def test_a_good_run_is_verified_and_goes_on(
    imgs: Path, tmp_path: Path, zoo_command: Command, make: Make, steps: int, start: str, newest: str
) -> None:
    run = make(imgs, tmp_path / "runs")
    result = zoo_command("resume", run, "--verify")
    assert result.code == 0, result.err
    assert f"verified: {some(steps, 'step')} from {start} to {newest} came out the same, bit for bit" in result.out
    again = make(imgs, tmp_path / "again")
    zoo.resume(again)
    assert unlike(run, again) == [], "verifying changes nothing of what follows"


def a_weight(folder: Path) -> str:
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    tensors["conv.weight"][0, 0, 0, 0] += 1e-6
    forge(folder, "model.safetensors", safetensors.torch.save(tensors, {"format": "pt"}))
    return "1 weights (conv.weight)"


def a_statistic(folder: Path) -> str:
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    tensors["norm.running_var"][3] *= 1.5
    forge(folder, "model.safetensors", safetensors.torch.save(tensors, {"format": "pt"}))
    return "norm.running_var"


def the_optimizer(folder: Path) -> str:
    tensors = safetensors.torch.load_file(folder / "training.safetensors")
    name = next(name for name in tensors if tensors[name].dim() > 1)
    tensors[name].mul_(1.01)
    forge(folder, "training.safetensors", safetensors.torch.save(tensors))
    return "1 tensors of the optimizer"


def a_row(folder: Path) -> str:
    def better(training: dict[str, Any]) -> None:
        training["progress"]["rows"][0]["val_accuracy"] = 1.0

    changed(folder, "training.json", better)
    return "the rows"


@pytest.mark.parametrize("forgery", [a_weight, a_statistic, the_optimizer, a_row])
@pytest.mark.parametrize("make", [within_the_second_epoch, at_the_end_of_the_second_epoch])
def test_a_forged_checkpoint_with_a_right_manifest_is_told(
    imgs: Path, tmp_path: Path, zoo_command: Command, make: Make, forgery: Callable[[Path], str]
) -> None:
    run = make(imgs, tmp_path)
    newest = run / GOOD[[each[0] for each in GOOD].index(make)][3]
    named = forgery(newest)
    before = contents(run)
    result = zoo_command("resume", run, "--verify")
    assert result.code == 4
    assert f"{newest} is not what its run gives" in result.err
    assert named in result.err
    assert contents(run) == before


def test_a_run_that_got_more_epochs_is_verified_from_then_on(imgs: Path, tmp_path: Path, zoo_command: Command) -> None:
    """The course of the learning rate changed there, so what came before cannot be repeated by its recipe."""
    zoo.finetune(**tiny(imgs, tmp_path, keep="every:1"))
    run = tmp_path / "run"
    with pytest.raises(Stopped):
        zoo.resume(run, epochs=5, reporter=stopped(at_step=2))
    result = zoo_command("resume", run, "--verify")
    assert result.code == 0, result.err
    assert "verified: 2 steps from epoch-0003" in result.out


def test_a_run_that_kept_no_checkpoint_of_its_present_settings_says_so(
    imgs: Path, tmp_path: Path, zoo_command: Command
) -> None:
    run = run_stopped(tiny(imgs, tmp_path, keep="last"), at_step=2)
    text = (run / "run.toml").read_text(encoding="utf-8")
    (run / "run.toml").write_text(text.replace("seed = 0", "seed = 5"), encoding="utf-8")
    with pytest.raises(Stopped):
        zoo.resume(run, allow=["seed"], reporter=stopped(at_step=3))
    for left in run.glob("epoch-*"):
        if left.name != "epoch-0002-step-0002":
            shutil.rmtree(left)
    before = contents(run)
    result = zoo_command("resume", run, "--verify")
    assert result.code == 4
    assert "cannot be verified" in result.err
    assert "step 2" in result.err
    assert contents(run) == before


def test_verifying_needs_no_more_than_the_same_seed_and_pictures(imgs: Path, tmp_path: Path) -> None:
    """Neither the numbers of this process nor its threads' state come into it, and it leaves them alone."""
    import torch

    run = within_the_second_epoch(imgs, tmp_path)
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    heard = Listener()
    zoo.resume(run, verify=True, reporter=heard)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert any(note.startswith("verified") for note in heard.notes)
    assert heard.rows[0]["epoch"] == 2


def test_a_run_made_by_another_program_version_is_told_as_the_reason(
    imgs: Path, tmp_path: Path, zoo_command: Command
) -> None:
    run = within_the_second_epoch(imgs, tmp_path)
    newest = run / "epoch-0002-step-0002"

    def other(training: dict[str, Any]) -> None:
        training["machine"]["torch"] = "1.0.0"

    changed(newest, "training.json", other)
    a_weight(newest)
    result = zoo_command("resume", run, "--verify")
    assert result.code == 4
    assert "torch was 1.0.0" in result.err
    assert json.loads((newest / "training.json").read_text(encoding="utf-8"))["machine"]["torch"] == "1.0.0"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [2, 5])
def test_a_signal_while_it_is_verified_ends_it_and_the_run_is_as_it_was(
    imgs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zoo_command: Command, number: int, step: int
) -> None:
    """Also one that comes in the very last step, which must not be lost when the resume begins."""
    run = run_stopped(tiny(imgs, tmp_path, keep="last"), at_step=5)
    shutil.rmtree(run / "epoch-0001", ignore_errors=True)
    before, set_rates, calls = contents(run), loop.set_rates, iter(range(1, 100))

    def signalling(optimizer: Any, share: float) -> None:
        set_rates(optimizer, share)
        if next(calls) == step:
            signal.raise_signal(number)

    monkeypatch.setattr(loop, "set_rates", signalling)
    result = zoo_command("resume", run, "--verify")
    assert result.code == 128 + number
    assert "the run is as it was" in result.err
    assert contents(run) == before
    monkeypatch.setattr(loop, "set_rates", set_rates)
    assert zoo_command("resume", run, "--verify").code == 0


def test_a_checkpoint_that_its_run_never_comes_to_is_told(imgs: Path, tmp_path: Path, zoo_command: Command) -> None:
    run = within_the_second_epoch(imgs, tmp_path)

    def beyond(training: dict[str, Any]) -> None:
        training["progress"].update(step_in_epoch=7, step=10)

    changed(run / "epoch-0002-step-0002", "training.json", beyond)
    result = zoo_command("resume", run, "--verify")
    assert result.code == 4
    assert "never comes to epoch-0002-step-0007" in result.err
