"""A moving average of the weights: it is what is measured and used, and training goes on beside it."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import zoo
from tests.finetuning.conftest import Listener, Train, press_ctrl_c, weights_of
from zoo.checkpoint import reading
from zoo.data.loading import evaluation_transform
from zoo.data.pictures import read_picture
from zoo.recipe import Recipe, Stage


def raw_of(checkpoint: Path) -> dict[str, Tensor]:
    """The weights that training goes on with."""
    tensors = safetensors.torch.load_file(checkpoint / "training.safetensors")
    return {name.removeprefix("training.raw."): value for name, value in tensors.items() if ".raw." in name}


def test_the_checkpoint_has_the_average_and_beside_it_what_it_is_the_average_of(train: Train) -> None:
    model, seen = zoo.load("own:tests-tiny", ["ant", "bee"]), []

    def note() -> None:
        seen.append({name: value.detach().clone() for name, value in model.state_dict().items()})

    note()
    expected = seen.pop()
    heard = Listener(at_step=dict.fromkeys(range(1, 9), note))
    run = train(model=model, epochs=2, ema=0.8, reporter=heard, keep="every:1")
    for step, state in enumerate(seen):
        decay = min(0.8, (1 + step) / (10 + step))
        for name, value in state.items():
            mean = decay * expected[name] + (1 - decay) * value
            expected[name] = mean if value.is_floating_point() else value
    kept = weights_of(run.last)
    for name, value in kept.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)
        assert torch.equal(raw_of(run.last)[name], seen[-1][name])
    assert not torch.equal(kept["fc.weight"], seen[-1]["fc.weight"])
    assert not torch.equal(kept["norm.running_mean"], seen[-1]["norm.running_mean"])


def test_what_is_measured_is_the_average(train: Train, pictures: Path) -> None:
    run = train(epochs=2, ema=0.99, data=pictures, lr=0.05)
    listing = json.loads((run.folder / "data.json").read_text(encoding="utf-8"))
    model, raw = zoo.load_checkpoint(run.last), zoo.load_checkpoint(run.last)
    raw.load_state_dict(raw_of(run.last), strict=False)
    transform = evaluation_transform(zoo.spec_of(model).preprocessing)
    rows = [(transform(read_picture(Path(listing["root"]) / row[0])), row[1]) for row in listing["val"]]
    batch, labels = torch.stack([picture for picture, _ in rows]), torch.tensor([label for _, label in rows])
    losses = [torch.nn.functional.cross_entropy(each(batch), labels).item() for each in (model, raw)]
    measured = reading.read_facts(run.last)["metrics"]["loss"]
    assert measured == pytest.approx(losses[0], rel=1e-4)
    assert measured != pytest.approx(losses[1], rel=1e-2)


def test_a_stage_begins_with_the_average_of_the_one_before(train: Train) -> None:
    stages = Stage("conv.*,norm.*", epochs=1, lr=0.05), Stage("fc.*", epochs=1, lr=0.05)
    run = train(recipe=Recipe(stages, ema=0.9), epochs=2, keep="every:1")
    first, second = (run.folder / name for name in ("epoch-0001", "epoch-0002"))
    assert not torch.equal(weights_of(first)["fc.weight"], raw_of(first)["fc.weight"])
    assert torch.equal(weights_of(second)["fc.weight"], weights_of(first)["fc.weight"])
    assert raw_of(first).keys() == {"fc.weight", "fc.bias"}
    assert "fc.weight" not in raw_of(second)


def test_a_model_that_is_given_ends_with_the_average(train: Train) -> None:
    model = zoo.load("own:tests-tiny", ["ant", "bee"])
    run = train(model=model, ema=0.9)
    kept = weights_of(run.last)
    assert all(torch.equal(value.cpu(), kept[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("how", ["full", "state"])
def test_every_form_of_a_checkpoint_has_the_average(train: Train, how: str) -> None:
    run = train(ema=0.9, save=how)
    if how == "full":
        whole = torch.load(run.last / "model.pt", weights_only=False).state_dict()
        kept = weights_of(run.last)
        assert all(torch.equal(value, kept[name]) for name, value in whole.items())
    assert not torch.equal(weights_of(run.last)["fc.weight"], raw_of(run.last)["fc.weight"])


def test_it_can_be_left_or_begun_on_the_way(train: Train, tmp_path: Path) -> None:
    begun: dict[str, Any] = {"epochs": 3, "keep": "every:1"}
    for now, before in ((0.9, 0.0), (0.0, 0.9)):
        name = f"run-{before}"
        with pytest.raises(zoo.Stopped):
            train(name, ema=before, **begun, reporter=Listener(at_step={6: press_ctrl_c}))
        run = train(name, ema=now, **begun, resume=True, allow=["ema"])
        assert bool(raw_of(run.last)) is (now > 0)
