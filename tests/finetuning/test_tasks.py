"""Runs of each task on pictures that are easy to tell apart: they learn, and what they leave behind is of the task."""

import json
from pathlib import Path

import pytest
import torch

import zoo
from tests.conftest import Command, write_pictures
from tests.finetuning.conftest import TINY, Listener, Train, press_ctrl_c, rows_of, same_weights, weights_of
from zoo import recipe as recipes
from zoo.checkpoint.config import from_json
from zoo.errors import DataError, Stopped, UsageError
from zoo.finetuning.comparing import recipe_changes


def test_one_output_learns_two_classes(train: Train, pictures: Path) -> None:
    run = train(task="binary", epochs=25, freeze="backbone", lr=0.1)
    assert weights_of(run.best)["fc.weight"].shape == (1, 8)
    assert run.metrics["accuracy"] == run.metrics["f1"] == run.metrics["auc"] == 1.0
    config = json.loads((run.best / "config.json").read_text())
    assert config["spec"]["head"]["task"] == "binary"
    assert config["classes"] == ["ant", "bee"]
    for each in zoo.predict(run.best, pictures, workers=0, device="cpu"):
        assert each.best == each.path.parent.name
        assert (each.values["bee"] > 0.5) == (each.best == "bee")
        assert each.probabilities[0] > 0.5


def test_the_positive_class_is_the_second(train: Train, pictures: Path) -> None:
    run = train(task="binary", classes=["bee", "ant"], epochs=25, freeze="backbone", lr=0.1)
    (found,) = zoo.predict(run.best, pictures / "ant" / "0.png", workers=0, device="cpu")
    assert found.to_values()["positive"] == "ant"
    assert found.values["ant"] > 0.5


def test_figures_follow_the_task(train: Train) -> None:
    (row, *_) = rows_of(train(task="binary").folder)
    names = ["accuracy", "f1", "precision", "recall", "auc"]
    assert list(row) == ["epoch", "stage", "step", "lr", "train_loss", "train_accuracy", "val_loss"] + [
        f"val_{name}" for name in names
    ]


def test_a_binary_task_takes_two_classes(train: Train, tmp_path: Path) -> None:
    three = write_pictures(tmp_path / "three", dict.fromkeys("abc", 3))
    with pytest.raises(DataError, match=r"has 3 classes \(a, b, c\), and a binary task has two"):
        train(data=three, task="binary")
    assert train(data=three, task="binary", classes=["c", "a"]).metrics["accuracy"] >= 0
    with pytest.raises(UsageError, match="a binary task has two classes, and here 3 are given"):
        zoo.load(TINY, classes=3, task="binary")


def test_a_stopped_binary_run_goes_on_bit_for_bit(train: Train) -> None:
    given = {"task": "binary", "epochs": 3, "augment": "standard"}
    unbroken = train("unbroken", **given)
    with pytest.raises(Stopped):
        train("broken", **given, reporter=Listener({6: press_ctrl_c}))
    resumed = zoo.resume(unbroken.folder.with_name("broken"))
    assert same_weights(resumed.last, unbroken.last)
    assert rows_of(resumed.folder) == rows_of(unbroken.folder)


def test_another_task_is_another_run(train: Train, zoo_command: Command) -> None:
    run = train()
    recipe = run.folder / "run.toml"
    recipe.write_text(recipe.read_text().replace('task = "single-label"', 'task = "binary"'))
    told = zoo_command("resume", run.folder, "--epochs", 3)
    assert told.code == 4
    assert "task  single-label → binary" in told.err
    assert "--allow task cannot be meant" in zoo_command("resume", run.folder, "--allow", "task").err


def test_a_checkpoint_of_before_there_were_tasks_is_single_label(train: Train, pictures: Path) -> None:
    run = train(epochs=1)
    model = zoo.load_checkpoint(run.best)
    head = zoo.spec_of(model).head
    assert head is not None
    config = json.loads((run.best / "config.json").read_text())
    for key in ("task", "mean", "std"):
        del config["spec"]["head"][key]
    assert from_json(config, "config.json").spec == zoo.spec_of(model)
    told = recipes.find(str(run.folder / "run.toml"))
    before = {key: value for key, value in recipes.to_values(told).items() if key != "task"}
    assert recipe_changes(before, told) == []
    assert [each.key for each in recipe_changes(before, recipes.override(told, {"task": "binary"}))] == ["task"]


def test_a_model_that_is_given_says_its_task(train: Train) -> None:
    model = zoo.load(TINY, classes=["ant", "bee"], task="binary")
    run = train(model=model, epochs=1)
    assert weights_of(run.best)["fc.weight"].shape == (1, 8)
    with pytest.raises(UsageError, match="head of the model that is given is for binary"):
        train("other", model=model, task="single-label")
    zoo.swap_head(model, "mlp")
    assert zoo.spec_of(model).head.task == "binary"  # type: ignore[union-attr]
    assert model(torch.zeros(1, 3, 16, 16)).shape == (1, 1)
