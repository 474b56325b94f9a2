"""What is shown fits the terminal, is never folded in a pipe, and cuts no word apart."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.conftest import Command
from zoo.training import devices


def in_a_terminal(arguments: str, width: int, place: Path) -> list[str]:
    """The lines that a command prints in a real terminal of this width."""
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    environment = {**os.environ, "COLUMNS": str(width), "NO_COLOR": "1"}
    command = [sys.executable, "-m", "zoo", *arguments.split()]
    printed = b""
    with subprocess.Popen(command, stdout=terminal, stderr=terminal, env=environment, cwd=place) as process:
        os.close(terminal)
        while True:
            try:
                part = os.read(screen, 65536)
            except OSError:
                break
            if not part:
                break
            printed += part
        assert process.wait(timeout=60) == 0
    os.close(screen)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed.decode()).splitlines()


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize(
    ("arguments", "whole"),
    [
        ("heads", ["attention-pool", "normalised"]),
        ("recipes", ["gradual-unfreeze"]),
        ("list resnet50* --pretrained", ["224 × 224", "top-1"]),
        ("info timm:resnet50", ["bicubic,", "a1_in1k"]),
        ("--help", ["--install-completion", "network."]),
        ("heads copy --help", ["Copy a head"]),
        ("evaluate --help", ["--label-separator", "--trust-pickle"]),
        ("finetune --help", ["regression", "randaugment", "one-cycle", "every:N", "--warmup-epochs"]),
    ],
)
def test_lines_fit_the_terminal_and_words_stay_whole(
    arguments: str, whole: list[str], width: int, tmp_path: Path
) -> None:
    lines = in_a_terminal(arguments, width, tmp_path)
    assert lines
    assert [line for line in lines if cell_len(line) > width] == []
    assert [word for word in whole if not any(word in line for line in lines)] == []


def test_a_list_of_commands_is_not_cut_off(tmp_path: Path) -> None:
    shown = " ".join(" ".join(in_a_terminal("--help", 60, tmp_path)).split())
    assert "finetune Fine-tune a pretrained model on your own pictures." in shown


def test_a_pipe_gets_a_line_a_row(zoo_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    for command in ("heads", "recipes"):
        assert all(len(line) > 60 for line in zoo_command(command).out.splitlines()[:-1])
    first, row, *_ = zoo_command("list", "vit_large_patch14_clip_quickgelu_224", "--source", "timm").out.splitlines()
    assert first.split()[:2] == ["source", "name"]
    assert row.split()[:2] == ["timm", "vit_large_patch14_clip_quickgelu_224"]


@pytest.mark.parametrize(("count", "said"), [(1, "1 thread"), (2, "2 threads")])
def test_one_thread_is_one(count: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: count)
    assert str(devices.pick("cpu", "off")).endswith(f", {said}")
