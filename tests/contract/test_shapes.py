"""Every image classifier of transformers on pictures that are not square."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import zoo

from .subjects import hf_names
from .test_channels import scores, written

SQUARE = "it is built for square pictures alone"
REFUSED = {
    "CLIPForImageClassification": SQUARE,
    "HieraForImageClassification": "position_embeddings would have another shape",
    "LevitForImageClassification": SQUARE,
    "LevitForImageClassificationWithTeacher": SQUARE,
    "MetaClip2ForImageClassification": SQUARE,
    "PerceiverForImageClassificationLearned": SQUARE,
    "PvtForImageClassification": SQUARE,
    "SiglipForImageClassification": SQUARE,
}
FAST = ("LevitForImageClassification", "SiglipForImageClassification", "ViTForImageClassification")
COUNTED = (
    *REFUSED,
    "DeiTForImageClassification",
    "DeiTForImageClassificationWithTeacher",
    "IJepaForImageClassification",
)
"""Those whose tables belong to one arrangement of places: as many of them in another one are no substitute."""
FAR = 5
CASES = [pytest.param(kind, name, id=name, marks=() if name in FAST else pytest.mark.slow) for kind, name in hf_names()]


def assert_carried(usual: nn.Module, model: nn.Module) -> None:
    """Every tensor is the usual one, or where its shape had to change still far from zero, as `far` made that."""
    spec, before = zoo.spec_of(model), usual.state_dict()
    assert model.state_dict().keys() == before.keys()
    for name, value in model.state_dict().items():
        if spec.in_head(name):
            continue
        if value.shape == before[name].shape:
            assert value.equal(before[name]), name
        elif value.is_floating_point():
            assert float(value.mean()) == pytest.approx(FAR, abs=0.5), name


def far(folder: Path) -> None:
    """Move all tables of a file away from where random ones lie, which no interpolation brings back."""
    state = load_file(folder / "model.safetensors")
    for name, value in state.items():
        if value.is_floating_point() and any(word in name for word in ("position", "bias_table", "cls_token")):
            state[name] = value + FAR
    save_file(state, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_it_takes_them_with_its_weights_or_says_why_not(kind: str, name: str, tmp_path: Path) -> None:
    full = written(tmp_path, kind, name)
    far(tmp_path / name)
    usual = zoo.load(full, 2)
    height, width = zoo.spec_of(usual).preprocessing.size
    for size in ((height, width * 3 // 2), (height * 3 // 2, width)):
        if name in REFUSED:
            with pytest.raises(zoo.UsageError, match=REFUSED[name]):
                zoo.load(full, 2, img_size=size)
            continue
        model = zoo.load(full, 2, img_size=size)
        assert_carried(usual, model)
        pictures = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
        folder = zoo.save_checkpoint(tmp_path / str(size), model).folder
        assert scores(zoo.load_checkpoint(folder), pictures).equal(scores(model, pictures))
    if name in (*COUNTED, "ViTForImageClassification", "ViTMSNForImageClassification"):
        with pytest.raises(zoo.UsageError, match=f"as many places|{SQUARE}"):
            zoo.load(full, 2, img_size=(height * 2, width // 2))
