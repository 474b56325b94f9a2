"""What is read from a checkpoint is data: damage is found, and no text in it is imported, run or followed."""

import json
import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import zoo
from zoo import files

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model after one step of training."""
    model = zoo.load("timm:mobilenetv2_035", ["ant", "bee"], weights=None)
    zoo.freeze(model, "blocks.*")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.zeros(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    return zoo.save_checkpoint(tmp_path_factory.mktemp("run") / "epoch-0001", model, optimizer=optimizer).folder


@pytest.fixture
def checkpoint(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "run" / "epoch-0001"))


def forge(folder: Path, name: str, content: str | bytes) -> None:
    """Put other content into a file and make the manifest agree, as anybody can."""
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    manifest = json.loads((folder / files.MANIFEST).read_text())
    manifest["files"][name] = {"sha256": files.sha256(folder / name), "size": (folder / name).stat().st_size}
    (folder / files.MANIFEST).write_text(json.dumps(manifest))


def changed(folder: Path, name: str, change: Change) -> None:
    values = json.loads((folder / name).read_text())
    result = change(values)
    forge(folder, name, json.dumps(values if result is None else result))


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
    assert zoo.spec_of(zoo.load_checkpoint(run)).full_name == "timm:mobilenetv2_035"
    shutil.rmtree(checkpoint)
    with pytest.raises(zoo.CheckpointError, match="a folder without a complete checkpoint"):
        zoo.load_checkpoint(run)
    with pytest.raises(zoo.CheckpointError, match="there is no checkpoint"):
        zoo.load_checkpoint(checkpoint)


def spec(**values: Any) -> Change:
    return lambda config: config["spec"].update(values)


def head(**values: Any) -> Change:
    return lambda config: config["spec"]["head"].update(values)


def transformers(**values: Any) -> Change:
    return spec(source="hf", name="./x", arguments={"config": {"model_type": "vit", "image_size": 8, **values}})


CONFIGS: dict[str, Change] = {
    "no mapping": lambda config: [config],
    "another format": lambda config: config.update(format=2),
    "no spec's fields": lambda config: config.update(spec={"source": "timm"}),
    "a field too many": spec(zoo="x"),
    "source of a path": spec(source="../../x"),
    "source of a module": spec(source="antigravity"),
    "name of a path": spec(name="../../x"),
    "name of a function": spec(source="own", name="os.system"),
    "name in torchvision of a module": spec(source="torchvision", name="antigravity"),
    "name that fetches": spec(name="hf-hub:owner/evil"),
    "name of a folder": spec(name="local-dir:/tmp"),
    "name of no text": spec(name=["x"]),
    "argument of weights": spec(arguments={"checkpoint_path": "EVIL"}),
    "argument of an overlay": spec(arguments={"pretrained_cfg_overlay": {"file": "EVIL"}, "pretrained": True}),
    "torchvision's argument of weights": spec(source="torchvision", name="resnet18", arguments={"pretrained": True}),
    "torchvision's unknown argument": spec(source="torchvision", name="resnet18", arguments={"norm_layer": "os.system"}),
    "arguments of no mapping": spec(arguments="x"),
    "configuration of no mapping": spec(source="hf", name="./x", arguments={"config": "x"}),
    "configuration of another kind": transformers(model_type="antigravity"),
    "configuration that wraps timm": transformers(
        model_type="timm_wrapper", architecture="resnet18", model_args={"checkpoint_path": "EVIL"}
    ),
    "configuration of wrong types": transformers(hidden_size="x"),
    "configuration of no sense": transformers(hidden_act="os.system"),
    "features of no number": spec(features="x"),
    "head path of nowhere": spec(head_path="../x"),
    "head path of no text": spec(head_path=5),
    "fresh of no list": spec(fresh=7),
    "preprocessing of nothing": spec(preprocessing={}),
    "preprocessing of wrong types": spec(preprocessing={"size": "xy", "resize": [1, 1], "mean": [0], "std": [1]}),
    "layer of a function": head(layers=[{"layer": "os.system", "command": "x"}]),
    "layer of no name": head(layers=[{"layer": ["Linear"]}]),
    "layer of wrong types": head(layers=[{"layer": "Linear", "in_features": "x", "out_features": 2}]),
    "layer of unknown arguments": head(layers=[{"layer": "Linear", "evil": 2}]),
    "layer of a negative size": head(layers=[{"layer": "Linear", "in_features": -1, "out_features": 2}]),
    "layer of another size": head(layers=[{"layer": "Linear", "in_features": 3, "out_features": 2}]),
    "no layers": head(layers=[]),
    "layers of no list": head(layers="os.system"),
    "an unknown mode": head(mode="exec"),
    "classes of no list": head(classes=5),
}  # fmt: skip


class Payload:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("case", CONFIGS)
def test_a_hostile_config_is_refused_and_nothing_of_it_runs(
    case: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touched(*_: Any, **__: Any) -> Any:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket, "getaddrinfo", touched)
    torch.save({"a": Payload(tmp_path / "canary")}, tmp_path / "evil.pth")
    changed(checkpoint, "config.json", CONFIGS[case])
    text = (checkpoint / "config.json").read_text()
    forge(checkpoint, "config.json", text.replace("EVIL", str(tmp_path / "evil.pth")))
    with pytest.raises((zoo.CheckpointError, zoo.UsageError)) as caught:
        zoo.load_checkpoint(checkpoint)
    assert len(str(caught.value).splitlines()) <= 3
    assert not (tmp_path / "canary").exists()
    assert "antigravity" not in sys.modules


def optimizer(**values: Any) -> Change:
    return lambda training: training["optimizer"].update(values)


TRAININGS: dict[str, Change] = {
    "no mapping": lambda training: [],
    "nothing frozen": lambda training: training.pop("frozen") and None,
    "frozen of no lists": lambda training: training.update(frozen=5),
    "frozen of strangers": lambda training: training["frozen"].update(parameters=["os.system"]),
    "held strangers": lambda training: training["frozen"].update(held=["../x"]),
    "an absent tensor": lambda training: training.update(progress={"$tensor": "nowhere"}),
    "a tensor of no name": lambda training: training.update(progress={"$tensor": ["x"]}),
    "a number of no number": lambda training: training.update(progress={"$float": "x"}),
    "items of no pairs": lambda training: training.update(progress={"$items": [1]}),
    "optimizer of nothing": lambda training: training.update(optimizer={}),
    "optimizer of no mapping": lambda training: training.update(optimizer="SGD"),
    "groups of no list": optimizer(groups=5),
    "groups of nothing": optimizer(groups=[{}]),
    "a state of strangers": optimizer(state={"os.system": {}}),
    "a state of no mapping": optimizer(state=[1]),
}


@pytest.mark.parametrize("case", TRAININGS)
def test_a_hostile_training_state_is_refused(case: str, checkpoint: Path) -> None:
    changed(checkpoint, "training.json", TRAININGS[case])
    model = zoo.load("timm:mobilenetv2_035", 2, weights=None)
    with pytest.raises(zoo.CheckpointError):
        zoo.load_checkpoint(checkpoint, model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))


@pytest.mark.parametrize("name", ["config.json", "training.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b"null", b"NaN"])
def test_a_file_of_no_json_is_refused(name: str, content: bytes, checkpoint: Path) -> None:
    forge(checkpoint, name, content)
    with pytest.raises(zoo.CheckpointError):
        zoo.load_checkpoint(checkpoint)


def test_the_unchanged_checkpoint_loads(checkpoint: Path) -> None:
    assert isinstance(zoo.load_checkpoint(checkpoint), nn.Module)
