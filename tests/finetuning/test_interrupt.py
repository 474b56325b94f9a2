"""What stops a run: Ctrl-C, a kill, a loss that is no number, a full disk. What was saved stays good."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import zoo
from tests.conftest import Command, write_pictures
from tests.finetuning.conftest import Listener, Train, press_ctrl_c, rows_of, same_weights, weights_of
from zoo import files
from zoo.errors import NumericsError, Stopped, StorageError


@pytest.mark.parametrize(
    ("step", "name"), [(1, "epoch-0001-step-0001"), (7, "epoch-0002-step-0003"), (8, "epoch-0002-step-0004")]
)
def test_ctrl_c_ends_the_step_saves_and_says_how_to_go_on(train: Train, tmp_path: Path, step: int, name: str) -> None:
    heard = Listener(at_step={step: press_ctrl_c})
    with pytest.raises(Stopped) as raised:
        train(epochs=3, reporter=heard)
    run = tmp_path / "runs" / "run"
    assert heard.steps == step
    assert str(raised.value) == f"stopped; saved {run / name}.\n  go on with: zoo resume {run}"
    assert raised.value.exit_code == 130
    with pytest.raises(Stopped, match=r"go on with: zoo resume '.*/a run'$"):
        train("a run", reporter=Listener(at_step={1: press_ctrl_c}))
    assert heard.notes == ["stopping after this step …"]
    assert zoo.load_checkpoint(run / name) is not None
    assert json.loads((run / "log.jsonl").read_text().splitlines()[-1])["event"] == "stopped"


def test_ctrl_c_in_the_last_step_leaves_the_validation_to_the_run_that_goes_on(train: Train, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(epochs=2, reporter=Listener(at_step={8: press_ctrl_c}))
    heard = Listener()
    assert zoo.resume(tmp_path / "runs" / "run", reporter=heard).epochs == 2
    assert heard.steps == 0
    assert len(heard.rows) == 1


def test_the_second_ctrl_c_leaves_at_once(train: Train, tmp_path: Path) -> None:
    def twice() -> None:
        press_ctrl_c()
        press_ctrl_c()

    heard = Listener(at_step={6: twice})
    with pytest.raises(KeyboardInterrupt):
        train(epochs=3, reporter=heard)
    assert heard.steps == 6
    assert [each.name for each in (tmp_path / "runs" / "run").glob("epoch-*")] == ["epoch-0001"]


@pytest.mark.parametrize("step", [None, 2])
def test_the_handler_of_the_caller_is_put_back(train: Train, step: int | None) -> None:
    def own(*_: object) -> None:
        raise AssertionError("not while a run goes on")

    before = signal.signal(signal.SIGINT, own)
    try:
        if step is None:
            train()
        else:
            with pytest.raises(Stopped):
                train(reporter=Listener(at_step={step: press_ctrl_c}))
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_no_signal_is_touched(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[object] = []
    monkeypatch.setattr(signal, "signal", lambda *given: touched.append(given))
    runs: list[zoo.Run] = []
    thread = threading.Thread(target=lambda: runs.append(train()))
    thread.start()
    thread.join()
    assert runs[0].epochs == 2
    assert touched == []


def started(folder: Path, name: str) -> list[str]:
    given = ["squeezenet1_1", "--weights", "none", "--img-size", "64", "-b", "1", "--epochs", "3", "-j", "1"]
    places = ["--data", folder / "imgs", "--out", folder / "runs", "--name", name, "--augment", "standard"]
    return [*given, *map(str, places), "--set", "dropout=0.3", "--device", "cpu"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_real_process_is_stopped_or_killed_and_the_run_goes_on(
    tmp_path: Path, zoo_command: Command, number: signal.Signals, code: int
) -> None:
    write_pictures(tmp_path / "imgs", {"ant": 40, "bee": 40})
    run = tmp_path / "runs" / "stopped"
    command = [sys.executable, "-m", "zoo", "finetune", *started(tmp_path, "stopped")]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not (run / "epoch-0001").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    if number == signal.SIGINT:
        assert "Traceback" not in out + err
        saved = next(line for line in err.splitlines() if "saved" in line)
        assert Path(saved.split("saved ")[1].rstrip(".")).is_dir()
        assert f"go on with: zoo resume {run}" in err
    assert len(rows_of(run)) < 3, "the run was over before it could be stopped"
    assert zoo_command("resume", run).code == 0
    assert zoo_command("finetune", *started(tmp_path, "unbroken")).code == 0
    assert rows_of(run) == rows_of(tmp_path / "runs" / "unbroken")
    assert same_weights(run / "epoch-0003", tmp_path / "runs" / "unbroken" / "epoch-0003")


def test_a_loss_that_is_no_number_leaves_the_earlier_checkpoint_good(train: Train, tmp_path: Path) -> None:
    def spoil() -> None:
        assert heard.plan is not None
        with torch.no_grad():
            heard.plan.model.fc.weight.fill_(float("nan"))

    heard = Listener(at_save={"epoch-0001": spoil})
    with pytest.raises(NumericsError, match=r"a weight is nan at step 5, (?s:.)*try a smaller --lr") as raised:
        train(epochs=3, reporter=heard)
    assert raised.value.exit_code == 6
    (left,) = (tmp_path / "runs" / "run").glob("epoch-*")
    assert left.name == "epoch-0001"
    assert all(value.isfinite().all() for value in zoo.load_checkpoint(left).state_dict().values())


@pytest.mark.parametrize("batch_size", [4, 32])
def test_a_rate_far_too_high_is_told_and_nothing_useless_is_saved(
    train: Train, tmp_path: Path, batch_size: int
) -> None:
    with pytest.raises(NumericsError, match=r"the loss .*is (nan|inf)(?s:.)*learning rate was 1e\+30"):
        train(lr=1e30, warmup_epochs=0, sched="constant", batch_size=batch_size)
    assert list((tmp_path / "runs" / "run").glob("epoch-*")) == []


@pytest.fixture
def fills_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the disk be full when so many checkpoints are written."""

    def after(count: int) -> None:
        written: list[Path] = []
        close = files.NewFolder.close

        def full(folder: files.NewFolder) -> None:
            if len(written) == count:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written.append(folder.path)
            close(folder)

        monkeypatch.setattr(files.NewFolder, "close", full)

    return after


def test_a_disk_that_fills_up_leaves_the_earlier_checkpoint_good(
    train: Train, tmp_path: Path, fills_up: Callable[[int], None]
) -> None:
    fills_up(1)
    with pytest.raises(StorageError, match=r"No space left(?s:.)*free some space") as raised:
        train(epochs=2, keep="every:1")
    assert raised.value.exit_code == 5
    run = tmp_path / "runs" / "run"
    assert [each.name for each in run.iterdir() if each.is_dir()] == ["epoch-0001"], "nothing half-written stays"
    assert weights_of(run / "epoch-0001").keys() == zoo.load_checkpoint(run).state_dict().keys()
