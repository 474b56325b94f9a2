"""`zoo lr-find`: what it prints, what it draws, and what it refuses."""

import json
from pathlib import Path

import pytest

from tests.conftest import Command, Result
from zoo.cli.lr_find import shown
from zoo.finetuning.rates import RateSearch

MODEL = ["squeezenet1_1", "--weights", "none", "--img-size", 32, "-j", 0, "--device", "cpu", "-b", 4, "--steps", 24]


@pytest.fixture
def call(zoo_command: Command, pictures: Path) -> Command:
    def run(*flags: object) -> Result:
        return zoo_command("lr-find", *MODEL, "--data", pictures, *flags)

    return run


def test_it_suggests_a_rate_and_shows_the_course(call: Command, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    told = call("--to", 0.1)
    assert told.code == 0, told.err
    assert "suggestion: --lr " in told.out
    assert "█" in told.out
    assert "↑" in told.out
    assert sorted(tmp_path.rglob("*")) == before


def test_json_is_one_object(call: Command) -> None:
    told = call("--to", 0.1, "--json")
    values = json.loads(told.out)
    assert list(values) == ["model", "rates", "losses", "raw", "suggestion", "valley", "diverged"]
    assert len(values["rates"]) == len(values["losses"]) == 24
    assert f"--lr {values['suggestion']:g}," in call("--to", 0.1).out


@pytest.mark.parametrize(("name", "start"), [("rates.png", b"\x89PNG"), ("rates.svg", b"<?xml")])
def test_a_plot_is_drawn_where_it_is_asked_for(call: Command, tmp_path: Path, name: str, start: bytes) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "drawn").mkdir()
    told = call("--to", 0.1, "--plot", tmp_path / "drawn" / name)
    assert told.code == 0, told.err
    assert (tmp_path / "drawn" / name).read_bytes().startswith(start)
    assert f"drawn into {tmp_path / 'drawn' / name}" in told.out


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--plot", "rates.jpg"], 2, "give a name that ends in .png, .svg, .pdf"),
        (["--set", "optt=sgd"], 2, "near: opt"),
        (["--opt", "lbfgs"], 2, "it calls the model many times"),
        (["--steps", 3], 2, "20 or more"),
        (["--data", "nowhere"], 3, "there is no folder nowhere"),
    ],
)
def test_mistakes_are_told(call: Command, flags: list[object], code: int, words: str) -> None:
    told = call(*flags)
    assert (told.code, told.out) == (code, "")
    assert words in told.err


def test_a_plot_goes_into_a_folder_that_is_there(call: Command, tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    told = call("--plot", tmp_path / "plot" / "rates.png")
    assert told.code == 2
    assert f"there is no folder {tmp_path / 'plot'} to draw rates.png into" in told.err
    assert f"near: {tmp_path / 'plots'}" in told.err
    assert not (tmp_path / "plot").exists()


def test_a_loss_that_did_not_diverge_is_explained() -> None:
    rates, losses = (
        tuple(10.0 ** (place / 4 - 7) for place in range(24)),
        tuple(2.0 - place / 20 for place in range(24)),
    )
    calm, wild = (
        shown(RateSearch("m", rates, losses, losses, rates[10], rates[5 if wild else 12], diverged=wild))
        for wild in (False, True)
    )
    assert calm[-2] == "  it never rose to 4 times its lowest: higher rates may do too, --to 0.562341 tries them"
    assert not any("never rose" in line for line in wild)
    assert "more careful" in wild[-1]
    assert "more careful" not in calm[-1], "a higher rate is none"


def test_a_plot_without_matplotlib_is_told_before_the_work(
    call: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    told = call("--plot", tmp_path / "rates.png")
    assert told.code == 2
    assert "matplotlib is not installed" in told.err
    assert "zoo-finetune[plot]" in told.err


def test_what_comes_after_the_lowest_point_does_not_press_the_rest_flat() -> None:
    losses = tuple([2.0 - place / 20 for place in range(20)] + [1e6] * 4)
    rates = tuple(10.0 ** (place / 4 - 7) for place in range(24))
    found = RateSearch("m", rates, losses, losses, rates[10], rates[5], diverged=True)
    lines = shown(found)
    assert lines[0].startswith("   2.000 █")
    assert lines[5].startswith("   1.050")
    assert lines[6].index("↑") == 9 + 10
