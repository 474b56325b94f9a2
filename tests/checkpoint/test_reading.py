"""What is read from a checkpoint is what was written: damage is found, and a run stands for its best complete one."""

import shutil
from pathlib import Path

import pytest
from torch import nn

import zoo
from zoo import files

from .conftest import forge


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "training.json", "training.safetensors"])
@pytest.mark.parametrize("how", ["one bit", "shorter", "absent"])
def test_damage_is_found_and_named(name: str, how: str, checkpoint: Path) -> None:
    content = bytearray((checkpoint / name).read_bytes())
    content[len(content) // 2] ^= 1
    match how:
        case "one bit":
            (checkpoint / name).write_bytes(content)
        case "shorter":
            (checkpoint / name).write_bytes(content[:-1])
        case "absent":
            (checkpoint / name).unlink()
    with pytest.raises(zoo.CheckpointError, match=f"is damaged: {name} is not what its manifest says"):
        zoo.load_checkpoint(checkpoint)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 1, "files": {"../x": {}}}', '{"format": 2, "files": {}}']
)
def test_a_manifest_that_is_none_is_refused(text: str, checkpoint: Path) -> None:
    (checkpoint / files.MANIFEST).write_text(text)
    with pytest.raises(zoo.CheckpointError):
        zoo.load_checkpoint(checkpoint)


def test_a_run_stands_for_its_complete_checkpoints(checkpoint: Path) -> None:
    run = checkpoint.parent
    shutil.copytree(checkpoint, run / "epoch-0002")
    (run / "epoch-0002" / "model.safetensors").write_bytes(b"cut off")
    shutil.copytree(checkpoint, run / "epoch-0003")
    (run / "epoch-0003" / files.MANIFEST).unlink()
    with pytest.raises(zoo.CheckpointError, match="epoch-0002 is damaged"):
        zoo.load_checkpoint(run)
    shutil.rmtree(run / "epoch-0002")
    # One that lost its manifest may have been the best, too.
    with pytest.raises(zoo.CheckpointError, match="epoch-0003 is damaged"):
        zoo.load_checkpoint(run)
    shutil.rmtree(run / "epoch-0003")
    assert zoo.spec_of(zoo.load_checkpoint(run)).full_name == "timm:mobilenetv2_035"
    shutil.rmtree(checkpoint)
    with pytest.raises(zoo.CheckpointError, match="a folder without a complete checkpoint"):
        zoo.load_checkpoint(run)
    with pytest.raises(zoo.CheckpointError, match="there is no checkpoint"):
        zoo.load_checkpoint(checkpoint)


@pytest.mark.parametrize("name", ["config.json", "training.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b"null", b"NaN"])
def test_a_file_of_no_json_is_refused(name: str, content: bytes, checkpoint: Path) -> None:
    forge(checkpoint, name, content)
    with pytest.raises(zoo.CheckpointError):
        zoo.load_checkpoint(checkpoint)


def test_the_unchanged_checkpoint_loads(checkpoint: Path) -> None:
    assert isinstance(zoo.load_checkpoint(checkpoint), nn.Module)
