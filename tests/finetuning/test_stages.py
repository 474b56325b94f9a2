"""Recipes of several stages, and what flags and settings change in them."""

import tomllib
from pathlib import Path

import pytest
import torch

import zoo
from tests.finetuning.conftest import Listener, Train, changed, rows_of, same_weights, weights_of
from zoo.errors import UsageError

TWO = "probe-then-fine-tune"


def test_stages_follow_one_another(train: Train) -> None:
    run = train(recipe=TWO, epochs=4, keep="every:1")
    rows = rows_of(run.folder)
    stages = [stage["epochs"] for stage in tomllib.loads((run.folder / "run.toml").read_text())["stages"]]
    assert sum(stages) == 4
    assert [row["stage"] for row in rows] == [*["1"] * stages[0], *["2"] * stages[1]]
    assert [row["step"] for row in rows] == ["4", "8", "12", "16"]
    probed = [run.folder / f"epoch-{epoch:04d}" for epoch in range(1, 5)]
    head, last = {"fc.weight", "fc.bias"}, stages[0]
    assert changed(probed[0], probed[last - 1]) in (head, set())
    assert changed(probed[last - 1], probed[last]) > head
    assert weights_of(probed[last - 1])["norm.num_batches_tracked"] == 0
    assert weights_of(probed[3])["norm.num_batches_tracked"] == 4 * stages[1]


def test_what_is_frozen_is_kept_in_each_checkpoint(train: Train) -> None:
    run = train(recipe=TWO, epochs=2, keep="every:1")
    first, second = (zoo.load_checkpoint(run.folder / name) for name in ("epoch-0001", "epoch-0002"))
    assert [name for name, value in first.named_parameters() if value.requires_grad] == ["fc.weight", "fc.bias"]
    assert all(value.requires_grad for value in second.parameters())
    assert not first.train().norm.training
    assert second.train().norm.training


def test_each_stage_has_a_schedule_of_its_own(train: Train) -> None:
    settings = {"stages.0.lr": 0.2, "stages.1.lr": 0.1, "stages.0.warmup-epochs": 0, "sched": "constant"}
    run = train(recipe=TWO, epochs=3, settings=settings)
    assert {row["stage"]: float(row["lr"]) for row in rows_of(run.folder)} == {"1": 0.2, "2": 0.1}


def test_the_rate_rises_in_the_warm_up_and_falls_along_the_cosine(train: Train) -> None:
    rates = [float(row["lr"]) for row in rows_of(train(epochs=4, lr=0.1, warmup_epochs=2).folder)]
    # The rate of an epoch's last of four steps: 8 steps of warm-up, then half a cosine of 8.
    cosine = [0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / 8)).item()) for step in (3, 7)]
    assert rates == pytest.approx([0.05, 0.1, 0.1 * cosine[0], 0.1 * cosine[1]], rel=1e-5)
    flat = [
        float(row["lr"]) for row in rows_of(train("flat", epochs=4, lr=0.1, warmup_epochs=2, sched="constant").folder)
    ]
    assert flat == [0.05, 0.1, 0.1, 0.1]


def test_the_backbone_can_learn_slower_than_the_head(train: Train) -> None:
    settings = {"backbone-lr": 1e-12, "wd": 0}
    heard = Listener()
    run = train(lr=0.1, epochs=1, settings=settings, reporter=heard)
    assert heard.plan is not None
    assert {row.lr for row in heard.plan.tables[0] if row.block == "fc"} == {0.1}
    assert {row.lr for row in heard.plan.tables[0] if row.block != "fc"} == {1e-12}
    still = train("still", lr=1e-12, epochs=1, settings={"wd": 0})
    torch.testing.assert_close(weights_of(run.last)["conv.weight"], weights_of(still.last)["conv.weight"])
    assert not torch.allclose(weights_of(run.last)["fc.weight"], weights_of(still.last)["fc.weight"], atol=1e-3)


def test_the_table_says_what_each_stage_trains(train: Train) -> None:
    heard = Listener()
    train(recipe=TWO, epochs=2, reporter=heard)
    assert heard.plan is not None
    probe, tune = ({row.block: row.trained for row in rows} for rows in heard.plan.tables)
    assert probe["fc"]
    assert not any(trained for block, trained in probe.items() if block != "fc")
    assert all(tune.values())
    norms = [{row.norm for row in rows} - {"–"} for rows in heard.plan.tables]
    assert norms == [{"eval"}, {"train"}]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"freeze": "conv"}, r"freeze differs between the 2 stages .* stages\.0\.freeze"),
        ({"epochs": 1}, "epochs is 1; the recipe has 2 stages"),
        ({"settings": {"stages.2.lr": 0.1}}, r"stages\.2\.lr is unknown; stages go from 0 to 1"),
        ({"settings": {"stages.0.colour": "red"}}, r"stages\.0\.colour is unknown"),
        ({"settings": {"stages.1.lr": -1}}, r"stages\.1\.lr is -1; it must be above 0"),
    ],
)
def test_what_cannot_be_meant_of_stages_is_told(
    train: Train, tmp_path: Path, given: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        train(recipe=TWO, **given)
    assert not (tmp_path / "runs").exists()


def test_a_policy_can_be_set_in_one_stage(train: Train) -> None:
    run = train(recipe=TWO, epochs=2, settings={"stages.1.freeze": "conv"}, keep="every:1")
    assert "conv.weight" not in changed(run.folder / "epoch-0001", run.folder / "epoch-0002")


@pytest.mark.parametrize(
    ("settings", "otherwise"),
    [
        ({"label-smoothing": 0.4}, {"label-smoothing": 0.0}),
        ({"momentum": 0.9, "opt": "sgd"}, {"momentum": 0.0, "opt": "sgd"}),
        ({"dropout": 0.5}, {"dropout": 0.0}),
    ],
)
def test_settings_change_what_is_learned(
    train: Train, settings: dict[str, object], otherwise: dict[str, object]
) -> None:
    one, other = train("one", settings=settings), train("other", settings=otherwise)
    assert not same_weights(one.last, other.last)
    assert same_weights(one.last, train("again", settings=settings).last)
