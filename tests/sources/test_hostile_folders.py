"""Folders of transformers whose files name what lies elsewhere: refused before transformers sees them."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import zoo
from zoo.checkpoint.foreign import folders
from zoo.registry import set_spec
from zoo.sources import hf

State = dict[str, Tensor]
INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model in two parts, as transformers writes one that is too large for a file."""
    from transformers import AutoModelForImageClassification, ViTConfig

    small = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 8}
    model = AutoModelForImageClassification.from_config(ViTConfig(image_size=16, patch_size=8, num_labels=3, **small))
    folder = tmp_path_factory.mktemp("hf") / "vit"
    model.save_pretrained(folder, max_shard_size="8KB")
    parts = sorted(folder.glob("*.safetensors"))
    assert len(parts) > 1
    assert (folder / INDEX).is_file()
    return folder


@pytest.fixture(scope="module")
def expected(written: Path) -> State:
    """What transformers itself makes of it."""
    from transformers import AutoModelForImageClassification

    state: State = AutoModelForImageClassification.from_pretrained(written).state_dict()
    return state


def same(model: nn.Module, expected: State) -> bool:
    state = model.state_dict()
    return state.keys() == expected.keys() and all(torch.equal(state[name], each) for name, each in expected.items())


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "vit"))


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def state_of(folder: Path) -> State:
    return {name: each for part in parts(folder) for name, each in load_file(part).items()}


def renamed(folder: Path, name: str) -> None:
    """An index that has another name for one part."""
    index = json.loads((folder / INDEX).read_text())
    first = parts(folder)[0].name
    index["weight_map"] = {key: name if part == first else part for key, part in index["weight_map"].items()}
    (folder / INDEX).write_text(json.dumps(index))


def outside(folder: Path) -> Path:
    """The first part, moved out of its folder."""
    return Path(shutil.move(parts(folder)[0], folder.parent / "elsewhere.safetensors"))


def linked(folder: Path) -> None:
    place = parts(folder)[0]
    place.symlink_to(outside(folder))


def one_file(folder: Path) -> None:
    """The whole model in one file, which is a link to elsewhere."""
    save_file(state_of(folder), folder.parent / "all.safetensors")
    (folder / "model.safetensors").symlink_to(folder.parent / "all.safetensors")


def written_index(value: Any) -> Callable[[Path], object]:
    return lambda folder: (folder / INDEX).write_text(value if isinstance(value, str) else json.dumps(value))


def spoilt(folder: Path) -> None:
    part = parts(folder)[0]
    part.write_bytes(part.read_bytes()[:-4])


def twice(folder: Path) -> None:
    one, two = parts(folder)[:2]
    save_file(load_file(one) | load_file(two), two)


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a part above": (lambda folder: renamed(folder, f"../{outside(folder).name}"), "outside of itself"),
    "an absolute part": (lambda folder: renamed(folder, str(outside(folder))), "outside of itself"),
    "a part below": (lambda folder: renamed(folder, f"sub/{parts(folder)[0].name}"), "outside of itself"),
    "a part of Windows": (lambda folder: renamed(folder, "..\\x.safetensors"), "outside of itself"),
    "a part of no name": (lambda folder: renamed(folder, ".."), "outside of itself"),
    "a part with a zero": (lambda folder: renamed(folder, "x\0y"), "outside of itself"),
    "a part that moves the cursor": (lambda folder: renamed(folder, "/\x1b[2J"), r"/\\x1b\[2J"),
    "a part that is missing": (lambda folder: renamed(folder, "x.safetensors"), "has no x.safetensors"),
    "a part that is a link": (linked, "is a link to"),
    "a file that is a link": (one_file, "is a link to"),
    "a part that is cut off": (spoilt, "is no safetensors file or is damaged"),
    "a tensor in two parts": (twice, "in several of its parts"),
    "an index of nothing": (written_index({"weight_map": {}}), "no index of weights"),
    "an index of numbers": (written_index({"weight_map": {"a": 5}}), "no index of weights"),
    "an index of no object": (written_index([1]), "no JSON object"),
    "an index of no JSON": (written_index("{"), "cannot be read"),
    "a deep index": (written_index("[" * 100_000), "cannot be read|damaged"),
    "an adapter": (lambda folder: (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "x/y"}'),
                   "names a model elsewhere"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_folder_that_names_what_lies_elsewhere_is_refused(
    case: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import PreTrainedModel

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", lambda *_, **__: pytest.fail("transformers was asked"))
    change, reason = CASES[case]
    change(folder)
    with pytest.raises(zoo.CheckpointError, match=reason) as caught:
        hf.load(folder)
    assert (caught.value.exit_code, len(str(caught.value).splitlines()) <= 3) == (4, True)


def test_a_model_in_parts_is_loaded_whole(folder: Path, expected: State) -> None:
    assert same(zoo.load(f"hf:{folder}"), expected)
    assert same(zoo.load(f"hf:{folder}", weights=folder), expected)


def test_parts_that_are_pickles_are_loaded_too(folder: Path, expected: State) -> None:
    state = state_of(folder)
    for part in (*parts(folder), folder / INDEX):
        part.unlink()
    torch.save(state, folder / "pytorch_model.bin")
    assert same(zoo.load(f"hf:{folder}"), expected)


def test_links_of_the_hubs_own_cache_are_followed(folder: Path, expected: State, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--x" / "blobs", tmp_path / "models--x" / "snapshots" / "c0ffee"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        shutil.copy(file, blobs / file.name)
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    assert same(zoo.load(f"hf:{snapshot}"), expected)
    (snapshot / parts(folder)[0].name).unlink()
    (snapshot / parts(folder)[0].name).symlink_to(parts(folder)[0])
    with pytest.raises(zoo.CheckpointError, match="is a link to"):
        zoo.load(f"hf:{snapshot}")


def test_weights_that_a_configuration_names_are_not_looked_for(folder: Path, expected: State) -> None:
    values = json.loads((folder / "config.json").read_text())
    other = "sub/other.safetensors"
    (folder / "sub").mkdir()
    save_file({name: each + 1 for name, each in state_of(folder).items()}, folder / other, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(values | {"transformers_weights": other}))
    assert same(zoo.load(f"hf:{folder}"), expected)


def test_a_folder_is_known_by_its_configuration(folder: Path, tmp_path: Path) -> None:
    assert folders.is_transformers(folder)
    zoo.save_checkpoint(tmp_path / "epoch-0001", zoo.load(f"hf:{folder}", 2))
    assert not folders.is_transformers(tmp_path / "epoch-0001"), "a checkpoint of zoo's is read as one"
    assert not folders.is_transformers(tmp_path)


def test_a_folder_is_loaded_into_its_model_in_whatever_source(folder: Path, tmp_path: Path) -> None:
    from timm import create_model
    from timm.models import save_for_hf

    model = create_model("mobilenetv2_035", num_classes=7)
    save_for_hf(model, tmp_path / "timm")
    loaded = zoo.load("timm:mobilenetv2_035", 2, weights=tmp_path / "timm")
    assert torch.equal(loaded.state_dict()["conv_stem.weight"], model.state_dict()["conv_stem.weight"])
    with pytest.raises(zoo.CheckpointError, match="do not fit the model"):
        zoo.load("timm:mobilenetv2_035", 2, weights=folder)


HUGE = {"hidden_size": 2**17, "intermediate_size": 2**19}
"""Of more than a thousand gigabytes."""


def test_a_configuration_of_more_than_its_weights_takes_no_memory(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, **HUGE}))
    with pytest.raises(zoo.CheckpointError, match=r"describes a model of \d+\.\d G parameters, and its weights hold"):
        zoo.load(f"hf:{folder}", 2)


def test_a_checkpoint_of_such_a_configuration_takes_no_memory_either(folder: Path, tmp_path: Path) -> None:
    model = zoo.load(f"hf:{folder}", 2)
    spec = zoo.spec_of(model)
    config = {**spec.arguments["config"], **HUGE}
    set_spec(model, dataclasses.replace(spec, arguments={"config": config}))
    zoo.save_checkpoint(tmp_path / "one", model)
    with pytest.raises(zoo.CheckpointError, match=r"describes a model of \d+\.\d G parameters, and its weights hold"):
        zoo.load_checkpoint(tmp_path / "one")
