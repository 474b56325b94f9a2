"""Pictures for models of transformers are what their own processors make of them."""

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import transformers
from PIL import Image
from torch import Tensor
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

from zoo.data.loading import evaluation_transform
from zoo.sources import hf

KEEP_THE_SHAPE = {"DonutImageProcessor", "TextNetImageProcessor"}
"""Their results have the shape of each picture, or its padding, which zoo says of itself."""
KINDS = sorted(
    {
        IMAGE_PROCESSOR_MAPPING_NAMES[kind]["torchvision"]
        for kind in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
        if kind in IMAGE_PROCESSOR_MAPPING_NAMES and kind not in hf.REFUSED
    }
    - KEEP_THE_SHAPE
)
ROUNDED = 0.05
"""Mean difference, in deviations, by half a pixel: one of the two rounds the middle up and the other down."""


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """A wide one and a high one, whose colours vary smoothly and are not alike."""
    small = numpy.random.default_rng(0).integers(0, 255, (12, 9, 3), dtype=numpy.uint8)
    return [Image.fromarray(small).resize(size, Image.Resampling.BICUBIC) for size in ((448, 640), (640, 448))]


def assert_alike(processor: Any, folder: Path, pictures: list[Image.Image]) -> None:
    processor.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    mine = evaluation_transform(hf.preprocessing(str(folder), {}, offline=True))
    for picture in pictures:
        theirs: Tensor = processor(picture, return_tensors="pt")["pixel_values"][0].float()
        torch.testing.assert_close(mine(picture).shape, theirs.shape)
        assert float((mine(picture) - theirs).abs().mean() / theirs.std()) < ROUNDED


@pytest.mark.parametrize("name", KINDS)
def test_a_processor_with_its_defaults(name: str, tmp_path: Path, pictures: list[Image.Image]) -> None:
    assert_alike(getattr(transformers, name)(), tmp_path, pictures)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("ViTImageProcessor", {"rescale_factor": 1 / 127.5}),
        ("ViTImageProcessor", {"do_rescale": False}),
        ("ViTImageProcessor", {"do_rescale": False, "do_normalize": False}),
        ("ViTImageProcessor", {"do_normalize": False}),
        ("EfficientNetImageProcessor", {"rescale_factor": 1 / 127.5, "rescale_offset": True}),
        ("EfficientNetImageProcessor", {"include_top": False}),
        ("LevitImageProcessor", {"size": {"shortest_edge": 160}}),
        (
            "PerceiverImageProcessor",
            {"size": {"height": 112, "width": 112}, "crop_size": {"height": 120, "width": 120}},
        ),
        ("PPLCNetImageProcessor", {"resize_short": 300, "image_mean": [0.1, 0.5, 0.9]}),
    ],
)
def test_a_processor_with_what_a_model_states(
    name: str, given: dict[str, Any], tmp_path: Path, pictures: list[Image.Image]
) -> None:
    assert_alike(getattr(transformers, name)(**given), tmp_path, pictures)
