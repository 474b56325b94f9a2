"""No text of a checkpoint is imported, run or followed, and no pickle is trusted."""

import dataclasses
import pickle
import random
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from zoo.checkpoint.reading import read_config
from zoo.checkpoint.weights import read_weights
from zoo.registry import set_spec

from .conftest import Change, Payload, changed, forge


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
    "torchvision's code": spec(source="torchvision", name="resnet18", arguments={"norm_layer": "os.system"}),
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
    "head path of another layer": spec(head_path="conv_head"),
    "head elsewhere than its place": head(path="conv_head"),
    "head elsewhere, appended": head(path="classifier", mode="append"),
    "head of a path": head(path="../../x"),
    "more heads than there are": spec(more_heads=["conv_head"], more_features=[3]),
    "fresh of no list": spec(fresh=7),
    "preprocessing of nothing": spec(preprocessing={}),
    "head of no layer": head(layers=[]),
    "pool of no place": head(pool={"layer": "ConcatPool"}),
    "preprocessing of all memory": spec(
        preprocessing={"size": [10**6, 10**6], "resize": [1, 1], "mean": [0], "std": [1]}
    ),
    "preprocessing of no numbers": spec(
        preprocessing={"size": [8, 8], "resize": [8, 8], "mean": [float("nan")], "std": [1]}
    ),
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


def test_a_head_elsewhere_is_refused_where_its_weights_fit_too(tmp_path: Path) -> None:
    model = zoo.load("timm:mobilenetv2_035", weights=None)
    spec = zoo.spec_of(zoo.load("timm:mobilenetv2_035", 2, weights=None))
    zoo.replace_module(model, "conv_head", torch.nn.Linear(1280, 2))
    assert spec.head is not None
    moved = dataclasses.replace(spec, head_path="conv_head", head=dataclasses.replace(spec.head, path="conv_head"))
    set_spec(model, moved)
    zoo.save_checkpoint(tmp_path / "one", model)
    with pytest.raises(zoo.CheckpointError, match="head of timm:mobilenetv2_035 at conv_head, and its place is class"):
        zoo.load_checkpoint(tmp_path / "one")


@pytest.mark.parametrize("key", ["name", "head_path", "source", "features", "preprocessing"])
def test_a_config_of_wrong_types_is_no_config(key: str, checkpoint: Path) -> None:
    changed(checkpoint, "config.json", spec(**{key: {"x": None}}))
    with pytest.raises(zoo.CheckpointError, match=r"config\.json is not a config of zoo's"):
        read_config(checkpoint)


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


def torch_save_of_old(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    "write",
    [torch.save, torch_save_of_old, lambda value, path: path.write_bytes(pickle.dumps(value["more"], protocol=2))],
)
def test_a_pickle_that_wants_to_run_code_is_refused_and_names_it(
    write: Callable[[Any, Path], Any], tmp_path: Path
) -> None:
    canary, path = tmp_path / "canary", tmp_path / "w.pth"
    write({"state_dict": {"a": torch.zeros(1)}, "more": Payload(canary)}, path)
    with pytest.raises(zoo.CheckpointError, match=r"is refused: reading it would run posix\.mkdir") as caught:
        read_weights(path)
    assert not canary.exists()
    assert caught.value.exit_code == 4
    Payload(canary).__reduce__()[0](*Payload(canary).__reduce__()[1])
    assert canary.exists(), "the payload works where somebody runs it"


def test_damage_anywhere_in_a_file_is_refused_or_harmless(tmp_path: Path) -> None:
    chance = random.Random(0)
    for write in (torch.save, torch_save_of_old):
        refused = 0
        write({"state_dict": {"a": torch.zeros(3)}, "epoch": 3}, tmp_path / "whole.pth")
        content = (tmp_path / "whole.pth").read_bytes()
        for _ in range(300):
            damaged = bytearray(content)
            damaged[chance.randrange(len(content))] = chance.randrange(256)
            (tmp_path / "damaged.pth").write_bytes(damaged)
            try:
                found = read_weights(tmp_path / "damaged.pth")
            except zoo.CheckpointError:
                refused += 1
            else:
                assert all(isinstance(value, torch.Tensor) for value in found.values())
        assert 0 < refused < 300
