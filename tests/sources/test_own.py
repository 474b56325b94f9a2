from typing import ClassVar

import pytest
from torch import nn

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
