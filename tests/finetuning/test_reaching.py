"""What is asked for and reaches nothing of the model is refused; what a recipe says itself never is."""

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

import zoo
from tests.cli.conftest import recipe_of
from tests.finetuning.conftest import Train
from zoo.errors import UsageError

BARE = "own:tests-bare"
FROZEN = "is for the backbone, and the run trains nothing of it"


class Bare(nn.Module):
    """A convolution, a matrix and a classifier: no dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.inner, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 12), nn.Linear(12, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.inner(self.conv(pictures).mean(dim=(2, 3))).relu())
        return scores


@pytest.fixture(scope="module", autouse=True)
def _bare() -> None:
    zoo.register(BARE.partition(":")[2], Bare, head_path="fc", input_size=(16, 16))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"settings": {"dropout": 0.5}}, "dropout is 0.5, and the backbone of own:tests-bare has no dropout layer"),
        ({"settings": {"dropout": 0.5}, "head": "dropout-linear"}, "has no dropout layer(?s:.*)zoo heads"),
        ({"freeze": "backbone", "settings": {"backbone-lr": 1e-4}}, f"backbone-lr {FROZEN}"),
        ({"freeze": "backbone", "settings": {"layer-decay": 0.5}}, f"layer-decay {FROZEN}"),
        (
            {"recipe": "probe-then-fine-tune", "settings": {"stages.0.backbone-lr": 1e-4}},
            r"stages\.0\.backbone-lr is for the backbone, and that stage trains nothing of it",
        ),
    ],
)
def test_what_reaches_nothing_is_refused_where_it_was_asked_for(
    train: Train, tmp_path: Path, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        train(model=BARE, **given)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("freeze", ["backbone", "conv,norm.*", "first:1"])
def test_dropout_in_what_stays_frozen_is_refused(train: Train, freeze: str) -> None:
    with pytest.raises(
        UsageError, match=r"dropout is 0\.5, and every dropout layer of own:tests-tiny is in what stays"
    ):
        train(freeze=freeze, settings={"dropout": 0.5})


def test_dropout_that_one_stage_reaches_is_taken(train: Train) -> None:
    run = train(recipe="probe-then-fine-tune", settings={"dropout": 0.5})
    assert recipe_of(run.folder)["dropout"] == 0.5


@pytest.mark.parametrize(
    "given",
    [
        {"settings": {"dropout": 0.0}},
        {"recipe": "probe-then-fine-tune", "settings": {"backbone-lr": 1e-4, "layer-decay": 0.5}},
        {"recipe": "probe-then-fine-tune", "settings": {"stages.1.backbone-lr": 1e-4}},
        {"recipe": "bitfit", "lr": 0.01, "freeze": "backbone"},
    ],
)
def test_what_reaches_something_or_is_the_recipes_own_is_taken(train: Train, given: dict[str, Any]) -> None:
    assert train(model=BARE, **given).epochs == 2


def test_a_file_says_what_it_likes(train: Train, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    stage = '[[stages]]\nfreeze = "backbone"\nepochs = 1\nlr = 0.01\nbackbone-lr = 0.001\nlayer-decay = 0.5\n'
    mine.write_text(f"dropout = 0.5\n{stage}", encoding="utf-8")
    assert recipe_of(train(model=BARE, recipe=mine).folder)["dropout"] == 0.5


def test_muon_without_a_matrix_is_refused_where_a_run_goes_on_too(train: Train) -> None:
    run = train(model=BARE, opt="muon", recipe="fine-tune")
    before = (run.last / "MANIFEST.json").read_bytes()
    text = (run.folder / "run.toml").read_text(encoding="utf-8")
    (run.folder / "run.toml").write_text(text.replace('freeze = "none"', 'freeze = "inner.*"'), encoding="utf-8")
    with pytest.raises(UsageError, match=r"opt muon is for matrices(?s:.*)take adamw"):
        zoo.resume(run.folder, epochs=3, allow=["freeze"])
    assert (run.last / "MANIFEST.json").read_bytes() == before
    (run.folder / "run.toml").write_text(text, encoding="utf-8")
    assert zoo.resume(run.folder, epochs=3).epochs == 3
