"""The state of a training as plain values and named tensors, and what cannot be one."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

import zoo
from zoo.checkpoint.reading import read_training
from zoo.checkpoint.state import pack, unpack


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))


def through_json(value: Any) -> Any:
    packed = pack(value, "state")
    return unpack(json.loads(json.dumps(packed.values, allow_nan=False)), packed.tensors)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        12345678901234567890,
        0.1,
        float("inf"),
        -float("inf"),
        "text é",
        [],
        {},
        [1, [2.5, None]],
        {"a": {"b": [True, "c"]}},
        {3: 1, 7: 2},
        {1.5: "one", None: "none", "s": 1},
        Counter({4: 2, 9: 1}),
        {"milestones": Counter({2: 1}), "last": {5: Counter()}},
    ],
)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    got = through_json(value)
    assert got == value
    assert type(got) is type(value)


def test_no_number_comes_back_as_one() -> None:
    assert through_json([float("nan")])[0] != through_json([float("nan")])[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool])
def test_tensors_come_back_with_their_type(dtype: torch.dtype) -> None:
    value = {"a": [torch.ones(2, 3).t().to(dtype), torch.tensor(1, dtype=dtype)], 5: torch.zeros(0, dtype=dtype)}
    got = through_json(value)
    for one, other in ((value["a"][0], got["a"][0]), (value["a"][1], got["a"][1]), (value[5], got[5])):  # type: ignore[index]
        assert isinstance(other, Tensor)
        assert (other.dtype, other.shape) == (dtype, one.shape)
        assert torch.equal(one, other)


def test_a_tuple_comes_back_as_a_list() -> None:
    assert through_json((1, (2, 3))) == [1, [2, 3]]


@pytest.mark.parametrize("value", [len, {1, 2}, object(), b"bytes", {"a": [lambda: 0]}])
def test_what_cannot_be_kept_is_refused_and_nothing_is_written(value: Any, tmp_path: Path) -> None:
    with pytest.raises(zoo.CheckpointError, match="which a checkpoint cannot keep"):
        zoo.save_checkpoint(tmp_path / "epoch-0001", net(), progress={"mine": value})
    assert list(tmp_path.iterdir()) == []


def test_an_optimizers_state_is_kept_by_the_names_of_parameters(tmp_path: Path) -> None:
    model = net()
    optimizer = AdamW([{"params": model[1].parameters(), "lr": 0.5}, {"params": model[0].weight}])  # type: ignore[index]
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    zoo.save_checkpoint(tmp_path / "mine", model, optimizer=optimizer, epoch=3, metrics={"loss": 0.25})
    training = read_training(tmp_path / "mine")
    saved = training["optimizer"]
    assert [group["params"] for group in saved["groups"]] == [["1.weight", "1.bias"], ["0.weight"]]
    assert [group["lr"] for group in saved["groups"]] == [0.5, 0.001]
    assert torch.equal(saved["state"]["0.weight"]["exp_avg"], optimizer.state[model[0].weight]["exp_avg"])  # type: ignore[index]
    assert (training["epoch"], training["metrics"]) == (3, {"loss": 0.25})


def test_a_loaded_optimizer_trains_the_loaded_model(tmp_path: Path) -> None:
    model, fresh = net(), net()
    zoo.save_checkpoint(tmp_path / "mine", model, optimizer=Adam(model.parameters(), betas=(0.5, 0.6)))
    optimizer = Adam(net().parameters())
    zoo.load_checkpoint(tmp_path / "mine", fresh, optimizer=optimizer)
    assert [id(each) for each in optimizer.param_groups[0]["params"]] == [id(each) for each in fresh.parameters()]
    assert optimizer.param_groups[0]["betas"] == (0.5, 0.6)


def test_an_optimizer_of_another_models_parameters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(zoo.CheckpointError, match="the optimizer trains 4 parameters that are not the model's"):
        zoo.save_checkpoint(tmp_path / "mine", net(), optimizer=SGD(net().parameters(), lr=0.1))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    model = net()
    optimizer = SGD(model.parameters(), lr=0.1)
    zoo.save_checkpoint(tmp_path / "mine", model, optimizer=optimizer)
    with pytest.raises(zoo.CheckpointError, match="state of SGD with 1 groups; this is Adam with 1"):
        zoo.load_checkpoint(tmp_path / "mine", net(), optimizer=Adam(net().parameters()))
    two = SGD([{"params": model[0].parameters()}, {"params": model[1].parameters()}], lr=0.1)  # type: ignore[index]
    with pytest.raises(zoo.CheckpointError, match="with 1 groups; this is SGD with 2"):
        zoo.load_checkpoint(tmp_path / "mine", net(), optimizer=two)
    with pytest.raises(zoo.CheckpointError, match="was saved without a scheduler"):
        zoo.load_checkpoint(tmp_path / "mine", net(), scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 1))
    with pytest.raises(zoo.CheckpointError, match=r"the weights of .* are not of this Sequential"):
        zoo.load_checkpoint(tmp_path / "mine", nn.Sequential(nn.Linear(4, 4)))
