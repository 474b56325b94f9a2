"""A file of one's own is a head like any other, and its mistakes are explained."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import zoo
from tests.conftest import Command
from zoo import catalog, recipe
from zoo.head import presets
from zoo.layers import CosineLinear
from zoo.sources.rebuilding import rebuild

GOOD = """
summary = "two layers and a norm"

[[layers]]
layer = "Linear"
in_features = "features"
out_features = 16

[[layers]]
layer = "BatchNorm1d"
num_features = 16

[[layers]]
layer = "SiLU"

[[layers]]
layer = "Linear"
in_features = 16
out_features = "classes"
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    return path


def test_a_file_is_a_head_on_a_vector_and_on_a_map(mine: Path) -> None:
    model = zoo.load("resnet18", 3, weights=None, head=str(mine))
    assert [type(part).__name__ for part in model.fc] == ["Linear", "BatchNorm1d", "SiLU", "Linear"]  # type: ignore[union-attr]
    spread = zoo.load("squeezenet1_1", 3, weights=None, head=str(mine))
    kinds = [type(part).__name__ for part in spread.classifier[1]]  # type: ignore[index, union-attr]
    assert kinds == ["Conv2d", "BatchNorm2d", "SiLU", "Conv2d"]
    assert spread(torch.zeros(2, 3, 64, 64)).shape == (2, 3)


def test_a_copy_of_every_preset_is_the_same_head(tmp_path: Path) -> None:
    for name in catalog.names("heads"):
        (tmp_path / f"{name}.toml").write_text(catalog.text("heads", name))
        copied, own = presets.find(str(tmp_path / f"{name}.toml")), presets.find(name)
        assert (copied.layers, copied.pool, copied.takes) == (own.layers, own.pool, own.takes)


def test_a_checkpoint_needs_the_file_no_more(mine: Path, tmp_path: Path) -> None:
    model = zoo.load("squeezenet1_1", ["ant", "bee"], weights=None, head=str(mine))
    saved = zoo.save_checkpoint(tmp_path / "epoch-0001", model)
    mine.unlink()
    again = zoo.load_checkpoint(saved.folder)
    assert zoo.spec_of(again) == zoo.spec_of(model)
    assert repr(again) == repr(model)


def test_a_run_with_a_file_is_repeated_and_gone_on_with(
    mine: Path, pictures: Path, tmp_path: Path, zoo_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ("squeezenet1_1", "--weights", "none", "--data", pictures, "--epochs", 1, "--img-size", 32, "--quiet")
    assert zoo_command("finetune", *given, "--head", "./mine.toml", "--name", "one").code == 0
    run = tmp_path / "checkpoints" / "one"
    assert recipe.find(str(run / "run.toml")).head == str(mine)
    monkeypatch.chdir(run)
    repeated = zoo_command("finetune", "--recipe", "run.toml", "--out", tmp_path / "again", "--quiet")
    assert (repeated.code, repeated.err) == (0, "")
    (other,) = (tmp_path / "again").iterdir()
    first, second = (zoo.load_checkpoint(place).state_dict() for place in (run, other))
    assert all(torch.equal(first[name], second[name]) for name in first)
    monkeypatch.chdir(tmp_path)
    again = zoo_command("finetune", *given, "--head", "./mine.toml", "--name", "one", "--resume")
    assert again.code == 0, again.err


LINEAR = [{"layer": "Linear", "in_features": 512, "out_features": 7}]
MISTAKES = [
    ('layer = "SiLU"', 'layer = "SiLu"', "layer 3: a head cannot have a layer 'SiLu'; near: SiLU"),
    ('layer = "SiLU"', 'layer = "Softmax"', "layer 3: a head cannot have a layer 'Softmax'; layers: Linear, "),
    ('layer = "SiLU"', "p = 1", 'layer 3: it needs a name, layer = "Linear"'),
    ('layer = "SiLU"', 'layer = "Dropout"\np = "much"', "layer 3 (Dropout): p is 'much'; it takes a number"),
    ('layer = "SiLU"', 'layer = "Dropout"\nq = 0.5', "layer 3 (Dropout): it has no argument 'q'; "),
    ('layer = "SiLU"', 'layer = "ConcatPool"', "layer 3 (ConcatPool): it stands below [pool], the others"),
    ("out_features = 16", "out_feature = 16", "it has no argument 'out_feature'; near: out_features"),
    ("out_features = 16", "", "layer 1 (Linear): it needs out_features"),
    ("out_features = 16", "out_features = 0", "layer 1 (Linear): out_features is 0; it must be 1 or more"),
    ("out_features = 16", "out_features = true", "out_features is True; it takes a whole number"),
    ("out_features = 16", 'out_features = "clases"', "layer 1 (Linear): out_features is 'clases'; it takes"),
    ("num_features = 16", "num_features = 32", "layer 2 (BatchNorm1d): num_features is 32, and layer 1 gives it 16"),
    ("summary =", "sumary =", "sumary is unknown; near: summary"),
    ("[[layers]]", "takes = 5\n[[layers]]", "takes is 5; it takes a list of vector, map, tokens"),
    ("[[layers]]", 'takes = ["texts"]\n[[layers]]', "takes is ['texts']; it takes a list of"),
    ("[[layers]]", '[pool]\nlayer = "Linear"\n[[layers]]', "pool (Linear): it stands below [[layers]], pools below"),
    ("[[layers]]", "[pool]\n[[layers]]", 'pool: it needs a name, layer = "ConcatPool"'),
    ("[[layers]]", '[[pool]]\nlayer = "ConcatPool"\n[[layers]]', "wrong brackets: write [pool], in one bracket"),
    ("[[layers]]", '[pool]\nlayer = "ConcatPool"\nplaces = 2\n[[layers]]', "pool (ConcatPool): it has no argument"),
]


@pytest.mark.parametrize(("old", "new", "told"), MISTAKES, ids=[told for _, _, told in MISTAKES])
def test_a_mistake_is_told_with_the_file_the_layer_and_the_argument(old: str, new: str, told: str, mine: Path) -> None:
    mine.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(zoo.UsageError) as caught:
        presets.find(str(mine))
    assert str(caught.value).startswith(
        f"the head {mine} has {'2 mistakes' if 'near: out' in told else 'a mistake'}:\n"
    )
    assert told in str(caught.value)


def test_all_mistakes_are_told_at_once(mine: Path, zoo_command: Command, tmp_path: Path) -> None:
    text = GOOD
    for old, new in (("SiLU", "SiLu"), ("num_features = 16", "num_features = 8"), ("summary", "sumary")):
        text = text.replace(old, new)
    mine.write_text(text)
    result = zoo_command("finetune", "resnet18", "--data", tmp_path / "none", "--head", mine)
    assert result.code == 2
    assert result.err.splitlines() == [
        f"error: the head {mine} has 3 mistakes:",
        "  sumary is unknown; near: summary",
        "  layer 3: a head cannot have a layer 'SiLu'; near: SiLU",
        "  layer 2 (BatchNorm1d): num_features is 8, and layer 1 gives it 16",
    ]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"features"', "100", "layer 1 (Linear): in_features is 100, and 512 features come in"),
        ('"classes"', "4", "layer 4: 4 scores come out of it, and 3 are wanted"),
        ('"BatchNorm1d"', '"BatchNorm2d"', "layer 2 (BatchNorm2d): it takes a map, and a vector comes in; take BatchN"),
        (
            'layer = "SiLU"',
            'layer = "Conv2d"\nin_channels = 16\nout_channels = 16\nkernel_size = 1',
            "layer 3 (Conv2d): it takes a map, and a vector comes in; take Linear",
        ),
        ("16", "8388608", "layer 1 (Linear): 4,294,967,296 weights are more than a head can have, 1,073,741,824"),
        ('layer = "SiLU"', 'layer = "Linear"\nin_features = 16\nout_features = "features"', "and layer 3 gives it 512"),
    ],
)
def test_numbers_that_do_not_fit_the_model_are_told(old: str, new: str, told: str, mine: Path) -> None:
    mine.write_text(GOOD.replace(old, new))
    with pytest.raises(zoo.UsageError, match="does not fit 512 features and 3 scores") as caught:
        zoo.load("resnet18", 3, weights=None, head=str(mine))
    assert told in str(caught.value)


def test_a_layer_that_no_map_takes_is_told(mine: Path) -> None:
    text = 'takes = ["vector", "map"]\n' + GOOD.replace("BatchNorm1d", "LayerNorm").replace("num_f", "normalized_f")
    mine.write_text(text.replace("normalized_features", "normalized_shape"))
    with pytest.raises(zoo.UsageError, match=r"layer 2 \(LayerNorm\): no layer computes the same at every place"):
        zoo.load("squeezenet1_1", 3, weights=None, head=str(mine))


@pytest.mark.parametrize(
    ("content", "told"), [(b"layers = [", "is no TOML"), (b"\xff\xfe", "is no text"), (b"", "at least one [[layers]]")]
)
def test_a_file_that_is_no_head_is_told(content: bytes, told: str, mine: Path) -> None:
    mine.write_bytes(content)
    with pytest.raises(zoo.UsageError) as caught:
        presets.find(str(mine))
    assert told in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(zoo.UsageError, match=r"there is no head .*nowhere\.toml\.\n  heads: attention-pool"):
        presets.find(str(tmp_path / "nowhere.toml"))
    with pytest.raises(zoo.UsageError, match="no head is called"):
        presets.find("a" * 300)


@pytest.mark.parametrize(
    "layers",
    [
        [{"layer": "Softmax"}],
        [{"layer": "Linear", "in_features": "features", "out_features": 2}],
        [{"layer": "Linear", "in_features": 512, "out_features": 2, "device": "cuda"}],
        [{"layer": "Linear", "in_features": 512, "out_features": 2**40}],
        [*LINEAR, {"layer": "Linear", "in_features": 8, "out_features": 2}],
        [{"layer": "Linear", "in_features": 2**20, "out_features": 2**20}],
        [
            {"layer": "Linear", "in_features": 512, "out_features": 2**20},
            {"layer": "Linear", "in_features": 2**20, "out_features": 2**10},
        ],
        [{"layer": "Conv2d", "in_channels": 2**12, "out_channels": 2**12, "kernel_size": 31}],
        [{"layer": "Dropout", "p": [1]}],
        [{"layer": ["Linear"]}],
        [5],
        [],
    ],
)
def test_a_checkpoint_has_known_layers_with_known_arguments_alone(layers: Any) -> None:
    spec = zoo.spec_of(zoo.load("resnet18", 2, weights=None))
    assert spec.head is not None
    forged = dataclasses.replace(spec, head=dataclasses.replace(spec.head, layers=tuple(layers)))
    with pytest.raises((zoo.CheckpointError, zoo.UsageError)):
        rebuild(forged, 10**8)


def test_heads_are_listed_shown_and_copied(zoo_command: Command, tmp_path: Path) -> None:
    listed = zoo_command("heads").out
    assert all(presets.find(name).summary in listed for name in catalog.names("heads"))
    assert [line.split()[0] for line in listed.splitlines()[:-1]] == catalog.names("heads")
    text = catalog.text("heads", "mlp")
    assert zoo_command("heads", "show", "mlp").out == text
    copied = zoo_command("heads", "copy", "mlp", tmp_path / "mine.toml")
    assert copied.out.endswith(f"--head {tmp_path / 'mine.toml'} --data FOLDER\n")
    assert (tmp_path / "mine.toml").read_text() == text.replace("--head mlp", f"--head {tmp_path / 'mine.toml'}")
    assert zoo_command("heads", "copy", "linear", tmp_path / "mine.toml").code == 2
    assert (tmp_path / "mine.toml").read_text() == text.replace("--head mlp", f"--head {tmp_path / 'mine.toml'}")
    wrong = zoo_command("heads", "show", "mpl")
    assert (wrong.code, wrong.err.splitlines()[1]) == (2, "  near: mlp")


def test_a_module_of_ones_own_may_use_zoos_layers() -> None:
    model = zoo.load("resnet18", 3, weights=None, head=nn.Sequential(nn.Dropout(), CosineLinear(512, 3)))
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 3)


def test_layers_in_one_bracket_are_told(mine: Path) -> None:
    mine.write_text('[layers]\nlayer = "Linear"\nin_features = "features"\nout_features = "classes"\n')
    with pytest.raises(zoo.UsageError, match=r"layers stands in the wrong brackets: write \[\[layers\]\]"):
        presets.find(str(mine))
