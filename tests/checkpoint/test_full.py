"""The whole model in two more forms: a pickle without a name of zoo's, and an exported program."""

import json
import pickletools
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.checkpoint.writing import Saved

HEADS = {"squeezenet1_1": "mlp", "timm:mobilenetv2_050": "attention-pool", "own:full-net": "cosine", "hf": "mlp"}
MODELS = tuple(HEADS)

WITHOUT_ZOO = """
import sys, torch
sys.modules["zoo"] = None
for folder in sys.argv[1:]:
    model = torch.load(folder + "/model.pt", weights_only=False)
    assert not model.training and all(each.requires_grad for each in model.parameters())
    assert not [name for module in model.modules() for name in vars(module) if "zoo" in name or name == "train"]
    seen = torch.load(folder + "/../seen.pth")
    with torch.no_grad():
        out = model(seen["pictures"])
        torch.testing.assert_close(getattr(out, "logits", out), seen["logits"])
    program = torch.export.load(folder + "/model.pt2")
    for place in range(len(seen["pictures"])):
        one = program.module()(seen["pictures"][place : place + 1])
        torch.testing.assert_close(one, seen["logits"][place : place + 1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(program.module()(seen["pictures"]), seen["logits"], rtol=1e-4, atol=1e-4)
"""


def build() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(4, 9)
    )


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Saved]:
    """Each model frozen, in train mode, saved whole beside the outputs that it gives."""
    folder = tmp_path_factory.mktemp("full")
    zoo.register("full-net", build, head_path="5", input_size=(16, 16))
    saved = {}
    for number, name in enumerate(MODELS):
        full_name = f"hf:{transformers_model(folder)}" if name == "hf" else name
        model = zoo.load(full_name, 3, weights=None, head=HEADS[name])
        zoo.freeze(model, "backbone")
        pictures = torch.randn(5, 3, *zoo.spec_of(model).preprocessing.size)
        with torch.no_grad():
            out = model.eval()(pictures)
        place = folder / str(number)
        place.mkdir()
        torch.save({"pictures": pictures, "logits": getattr(out, "logits", out)}, place / "seen.pth")
        saved[MODELS[number]] = zoo.save_checkpoint(place / "epoch-0001", model.train(), whole=True)
        assert zoo.spec_of(model).head, "the model itself is left as it was"
        assert not next(model.parameters()).requires_grad
    return saved


def transformers_model(folder: Path) -> Path:
    from transformers import AutoModelForImageClassification, ViTConfig

    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    config = ViTConfig(image_size=16, patch_size=8, **small)
    AutoModelForImageClassification.from_config(config).save_pretrained(folder / "vit")
    return folder / "vit"


@pytest.mark.parametrize("name", MODELS)
def test_all_files_are_there_and_in_the_manifest(name: str, full: dict[str, Saved]) -> None:
    assert full[name].notes == ()
    files = {"config.json", "model.pt", "model.pt2", "model.safetensors", "training.json"}
    assert {file.name for file in full[name].folder.iterdir()} == files | {"MANIFEST.json"}
    assert set(json.loads((full[name].folder / "MANIFEST.json").read_text())["files"]) == files


@pytest.mark.parametrize("name", MODELS)
def test_the_pickle_names_nothing_of_zoo(name: str, full: dict[str, Saved]) -> None:
    named = names_in(full[name].folder / "model.pt")
    assert any(module.startswith("torch.nn") for module in named)
    assert not [module for module in named if module.partition(".")[0] == "zoo"]


def names_in(path: Path) -> set[str]:
    """Every module that a pickle names, and every text in it that could be one."""
    with zipfile.ZipFile(path) as archive:
        (inner,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        content = archive.read(inner)
    texts = [argument for _, argument, _ in pickletools.genops(content) if isinstance(argument, str)]
    return {word for text in texts for word in text.split(" ")}


def test_the_look_at_a_pickle_would_find_a_name_of_zoo(tmp_path: Path) -> None:
    model = zoo.load("squeezenet1_1", 3, weights=None)
    torch.save(model, tmp_path / "model.pt")
    assert "zoo.registry.specs" in names_in(tmp_path / "model.pt")


def test_both_forms_give_the_same_outputs_where_zoo_is_not_installed(full: dict[str, Saved]) -> None:
    command = [sys.executable, "-c", WITHOUT_ZOO, *(str(saved.folder) for saved in full.values())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", MODELS)
def test_the_sample_in_the_export_is_zeros(name: str, full: dict[str, Saved]) -> None:
    program = torch.export.load(full[name].folder / "model.pt2")
    assert program.example_inputs is not None
    (sample,), _ = program.example_inputs
    assert sample.shape[0] == 2
    assert not sample.any()


class Stubborn(nn.Linear):
    """Its path depends on the numbers, so no export can follow it, and it holds what no pickle takes."""

    def __init__(self) -> None:
        super().__init__(4, 9)
        self.held = lambda: 0

    def forward(self, rows: Tensor) -> Tensor:
        scores = super().forward(rows)
        return scores if scores.sum() > 0 else -scores


def test_what_cannot_be_written_is_said_and_the_checkpoint_is_there(tmp_path: Path) -> None:
    zoo.register(
        "stubborn", lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4), Stubborn()),
        head_path="3", input_size=(8, 8),
    )  # fmt: skip
    model = zoo.load("own:stubborn")
    saved = zoo.save_checkpoint(tmp_path / "epoch-0001", model, whole=True)
    assert [note.partition(" was left out: ")[0] for note in saved.notes] == ["model.pt", "model.pt2"]
    assert "cannot be pickled" in saved.notes[0]
    assert "torch.export cannot follow this model" in saved.notes[1]
    assert not list(saved.folder.glob("model.pt*"))
    other = zoo.load_checkpoint(saved.folder)
    assert all(torch.equal(other.state_dict()[name], value) for name, value in model.state_dict().items())


def test_a_model_of_unknown_input_is_pickled_alone(tmp_path: Path) -> None:
    saved = zoo.save_checkpoint(tmp_path / "mine", nn.Linear(2, 2), whole=True)
    assert (saved.folder / "model.pt").is_file()
    assert saved.notes == (
        "model.pt2 was left out: the shape of an input is unknown for a model that zoo did not load",
    )
