"""Weights out of a file that anybody wrote: its forms, what does not fit, and what must not run."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import zoo
from zoo.checkpoint.weights import read_weights

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """The library's own squeezenet with a thousand classes; the smallest there is."""
    return zoo.load("squeezenet1_1", weights=None).state_dict()


def load(path: Path, **given: Any) -> nn.Module:
    return zoo.load("squeezenet1_1", **{"classes": 3, **given}, weights=path)


def legacy(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


FORMS: dict[str, Callable[[State, Path], Any]] = {
    "w.safetensors": save_file,
    "plain.pth": torch.save,
    "plain.pt": torch.save,
    "legacy.pth": legacy,
    "in state_dict.th": lambda state, path: torch.save({"epoch": 3, "state_dict": state}, path),
    "in model.pth": lambda state, path: torch.save({"model": state, "optimizer": {"lr": 0.1}}, path),
    "in model_state_dict.ckpt": lambda state, path: torch.save({"model_state_dict": state}, path),
    "of DataParallel.pth": lambda state, path: torch.save({f"module.{name}": state[name] for name in state}, path),
    "wrapped and prefixed.tar": lambda state, path: legacy(
        {"best": torch.tensor(1.0), "state_dict": {f"module.{name}": state[name] for name in state}}, path
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_a_state_dict_is_read(name: str, state: State, tmp_path: Path) -> None:
    FORMS[name](state, tmp_path / name)
    model = load(tmp_path / name)
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in state.items() if not key.startswith("classifier"))
    whole = load(tmp_path / name, classes=None).state_dict()
    assert all(torch.equal(whole[key], value) for key, value in state.items())


REPORTS: dict[str, Callable[[State], State]] = {
    "52 tensors matched": lambda state: state,
    "52 tensors matched, 1 unexpected (extra.weight)": lambda state: state | {"extra.weight": torch.zeros(1)},
    "50 tensors matched, 2 missing (classifier.1.weight, classifier.1.bias)": lambda state: without(state, "class"),
    "51 tensors matched, 1 of another shape (classifier.1.bias: (4,) in the file, (1000,) in the model)": (
        lambda state: state | {"classifier.1.bias": torch.zeros(4)}
    ),
}


@pytest.mark.parametrize("report", REPORTS)
def test_the_report_tells_what_matched_and_what_did_not(report: str, state: State, tmp_path: Path) -> None:
    torch.save(REPORTS[report](state), tmp_path / "w.pth")
    model = load(tmp_path / "w.pth", mode="append", allow_partial=True)
    assert zoo.spec_of(model).report == report


def without(state: Mapping[str, Tensor], *starts: str) -> State:
    return {name: value for name, value in state.items() if not name.startswith(starts)}


BROKEN: dict[str, tuple[Callable[[State], State], str]] = {
    "missing": (lambda state: without(state, "features.3."), r"6 missing \(features\.3\.squeeze\.weight, .*, "),
    "misshapen": (
        lambda state: state | {"features.0.bias": torch.zeros(5)},
        r"features\.0\.bias: \(5,\) in the file, \(64,\) in the model",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_backbone_that_does_not_fit_is_refused_unless_told(kind: str, state: State, tmp_path: Path) -> None:
    change, message = BROKEN[kind]
    path = tmp_path / "w.pth"
    torch.save(change(state), path)
    with pytest.raises(zoo.CheckpointError, match=f"(?s)do not fit.*{message}.*--allow-partial"):
        load(path)
    model = load(path, allow_partial=True)
    assert torch.equal(model.state_dict()["features.6.squeeze.weight"], state["features.6.squeeze.weight"])
    frozen = zoo.freeze(model, "backbone").parameters
    lacking = set(state) - {name for name, value in change(state).items() if value.shape == state[name].shape}
    assert lacking
    assert not lacking & set(frozen), "what the file did not give is trained"


def test_a_file_of_another_architecture_is_refused_even_partially(tmp_path: Path) -> None:
    torch.save(zoo.load("resnet18", weights=None).state_dict(), tmp_path / "w.pth")
    with pytest.raises(zoo.CheckpointError, match="0 tensors matched"):
        load(tmp_path / "w.pth", allow_partial=True)


def test_a_head_of_other_classes_is_left_out_but_append_needs_the_original(state: State, tmp_path: Path) -> None:
    five, none = tmp_path / "five.pth", tmp_path / "none.pth"
    torch.save(state | {"classifier.1.weight": torch.zeros(5, 512, 1, 1), "classifier.1.bias": torch.zeros(5)}, five)
    torch.save(without(state, "classifier"), none)
    for path in (five, none):
        assert load(path).classifier[1].out_channels == 3  # type: ignore[index, union-attr]
        for kept in ({"mode": "append"}, {"classes": None}):
            with pytest.raises(zoo.CheckpointError, match=r"classifier\.1\.weight"):
                load(path, **kept)
    model = load(none, mode="append", allow_partial=True)
    frozen = zoo.freeze(model, "backbone").parameters
    assert not [name for name in frozen if name.startswith("classifier")], "nor is it frozen at random values"


def test_a_part_whose_name_begins_like_the_head_is_trained_when_it_is_missing(tmp_path: Path) -> None:
    def named() -> nn.Module:
        model = nn.Sequential()
        for name, part in (("stem", nn.Flatten()), ("body", nn.Linear(12, 12)), ("fc_norm", nn.LayerNorm(12)),
                           ("fc", nn.Linear(12, 9))):  # fmt: skip
            model.add_module(name, part)
        return model

    zoo.register("named-net", named, head_path="fc", input_size=(2, 2))
    torch.save(without(named().state_dict(), "fc_norm"), tmp_path / "w.pth")
    model = zoo.load("own:named-net", 2, weights=tmp_path / "w.pth", allow_partial=True)
    assert zoo.freeze(model, "backbone").parameters == ("body.weight", "body.bias")


def spoil(path: Path, state: State, how: str) -> None:
    (save_file if path.suffix == ".safetensors" else torch.save)(state, path)
    content = path.read_bytes()
    match how:
        case "cut off":
            path.write_bytes(content[: len(content) // 2])
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("404: not found")
        case "numbers":
            path.write_bytes(pickle.dumps([1, 2], protocol=2))
        case "folder":
            path.unlink()
            path.mkdir()
        case "absent":
            path.unlink()


@pytest.mark.parametrize("how", ["cut off", "empty", "text", "numbers", "folder", "absent"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_what_is_no_file_of_weights_is_refused(suffix: str, how: str, state: State, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    spoil(path, state, how)
    with pytest.raises(zoo.CheckpointError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 4
    assert len(str(caught.value).splitlines()) <= 3


def test_real_weights_give_equal_outputs_through_both_libraries(assets: Path) -> None:
    folder = assets / "weights" / "mobilenet_v2"
    one = zoo.load("mobilenet_v2", weights=folder / "mobilenet_v2.pth")
    other = zoo.load("timm:mobilenetv2_100", weights=folder / "timm_mobilenetv2_100.safetensors")
    pictures = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(one(pictures), other(pictures), rtol=1e-4, atol=1e-4)
    assert zoo.spec_of(one).preprocessing == zoo.spec_of(other).preprocessing
    with pytest.raises(zoo.CheckpointError, match="do not fit the model: 0 tensors matched"):
        zoo.load("timm:mobilenetv2_100", 2, weights=folder / "mobilenet_v2.pth")


def test_real_files_are_read_whole(assets: Path) -> None:
    squeezenet = assets / "weights" / "squeezenet1_1" / "squeezenet1_1.pth"
    assert zoo.spec_of(load(squeezenet, classes=None)).report == "52 tensors matched"
    resnet20 = read_weights(assets / "weights" / "resnet20_cifar10" / "resnet20-12fca82f.th")
    assert resnet20["conv1.weight"].shape == (16, 3, 3, 3)
    assert not [name for name in resnet20 if name.startswith("module.")]
