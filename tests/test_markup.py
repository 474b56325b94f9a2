"""What notebooks show: tables of what was returned, with every text escaped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from torch import nn

import zoo
from zoo.evaluating import Evaluation
from zoo.finetuning.rates import RateSearch
from zoo.freezing import Frozen
from zoo.markup import table
from zoo.predicting import Prediction
from zoo.training.metrics import ClassFigures

EVIL = "<script>alert('&')</script>"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.Linear(2, 2))
        self.add_module(EVIL, nn.Linear(2, 2))


def model() -> nn.Module:
    return zoo.load("squeezenet1_1", [EVIL, "bee"], weights=None)


SHOWN: dict[str, tuple[Callable[[], Any], str]] = {
    "summary": (lambda: zoo.summary(Net()), "\u2003part"),
    "modules": (lambda: zoo.find_modules(Net(), "*"), "part.0"),
    "spec": (lambda: zoo.spec_of(model()), "3 × 224 × 224"),
    "frozen": (lambda: Frozen(EVIL, ("part.0.bias", "part.2.bias", EVIL), ("part",)), "part"),
    "run": (lambda: zoo.Run(Path(EVIL), Path(EVIL), Path(EVIL), 3, {EVIL: 0.5}, 1.25, 2), "0.5"),
    "prediction": (lambda: Prediction(Path("a.jpg"), (EVIL, "bee"), (0.75, 0.25)), "0.75"),
    "labels": (lambda: Prediction(Path("a.jpg"), (), (), "multi-label", {EVIL: 0.125}), "0.125"),
    "regression": (lambda: Prediction(Path(EVIL), (), (), "regression", {"age": 41.5}), "41.5"),
    "rates": (lambda: RateSearch(EVIL, (0.1,), (1.0,), (1.0,), 0.003, 0.001, False), "0.003"),
    "evaluation": (
        lambda: Evaluation(Path(EVIL), "imgs", 8, {"f1": 0.5}, (ClassFigures(EVIL, 8, 0.1, 0.2, 0.3),), ((8,),)),
        "0.2",
    ),
}


@pytest.mark.parametrize("case", SHOWN)
def test_what_is_returned_shows_itself_as_a_table_and_runs_nothing(case: str) -> None:
    made, expected = SHOWN[case]
    text = made()._repr_html_()
    assert "<script" not in text
    cells = ["".join(each.itertext()) for each in ElementTree.fromstring(text).iter()]
    assert expected in cells
    assert any(EVIL in cell for cell in cells), "it is there, as text"


def test_numbers_are_written_for_people() -> None:
    row = ElementTree.fromstring(table("x", [(1234567, 0.000123456, None, True, "ant")])).find("tbody/tr")
    assert row is not None
    assert [cell.text for cell in row] == ["1,234,567", "0.0001235", None, "True", "ant"]
