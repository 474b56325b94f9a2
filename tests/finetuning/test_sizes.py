"""What a checkpoint will take is known before the run: by optimizer, with and without an average."""

from typing import Any, get_args

import pytest
from torch import Tensor, nn

import zoo
from tests.finetuning.conftest import Listener, Train
from zoo.recipe import Opt

WIDE = "own:tests-wide"


class Wide(nn.Module):
    """Weights enough that names and counters do not matter: convolutions, a matrix, a norm, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 3, stride=2)
        self.deep = nn.Conv2d(64, 200, 3, stride=2)
        self.norm = nn.BatchNorm2d(200)
        self.inner = nn.Linear(200, 800)
        self.fc = nn.Linear(800, 20)

    def forward(self, pictures: Tensor) -> Tensor:
        features = self.norm(self.deep(self.conv(pictures).relu())).relu().mean(dim=(2, 3))
        return self.fc(self.inner(features).relu())


@pytest.fixture(scope="module", autouse=True)
def _wide() -> None:
    zoo.register(WIDE.partition(":")[2], Wide, head_path="fc", input_size=(16, 16))


def check(train: Train, **given: Any) -> None:
    heard = Listener()
    run = train(model=WIDE, epochs=1, reporter=heard, **given)
    weights = sum(file.stat().st_size for file in run.last.glob("*.safetensors"))
    assert heard.plan is not None
    assert heard.plan.checkpoint_bytes == pytest.approx(weights, rel=0.02)


@pytest.mark.parametrize("opt", get_args(Opt))
def test_each_optimizer(train: Train, opt: str) -> None:
    check(train, opt=opt)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_with_and_without_momentum(train: Train, momentum: float) -> None:
    check(train, opt="sgd", settings={"momentum": momentum})


@pytest.mark.parametrize("freeze", ["none", "conv.*,deep.*"])
def test_with_an_average(train: Train, freeze: str) -> None:
    check(train, ema=0.9, opt="sgd", freeze=freeze)


def test_muon_without_a_matrix_to_train_is_refused(train: Train) -> None:
    with pytest.raises(zoo.UsageError, match=r"opt muon is for matrices within a network(?s:.*)take adamw"):
        train(model=WIDE, opt="muon", freeze="inner.*")
    with pytest.raises(zoo.UsageError, match="opt is 'lbfgs'; it calls the model many times"):
        train(opt="lbfgs")
