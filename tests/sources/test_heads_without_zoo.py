"""Every head on every kind of model: a checkpoint's own lines build it where zoo cannot be imported."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import safetensors.torch
import torch
from torch import nn

import zoo
from zoo import catalog

from .contract import logits, without_zoo

SMALL = ("squeezenet1_1", "resnet18", "timm:vit_tiny_patch16_224", "timm:convnext_atto", "hf")
LARGE = ("vgg11", "vit_b_32")
HEADS = catalog.names("heads")
ON_VECTORS = {"cosine", "dropout-linear", "linear", "mlp", "norm-linear"}
FIT = {
    "squeezenet1_1": ON_VECTORS - {"norm-linear"},
    "resnet18": set(HEADS),
    "timm:vit_tiny_patch16_224": set(HEADS),
    # A norm of fixed size stands between its pool and its head.
    "timm:convnext_atto": set(HEADS) - {"concat-pool"},
    "hf": ON_VECTORS,
    "vgg11": ON_VECTORS,
    "vit_b_32": ON_VECTORS,
}


def transformers_model(folder: Path) -> str:
    from transformers import AutoModelForImageClassification, ViTConfig

    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    config = ViTConfig(image_size=16, patch_size=8, **small)
    AutoModelForImageClassification.from_config(config).save_pretrained(folder / "vit")
    return f"hf:{folder / 'vit'}"


def load(name: str, head: str, folder: Path) -> nn.Module:
    return zoo.load(transformers_model(folder) if name == "hf" else name, 5, weights=None, head=head)


def stirred(model: nn.Module) -> nn.Module:
    """The model with its zeros replaced, so that nothing is equal by chance."""
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter.data)
    return model


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with TemporaryDirectory() as folder:
        yield run_without_zoo(SMALL, Path(folder), tmp_path_factory.mktemp("hf"))


def run_without_zoo(names: tuple[str, ...], folder: Path, place: Path) -> dict[str, str]:
    """Save each model with each head that fits, and say what the checkpoint's lines do in a process without zoo."""
    jobs = []
    for number, name in enumerate(names):
        example = {}
        for head in sorted(FIT[name]):
            model = stirred(load(name, head, place))
            example["pictures"] = pictures_of(model)
            with torch.no_grad():
                example[head] = logits(model, example["pictures"])
            zoo.save_checkpoint(folder / str(number) / head, model)
            jobs.append(
                {"key": f"{name} {head}", "folder": str(folder / str(number) / head), "build": "", "rebuild": 1}
            )
        safetensors.torch.save_file(example, folder / str(number) / "example.safetensors")
    return without_zoo(jobs)


def pictures_of(model: nn.Module) -> torch.Tensor:
    size = zoo.spec_of(model).preprocessing.size
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("head", HEADS)
def test_the_lines_of_a_checkpoint_build_its_head(
    name: str, head: str, outcomes: dict[str, str], tmp_path: Path
) -> None:
    if head in FIT[name]:
        assert outcomes[f"{name} {head}"] == "same outputs"
        return
    with pytest.raises(zoo.UsageError, match=rf"the head '{head}' (?s:.*)heads that fit: ") as caught:
        load(name, head, tmp_path)
    said = set(str(caught.value).rpartition("heads that fit: ")[2].splitlines()[0].split(", "))
    assert said <= FIT[name]
    assert "linear" in said


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_the_lines_of_a_large_checkpoint_build_its_head(name: str, tmp_path: Path) -> None:
    found = run_without_zoo((name,), tmp_path, tmp_path)
    assert found == {f"{name} {head}": "same outputs" for head in FIT[name]}
