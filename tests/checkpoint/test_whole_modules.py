"""A model as a pickle runs code when it is loaded: only for those who name the sha256 of that very file."""

import hashlib
import io
from pathlib import Path

import pytest
import torch
from torch import nn

import zoo
from zoo.checkpoint.foreign.modules import read_module
from zoo.checkpoint.weights import read_weights

from .conftest import Payload


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.save(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), tmp_path / "model.pt")
    return tmp_path / "model.pt"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("spelt", [str.lower, str.upper])
def test_a_trusted_model_is_loaded(spelt: type[str], path: Path) -> None:
    model = read_module(path, spelt(sha256(path)))
    assert [type(each) for each in model.children()] == [nn.Linear, nn.ReLU]


def test_a_model_of_zoos_own_making_is_loaded(tmp_path: Path) -> None:
    model = zoo.load("squeezenet1_1", 2, weights=None)
    path = zoo.save_checkpoint(tmp_path / "epoch-0001", model, whole=True).folder / "model.pt"
    assert type(read_module(path, sha256(path))) is type(model)


@pytest.mark.parametrize(
    "trust", [None, "", "yes", "0" * 64, "sha256:" + "0" * 64, "\x1b[2J", "0" * 63], ids=lambda each: f"{each!r:.12}"
)
def test_without_the_hash_of_this_file_it_is_refused_with_its_globals(trust: str | None, path: Path) -> None:
    with pytest.raises(zoo.CheckpointError, match="is a pickle that can run code, which names torch") as caught:
        read_module(path, trust)
    text = str(caught.value)
    assert "torch.nn.modules.container.Sequential, torch.nn.modules.linear.Linear" in text
    assert "--trust-pickle SHA256" in text
    assert sha256(path) not in text.lower(), "who reads it would copy it"
    assert (caught.value.exit_code, len(text.splitlines()), text.isascii()) == (4, 3, True)
    assert "\x1b" not in text


def test_one_changed_byte_ends_the_trust(path: Path) -> None:
    trusted = sha256(path)
    content = bytearray(path.read_bytes())
    content[content.index(b"Linear") - 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(zoo.CheckpointError, match="its sha256 is not the one given"):
        read_module(path, trusted)


def test_a_payload_is_not_run_while_it_is_looked_at(tmp_path: Path) -> None:
    torch.save(Payload(tmp_path / "canary"), tmp_path / "model.pt")
    with pytest.raises(zoo.CheckpointError, match=r"names posix\.mkdir"):
        read_module(tmp_path / "model.pt", "0" * 64)
    assert not (tmp_path / "canary").exists()


def test_the_bytes_that_are_hashed_are_those_that_are_loaded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted, real = sha256(path), torch.load

    def swapped(file: io.BytesIO, **given: object) -> object:
        torch.save(nn.Conv2d(1, 1, 1), path)
        return real(file, **given)

    monkeypatch.setattr(torch, "load", swapped)
    assert type(read_module(path, trusted)) is nn.Sequential


def test_what_is_trusted_and_no_model_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pth")
    with pytest.raises(zoo.CheckpointError, match="holds a dict, not a model"):
        read_module(tmp_path / "w.pth", sha256(tmp_path / "w.pth"))
    (tmp_path / "text.pt").write_text("404: not found")
    with pytest.raises(zoo.CheckpointError, match="cut off"):
        read_module(tmp_path / "text.pt", sha256(tmp_path / "text.pt"))
    with pytest.raises(zoo.CheckpointError, match="cannot be read"):
        read_module(tmp_path / "absent.pt", None)


def test_a_trusted_model_whose_library_is_gone_is_explained(path: Path) -> None:
    content = path.read_bytes().replace(b"torch.nn.modules.linear", b"torch.nn.modules.absent")
    path.write_bytes(content)
    with pytest.raises(zoo.CheckpointError, match="cannot be loaded here: No module named"):
        read_module(path, sha256(path))


def test_as_weights_a_whole_model_is_refused_whatever_it_is(path: Path) -> None:
    with pytest.raises(zoo.CheckpointError, match=r"would run torch\.nn\.modules\.container\.Sequential"):
        read_weights(path)
