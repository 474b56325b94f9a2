"""The flags of `zoo finetune` about the run itself: where it goes, what it keeps, what is told of it."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import zoo
from tests.cli.conftest import MODEL, Call, Tune, last, recipe_of
from tests.conftest import Command
from zoo.cli.reporter import Printer


def test_checkpoints_are_kept_as_told(tune: Tune) -> None:
    run = tune("--epochs", 3, "--keep", "every:1")
    assert recipe_of(run)["keep"] == "every:1"
    assert len(list(run.glob("epoch-*"))) == 3
    assert len(list(tune("--epochs", 3, "--keep", "last").glob("epoch-*"))) == 1


def test_a_full_checkpoint_holds_the_whole_model(tune: Tune) -> None:
    run = tune("--save", "full")
    assert recipe_of(run)["save"] == "full"
    pictures = torch.rand(3, 3, 64, 64)
    expected = zoo.load_checkpoint(run)(pictures)
    whole = torch.load(last(run) / "model.pt", weights_only=False)
    exported = torch.export.load(last(run) / "model.pt2").module()
    torch.testing.assert_close(whole(pictures), expected)
    torch.testing.assert_close(exported(pictures), expected)
    assert not (last(tune()) / "model.pt").exists()


def test_runs_go_where_they_are_told_under_their_name(tune: Tune, call: Call, tmp_path: Path) -> None:
    run = tune("--out", tmp_path / "else" / "where", "--name", "mine")
    assert run == tmp_path / "else" / "where" / "mine"
    again = call("--out", tmp_path / "else" / "where", "--name", "mine", "--lr", 0.5)
    assert again.code == 2
    assert "--overwrite" in again.err
    assert recipe_of(run)["lr"] != 0.5
    tune("--out", tmp_path / "else" / "where", "--name", "mine", "--lr", 0.5, "--overwrite")
    assert recipe_of(run)["lr"] == 0.5


def test_the_default_place_is_checkpoints_here(
    zoo_command: Command, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--weights", "none", "--img-size", 64, "--epochs", 1, "-j", 0, "--data", pictures]
    assert zoo_command("finetune", MODEL, *flags).code == 0
    assert (tmp_path / "checkpoints" / f"{MODEL}-imgs" / "run.toml").is_file()


def test_offline_downloads_nothing_and_says_what_is_lacking(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    told = call("--weights", "default", "--offline")
    assert told.code == 5
    assert "https://download.pytorch.org/models/squeezenet1_1" in told.err
    assert str(tmp_path / "cache") in told.err
    assert "--weights none" in told.err
    assert call("--weights", "default").err.startswith("error: AssertionError: the network was asked")
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_tells_and_writes_nothing(call: Call, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    told = call("--dry-run")
    assert told.code == 0
    for words in (
        "parameters",
        "trained",
        "one batch ran: loss",
        "a run takes 4 steps",
        "memory",
        "its checkpoints take",
    ):
        assert words in told.out
    values = json.loads(call("--dry-run", "--json", "--epochs", 5).out)
    assert values["steps"] == 20
    assert values["disk_bytes"] == 2 * values["checkpoint_bytes"] > 0
    assert sorted(tmp_path.rglob("*")) == before


def test_json_is_all_of_standard_output(call: Call) -> None:
    told = call("--json")
    values = json.loads(told.out)
    assert list(values) == ["run", "best", "last", "epochs", "metrics", "seconds"]
    assert values["epochs"] == 1
    assert values["metrics"].keys() == {"loss", "accuracy", "f1"}
    assert (Path(values["best"]) / "MANIFEST.json").is_file()
    assert "epoch" in told.err, "what a person reads is on standard error"


def test_quiet_prints_errors_alone(call: Call) -> None:
    told = call("--quiet")
    assert (told.code, told.out, told.err) == (0, "", "")
    assert list(json.loads(call("--quiet", "--json").out)) == ["run", "best", "last", "epochs", "metrics", "seconds"]
    failed = call("--quiet", "--data", "nowhere")
    assert (failed.code, failed.out) == (3, "")
    assert "there is no folder nowhere" in failed.err


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--data", "nowhere"], 3, "there is no folder nowhere"),
        (["--opt", "lbfgs"], 2, "opt is 'lbfgs'"),
        (["--epochs", "many"], 2, "--epochs"),
    ],
)
def test_json_is_one_object_when_a_run_is_refused_too(call: Call, flags: list[str], code: int, words: str) -> None:
    told = call("--json", *flags)
    values = json.loads(told.out)
    assert (told.code, values["exit_code"], list(values)) == (code, code, ["error", "exit_code"])
    assert words in values["error"]
    assert words in told.err, "what a person reads is on standard error"


def test_debug_shows_where_an_error_comes_from(call: Call) -> None:
    told = call("--data", "nowhere", "--debug")
    assert told.code == 3
    assert told.err.startswith("Traceback")
    assert "in find_dataset" in told.err
    assert "Traceback" not in call("--data", "nowhere").err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--device", "cuda:99"], "there is no device 'cuda:99' here"),
        (["--amp", "fp16"], "--amp is fp16, which needs a GPU"),
    ],
)
def test_a_device_must_be_there(call: Call, flags: list[str], message: str) -> None:
    told = call(*flags)
    assert told.code == 2
    assert message in told.err


def test_the_device_is_written_down(tune: Tune) -> None:
    run = tune("--device", "cpu", "--amp", "off")
    assert (recipe_of(run)["device"], recipe_of(run)["amp"]) == ("cpu", "off")
    assert '"device": "cpu, float32' in (run / "log.jsonl").read_text()
    assert '"device": "cpu, bfloat16 mixed' in (tune("--amp", "bf16") / "log.jsonl").read_text()


@pytest.mark.parametrize(("times", "words"), [(1, "go on with: zoo resume"), (2, "stopped at once")])
def test_ctrl_c_ends_with_130(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, words: str
) -> None:
    @contextlib.contextmanager
    def progress(_: Printer, what: str, __: int) -> Iterator[Callable[[str], None]]:
        def advance(_: str) -> None:
            if what == "epoch 2/3":
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)

        yield advance

    monkeypatch.setattr(Printer, "progress", progress)
    told = call("--epochs", 3, "--name", "run", "--json")
    assert told.code == 130
    values = json.loads(told.out)
    assert values["exit_code"] == 130
    assert words in values["error"]
    assert words in told.err
    assert "Traceback" not in told.out + told.err
    assert (tmp_path / "runs" / "run" / "epoch-0001" / "MANIFEST.json").is_file()


def test_a_run_goes_on_when_the_reader_of_its_output_has_gone(tmp_path: Path, pictures: Path) -> None:
    command = [sys.executable, "-m", "zoo", "finetune", "squeezenet1_1", "--weights", "none", "--data", str(pictures)]
    more = ["--img-size", "32", "--epochs", "3", "-j", "0", "--out", str(tmp_path), "--name", "run", "--device", "cpu"]
    with subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        error = process.stderr.read()
    assert process.returncode == 0
    assert error == b""
    assert (tmp_path / "run" / "epoch-0003" / "MANIFEST.json").is_file()
