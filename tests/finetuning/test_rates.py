"""The learning-rate test: what it tries, what it suggests, and that it leaves everything as it was."""

import itertools
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.finetuning.conftest import TINY
from zoo.errors import NumericsError, UsageError
from zoo.finetuning import rates, running
from zoo.training import loop

USUAL: dict[str, Any] = {"batch_size": 4, "workers": 0, "device": "cpu", "steps": 60}


def test_the_same_seed_gives_the_same_and_another_one_another(pictures: Path) -> None:
    one, again, other = (zoo.lr_find(TINY, pictures, seed=seed, **USUAL) for seed in (1, 1, 2))
    assert one == again
    assert one.raw != other.raw


def test_it_tries_rates_from_the_lowest_to_the_highest_in_equal_proportions(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[float, ...]] = []
    set_rates = loop.set_rates

    def noted(optimizer: torch.optim.Optimizer, share: float) -> None:
        set_rates(optimizer, share)
        tried.append(tuple(sorted({group["lr"] for group in optimizer.param_groups})))

    monkeypatch.setattr(loop, "set_rates", noted)
    given = {"settings": {"lr": 0.01, "stages.0.backbone-lr": 0.001}}
    found = zoo.lr_find(TINY, pictures, lowest=1e-5, highest=1e-2, **USUAL, **given)
    assert (found.rates[0], found.rates[-1]) == (1e-5, pytest.approx(1e-2))
    ratios = {round(after / before, 9) for before, after in itertools.pairwise(found.rates)}
    assert len(ratios) == 1
    assert [pair[1] for pair in tried] == pytest.approx(list(found.rates))
    assert [pair[0] * 10 for pair in tried] == pytest.approx(list(found.rates)), "the backbone's goes along"
    assert not found.diverged


def test_a_run_at_the_suggestion_learns_more_than_one_at_the_lowest_rate(pictures: Path, tmp_path: Path) -> None:
    found = zoo.lr_find(TINY, pictures, **USUAL)
    assert found.rates[0] < found.suggestion < found.rates[-1]
    usual = {"batch_size": 4, "workers": 0, "device": "cpu", "out": tmp_path, "epochs": 3}

    def loss(lr: float) -> float:
        settings = {"stages.0.warmup-epochs": 0, "label-smoothing": 0}
        return zoo.finetune(TINY, pictures, **usual, lr=lr, settings=settings).metrics["loss"]

    assert loss(found.suggestion) < loss(found.rates[0])


def test_a_model_that_is_given_and_all_else_stays_as_it_was(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = zoo.load(TINY, ["ant", "bee"])
    zoo.freeze(model, "conv.*")
    model.train()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    trained = [name for name, value in model.named_parameters() if value.requires_grad]
    modes = {name: module.training for name, module in model.named_modules()}
    files, chances = sorted(tmp_path.rglob("*")), (torch.get_rng_state().tolist(), random.getstate())
    zoo.lr_find(model, pictures, **USUAL)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert [name for name, value in model.named_parameters() if value.requires_grad] == trained
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(value.grad is None for value in model.parameters())
    assert sorted(tmp_path.rglob("*")) == files
    assert (torch.get_rng_state().tolist(), random.getstate()) == chances


@pytest.mark.parametrize("given", [{"freeze": "backbone"}, {"opt": "sgd"}, {"settings": {"accumulate": 2}}])
def test_what_is_tried_is_what_would_be_trained(pictures: Path, given: dict[str, Any]) -> None:
    assert zoo.lr_find(TINY, pictures, **USUAL, **given).raw != zoo.lr_find(TINY, pictures, **USUAL).raw


def test_each_stage_of_a_recipe_can_be_tried(pictures: Path) -> None:
    given: dict[str, Any] = {**USUAL, "recipe": "probe-then-fine-tune"}
    assert zoo.lr_find(TINY, pictures, **given).raw != zoo.lr_find(TINY, pictures, **given, stage=2).raw
    with pytest.raises(UsageError, match="stage is 3; the recipe has 2"):
        zoo.lr_find(TINY, pictures, **given, stage=3)


def test_a_loss_that_diverges_ends_the_test_and_one_that_never_falls_is_told(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = zoo.lr_find(TINY, pictures, highest=1e6, opt="sgd", **USUAL)
    assert wild.diverged
    assert len(wild.raw) < 60
    monkeypatch.setattr(loop, "logits_of", lambda output: output * 0)
    with pytest.raises(NumericsError, match=r"does not fall at any rate from 1\.0e-07 to 1\.0e\+01") as raised:
        zoo.lr_find(TINY, pictures, **USUAL)
    assert raised.value.exit_code == 6


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"steps": 5}, "steps is 5; it must be 20 or more"),
        ({"lowest": 1.0, "highest": 0.1}, "0 < lowest < highest"),
        ({"lowest": 0.0}, "0 < lowest < highest"),
        ({"highest": math.inf}, "0 < lowest < highest"),
    ],
)
def test_what_cannot_be_tried_is_told(pictures: Path, given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        zoo.lr_find(TINY, pictures, **{**USUAL, **given})


def test_the_suggestion_lies_where_the_loss_falls_fastest_and_before_it_diverges() -> None:
    """A loss like those of real runs: a plateau, a fall that is steepest at its middle, and a wild end."""
    tried = [1e-7 * 10 ** (step / 12) for step in range(97)]

    def loss(step: int) -> float:
        return 2 - 1.2 / (1 + math.exp(-(step - 50) / 4)) + 30 * max(0.0, (step - 75) / 20) ** 3 * (step % 2)

    found = rates._found("m", tried, [loss(step) for step in range(97)], diverged=True)
    lowest = min(range(97), key=found.losses.__getitem__)
    assert tried[48] < found.suggestion < tried[52], "it does not lag behind the fall"
    assert 66 < lowest < 74
    assert tried[10] < found.valley < tried[lowest]
    wild = min(range(96), key=lambda step: found.raw[step + 1] - found.raw[step])
    assert wild > lowest, "behind the lowest point the noise falls faster"
    assert max(found.losses) <= 2, "a loss that diverges counts as one that has learned nothing"
    assert rates.centred([60.0 - step for step in range(60)])[30] == pytest.approx(30, abs=0.01)


def test_noise_moves_the_suggestion_little() -> None:
    chance = random.Random(0)
    tried = [1e-7 * 10 ** (step / 12) for step in range(97)]
    for _ in range(20):
        raw = [2 - 1.2 / (1 + math.exp(-(step - 50) / 4)) + chance.gauss(0, 0.1) for step in range(97)]
        assert tried[46] < rates._found("m", tried, raw, diverged=False).suggestion < tried[54]


def test_the_longest_fall_is_the_longest() -> None:
    chance = random.Random(0)
    for _ in range(50):
        values = [chance.random() for _ in range(9)]
        falls = [
            places
            for count in range(1, 10)
            for places in itertools.combinations(range(9), count)
            if all(values[one] > values[other] for one, other in itertools.pairwise(places))
        ]
        found = rates.longest_fall(values)
        assert tuple(found) in falls
        assert len(found) == max(map(len, falls))
    assert rates.longest_fall([]) == []


def test_the_trainer_is_that_of_a_run() -> None:
    assert rates.trainer_of is running.trainer_of
