from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import zoo

from .contract import SourceContract

LINES = """
from torch import nn
model = nn.Sequential(
    nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, {classes}),
)
"""


class TestOwn(SourceContract):
    models: ClassVar[dict[str, str]] = {"own:contract-net": LINES}
    heads = ("linear replace",)
    rebuilds = False

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _registered(cls) -> None:
        def build() -> nn.Module:
            values: dict[str, nn.Module] = {}
            exec(LINES.format(classes=10), values)  # type: ignore[arg-type]
            return values["model"]

        zoo.register("contract-net", build, head_path="6", input_size=(32, 32))


def test_a_name_is_taken_once() -> None:
    zoo.register("taken", nn.Identity, head_path="")
    with pytest.raises(zoo.UsageError, match="'own:taken' is registered already"):
        zoo.register("taken", nn.Identity, head_path="")


def test_a_bare_name_finds_a_registered_model() -> None:
    zoo.register("bare-net", lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 9)), head_path="1", input_size=(2, 2))
    model = zoo.load("bare-net", classes=2)
    assert zoo.spec_of(model).full_name == "own:bare-net"


def test_the_builder_must_return_a_module() -> None:
    zoo.register("no-net", lambda: 5, head_path="1")
    with pytest.raises(zoo.UsageError, match="returned a int, not"):
        zoo.load("own:no-net", classes=2)


@pytest.mark.parametrize(
    ("head_path", "message"),
    [("7", "no module at '7'"), ("0", "is a Flatten, neither a linear layer nor a")],
)
def test_a_head_path_is_verified_by_looking(head_path: str, message: str) -> None:
    name = f"wrong-{head_path}"
    zoo.register(name, lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 9)), head_path=head_path)
    with pytest.raises(zoo.UsageError, match=message):
        zoo.load(f"own:{name}", classes=2)


class Positions(nn.Module):
    """A network with a table that its author does not train, and one of whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.ones(3, 4, 4), requires_grad=False)
        self.places = nn.Parameter(torch.arange(4), requires_grad=False)
        self.body = nn.Linear(48, 8)
        self.fc = nn.Linear(8, 4)

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.body((pictures + self.table).flatten(1)).relu())
        return scores


def test_what_the_authors_code_does_not_train_no_policy_trains(tmp_path: Path) -> None:
    zoo.register("positions", Positions, head_path="fc", input_size=(4, 4))
    model = zoo.load("own:positions", 2)
    trained = {"body.weight", "body.bias", "fc.weight", "fc.bias"}
    for again in (lambda: zoo.freeze(model, "none"), lambda: zoo.unfreeze(model), lambda: zoo.freeze(model, "body")):
        frozen = again().parameters
        left = {name for name, each in model.named_parameters() if each.requires_grad}
        assert left == trained - set(frozen)
        assert {"table", "places"} <= set(frozen)
    zoo.save_checkpoint(tmp_path / "one", model)
    loaded = zoo.load_checkpoint(tmp_path / "one")
    zoo.freeze(loaded, "none")
    assert {name for name, each in loaded.named_parameters() if each.requires_grad} == trained


class Crooked(nn.Module):
    """A network with a layer that does not run, one that is hidden, and one of two names."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(8, 4)
        self.hidden = nn.Linear(48, 8)
        self.net = nn.Sequential(nn.ReLU(), nn.Linear(8, 4))
        self.classifier = self.net[1]

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.net[0](self.hidden(pictures.flatten(1))))
        return scores


@pytest.mark.parametrize(
    ("head_path", "size", "message"),
    [
        ("unused", 4, "said to be at unused, which does not run"),
        ("hidden", 4, r"said to be at hidden, which gives 8 numbers, and the model scores of shape \(1, 4\)"),
        ("net.1", 4, "has one classifier under the names net.1, classifier"),
        ("hidden", 5, r"does not run on a batch of shape \(1, 3, 5, 5\)(?s:.*)input_size"),
    ],
)
def test_a_head_that_does_not_give_the_classes_is_refused(head_path: str, size: int, message: str) -> None:
    name = f"crooked-{head_path}-{size}"
    zoo.register(name, Crooked, head_path=head_path, input_size=(size, size))
    with pytest.raises(zoo.UsageError, match=message):
        zoo.load(f"own:{name}", 2)


class Certain(nn.Module):
    """A network that returns what `made` makes of its classifier's scores."""

    def __init__(self, made: nn.Module) -> None:
        super().__init__()
        self.classifier, self.made = nn.Linear(48, 4), made

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.made(self.classifier(pictures.flatten(1)))
        return scores


class Warm(nn.Softmax):
    def forward(self, scores: Tensor) -> Tensor:
        return super().forward(scores / 2)


@pytest.mark.parametrize("made", [nn.Softmax(1), Warm(1), nn.Sigmoid()])
def test_a_model_that_returns_probabilities_is_refused(made: nn.Module) -> None:
    name = f"certain-{type(made).__name__.lower()}"
    zoo.register(name, lambda: Certain(made), head_path="classifier", input_size=(4, 4))
    with pytest.raises(zoo.UsageError, match=r"returns probabilities: .* go through a s\w+, (?s:.*)zoo predict"):
        zoo.load(f"own:{name}", 2)


@pytest.mark.parametrize("made", [nn.Identity(), nn.Softmax(1)])
def test_scores_of_another_precision_are_looked_at_too(made: nn.Module) -> None:
    name = f"double-{type(made).__name__.lower()}"
    zoo.register(name, lambda: Certain(made).double(), head_path="classifier", input_size=(4, 4))
    if isinstance(made, nn.Identity):
        zoo.load(f"own:{name}", 2)
        return
    with pytest.raises(zoo.UsageError, match="returns probabilities"):
        zoo.load(f"own:{name}", 2)


@pytest.mark.parametrize("made", [nn.LogSoftmax(1), nn.Identity(), nn.Hardtanh()])
def test_what_training_takes_as_scores_is_not_refused(made: nn.Module) -> None:
    zoo.register(
        f"open-{type(made).__name__.lower()}", lambda: Certain(made), head_path="classifier", input_size=(4, 4)
    )
    assert zoo.load(f"own:open-{type(made).__name__.lower()}", 2)(torch.zeros(1, 3, 4, 4)).shape == (1, 2)


def test_a_head_of_ones_own_that_gives_probabilities_is_refused() -> None:
    model = zoo.load("resnet18", 2, weights=None)
    before = list(model.state_dict())
    for bias in (True, False):
        head = nn.Sequential(nn.Linear(512, 5, bias=bias), nn.Softmax(1))
        with pytest.raises(zoo.UsageError, match=r"this head gives probabilities, which sum to one(?s:.*)softmax out"):
            zoo.swap_head(model, head, classes=5)
    assert list(model.state_dict()) == before


def test_a_builder_makes_a_new_model_each_time() -> None:
    one = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
    zoo.register("the-same", lambda: one, head_path="1", input_size=(4, 4))
    first = zoo.load("own:the-same", 2)
    with pytest.raises(zoo.UsageError, match="returned a model that it gave before"):
        zoo.load("own:the-same", 3)
    assert first[1].out_features == 2  # type: ignore[index]


def test_a_builder_that_fails_is_told_as_its_own_failure() -> None:
    def broken() -> nn.Module:
        raise OSError("no such file weights.bin")

    zoo.register("broken", broken, head_path="fc")
    with pytest.raises(zoo.UsageError, match=r"the builder of own:broken gives OSError: no such file weights.bin"):
        zoo.load("own:broken", 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mean": (0.5), "std": (0.5)}, "a number for each channel"),
        ({"mean": ("a",), "std": ("b",)}, "a number for each channel"),
        ({"input_size": ("8", "8")}, "height and width in pixels"),
        ({"build": nn.Identity()}, "a function that makes a new model each time"),
    ],
)
def test_a_slip_in_registering_is_told(given: dict[str, Any], message: str) -> None:
    with pytest.raises(zoo.UsageError, match=message):
        zoo.register("slipped", **{"build": nn.Identity, "head_path": "fc", **given})


def test_a_network_that_returns_more_than_scores_is_told() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(48, 4)

        def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
            return self.fc(pictures.flatten(1)), pictures

    zoo.register("two", Two, head_path="fc", input_size=(4, 4))
    with pytest.raises(zoo.UsageError, match="own:two returns a tuple, where zoo looks for class scores"):
        zoo.load("own:two", 2)
