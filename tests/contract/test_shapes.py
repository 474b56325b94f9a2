"""Every image classifier of transformers on pictures that are not square."""

from pathlib import Path

import pytest
import torch

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
CASES = [pytest.param(kind, name, id=name, marks=() if name in FAST else pytest.mark.slow) for kind, name in hf_names()]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_it_takes_them_with_its_weights_or_says_why_not(kind: str, name: str, tmp_path: Path) -> None:
    full = written(tmp_path, kind, name)
    height, width = zoo.spec_of(zoo.load(full, 2)).preprocessing.size
    for size in ((height, width * 3 // 2), (height * 3 // 2, width)):
        if name in REFUSED:
            with pytest.raises(zoo.UsageError, match=REFUSED[name]):
                zoo.load(full, 2, img_size=size)
            continue
        model = zoo.load(full, 2, img_size=size)
        pictures = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
        folder = zoo.save_checkpoint(tmp_path / str(size), model).folder
        assert scores(zoo.load_checkpoint(folder), pictures).equal(scores(model, pictures))
    if name in (*COUNTED, "ViTForImageClassification", "ViTMSNForImageClassification"):
        with pytest.raises(zoo.UsageError, match=f"as many places|{SQUARE}"):
            zoo.load(full, 2, img_size=(height * 2, width // 2))
