"""A delta has what its base lacks, and gives the whole model again or nothing."""

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

import zoo

from .conftest import forge

NAME = "squeezenet1_1"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of weights with the library's own classifier."""
    torch.manual_seed(0)
    path = tmp_path / "weights.pth"
    torch.save(zoo.load(NAME, weights=None).state_dict(), path)
    return path


@pytest.fixture
def model(weights: Path) -> nn.Module:
    """A model of that file with a new head."""
    return zoo.load(NAME, ["ant", "bee"], weights=weights)


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def stored(folder: Path) -> set[str]:
    return set(safetensors.torch.load_file(folder / "delta.safetensors"))


def test_a_delta_of_a_new_head_has_the_head_alone_and_loads_as_the_whole(model: nn.Module, tmp_path: Path) -> None:
    place = zoo.save_checkpoint(tmp_path / "small", model, delta=True).folder
    assert stored(place) == {"classifier.1.weight", "classifier.1.bias"}
    assert not (place / "model.safetensors").exists()
    assert sum(file.stat().st_size for file in place.iterdir()) < 20_000
    assert same(zoo.load_checkpoint(place), model)


def test_what_was_trained_of_the_backbone_is_in_the_delta(model: nn.Module, tmp_path: Path) -> None:
    with torch.no_grad():
        model.features[0].bias[3] += 1e-7
    place = zoo.save_checkpoint(tmp_path / "small", model, delta=True).folder
    assert stored(place) == {"classifier.1.weight", "classifier.1.bias", "features.0.bias"}
    assert same(zoo.load_checkpoint(place), model)


def test_the_pool_of_a_head_is_in_the_delta(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(zoo.load("timm:mobilenetv2_035", weights=None).state_dict(), tmp_path / "weights.pth")
    model = zoo.load("timm:mobilenetv2_035", 3, weights=tmp_path / "weights.pth", head="attention-pool")
    place = zoo.save_checkpoint(tmp_path / "small", model, delta=True).folder
    assert stored(place) == {"global_pool.query", "classifier.weight", "classifier.bias"}
    assert same(zoo.load_checkpoint(place), model)
    whole = zoo.export(place, tmp_path / "whole").folder
    assert same(zoo.load_checkpoint(whole), model)


def test_a_head_behind_the_last_layer_and_an_mlp_come_back_too(weights: Path, tmp_path: Path) -> None:
    appended = zoo.load(NAME, 3, weights=weights, mode="append")
    mlp = zoo.load("resnet18", 2, weights=None)
    torch.save(zoo.load("resnet18", weights=None, seed=1).state_dict(), tmp_path / "resnet.pth")
    mlp = zoo.load("resnet18", 2, weights=tmp_path / "resnet.pth", head="mlp")
    for number, model in enumerate((appended, mlp)):
        place = zoo.save_checkpoint(tmp_path / f"small{number}", model, delta=True).folder
        assert same(zoo.load_checkpoint(place), model)
        head = zoo.spec_of(model).head
        assert head is not None
        assert all(name.startswith(head.path) for name in stored(place))


def test_a_base_that_is_gone_is_told_and_may_be_given(model: nn.Module, weights: Path, tmp_path: Path) -> None:
    place = zoo.save_checkpoint(tmp_path / "small", model, delta=True).folder
    moved = shutil.move(weights, tmp_path / "elsewhere.pth")
    with pytest.raises(zoo.CheckpointError, match=r"its base weights\.pth is missing(?s:.)*--base FILE"):
        zoo.load_checkpoint(place)
    assert same(zoo.load_checkpoint(place, base=moved), model)


def test_another_file_in_the_place_of_the_base_is_refused(model: nn.Module, weights: Path, tmp_path: Path) -> None:
    place = zoo.save_checkpoint(tmp_path / "small", model, delta=True).folder
    state = torch.load(weights)
    state["features.0.bias"] += 1
    torch.save(state, weights)
    with pytest.raises(zoo.CheckpointError, match="is another file than the one it was saved with"):
        zoo.load_checkpoint(place)


def test_a_forged_base_cannot_give_other_weights(model: nn.Module, weights: Path, tmp_path: Path) -> None:
    """The hash of the file can be forged together with the manifest; what is put together has one of its own."""
    place = zoo.save_checkpoint(tmp_path / "small", model, delta=True).folder
    other = zoo.load(NAME, weights=None, seed=5).state_dict()
    torch.save(other, tmp_path / "other.pth")
    manifest = json.loads((place / "MANIFEST.json").read_text())
    manifest["base"]["sha256"] = zoo_sha256(tmp_path / "other.pth")
    (place / "MANIFEST.json").write_text(json.dumps(manifest))
    with pytest.raises(zoo.CheckpointError, match="give other weights than were saved"):
        zoo.load_checkpoint(place, base=tmp_path / "other.pth")


def zoo_sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_random_weights_are_no_base(tmp_path: Path) -> None:
    model = zoo.load(NAME, 2, weights=None)
    with pytest.raises(zoo.UsageError, match=r"nothing to refer to: its weights are random(?s:.)*--save state"):
        zoo.save_checkpoint(tmp_path / "small", model, delta=True)
    assert not (tmp_path / "small").exists()


def test_a_delta_is_weights_for_another_model(model: nn.Module, tmp_path: Path) -> None:
    place = zoo.save_checkpoint(tmp_path / "small", model, delta=True).folder
    other = zoo.load(NAME, 7, weights=place)
    assert torch.equal(other.state_dict()["features.0.weight"], model.state_dict()["features.0.weight"])


def test_a_checkpoint_can_be_the_base_of_another(model: nn.Module, tmp_path: Path) -> None:
    first = zoo.save_checkpoint(tmp_path / "first", model, delta=True).folder
    second = zoo.load(NAME, ["cat", "dog", "eel"], weights=first)
    place = zoo.save_checkpoint(tmp_path / "second", second, delta=True).folder
    assert stored(place) == {"classifier.1.weight", "classifier.1.bias"}
    assert same(zoo.load_checkpoint(place), second)


def test_a_tensor_that_is_damaged_within_the_delta_is_found(model: nn.Module, tmp_path: Path) -> None:
    place = zoo.save_checkpoint(tmp_path / "small", model, delta=True).folder
    content = bytearray((place / "delta.safetensors").read_bytes())
    content[-1] ^= 1
    forge(place, "delta.safetensors", bytes(content))
    with pytest.raises(zoo.CheckpointError, match="give other weights than were saved"):
        zoo.load_checkpoint(place)
