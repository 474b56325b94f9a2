"""Every flag of `zoo finetune` does what it says: it is written down in the run's recipe, and it has an effect."""

import inspect
import itertools
import json
import multiprocessing
from pathlib import Path

import pytest
import safetensors.torch
import torch

import zoo
from tests.cli.conftest import Call, Tune, last, recipe_of, same, table, weights
from tests.conftest import write_pictures
from zoo.cli.finetune import finetune
from zoo.cli.reporter import Printer
from zoo.recipe.keys import KEYS, STAGE_KEYS
from zoo.training.devices import Device


@pytest.mark.parametrize(
    ("flags", "key", "value"),
    [
        (["--lr", "0.01"], "lr", 0.01),
        (["--wd", "0.9"], "wd", 0.9),
        (["--opt", "sgd"], "opt", "sgd"),
        (["--opt", "radam"], "opt", "radam"),
        (["--sched", "one-cycle"], "sched", "one-cycle"),
        (["--accumulate", "2"], "accumulate", 2),
        (["--clip-grad", "0.01"], "clip-grad", 0.01),
        (["--ema", "0.9"], "ema", 0.9),
        (["--mixup", "0.2"], "mixup", 0.2),
        (["--cutmix", "1"], "cutmix", 1.0),
        (["--augment", "trivial"], "augment", "trivial"),
        (["--set", "erasing=0.9"], "erasing", 0.9),
        (["--sched", "constant"], "sched", "constant"),
        (["--warmup-epochs", "1"], "warmup-epochs", 1.0),
        (["--augment", "none"], "augment", "none"),
        (["--augment", "light"], "augment", "light"),
        (["--img-size", "48"], "img-size", 48),
        (["--img-size", "48x96"], "img-size", [48, 96]),
        (["--seed", "1"], "seed", 1),
        (["--amp", "bf16"], "amp", "bf16"),
        (["-b", "8"], "batch-size", 8),
        (["--batch-size", "8"], "batch-size", 8),
        (["--epochs", "2"], "epochs", 2),
        (["--freeze", "features.*"], "freeze", "features.*"),
        (["--set", "label-smoothing=0.4"], "label-smoothing", 0.4),
        (["--recipe", "linear-probe"], "name", "linear-probe"),
    ],
)
def test_a_flag_is_written_down_and_changes_what_is_learned(
    tune: Tune, flags: list[str], key: str, value: object
) -> None:
    usual, changed = tune(), tune(*flags)
    assert recipe_of(changed)[key] == value
    assert recipe_of(usual).get(key) != value
    assert not same(usual, changed)
    assert same(changed, tune(*flags)), "the same flags give the same weights"


def test_deterministic_is_written_down_and_changes_nothing_on_a_cpu(tune: Tune) -> None:
    usual, changed = tune(), tune("--deterministic")
    assert (recipe_of(usual)["deterministic"], recipe_of(changed)["deterministic"]) == (False, True)
    assert same(usual, changed)


def test_patience_ends_a_run_early(tune: Tune) -> None:
    run = tune("--epochs", 6, "--patience", 1, "--lr", 1e-12)
    assert recipe_of(run)["patience"] == 1
    assert len(table(run)) == 2


@pytest.mark.parametrize(
    ("flags", "rates"),
    [
        (["--lr", "0.1", "--sched", "constant", "--warmup-epochs", "0"], [0.1, 0.1]),
        (["--lr", "0.1", "--sched", "constant", "--warmup-epochs", "2"], [0.05, 0.1]),
        (["--lr", "0.1", "--sched", "cosine", "--warmup-epochs", "1"], [0.1, 0.1 * 0.5 * (1 - 0.5**0.5)]),
    ],
)
def test_the_learning_rate_goes_as_it_was_told(tune: Tune, flags: list[str], rates: list[float]) -> None:
    run = tune("--epochs", 2, "--freeze", "backbone", *flags)
    assert [float(row["lr"]) for row in table(run)] == pytest.approx(rates)


def test_pictures_are_varied_as_told(tune: Tune) -> None:
    runs = {level: tune("--augment", level) for level in ("none", "light", "standard")}
    assert {level: recipe_of(run)["augment"] for level, run in runs.items()} == {level: level for level in runs}
    assert not any(same(one, other) for one, other in itertools.combinations(runs.values(), 2))
    losses = {table(run)[0]["train_loss"] for run in runs.values()}
    assert len(losses) == 3, "other tensors, other losses"


def test_epochs_and_batch_size_make_the_steps(tune: Tune) -> None:
    assert [row["step"] for row in table(tune("--epochs", 3, "-b", 8))] == ["2", "4", "6"]


def test_the_optimizer_is_the_one_named(tune: Tune) -> None:
    used = [json.loads((last(tune("--opt", name)) / "training.json").read_text()) for name in ("sgd", "adamw")]
    assert [each["optimizer"]["class"] for each in used] == ["SGD", "AdamW"]


def test_the_pictures_have_the_size_given(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: set[tuple[int, ...]] = set()
    send = Device.send
    monkeypatch.setattr(
        Device, "send", lambda self, pictures: shapes.add(tuple(pictures.shape)) or send(self, pictures)
    )
    for size, flag in ([96, 96], "96"), ([96, 64], "96x64"), ([64, 96], "64x96"):
        shapes.clear()
        run = tune("--img-size", flag)
        assert shapes == {(4, 3, *size)}
        assert json.loads((last(run) / "config.json").read_text())["spec"]["preprocessing"]["size"] == size
    shapes.clear()
    assert same(tune("--set", "img-size=64x96"), run)


def test_the_seed_makes_the_split(tune: Tune) -> None:
    splits = [json.loads((tune("--seed", seed) / "data.json").read_text())["val"] for seed in (0, 0, 5)]
    assert splits[0] == splits[1] != splits[2]


def test_workers_are_as_many_as_told_and_change_nothing(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[int] = []
    monkeypatch.setattr(Printer, "epoch", lambda *_: alive.append(len(multiprocessing.active_children())))
    runs = [tune("--augment", "standard", "--workers", count) for count in (0, 1, 2)]
    assert alive == [0, 2, 4], "training and validation have workers of their own"
    assert same(runs[0], runs[1])
    assert same(runs[0], runs[2])


def test_what_is_frozen_stays_and_what_is_taken_out_learns(tune: Tune) -> None:
    flags = ["--epochs", 2, "--set", "keep=every:1", "--lr", 0.01, "--freeze", "features.*"]
    run = tune(*flags, "--unfreeze", "features.1[0-2].*")
    assert recipe_of(run)["unfreeze"] == "features.1[0-2].*"
    first, second = (
        safetensors.torch.load_file(run / name / "model.safetensors") for name in ("epoch-0001", "epoch-0002")
    )
    moved = {name.rsplit(".", 1)[0] for name in first if not torch.equal(first[name], second[name])}
    assert "classifier.1" in moved
    assert {name.split(".")[1] for name in moved if name.startswith("features")} == {"10", "11", "12"}


@pytest.mark.parametrize(
    ("flags", "shapes"),
    [
        ([], {"classifier.1.weight": [2, 512, 1, 1]}),
        (["--head", "mlp"], {"classifier.1.0.weight": [512, 512, 1, 1], "classifier.1.3.weight": [2, 512, 1, 1]}),
        (["--mode", "append"], {"classifier.1.0.weight": [1000, 512, 1, 1], "classifier.1.1.weight": [2, 1000, 1, 1]}),
    ],
)
def test_the_head_is_the_one_asked_for(tune: Tune, flags: list[str], shapes: dict[str, list[int]]) -> None:
    run = tune(*flags)
    found = {name: list(tensor.shape) for name, tensor in weights(run).items()}
    assert {name: shape for name, shape in found.items() if "classifier" in name and "weight" in name} == shapes
    assert all(recipe_of(run)[flag.strip("-")] == value for flag, value in zip(flags[::2], flags[1::2], strict=True))


def test_classes_are_those_named_in_their_order(tune: Tune, pictures: Path) -> None:
    write_pictures(pictures, {"cow": 6}, seed=1)
    run = tune("--classes", "cow,ant")
    config, data = (json.loads(file.read_text()) for file in (last(run) / "config.json", run / "data.json"))
    assert config["classes"] == data["classes"] == recipe_of(run)["classes"] == ["cow", "ant"]
    assert {name.split("/")[0]: label for name, label, *_ in data["train"]} == {"cow": 0, "ant": 1}
    assert recipe_of(tune("--classes", "3"))["classes"] == ["ant", "bee", "cow"]


def test_weights_can_be_a_file_a_checkpoint_or_a_run(tune: Tune) -> None:
    first = tune("--seed", 7, "--lr", 0.01)
    file = last(first) / "model.safetensors"
    for given in (file, last(first), first):
        run = tune("--weights", given, "--freeze", "backbone")
        assert recipe_of(run)["weights"] == str(last(first) if given == first else given)
        assert all(
            torch.equal(value, weights(first)[name]) for name, value in weights(run).items() if "features" in name
        )
    assert not same(run, tune("--freeze", "backbone"))
    assert recipe_of(tune())["weights"] == "none"


def test_weights_that_fit_in_part_need_a_word(tune: Tune, call: Call, tmp_path: Path) -> None:
    some = {name: value for name, value in weights(tune()).items() if not name.startswith("features.12")}
    safetensors.torch.save_file(some, tmp_path / "some.safetensors")
    refused = call("--weights", tmp_path / "some.safetensors")
    assert refused.code == 4
    assert "--allow-partial" in refused.err
    run = tune("--weights", tmp_path / "some.safetensors", "--allow-partial", "--freeze", "backbone")
    assert recipe_of(run)["allow-partial"] is True
    assert torch.equal(weights(run)["features.3.squeeze.weight"], some["features.3.squeeze.weight"])


def test_a_recipe_can_be_a_file(tune: Tune, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('wd = 0.125\n[[stages]]\nfreeze = "backbone"\nepochs = 9\nlr = 0.5\n')
    run = tune("--recipe", tmp_path / "mine.toml", "--lr", 0.25)
    assert {key: recipe_of(run)[key] for key in ("name", "wd", "freeze", "epochs", "lr")} == {
        "name": "mine",
        "wd": 0.125,
        "freeze": "backbone",
        "epochs": 1,
        "lr": 0.25,
    }
    assert table(run)[0]["stage"] == "1"


def test_a_key_with_a_flag_is_an_argument_of_python_and_no_other_is() -> None:
    keys = {key.replace("-", "_") for key in (*KEYS, *STAGE_KEYS)}
    flags, arguments = (inspect.signature(each).parameters.keys() & keys for each in (finetune, zoo.finetune))
    assert flags == arguments
    assert {"patience", "clip_grad"} <= flags
    assert not flags & {"label_smoothing", "dropout", "backbone_lr"}
