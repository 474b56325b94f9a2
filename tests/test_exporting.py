"""One form of a checkpoint becomes another, and back."""

from pathlib import Path

import pytest
import torch

import zoo
from tests.conftest import Command
from zoo import files
from zoo.checkpoint import reading


@pytest.fixture
def run(tmp_path: Path, pictures: Path) -> zoo.Run:
    """A run with a frozen backbone whose checkpoints are deltas."""
    torch.manual_seed(0)
    torch.save(zoo.load("squeezenet1_1", weights=None).state_dict(), tmp_path / "weights.pth")
    return zoo.finetune(
        "squeezenet1_1",
        pictures,
        weights=tmp_path / "weights.pth",
        freeze="backbone",
        epochs=1,
        img_size=32,
        batch_size=8,
        save="delta",
        workers=0,
        device="cpu",
        out=tmp_path / "runs",
        name="run",
    )


def test_a_delta_becomes_whole_and_a_delta_again(run: zoo.Run, tmp_path: Path) -> None:
    whole = zoo.export(run.folder, tmp_path / "whole")
    assert set(whole.files) == {"config.json", "model.safetensors", "training.json", "training.safetensors"}
    small = zoo.export(tmp_path / "whole", tmp_path / "small", save="delta")
    assert (tmp_path / "small" / "delta.safetensors").read_bytes() == (run.best / "delta.safetensors").read_bytes()
    assert small.files["delta.safetensors"] < 20_000 < whole.files["model.safetensors"]
    states = [zoo.load_checkpoint(place).state_dict() for place in (run.best, tmp_path / "whole", tmp_path / "small")]
    assert all(torch.equal(state[name], states[0][name]) for state in states for name in states[0])
    assert files.damaged(tmp_path / "whole") == []


def test_the_training_state_comes_along(run: zoo.Run, tmp_path: Path) -> None:
    zoo.export(run.folder, tmp_path / "whole")
    for name in ("training.json", "training.safetensors", "config.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (run.best / name).read_bytes()
    assert reading.read_training(tmp_path / "whole")["optimizer"]["class"] == "AdamW"


def test_the_whole_model_is_written_where_it_is_asked_for(run: zoo.Run, tmp_path: Path, zoo_command: Command) -> None:
    result = zoo_command("export", run.folder, "--save", "full", "--to", tmp_path / "full")
    assert result.code == 0
    assert "model.pt2" in result.out
    program = torch.export.load(tmp_path / "full" / "model.pt2").module()
    sample = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(program(sample), zoo.load_checkpoint(run.best)(sample))


def test_a_folder_that_exists_is_not_written_into(run: zoo.Run, tmp_path: Path, zoo_command: Command) -> None:
    (tmp_path / "mine").mkdir()
    result = zoo_command("export", run.folder, "--to", tmp_path / "mine")
    assert result.code == 2
    assert "exists already" in result.err
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_base_that_has_moved_is_given(run: zoo.Run, tmp_path: Path, zoo_command: Command) -> None:
    (tmp_path / "weights.pth").rename(tmp_path / "moved.pth")
    missing = zoo_command("export", run.folder, "--to", tmp_path / "whole")
    assert missing.code == 4
    assert "weights.pth is missing" in missing.err
    assert not (tmp_path / "whole").exists()
    assert zoo_command("export", run.folder, "--to", tmp_path / "whole", "--base", tmp_path / "moved.pth").code == 0
    assert zoo_command("predict", tmp_path / "whole", tmp_path / "imgs" / "ant").code == 0


def test_a_run_of_deltas_goes_on_as_one_of_whole_checkpoints(run: zoo.Run, tmp_path: Path, pictures: Path) -> None:
    zoo.resume(run.folder, epochs=2)
    same = {"weights": tmp_path / "weights.pth", "freeze": "backbone", "img_size": 32, "batch_size": 8, "workers": 0}
    whole = zoo.finetune("squeezenet1_1", pictures, epochs=1, out=tmp_path / "runs", name="whole", **same)
    zoo.resume(whole.folder, epochs=2)
    one, other = (zoo.load_checkpoint(tmp_path / "runs" / name / "epoch-0002") for name in ("run", "whole"))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_a_base_that_has_moved_is_the_base_of_a_delta_that_is_made_anew(run: zoo.Run, tmp_path: Path) -> None:
    whole = zoo.export(run.folder, tmp_path / "whole").folder
    moved = (tmp_path / "weights.pth").rename(tmp_path / "moved.pth")
    small = zoo.export(whole, tmp_path / "small", save="delta", base=moved).folder
    assert (small / "delta.safetensors").read_bytes() == (run.best / "delta.safetensors").read_bytes()
    assert zoo.load_checkpoint(small) is not None
