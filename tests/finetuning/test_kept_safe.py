"""What must not be lost: an old run that a failing new one replaces, and a run whose newest checkpoint is damaged."""

from pathlib import Path

import pytest

import zoo
from tests.conftest import Command
from tests.finetuning.conftest import Listener, Train


def test_overwriting_keeps_the_old_run_when_the_new_one_saves_nothing(train: Train, tmp_path: Path) -> None:
    old = train()
    before = sorted(path.name for path in old.folder.rglob("*"))
    with pytest.raises(zoo.NumericsError):
        train(overwrite=True, lr=1e30, opt="sgd")
    assert sorted(path.name for path in old.folder.rglob("*")) == before
    assert not list(tmp_path.rglob(".*.replaced"))


def test_resuming_passes_over_a_damaged_checkpoint_and_says_so(train: Train) -> None:
    run = train(epochs=3, keep="best,every:1")
    newest = run.folder / "epoch-0003" / "model.safetensors"
    content = bytearray(newest.read_bytes())
    whole = bytes(content)
    content[-1] ^= 1
    newest.write_bytes(bytes(content))
    listener = Listener()
    again = zoo.resume(run.folder, reporter=listener)
    assert any("epoch-0003" in note and "passed over" in note for note in listener.notes)
    assert (again.folder / "epoch-0003" / "model.safetensors").read_bytes() == whole


def test_the_best_of_a_run_with_a_damaged_checkpoint_is_not_guessed(
    train: Train, pictures: Path, zoo_command: Command
) -> None:
    run = train(epochs=2, keep="best,every:1")
    with (run.best / "model.safetensors").open("ab") as file:
        file.write(b"x")
    result = zoo_command("predict", run.folder, pictures / "ant")
    assert result.code == 4
    assert f"{run.best} is damaged" in result.err
    assert "damaged" in zoo_command("inspect", run.folder).out


def test_a_class_folder_beside_a_split_is_refused(pictures: Path, zoo_command: Command) -> None:
    (pictures / "ant").rename(pictures / "kept")
    (pictures / "val").mkdir()
    (pictures / "kept").rename(pictures / "val" / "ant")
    result = zoo_command("finetune", "squeezenet1_1", "--weights", "none", "--data", pictures)
    assert result.code == 3
    assert "no train/" in result.err


def test_a_child_called_module_is_no_wrapper(tmp_path: Path) -> None:
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = torch.nn.Linear(4, 4)
            self.fc = torch.nn.Linear(4, 2)

    net = Net()
    saved = zoo.save_checkpoint(tmp_path / "epoch-0001", net)
    other = Net()
    zoo.load_checkpoint(saved.folder, other)
    assert all(torch.equal(net.state_dict()[name], value) for name, value in other.state_dict().items())
    assert "fc.weight" in other.state_dict()
