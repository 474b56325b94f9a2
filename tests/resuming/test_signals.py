"""A signal at any place of a run: what was trained is saved, the exit code tells the signal, nothing is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.finetuning.conftest import Tiny
from tests.resuming.conftest import (
    SIGNALS,
    Child,
    Ended,
    finetune_arguments,
    stopped,
    tiny,
    unlike,
    whole,
)
from zoo import files
from zoo.checkpoint import full, reading
from zoo.cli import main
from zoo.data import pictures
from zoo.errors import Stopped
from zoo.finetuning import preparing, running, saving

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129, signal.SIGUSR1: 138}
Sent = Callable[[], None]


def on_call(number: int, send: Sent, call: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which sends the signal at the start of its call of this number, counted from 1."""
    left = iter(range(number - 1, -1, -1))

    def signalling(*given: Any, **more: Any) -> Any:
        if next(left, None) == 0:
            send()
        return call(*given, **more)

    return signalling


def within_the_scan(send: Sent) -> None:
    pictures._look_at = on_call(9, send, pictures._look_at)


def while_the_model_is_loaded(send: Sent) -> None:
    preparing.load = on_call(1, send, preparing.load)


def in_a_forward_pass(send: Sent) -> None:
    forward, seen = Tiny.forward, iter(range(1_000))

    def signalling(self: Tiny, given: Any) -> Any:
        if self.training and next(seen) == 4:
            send()
        return forward(self, given)

    Tiny.forward = signalling  # type: ignore[method-assign]


def while_validating(send: Sent) -> None:
    running.loop.evaluate = on_call(2, send, running.loop.evaluate)


def in_a_save(send: Sent) -> None:
    files.NewFolder.close = on_call(1, send, files.NewFolder.close)  # type: ignore[method-assign]


def in_a_save_beside_the_training(send: Sent) -> None:
    saving.LARGE = 0
    in_a_save(send)


def in_an_export(send: Sent) -> None:
    full.torch.export.export = on_call(1, send, full.torch.export.export)


PLACES: dict[str, tuple[Callable[[Sent], None], list[str]]] = {
    "scan": (within_the_scan, []),
    "load": (while_the_model_is_loaded, []),
    "forward": (in_a_forward_pass, []),
    "validate": (while_validating, []),
    "save": (in_a_save, ["--save-every", "2steps"]),
    "save-beside": (in_a_save_beside_the_training, ["--save-every", "2steps"]),
    "export": (in_an_export, ["--save", "full"]),
}
BEFORE = {"scan", "load"}
CELLS = [(number, place) for place in PLACES for number in CODES]
QUICK = {
    (signal.SIGTERM, "scan"),
    (signal.SIGINT, "scan"),
    (signal.SIGUSR1, "load"),
    (signal.SIGINT, "forward"),
    (signal.SIGHUP, "forward"),
    (signal.SIGTERM, "validate"),
    (signal.SIGTERM, "save"),
    (signal.SIGINT, "save-beside"),
}


@pytest.fixture(scope="module")
def unbroken(imgs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    made: dict[str, Path] = {}

    def run(save: str = "state", every: str = "10min") -> Path:
        if save + every not in made:
            out = tmp_path_factory.mktemp("unbroken")
            made[save + every] = zoo.finetune(**tiny(imgs, out, save=save, save_every=every)).folder
        return made[save + every]

    return run


def signalled(child: Child, number: int) -> Sent:
    def send() -> None:
        child.now()
        os.kill(os.getpid(), number)

    return send


@pytest.mark.parametrize(
    ("number", "place"),
    [
        pytest.param(number, place, id=f"{number.name}-{place}", marks=[] if cell in QUICK else pytest.mark.slow)
        for cell in CELLS
        for number, place in [cell]
    ],
)
def test_a_signal_saves_what_was_trained_and_the_exit_code_tells_it(
    imgs: Path, tmp_path: Path, unbroken: Callable[..., Path], number: signal.Signals, place: str
) -> None:
    hook, more = PLACES[place]
    child = Child(tmp_path / "child")

    def work() -> None:
        hook(signalled(child, number))
        main(finetune_arguments(imgs, tmp_path / "runs", "run", *more))

    ended = child.start(work).wait()
    assert ended.code == CODES[number], ended.text
    assert ended.seconds < 5
    assert "Traceback" not in ended.text
    folder = tmp_path / "runs" / "run"
    if place in BEFORE:
        assert "stopped at once" in ended.text
        assert not folder.exists()
        return
    newest = reading.checkpoints_of(folder)[-1].folder
    assert f"stopped; saved {newest}." in ended.text
    assert f"zoo resume {folder}" in ended.text
    assert zoo.load_checkpoint(newest)
    assert [each.name for each in folder.iterdir() if each.name.endswith((".tmp", ".old", ".json"))] == ["data.json"]
    zoo.resume(folder)
    told = {"save": more[1]} if place == "export" else {"every": more[1]} if more else {}
    assert different(folder, unbroken(**told)) == []


def different(one: Path, other: Path) -> list[str]:
    """What two runs do not share; two exports of one model are not the same file."""
    exports = ("model.pt", "model.pt2")
    assert {name for name in whole(one) if name.endswith(exports)} == {
        name for name in whole(other) if name.endswith(exports)
    }
    return [name for name in unlike(one, other) if not name.endswith(exports)]


def test_a_second_ctrl_c_leaves_at_once_and_the_checkpoint_before_is_good(
    imgs: Path, tmp_path: Path, unbroken: Callable[..., Path]
) -> None:
    """The first comes in a save that takes a minute, the second while the save goes on."""
    child, calls = Child(tmp_path / "child"), iter(range(10))

    def send() -> None:
        if next(calls) == 1:
            os.kill(os.getpid(), signal.SIGINT)
            child.now()
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)

    def work() -> None:
        close = files.NewFolder.close
        files.NewFolder.close = lambda self: (send(), close(self))[1]  # type: ignore[method-assign,func-returns-value]
        main(finetune_arguments(imgs, tmp_path / "runs", "run", "--save-every", "2steps"))

    ended = child.start(work).wait()
    assert (ended.code, ended.seconds < 5) == (130, True), ended.text
    assert "stopped at once" in ended.text
    folder = tmp_path / "runs" / "run"
    assert [each.folder.name for each in reading.checkpoints_of(folder)] == ["epoch-0001-step-0002"]
    zoo.resume(folder)
    assert unlike(folder, unbroken(every="2steps")) == []


@pytest.mark.parametrize(
    ("first", "second"), [(signal.SIGTERM, signal.SIGTERM), (signal.SIGUSR1, signal.SIGTERM)], ids=["same", "another"]
)
def test_a_second_signal_that_is_no_ctrl_c_changes_nothing(
    imgs: Path, tmp_path: Path, unbroken: Callable[..., Path], first: int, second: int
) -> None:
    """A service manager may send two kinds at once, and a wrapper the same one twice."""
    child = Child(tmp_path / "child")

    def work() -> None:
        in_a_forward_pass(lambda: (os.kill(os.getpid(), first), os.kill(os.getpid(), second))[0])
        main(finetune_arguments(imgs, tmp_path / "runs", "run"))

    ended = child.start(work).wait()
    assert ended.code == 128 + first, ended.text
    zoo.resume(tmp_path / "runs" / "run")
    assert unlike(tmp_path / "runs" / "run", unbroken()) == []


def test_ctrl_c_after_another_signal_leaves_at_once(imgs: Path, tmp_path: Path) -> None:
    child = Child(tmp_path / "child")

    def send() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        child.now()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

    def work() -> None:
        in_a_forward_pass(send)
        main(finetune_arguments(imgs, tmp_path / "runs", "run"))

    ended = child.start(work).wait()
    assert (ended.code, ended.seconds < 5) == (130, True), ended.text


@pytest.mark.slow
def test_a_terminated_process_that_is_killed_a_second_later_has_its_checkpoint(
    imgs: Path, tmp_path: Path, unbroken: Callable[..., Path]
) -> None:
    child = Child(tmp_path / "child")

    def work() -> None:
        in_a_forward_pass(lambda: (signalled(child, signal.SIGTERM)(), threading.Timer(1.0, last).start())[0])
        main(finetune_arguments(imgs, tmp_path / "runs", "run"))
        time.sleep(60)

    def last() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    ended = child.start(work).wait()
    assert ended.code in (143, -signal.SIGKILL), ended.text
    folder = tmp_path / "runs" / "run"
    assert reading.checkpoints_of(folder)
    zoo.resume(folder)
    assert unlike(folder, unbroken()) == []


def test_a_hangup_that_nohup_ignores_stays_ignored(imgs: Path, tmp_path: Path, unbroken: Callable[..., Path]) -> None:
    child = Child(tmp_path / "child")

    def work() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        in_a_forward_pass(signalled(child, signal.SIGHUP))
        within_the_scan(signalled(child, signal.SIGHUP))
        main(finetune_arguments(imgs, tmp_path / "runs", "run"))

    ended: Ended = child.start(work).wait()
    assert ended.code == 0, ended.text
    assert unlike(tmp_path / "runs" / "run", unbroken()) == []


@pytest.mark.parametrize("number", SIGNALS)
def test_from_python_the_handlers_are_put_back(imgs: Path, tmp_path: Path, number: signal.Signals) -> None:
    heard: list[int] = []

    def mine(number: int, _: object) -> None:
        heard.append(number)

    before = signal.signal(number, mine)
    try:
        with pytest.raises(Stopped) as raised:
            zoo.finetune(**tiny(imgs, tmp_path), reporter=stopped(at_step=4, number=number))
        assert raised.value.exit_code == CODES[number]
        assert (signal.getsignal(number), heard) == (mine, [])
        signal.raise_signal(number)
        assert heard == [number]
        zoo.resume(tmp_path / "run")
        assert signal.getsignal(number) is mine
    finally:
        signal.signal(number, before)


def test_outside_the_main_thread_no_signal_is_touched(
    imgs: Path, tmp_path: Path, unbroken: Callable[..., Path]
) -> None:
    before, seen = [signal.getsignal(each) for each in SIGNALS], []

    def work() -> None:
        heard = stopped()
        heard.at_step = {4: lambda: seen.extend(signal.getsignal(each) for each in SIGNALS)}
        zoo.finetune(**tiny(imgs, tmp_path), reporter=heard)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == before
    assert unlike(tmp_path / "run", unbroken()) == []


def group_of(session: int) -> list[int]:
    """The processes of a session that are still there, dead ones that nobody waited for included."""
    found = []
    for place in Path("/proc").iterdir():
        try:
            after_name = (place / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except (OSError, UnicodeDecodeError):
            continue
        if place.name.isdigit() and int(after_name[3]) == session:
            found.append(int(place.name))
    return found


SCRIPT = """
import sys, zoo
from tests.resuming.conftest import TINY, Tiny
from zoo.cli import main

zoo.register(TINY.partition(":")[2], Tiny, head_path="fc", input_size=(16, 16))
main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads the processes of a session from /proc")
@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_leaves_a_checkpoint_and_no_process(
    imgs: Path, tmp_path: Path, number: signal.Signals, workers: int
) -> None:
    arguments = finetune_arguments(imgs, tmp_path / "runs", "run", "-j", workers, "--epochs", 3_000, "--keep", "last")
    folder = tmp_path / "runs" / "run"
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        cwd=Path(__file__).parents[2],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 120
        while not list(folder.glob("epoch-*")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(group_of(process.pid)) > workers, "the workers are there"
        os.killpg(process.pid, number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == CODES[number], err
    assert "Traceback" not in err
    assert f"stopped; saved {reading.checkpoints_of(folder)[-1].folder}." in err
    while group_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert group_of(process.pid) == []
