"""Every preset runs on a small model and trains what it says it trains, stage by stage; layer decay too."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from tests.finetuning.conftest import TINY, Listener, Train, changed, press_ctrl_c, same_weights, weights_of
from zoo import catalog, recipe
from zoo.errors import Stopped, UsageError

DEEP = "own:tests-deep"


class Part(nn.Module):
    """A residual block of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.out(self.norm(self.conv(maps)).relu())


class Deep(nn.Module):
    """A stem, three blocks and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 10)
        self.body = nn.Sequential(Part(), Part(), Part())
        self.stem = nn.Conv2d(3, 8, 3, stride=2)

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.body(self.stem(pictures)).mean(dim=(2, 3)))
        return scores


@pytest.fixture(scope="module", autouse=True)
def _deep() -> None:
    zoo.register(DEEP.partition(":")[2], Deep, head_path="fc", input_size=(16, 16))


HEAD, STEM = {"fc.weight", "fc.bias"}, {"stem.weight", "stem.bias"}


def part(number: int) -> set[str]:
    layers = ("conv", "norm", "out")
    return {f"body.{number}.{layer}.{leaf}" for layer in layers for leaf in ("weight", "bias")}


ALL = HEAD | STEM | part(0) | part(1) | part(2)
TRAINS: dict[str, Sequence[set[str]]] = {
    "linear-probe": [HEAD],
    "quick": [HEAD],
    "fine-tune": [ALL],
    "layer-decay": [ALL],
    "probe-then-fine-tune": [HEAD, ALL],
    "gradual-unfreeze": [HEAD, HEAD | part(2), HEAD | part(2) | part(1), ALL],
    "bitfit": [HEAD | {name for name in ALL if name.endswith("bias")}],
    "surgical": [HEAD | STEM | part(0)],
}
"""What each stage of each preset trains of the small model, written down by hand."""


def test_no_preset_is_forgotten() -> None:
    assert sorted(TRAINS) == catalog.names("recipes")


@pytest.mark.parametrize("name", TRAINS)
def test_each_stage_trains_what_it_says_and_nothing_else(train: Train, name: str) -> None:
    stages = TRAINS[name]
    rates = {f"stages.{number}.warmup-epochs": 0 for number in range(len(stages))}
    run = train(model=DEEP, recipe=name, epochs=len(stages), keep="every:1", settings={**rates, "sched": "constant"})
    before = zoo.load(DEEP, ["ant", "bee"], weights=None, seed=0).state_dict()
    for number, trained in enumerate(stages, start=1):
        after = weights_of(run.folder / f"epoch-{number:04d}")
        moved = {each for each in ALL if not torch.equal(before[each], after[each])}
        assert moved == trained, f"stage {number}"
        before = after


@pytest.mark.parametrize("name", TRAINS)
def test_each_preset_works_on_a_model_of_one_block(train: Train, name: str) -> None:
    heard = Listener()
    count = len(recipe.find(name).stages)
    run = train(model=TINY, recipe=name, epochs=count, reporter=heard)
    assert run.epochs == count
    cut = {"gradual-unfreeze": [2, 3], "surgical": [1]}.get(name, [])
    said = [f"stage {number} of the recipe says freeze backbone but" for number in cut]
    assert [note.partition(" last:")[0].partition(" first:")[0] for note in heard.notes] == said
    assert all("with 1 block that is freeze none" in note for note in heard.notes)


def test_a_count_that_is_asked_for_beside_the_recipe_is_taken_at_its_word(train: Train, tmp_path: Path) -> None:
    for given in ({"freeze": "first:9"}, {"freeze": "backbone", "unfreeze": "last:9"}):
        with pytest.raises(UsageError, match="has 4 blocks"):
            train(model=DEEP, **given)
    with pytest.raises(UsageError, match="has 4 blocks"):
        train(model=DEEP, recipe="gradual-unfreeze", epochs=4, settings={"stages.1.unfreeze": "last:9"})
    assert not (tmp_path / "runs").exists()


def test_bitfit_on_a_backbone_without_bias_says_so(train: Train) -> None:
    zoo.register("tests-unbiased", lambda: Unbiased(), head_path="fc", input_size=(16, 16))
    with pytest.raises(
        UsageError, match="freeze 'bias' has no meaning for own:tests-unbiased: its backbone has no bias terms"
    ):
        train(model="own:tests-unbiased", recipe="bitfit")


class Unbiased(nn.Module):
    """A backbone of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3, bias=False), nn.Linear(8, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.conv(pictures).mean(dim=(2, 3)))
        return scores


def peaks_of(checkpoint: Path) -> dict[str, float]:
    """The peak learning rate of each parameter in an optimizer that was saved."""
    groups = json.loads((checkpoint / "training.json").read_text())["optimizer"]["groups"]
    return {name: group["peak"] for group in groups for name in group["params"]}


def expected(head: float, last: float, decay: float) -> dict[str, float]:
    """Layer decay by hand: the last block first, the stem three blocks further down."""
    rates = {**dict.fromkeys(HEAD, head), **dict.fromkeys(STEM, last * decay**3)}
    for distance, number in enumerate((2, 1, 0)):
        rates |= dict.fromkeys(part(number), last * decay**distance)
    return rates


@pytest.mark.parametrize(
    ("given", "rates"),
    [
        ({"layer-decay": 0.5}, expected(0.1, 0.05, 0.5)),
        ({"layer-decay": 0.5, "backbone-lr": 0.02}, expected(0.1, 0.02, 0.5)),
        ({"layer-decay": 1.0, "backbone-lr": 0.02}, expected(0.1, 0.02, 1.0)),
    ],
)
def test_layer_decay_sets_the_rate_of_every_parameter(
    train: Train, given: dict[str, Any], rates: dict[str, float]
) -> None:
    heard = Listener()
    run = train(model=DEEP, recipe=plain(), settings={"lr": 0.1, **given}, epochs=1, reporter=heard)
    assert peaks_of(run.last) == pytest.approx(rates)
    assert heard.plan is not None
    shown = {row.block: row.lr for row in heard.plan.tables[0]}
    for block in ("fc", "stem", *(["body.0", "body.2"] if given["layer-decay"] < 1 else [])):
        name = next(each for each in rates if each.startswith(block))
        assert shown[block] == pytest.approx(rates[name])


def plain() -> recipe.Recipe:
    """Every layer at one rate."""
    return recipe.Recipe(stages=(recipe.Stage(freeze="none", epochs=1, lr=0.1, sched="constant"),))


def test_layer_decay_counts_from_the_head_whatever_is_frozen(train: Train) -> None:
    run = train(model=DEEP, recipe=plain(), freeze="last:1", settings={"layer-decay": 0.5, "lr": 0.1}, epochs=1)
    rates = {name: rate for name, rate in expected(0.1, 0.05, 0.5).items() if name not in part(2)}
    assert peaks_of(run.last) == pytest.approx(rates)


def test_a_run_with_layer_decay_learns_otherwise_below_the_head(train: Train) -> None:
    runs = [train(str(decay), model=DEEP, recipe=plain(), settings={"layer-decay": decay}) for decay in (1e-9, 1.0)]
    slow, usual = (weights_of(run.last) for run in runs)
    start = zoo.load(DEEP, ["ant", "bee"], weights=None, seed=0).state_dict()
    assert not same_weights(runs[0].last, runs[1].last)
    torch.testing.assert_close(slow["body.0.conv.weight"], start["body.0.conv.weight"])
    assert not torch.allclose(usual["body.0.conv.weight"], start["body.0.conv.weight"], atol=1e-3)


@pytest.mark.parametrize("name", ["layer-decay", "gradual-unfreeze", "surgical"])
def test_a_stopped_run_of_a_preset_goes_on_bit_for_bit(train: Train, tmp_path: Path, name: str) -> None:
    given: dict[str, Any] = {"model": DEEP, "recipe": name, "epochs": 4}
    unbroken = train("unbroken", **given)
    for step in (2, 6, 11):
        with pytest.raises(Stopped):
            train(f"stopped {step}", reporter=Listener(at_step={step: press_ctrl_c}), **given)
        resumed = zoo.resume(tmp_path / "runs" / f"stopped {step}")
        assert same_weights(resumed.last, unbroken.last)
        assert peaks_of(resumed.last) == peaks_of(unbroken.last)
        assert changed(resumed.last, unbroken.last) == set()


def test_another_layer_decay_is_refused_on_resume(train: Train, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(model=DEEP, recipe="layer-decay", reporter=Listener(at_step={2: press_ctrl_c}))
    file = tmp_path / "runs" / "run" / "run.toml"
    file.write_text(file.read_text().replace("layer-decay = 0.75", "layer-decay = 0.5"))
    with pytest.raises(zoo.CheckpointError, match=r"layer-decay +0\.75 → 0\.5(?s:.*)--allow layer-decay"):
        zoo.resume(tmp_path / "runs" / "run")
    resumed = zoo.resume(tmp_path / "runs" / "run", allow=["layer-decay"])
    backbone = recipe.find("layer-decay").stages[0].backbone_lr
    assert backbone is not None
    assert peaks_of(resumed.last)["stem.weight"] == pytest.approx(backbone * 0.5**3)
