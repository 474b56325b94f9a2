"""Pictures of other channels or another size than those of the pretrained weights."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import zoo
from tests.checkpoint.conftest import changed
from zoo.sources.channels import adapted, first_layer

from .contract import logits, without_zoo
from .test_hf import write_model

FileOf = Callable[[str], Path]


@pytest.fixture(scope="module")
def file_of(tmp_path_factory: pytest.TempPathFactory) -> FileOf:
    """The path of a file with the weights of a model, random but the same for each test."""
    made: dict[str, Path] = {}

    def write(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("weights") / "weights.safetensors"
            state = zoo.load(name, weights=None, seed=0).state_dict()
            safetensors.torch.save_file({key: each.contiguous() for key, each in state.items()}, made[name])
        return made[name]

    return write


@pytest.fixture(scope="module")
def hf_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("hf"), "vit")


@pytest.fixture(scope="module", autouse=True)
def _own() -> None:
    def net() -> nn.Module:
        torch.manual_seed(0)
        # The convolution that runs first is not the one that is defined first.
        return Crossed()

    def flat() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 9))

    zoo.register("inputs-net", net, head_path="fc", input_size=(16, 16))
    zoo.register("inputs-flat", flat, head_path="1", input_size=(2, 2))


class Crossed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Conv2d(4, 8, 3)
        self.first = nn.Conv2d(3, 4, 3, bias=False)
        self.fc = nn.Linear(8, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        found: Tensor = self.fc(self.second(self.first(pictures).relu()).mean((2, 3)))
        return found


def random_pictures(model: nn.Module, count: int = 2) -> Tensor:
    known = zoo.spec_of(model).preprocessing
    return torch.randn(count, len(known.mean), *known.size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(8, 3, 7, 7), (8, 12, 4, 4)])
def test_a_first_layer_is_adapted_as_timm_does_it(channels: int, shape: tuple[int, ...]) -> None:
    from timm.models import adapt_input_conv

    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if channels not in (1, 3) and shape[1] != 3:
        with pytest.raises(zoo.UsageError, match="cannot be made into ones for"):
            adapted(weight, 3, channels)
    else:
        assert adapted(weight, 3, channels).equal(adapt_input_conv(channels, weight.clone()))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("test_resnet", {"channels": 1}),
        ("test_resnet", {"channels": 4}),
        ("tresnet_m", {"channels": 1}),
        ("test_vit", {"channels": 2}),
        ("test_vit", {"img_size": 96}),
        ("vit_tiny_patch16_224", {"img_size": 160, "channels": 1}),
        ("swin_tiny_patch4_window7_224", {"img_size": 192}),
        ("test_vit", {"img_size": (96, 128)}),
        ("vit_tiny_patch16_224", {"img_size": (224, 160)}),
        ("swin_tiny_patch4_window7_224", {"img_size": (224, 160)}),
        ("tresnet_m", {"img_size": (96, 64)}),
    ],
)
def test_timm_itself_gives_the_same_model(name: str, given: dict[str, Any], file_of: FileOf) -> None:
    import timm

    weights = file_of(f"timm:{name}")
    overlay = {"state_dict": safetensors.torch.load_file(weights), "custom_load": False}
    words = {"channels": "in_chans", "img_size": "img_size"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own = timm.create_model(
            name,
            pretrained=True,
            pretrained_cfg_overlay=overlay,
            **{words[key]: value for key, value in given.items() if name != "tresnet_m" or key == "channels"},
        )
    found = zoo.load(f"timm:{name}", weights=weights, **given)
    expected, state = own.state_dict(), found.state_dict()
    assert expected.keys() == state.keys()
    assert [key for key in state if not state[key].equal(expected[key])] == []
    # What takes any size has nothing to adapt to another.
    assert zoo.spec_of(found).adapted or given.keys() == {"img_size"}
    pictures = random_pictures(found)
    assert found(pictures).equal(own.eval()(pictures))


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "own:inputs-net", "hf"])
def test_a_grey_picture_gives_what_it_gave_in_three_equal_channels(name: str, file_of: FileOf, hf_folder: Path) -> None:
    name = f"hf:{hf_folder}" if name == "hf" else name
    weights = "default" if name.startswith(("hf", "own")) else file_of(name)
    grey, usual = zoo.load(name, weights=weights, channels=1), zoo.load(name, weights=weights)
    pictures = random_pictures(grey)
    with torch.no_grad():
        torch.testing.assert_close(logits(grey, pictures), logits(usual, pictures.expand(-1, 3, -1, -1)))
    assert type(grey) is type(usual)
    assert len(zoo.spec_of(grey).preprocessing.mean) == 1
    differing = [key for key, each in usual.state_dict().items() if not each.equal(grey.state_dict()[key])]
    assert list(zoo.spec_of(grey).adapted) == differing
    assert len(differing) == 1


def test_a_model_that_changes_its_own_channels_gets_them_prepared(file_of: FileOf) -> None:
    grey = zoo.load("googlenet", weights=file_of("googlenet"), channels=1)
    usual = zoo.load("googlenet", weights=file_of("googlenet"))
    known = zoo.spec_of(usual).preprocessing
    assert zoo.spec_of(grey).preprocessing.mean == (0.5,)
    picture = torch.rand(2, 1, 64, 64)
    mean, std = torch.tensor(known.mean).view(3, 1, 1), torch.tensor(known.std).view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(grey((picture - 0.5) / 0.5), usual((picture - mean) / std), rtol=1e-4, atol=1e-4)


def test_the_positions_of_torchvisions_transformer_are_interpolated_by_its_own_function(file_of: FileOf) -> None:
    from torchvision.models.vision_transformer import interpolate_embeddings

    weights = file_of("vit_b_32")
    model = zoo.load("vit_b_32", weights=weights, img_size=256)
    own = interpolate_embeddings(256, 32, safetensors.torch.load_file(weights))  # type: ignore[arg-type]
    assert model.state_dict()["encoder.pos_embedding"].equal(own["encoder.pos_embedding"])
    assert zoo.spec_of(model).arguments == {"image_size": 256}
    assert zoo.spec_of(model).preprocessing.size == (256, 256)


@pytest.mark.parametrize("size", [48, (48, 16), (32, 48)])
def test_the_positions_of_transformers_are_those_that_the_model_itself_interpolates(hf_folder: Path, size: Any) -> None:
    model = zoo.load(f"hf:{hf_folder}", img_size=size)
    usual = zoo.load(f"hf:{hf_folder}")
    pictures = random_pictures(model)
    assert pictures.shape[2:] == ((48, 48) if size == 48 else size)
    with torch.no_grad():
        expected = usual(pictures, interpolate_pos_encoding=True).logits
        torch.testing.assert_close(model(pictures).logits, expected, rtol=0, atol=0)
    stated = zoo.spec_of(model).arguments["config"]["image_size"], model.config.image_size  # type: ignore[union-attr]
    assert stated == (size if size == 48 else list(size),) * 2


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("timm:mixer_s32_224", {"img_size": 256}, "mlp_tokens.*would have another shape"),
        pytest.param(
            "timm:naflexvit_base_patch16_gap",
            {"channels": 1},
            "embeds.proj.weight would have another shape",
            marks=pytest.mark.slow,
        ),
        ("vit_b_32", {"img_size": 250}, "cannot take pictures of 250 × 250: Input shape indivisible"),
        ("maxvit_t", {"img_size": 200}, "cannot take pictures of 200 × 200"),
        ("own:inputs-flat", {"channels": 1}, "'1' is a Linear, and only a convolution"),
        ("own:inputs-flat", {"img_size": 4}, "cannot take pictures of 4 × 4"),
        ("resnet18", {"channels": 0}, "channels is 0"),
        ("resnet18", {"img_size": 0}, "img_size is 0"),
        ("resnet18", {"img_size": (64, 0)}, "img_size is .64, 0."),
        ("resnet18", {"img_size": (64, 48, 3)}, "a number, or height and width"),
        ("vit_b_32", {"img_size": (256, 128)}, "of torchvision takes square pictures alone"),
        ("timm:test_vit", {"img_size": (80, 320)}, "as many places at 80 × 320 as at the 160 × 160"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(
    name: str, given: dict[str, Any], message: str, file_of: FileOf
) -> None:
    weights = "default" if name.startswith("own:") else file_of(name)
    with pytest.raises(zoo.UsageError, match=message):
        zoo.load(name, weights=weights, **given)


def test_the_first_layer_is_the_one_that_runs_first() -> None:
    assert first_layer(Crossed(), torch.zeros(1, 3, 8, 8)) == "first"
    model = zoo.load("own:inputs-net", classes=2, channels=4)
    assert model.first.in_channels == 4  # type: ignore[union-attr]


def test_weights_that_are_already_for_these_pictures_are_taken_as_they_are(tmp_path: Path) -> None:
    model = zoo.load("resnet18", classes=3, weights=None, channels=1, img_size=64)
    zoo.save_checkpoint(tmp_path / "one", model)
    safetensors.torch.save_file(model.state_dict(), tmp_path / "one.safetensors")
    for given in ({"weights": tmp_path / "one.safetensors", "channels": 1}, {"weights": tmp_path / "one"}):
        again = zoo.load("resnet18", classes=5, **given)  # type: ignore[arg-type]
        spec = zoo.spec_of(again)
        assert again.conv1.weight.equal(model.conv1.weight)  # type: ignore[union-attr, operator, arg-type]
        assert (spec.adapted, len(spec.preprocessing.mean)) == ((), 1)
    assert spec.preprocessing.size == (64, 64)
    with pytest.raises(zoo.UsageError, match=r"takes pictures of 1 channel, .* made into one for 3"):
        zoo.load("resnet18", classes=5, weights=tmp_path / "one", channels=3)


def test_positions_in_another_arrangement_of_as_many_places_are_never_taken_for_others(tmp_path: Path) -> None:
    wide = zoo.load("timm:test_vit", classes=2, weights=None, img_size=(80, 320))
    zoo.save_checkpoint(tmp_path / "wide", wide)
    again = zoo.load("timm:test_vit", classes=3, weights=tmp_path / "wide")
    assert again.pos_embed.equal(wide.pos_embed)  # type: ignore[operator, union-attr, arg-type]
    assert again(torch.zeros(1, 3, 80, 320)).shape == (1, 3)
    for size in (160, (320, 80)):
        with pytest.raises(zoo.UsageError, match="as many places at"):
            zoo.load("timm:test_vit", classes=3, weights=tmp_path / "wide", img_size=size)  # type: ignore[arg-type]
    narrow = zoo.load("timm:test_vit", classes=3, weights=tmp_path / "wide", img_size=(160, 320))
    assert zoo.spec_of(narrow).adapted == ("pos_embed",)


def test_a_network_without_positions_takes_as_many_places_in_another_arrangement(file_of: FileOf) -> None:
    for name in ("squeezenet1_1", "timm:test_resnet"):
        height, width = zoo.spec_of(zoo.load(name, weights=None)).preprocessing.size
        size = (height // 2, width * 2)
        model = zoo.load(name, classes=2, weights=file_of(name), img_size=size, channels=1)
        assert model(torch.zeros(1, 1, *size)).shape == (1, 2)


def test_an_adapted_first_layer_belongs_to_the_backbone(file_of: FileOf) -> None:
    model = zoo.load("resnet18", classes=2, weights=file_of("resnet18"), channels=1)
    assert "conv1.weight" in zoo.freeze(model, "backbone").parameters
    assert zoo.spec_of(model).fresh == ()


Case = tuple[str, str, dict[str, Any]]
SMALL: list[Case] = [
    ("squeezenet1_1", "linear", {"channels": 1}),
    ("timm:test_vit", "linear", {"channels": 2, "img_size": 96}),
    ("timm:test_resnet", "mlp", {"channels": 1}),
    ("hf", "linear", {"channels": 1, "img_size": 48}),
    ("hf", "mlp", {"img_size": (48, 32)}),
    ("timm:test_vit", "linear", {"img_size": (96, 64)}),
    ("shufflenet_v2_x0_5", "linear", {"img_size": (96, 64)}),
]
LARGE: list[Case] = [
    ("inception_v3", "mlp", {"channels": 4}),
    ("vit_b_32", "linear", {"channels": 1, "img_size": 256}),
    ("maxvit_t", "linear", {"img_size": 448}),
    ("densenet121", "linear", {"channels": 1, "img_size": 96}),
]


@pytest.mark.parametrize("cases", [SMALL, pytest.param(LARGE, marks=pytest.mark.slow)], ids=["small", "large"])
def test_without_zoo_the_lines_of_a_checkpoint_build_such_a_model(
    cases: list[Case], hf_folder: Path, tmp_path: Path
) -> None:
    jobs = []
    for number, (name, head, given) in enumerate(cases):
        full = f"hf:{hf_folder}" if name == "hf" else name
        model = zoo.load(full, classes=3, weights="default" if name == "hf" else None, head=head, **given)
        folder = tmp_path / str(number) / "saved"
        zoo.save_checkpoint(folder, model)
        again = zoo.load_checkpoint(folder)
        pictures = random_pictures(model)
        with torch.no_grad():
            outputs = logits(model, pictures)
            assert logits(again, pictures).equal(outputs)
        assert zoo.spec_of(again) == zoo.spec_of(model)
        example = {"pictures": pictures, "saved": outputs}
        safetensors.torch.save_file(example, folder.parent / "example.safetensors")
        jobs.append({"key": f"{name} {given}", "folder": str(folder), "build": "", "rebuild": True})
    assert without_zoo(jobs) == {f"{name} {given}": "same outputs" for name, _, given in cases}


@pytest.mark.parametrize("given", [{"channels": 1}, {"channels": 4, "img_size": 96}])
def test_a_delta_holds_what_was_adapted_and_its_base_the_rest(
    given: dict[str, int], file_of: FileOf, tmp_path: Path
) -> None:
    model = zoo.load("timm:test_vit", classes=2, weights=file_of("timm:test_vit"), seed=0, **given)  # type: ignore[arg-type]
    zoo.freeze(model, "backbone")
    zoo.save_checkpoint(tmp_path / "delta", model, delta=True)
    kept = safetensors.torch.load_file(tmp_path / "delta" / "delta.safetensors").keys()
    assert kept == {"head.weight", "head.bias", *zoo.spec_of(model).adapted}
    assert "patch_embed.proj.weight" in kept
    again = zoo.load_checkpoint(tmp_path / "delta").state_dict()
    assert [key for key, each in model.state_dict().items() if not each.equal(again[key])] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 5}, "takes 5 channels, its pictures have 1"),
        ({"stem": "fc"}, "the layer fc is a Linear, not a convolution"),
        ({"stem": 3}, "stem=3, which is not allowed"),
        ({"image_size": 100000}, "image_size=100000, and its pictures are"),
        ({"input_size": [224, 100]}, "input_size=.224, 100., and its pictures are"),
    ],
)
def test_a_checkpoint_that_says_something_else_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    model = zoo.load("resnet18", classes=2, weights=None, channels=1)
    zoo.save_checkpoint(tmp_path / "one", model)
    changed(tmp_path / "one", "config.json", lambda values: values["spec"]["arguments"].update(change))
    with pytest.raises(zoo.CheckpointError, match=message):
        zoo.load_checkpoint(tmp_path / "one")
