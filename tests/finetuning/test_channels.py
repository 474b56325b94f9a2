"""Runs on grey pictures and on pictures with transparency, from the first look to the prediction."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import zoo
from tests.conftest import Command
from tests.finetuning.conftest import TINY, Listener, Train


def by_transparency(root: Path) -> Path:
    """Two classes that differ in their transparency alone."""
    for name, alpha in (("clear", 30), ("full", 255)):
        (root / name).mkdir(parents=True)
        for number in range(10):
            colour = (20 * number, 200 - 20 * number, 100, alpha)
            Image.new("RGBA", (20, 20), colour).save(root / name / f"{number}.png")
    return root


def test_a_run_on_grey_pictures_reads_and_predicts_grey(train: Train, pictures: Path) -> None:
    heard = Listener()
    run = train(channels=1, reporter=heard)
    model = zoo.load_checkpoint(run.best)
    assert model.conv.weight.shape == (8, 1, 3, 3)  # type: ignore[union-attr]
    assert zoo.spec_of(model).preprocessing.mean == (pytest.approx(0.449),)
    assert heard.plan is not None
    batch, _ = next(iter(heard.plan.loader(train=False).epoch(0)))
    assert batch.shape[1:] == (1, 16, 16)
    assert "channels = 1\n" in (run.folder / "run.toml").read_text()
    accuracy = zoo.evaluate(run.best, pictures).metrics["accuracy"]
    paths = sorted(pictures.rglob("*.png"))
    right = [each.best == each.path.parent.name for each in zoo.predict(run.best, paths)]
    assert sum(right) / len(right) == pytest.approx(accuracy)
    coloured = Image.open(paths[0])
    coloured.convert("L").save(pictures / "grey.png")
    grey, colour = zoo.predict(run.best, [pictures / "grey.png", paths[0]])
    assert grey.probabilities == colour.probabilities


def test_transparency_is_a_channel_that_is_learned_from(train: Train, tmp_path: Path) -> None:
    data = by_transparency(tmp_path / "alpha")
    run = train(data=data, channels=4, epochs=8, lr=0.05, augment="none")
    assert run.metrics["accuracy"] == 1.0
    assert zoo.evaluate(run.best, data).metrics["accuracy"] == 1.0
    # The same pictures without it cannot be told apart.
    flat = tmp_path / "flat"
    for path in data.rglob("*.png"):
        (flat / path.parent.name).mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("RGB").save(flat / path.parent.name / path.name)
    assert zoo.evaluate(run.best, flat).metrics["accuracy"] == 0.5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"channels": 5}, "cannot be read with 5 channels"),
        ({"channels": 4, "augment": "trivial"}, "augment trivial cannot vary pictures with transparency"),
        ({"channels": 0}, "channels is 0; it must be 1 or more"),
    ],
)
def test_what_pictures_cannot_be_is_refused_before_anything_is_written(
    train: Train, tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(zoo.UsageError, match=message):
        train(**given)
    assert not (tmp_path / "runs").exists()


def test_the_command_line_takes_the_channels(zoo_command: Command, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    shared = ["finetune", TINY, "--data", pictures, "--out", out, "--name", "grey", "--epochs", 1, "--device", "cpu"]
    assert zoo_command(*shared, "--channels", 1, "--freeze", "backbone", "-j", 0).code == 0
    model = zoo.load_checkpoint(out / "grey")
    assert not model.conv.weight.requires_grad  # type: ignore[union-attr]
    again = zoo_command("finetune", "--recipe", out / "grey" / "run.toml", "--out", out, "--name", "again")
    assert again.code == 0
    first, second = (zoo.load_checkpoint(out / name).state_dict() for name in ("grey", "again"))
    assert [name for name in first if not first[name].equal(second[name])] == []


def test_a_given_model_keeps_its_channels(train: Train) -> None:
    model = zoo.load(TINY, classes=["ant", "bee"], channels=1)
    with pytest.raises(zoo.UsageError, match="channels is 3, and the model that is given takes 1"):
        train(model=model, channels=3)
    run = train(model=model)
    assert zoo.load_checkpoint(run.best)(torch.zeros(1, 1, 16, 16)).shape == (1, 2)


def test_another_run_goes_on_from_a_grey_one_in_grey(train: Train) -> None:
    run = train("first", channels=1)
    other = train("second", weights=run.best)
    assert len(zoo.spec_of(zoo.load_checkpoint(other.best)).preprocessing.mean) == 1


def test_a_run_on_wide_pictures_trains_and_predicts_wide(train: Train, pictures: Path) -> None:
    heard = Listener()
    run = train(img_size=(16, 32), reporter=heard)
    assert heard.plan is not None
    batch, _ = next(iter(heard.plan.loader(train=True).epoch(0)))
    assert batch.shape[1:] == (3, 16, 32)
    assert "img-size = [\n    16,\n    32,\n]" in (run.folder / "run.toml").read_text()
    assert zoo.spec_of(zoo.load_checkpoint(run.best)).preprocessing.size == (16, 32)
    square = train(name="square", img_size=(16, 16))
    assert "img-size = 16\n" in (square.folder / "run.toml").read_text()
    paths = sorted(pictures.rglob("*.png"))
    accuracy = zoo.evaluate(run.best, pictures).metrics["accuracy"]
    right = [each.best == each.path.parent.name for each in zoo.predict(run.best, paths)]
    assert sum(right) / len(right) == pytest.approx(accuracy)


def test_a_model_that_was_built_for_a_size_keeps_it(train: Train) -> None:
    """Some (twins) would run at another one too, and their checkpoints say two."""
    model = zoo.load("timm:test_vit", ["ant", "bee"], weights=None, img_size=64)
    with pytest.raises(zoo.UsageError, match=r"cannot take pictures of 96 × 64: it was built for 64 × 64"):
        train(model=model, img_size=(96, 64))
