"""A run from Python: what its folder holds, what is kept, what is learned, and what is left alone."""

import hashlib
import json
import random
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch

import zoo
from tests.conftest import write_pictures
from tests.finetuning.conftest import TINY, Listener, Train, changed, rows_of, same_weights, weights_of
from zoo.finetuning import journal, running
from zoo.recipe import find
from zoo.training.metrics import Tally

FILES = {".lock", "run.toml", "data.json", "log.jsonl", "metrics.csv", "summary.txt"}


def test_a_run_folder_holds_all_of_the_run(train: Train) -> None:
    run = train(epochs=3)
    kept = {run.best.name, run.last.name}
    assert {each.name for each in run.folder.iterdir()} == FILES | kept
    assert run.last.name == "epoch-0003"
    recipe = tomllib.loads((run.folder / "run.toml").read_text())
    assert (recipe["model"], recipe["classes"], recipe["seed"]) == (TINY, ["ant", "bee"], 0)
    assert [stage["epochs"] for stage in recipe["stages"]] == [3]
    first = (run.folder / "run.toml").read_text().splitlines()[0]
    assert first == f"# zoo finetune --recipe {run.folder / 'run.toml'}"
    events = [json.loads(line)["event"] for line in (run.folder / "log.jsonl").read_text().splitlines()]
    assert (events[0], events[-1], events.count("epoch")) == ("start", "end", 3)


def test_figures_are_written_for_a_spreadsheet(train: Train) -> None:
    run = train(epochs=3)
    rows = rows_of(run.folder)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["step"] for row in rows] == ["4", "8", "12"]
    assert {row["stage"] for row in rows} == {"1"}
    assert all(0 <= float(row[key]) <= 1 for row in rows for key in ("train_accuracy", "val_accuracy", "val_f1"))
    assert all(float(row[key]) > 0 for row in rows for key in ("lr", "train_loss", "val_loss"))
    assert {row["val_top5"] for row in rows} == {""}
    best = rows[run.best_epoch - 1]
    assert run.metrics == {
        "loss": float(best["val_loss"]),
        "accuracy": float(best["val_accuracy"]),
        "f1": float(best["val_f1"]),
    }


def test_the_summary_has_the_table_and_the_figures_of_each_class(train: Train) -> None:
    text = (train().folder / "summary.txt").read_text()
    for word in ("conv", "norm", "fc", "trained", "ant", "bee", "precision", "recall"):
        assert word in text


def test_more_than_five_classes_have_a_top_five(train: Train, tmp_path: Path) -> None:
    run = train(data=write_pictures(tmp_path / "six", dict.fromkeys("abcdef", 3)))
    assert 0 < float(rows_of(run.folder)[0]["val_top5"]) <= 1
    assert run.metrics["top5"] == float(rows_of(run.folder)[run.best_epoch - 1]["val_top5"])


def test_data_is_listed_and_never_changed_or_copied(train: Train, pictures: Path) -> None:
    def state() -> dict[str, tuple[str, int]]:
        files = sorted(path for path in pictures.rglob("*") if path.is_file())
        return {
            path.relative_to(pictures).as_posix(): (
                hashlib.sha256(path.read_bytes()).hexdigest(),
                path.stat().st_mtime_ns,
            )
            for path in files
        }

    before = state()
    run = train(workers=1)
    assert state() == before
    listed = json.loads((run.folder / "data.json").read_text())
    assert sorted(name for name, *_ in (*listed["train"], *listed["val"])) == sorted(before)
    assert listed["root"] == str(pictures.resolve())
    assert {(name.partition("/")[0], label) for name, label, *_ in listed["train"]} == {("ant", 0), ("bee", 1)}
    assert not list(run.folder.rglob("*.png"))


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[int]], None]:
    """Let validation find so many of four pictures, epoch by epoch."""

    def plan(hits: list[int]) -> None:
        left = iter(hits)

        def evaluate(model: object, batches: object, objective: object, tally: Tally, *_: object) -> bool:
            right = next(left)
            tally.confusion = torch.tensor([[right, 4 - right], [0, 0]])
            return True

        monkeypatch.setattr(running.loop, "evaluate", evaluate)

    return plan


@pytest.mark.parametrize(
    ("keep", "left", "best"),
    [
        ("best,last", [2, 5], 2),
        ("best", [2, 5], 2),
        ("last", [5], 5),
        ("every:2", [2, 4, 5], 2),
        ("every:3", [3, 5], 3),
        ("best,every:3", [2, 3, 5], 2),
    ],
)
def test_what_is_kept_is_what_was_asked_for(
    train: Train, scores: Callable[[list[int]], None], keep: str, left: list[int], best: int
) -> None:
    scores([2, 3, 3, 1, 3])
    run = train(epochs=5, keep=keep)
    assert sorted(each.name for each in run.folder.glob("epoch-*")) == [f"epoch-{epoch:04d}" for epoch in left]
    assert run.best.name == f"epoch-{best:04d}"
    assert run.last.name == "epoch-0005"


def test_the_best_is_the_first_of_equals(train: Train, scores: Callable[[list[int]], None]) -> None:
    scores([1, 3, 3, 2])
    heard = Listener()
    run = train(epochs=4, reporter=heard)
    assert heard.best == [True, True, False, False]
    assert (run.best_epoch, run.best.name, run.metrics["accuracy"]) == (2, "epoch-0002", 0.75)


@pytest.mark.parametrize(("cadence", "saved"), [(30.0, [1, 5]), (0.0, [1, 2, 3, 4, 5])])
def test_checkpoints_come_no_more_often_than_their_cadence(
    train: Train,
    scores: Callable[[list[int]], None],
    monkeypatch: pytest.MonkeyPatch,
    cadence: float,
    saved: list[int],
) -> None:
    scores([3, 2, 2, 2, 2])
    monkeypatch.setattr(journal, "CADENCE", cadence)
    heard = Listener()
    train(epochs=5, reporter=heard)
    assert heard.checkpoints == [f"epoch-{epoch:04d}" for epoch in saved]


def test_a_linear_probe_learns_colours_and_leaves_the_backbone_alone(train: Train) -> None:
    run = train(epochs=25, freeze="backbone", lr=0.1, keep="every:25")
    assert run.metrics["accuracy"] == 1.0
    first = train("first", epochs=1, freeze="backbone", lr=0.1)
    assert changed(first.last, run.last) == {"fc.weight", "fc.bias"}


def test_copies_with_another_label_are_told(train: Train, tmp_path: Path) -> None:
    data = write_pictures(
        tmp_path / "twins", {f"{half}/{name}": 8 for half in ("train", "val") for name in ("ant", "bee")}
    )
    quiet, heard = Listener(), Listener()
    train("before", data=data, reporter=quiet)
    assert not [note for note in quiet.notes if "another label" in note]
    shutil.copy(data / "train" / "ant" / "0.png", data / "train" / "bee" / "twin.png")
    train("after", data=data, reporter=heard)
    assert "1 picture is the copy of one with another label: train/ant/0.png = train/bee/twin.png" in heard.notes


def test_dropout_of_a_frozen_part_does_not_fire(train: Train) -> None:
    dropped, whole = (
        train(f"frozen {share}", freeze="conv,norm.*", recipe=replace(find("fine-tune"), dropout=share)).last
        for share in (0.9, 0.0)
    )
    assert same_weights(dropped, whole)
    fired, quiet = (train(f"trained {share}", settings={"dropout": share}).last for share in (0.9, 0.0))
    assert not same_weights(fired, quiet)


def test_statistics_of_a_frozen_norm_stay(train: Train) -> None:
    frozen, trained = train("frozen", freeze="conv,norm.*").last, train("trained").last
    assert weights_of(frozen)["norm.num_batches_tracked"] == 0
    assert torch.equal(weights_of(frozen)["norm.running_mean"], torch.zeros(8))
    assert weights_of(trained)["norm.num_batches_tracked"] == 8


def test_nothing_random_of_the_caller_is_touched(train: Train) -> None:
    def states() -> tuple[object, ...]:
        return torch.get_rng_state().tolist(), numpy.random.get_state()[1].tolist(), random.getstate()

    before = states()
    run = train(workers=1, augment="standard")
    assert states() == before
    zoo.resume(run.folder)
    assert states() == before


def test_work_on_the_cpu_starts_no_gpu(
    train: Train, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda *_: pytest.fail("a GPU was started"))
    run = train()
    model = zoo.load(TINY, classes=2, weights=None, seed=0)
    zoo.summary(model)
    zoo.insert_after(model, "norm", torch.nn.ReLU())
    zoo.freeze(model, "until:norm")
    zoo.evaluate(run, pictures, device="cpu", workers=0)
    zoo.resume(run, epochs=3)


def test_from_python_nothing_is_printed(train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    train()
    assert capfd.readouterr() == ("", "")


def test_runs_get_names_of_their_own(train: Train) -> None:
    assert [train(None, epochs=1).folder.name for _ in range(3)] == [
        "tests-tiny-imgs",
        "tests-tiny-imgs-2",
        "tests-tiny-imgs-3",
    ]


def test_a_run_is_told_as_plain_values(train: Train) -> None:
    run = train()
    values = json.loads(json.dumps(run.to_values()))
    assert list(values) == ["run", "best", "last", "epochs", "metrics", "seconds"]
    assert (values["run"], values["epochs"]) == (str(run.folder), 2)
    assert Path(values["best"]).is_dir()
    assert 0 < values["seconds"] < 60
