"""Every image classifier of transformers on grey pictures, and on pictures with transparency."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import zoo
from zoo.checkpoint.reading import read_config
from zoo.sources.channels import adapted
from zoo.training.loop import logits_of

from .subjects import hf_names
from .tiny import CONFIGS

FOURIER = "PerceiverForImageClassificationFourier"
STANDARDISED = "BitForImageClassification"
"""Its first layer divides its weights by their spread, so that their sum is scaled anew, in timm too."""
ODD = ("BitForImageClassification", "HGNetV2ForImageClassification", "TextNetForImageClassification")
REPLACED = (
    "PPLCNetForImageClassification",
    "PerceiverForImageClassificationLearned",
    "PerceiverForImageClassificationConvProcessing",
)
"""Those whose classes build for three channels alone, whatever their configuration says."""


def written(folder: Path, kind: str, class_name: str) -> str:
    """The name of a folder with a tiny model and its weights, as save_pretrained writes it."""
    import transformers

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **CONFIGS[kind], num_labels=3)
    getattr(transformers, class_name)(config).save_pretrained(folder / class_name)
    return f"hf:{folder / class_name}"


def scores(model: torch.nn.Module, pictures: Tensor) -> Tensor:
    with torch.no_grad():
        return logits_of(model(pictures))


def of_channels(channels: int, model: torch.nn.Module) -> Tensor:
    size = zoo.spec_of(model).preprocessing.size
    return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(0))


CASES = [
    pytest.param(kind, name, id=name, marks=() if name in (*ODD, *REPLACED) else pytest.mark.slow)
    for kind, name in hf_names()
    if name != FOURIER
]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_it_takes_grey_pictures_and_transparent_ones_with_its_weights(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = written(tmp_path, kind, name)
    usual = zoo.load(full, 2, seed=0)
    for channels in (1, 4):
        model = zoo.load(full, 2, seed=0, channels=channels)
        pictures = of_channels(channels, model)
        if channels == 1:
            same = torch.allclose(scores(model, pictures), scores(usual, pictures.expand(-1, 3, -1, -1)), atol=1e-4)
            assert same != (name == STANDARDISED)
        (path,) = zoo.spec_of(model).adapted
        assert model.get_parameter(path).equal(adapted(usual.get_parameter(path), 3, channels))
        logits_of(model.train()(pictures)).sum().backward()
        assert model.get_parameter(path).grad is not None
        assert zoo.spec_of(model).arguments.get("channels") == (channels if name in REPLACED else None)
        folder = zoo.save_checkpoint(tmp_path / str(channels), model.eval()).folder
        expected = scores(model, pictures)
        assert scores(zoo.load_checkpoint(folder), pictures).equal(expected)
        if name in (*ODD, *REPLACED):
            monkeypatch.chdir(folder)
            built: dict[str, torch.nn.Module] = {}
            # These are the lines that our own checkpoint carries.
            exec("\n".join(read_config(folder).rebuild), built)
            assert scores(built["model"], pictures).equal(expected)


def test_what_sees_raw_pixels_says_that_no_layer_can_be_adapted(tmp_path: Path) -> None:
    full = written(tmp_path, "perceiver", FOURIER)
    with pytest.raises(zoo.UsageError, match="only a convolution over all channels can be adapted"):
        zoo.load(full, 2, channels=1)
