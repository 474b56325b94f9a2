"""The shipped index agrees with the libraries that it was made from.

Its versions need not be the installed ones: what a library has since renamed is not looked at.
"""

import contextlib
import importlib.util
import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import zoo
from tests.conftest import Command
from tests.contract.counting import recorded
from zoo import catalog, registry
from zoo.data.loading import evaluation_transform
from zoo.errors import UsageError
from zoo.freezing.order import places, record
from zoo.registry import Preprocessing, Task
from zoo.sources import hf, timm, torchvision
from zoo.surgery import ends_in, get_module

OUTCOMES = Path(__file__).parent / "contract" / "outcomes"

LIBRARIES = {"torchvision": "torchvision", "timm": "timm", "hf": "transformers"}


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """The script that makes the index."""
    spec = importlib.util.spec_from_file_location("build_index", Path(__file__).parents[1] / "tools" / "build_index.py")
    assert spec
    assert spec.loader
    sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entry(source: str, name: str) -> registry.Entry:
    found = registry.entry(source, name)
    assert found, f"{source}:{name} is not in the index"
    return found


def hf_model(name: str) -> nn.Module:
    from transformers import AutoConfig

    kind = registry.index("hf")["models"][name]["type"]
    return hf.create(AutoConfig.for_model(kind, num_labels=1000).to_dict())


BUILDERS: dict[str, Callable[[str], nn.Module]] = {
    "torchvision": lambda name: torchvision.create(name, torchvision.arguments(name, "DEFAULT", pretrained=True)),
    "timm": lambda name: timm.create(name),
    "hf": hf_model,
}
HEAD = ("head.weight", "head.bias")
BUILT = [
    ("torchvision", "resnet18"),
    ("torchvision", "squeezenet1_1"),
    ("torchvision", "googlenet"),
    ("torchvision", "regnet_x_400mf"),
    ("torchvision", "vit_b_32"),
    ("timm", "mobilenetv3_small_050"),
    ("timm", "vit_tiny_patch16_224"),
    ("timm", "levit_conv_128s"),
    ("timm", "mobileone_s0"),
    ("timm", "hrnet_w18_small_v2"),
    ("timm", "tf_mixnet_s.in1k"),
    ("timm", "test_convnext"),
    ("timm", "deit_tiny_distilled_patch16_224"),
    ("timm", "vit_tiny_patch16_dinov3_qkvb"),
    ("hf", "google/mobilenet_v2_1.0_224"),
    ("hf", "OpenGVLab/pvt_v2_b0"),
]


@pytest.mark.parametrize("source", LIBRARIES)
def test_every_entry_can_be_read_and_is_whole(source: str) -> None:
    facts = registry.index(source)
    assert facts["library"] == LIBRARIES[source]
    assert len(facts["models"]) > 20
    for name in facts["models"]:
        found = entry(source, name)
        assert found.parameters > 0, name
        assert found.places or (found.refused and name.startswith("quantized_")), name
        assert found.default in found.weights or (found.default, found.weights) == (None, {}), name
        assert found.refused or (found.head_path and found.features and found.kind), name
        assert all(stated.get("hub") or stated.get("url") for stated in found.weights.values()), name


def test_every_tag_of_timm_can_be_read() -> None:
    models = registry.index("timm")["models"]
    tags = [(f"{name}.{tag}", tag) for name, facts in models.items() for tag in facts["weights"]]
    assert len(tags) > 1000
    assert all(entry("timm", full).default == tag for full, tag in tags)


@pytest.mark.parametrize(("source", "name"), BUILT)
def test_a_model_built_in_memory_is_what_the_index_says(source: str, name: str) -> None:
    model, found = BUILDERS[source](name), entry(source, name)
    if found.refused is None:
        assert found.head_path
        ends = ends_in(get_module(model, found.head_path))
        assert ends
        assert (ends[0], ends[2]) == (found.features, found.kind)
        assert all(ends_in(get_module(model, path)) for path in found.more_heads)
    counted = [each for name, each in model.named_parameters() if not (found.lacks_classifier and name in HEAD)]
    assert found.parameters == sum(parameter.numel() for parameter in counted)
    assert found.pool_path in (None, *dict(model.named_modules()))
    order = record(model, torch.zeros(1, 3, *found.preprocessing.size))
    assert list(found.places) == places(model, order)


@pytest.mark.parametrize(
    ("source", "name", "size"),
    [("torchvision", "vit_b_32", 256), ("timm", "mvitv2_tiny", 256), ("timm", "levit_128s", 448)],
)
def test_a_model_of_a_fixed_size_refuses_another(source: str, name: str, size: int) -> None:
    assert entry(source, name).fixed_size
    model = BUILDERS[source](name).eval()
    with torch.no_grad(), pytest.raises((AssertionError, IndexError, RuntimeError)):
        model(torch.zeros(1, 3, size, size))


@pytest.mark.parametrize(
    ("source", "name"),
    [("torchvision", "resnet18"), ("torchvision", "densenet121"), ("timm", "test_resnet"), ("timm", "test_vit")],
)
def test_a_model_of_no_fixed_size_takes_another(source: str, name: str) -> None:
    found = entry(source, name)
    assert not found.fixed_size
    with torch.no_grad():
        BUILDERS[source](name).eval()(torch.zeros(1, 3, *(edge + 32 for edge in found.preprocessing.size)))


def test_the_weights_of_torchvision_are_prepared_for_as_it_does_itself() -> None:
    from torchvision.models import get_model_weights

    looked_at = 0
    for name in registry.index("torchvision")["models"]:
        found = entry("torchvision", name)
        for chosen in get_model_weights(name):
            if chosen.name not in found.weights:
                continue
            stated = registry.index("torchvision")["preprocessing"][found.weights[chosen.name]["preprocessing"]]
            expected = chosen.transforms()
            assert [stated["size"][0], stated["resize"][0]] == [*expected.crop_size, *expected.resize_size], name
            assert stated["interpolation"] == expected.interpolation.value, name
            assert (stated["mean"], stated["std"]) == (list(expected.mean), list(expected.std)), name
            looked_at += 1
    assert looked_at > 100


TAGS = [
    "resnet50.a1_in1k",
    "vit_base_patch16_clip_224.openai_ft_in1k",
    "convnext_tiny.in12k_ft_in1k_384",
    "efficientnet_b0.ra_in1k",
    "beit_base_patch16_224.in22k_ft_in22k_in1k",
    "swin_tiny_patch4_window7_224.ms_in1k",
    "inception_v4.tf_in1k",
]


@pytest.mark.parametrize("name", TAGS)
def test_the_weights_of_timm_are_prepared_for_as_it_does_itself(name: str) -> None:
    from timm.data import create_transform, resolve_data_config
    from timm.models import get_pretrained_cfg

    expected = create_transform(**resolve_data_config(pretrained_cfg=get_pretrained_cfg(name).to_dict()))
    assert_same(expected(picture()), prepared(entry("timm", name).preprocessing))


HF_NAMES = ["google/vit-base-patch16-224", "facebook/convnext-tiny-224", "google/mobilenet_v2_1.0_224"]


@pytest.mark.parametrize("name", HF_NAMES)
def test_a_type_of_transformers_is_prepared_for_as_its_processor_does(name: str, tool: ModuleType) -> None:
    import transformers
    from transformers.models.auto import image_processing_auto as processors

    kind = registry.index("hf")["models"][name]["type"]
    chosen: Any = getattr(transformers, vars(processors)["IMAGE_PROCESSOR_MAPPING_NAMES"][kind]["torchvision"])
    found = entry("hf", name).preprocessing
    expected = chosen(**tool._processor_defaults(kind, found.size[0]))(picture(), return_tensors="pt")
    assert_same(expected["pixel_values"][0], prepared(found))


def picture() -> Image.Image:
    """Smooth random colours, wider than high."""
    noise = numpy.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=numpy.uint8)
    return Image.fromarray(noise).resize((400, 300), Image.Resampling.BICUBIC)


def prepared(preprocessing: Preprocessing) -> Tensor:
    made: Tensor = evaluation_transform(preprocessing)(picture())
    return made


def assert_same(first: Tensor, second: Tensor) -> None:
    assert first.shape == second.shape
    # One step of 256 in a few pixels: some resize the picture, some the tensor.
    assert (first - second).abs().mean() < 0.005


@pytest.mark.parametrize(
    ("source", "job"),
    [("torchvision", "shufflenet_v2_x0_5"), ("timm", "test_resnet"), ("timm", "test_vit"), ("hf", "mobilenet_v1")],
)
def test_the_script_finds_what_the_index_says(source: str, job: str, tool: ModuleType) -> None:
    shipped = registry.index(source)
    if version(LIBRARIES[source]).partition("+")[0] != shipped["version"]:
        pytest.skip("the index was made from another version")
    facts = tool.FACTS[source](job)
    name = facts.pop("name", job)
    table = [registry.preprocessing_from(each) for each in shipped["preprocessing"]]
    assert tool._numbered(facts, table) == shipped["models"][name]
    assert len(table) == len(shipped["preprocessing"])


class NeedsValues(nn.Module):
    """Decides by a value, which the meta device does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 1)
        self.head = nn.Linear(4, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        features = self.body(pictures).mean((2, 3))
        made: Tensor = self.head(features if features.sum() >= 0 else -features)
        return made


def test_what_does_not_run_without_values_runs_in_memory(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Preprocessing(size=(8, 8), resize=(8, 8))
    facts = tool.examined(NeedsValues, lambda model: "head", usual)
    head = {"head": "head", "features": 4, "kind": "vector"}
    assert facts == {"parameters": 66, **head, "multiply_adds": 12 * 64 + 40, "places": ["body", "head"]}
    monkeypatch.setattr(sys.modules["looking"], "LARGEST_IN_MEMORY", 65)
    assert tool.examined(NeedsValues, lambda model: "head", usual)["places"] == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (("body", "act"), "classifier at act is a ReLU"),
        (None, "no place"),
        ("gone", "no classifier at gone"),
        ("act", "is a ReLU"),
        ("body", "shape (1, 10), not one score a class"),
    ],
)
def test_a_model_whose_head_cannot_be_replaced_says_why(path: Any, reason: str, tool: ModuleType) -> None:
    class Odd(NeedsValues):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU()

    usual = Preprocessing(size=(8, 8), resize=(8, 8))
    facts = tool.examined(Odd, lambda model: path, usual)
    assert reason in facts["refused"]


def test_the_page_of_models_is_what_the_index_says() -> None:
    from tools import models_page

    assert models_page.PAGE.read_text(encoding="utf-8") == models_page.page(), "python -m tools.models_page"


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_every_model_went_through_the_contract_or_is_said_not_to_have(source: str) -> None:
    _, found = recorded(OUTCOMES / f"{source}.jsonl")
    known = registry.list_models(source=source)
    assert found.keys() == {each.full_name for each in known}
    for each in known:
        allowed = ("refused",) if each.refused else ("passed", "too slow here") if each.untried else ("passed",)
        assert found[each.full_name]["state"] in allowed, each.full_name


def test_every_type_of_transformers_went_through_the_contract_or_is_refused() -> None:
    _, found = recorded(OUTCOMES / "hf.jsonl")
    assert len(found) > 40
    assert {each["state"] for each in found.values()} == {"passed", "refused"}
    assert {each["reason"] for each in found.values() if "reason" in each} == {
        *registry.index("hf")["refused"].values()
    }


LOOKED_AT = [
    *("shufflenet_v2_x0_5", "resnet18", "squeezenet1_1", "timm:test_convnext", "timm:test_vit", "timm:test_resnet"),
    *("timm:test_maxvit", "timm:mobilenetv3_small_050", "timm:regnetx_002", "timm:deit_tiny_distilled_patch16_224"),
]


@pytest.mark.parametrize("name", LOOKED_AT)
def test_the_heads_and_tasks_that_info_tells_are_those_that_a_model_takes(name: str, zoo_command: Command) -> None:
    told = json.loads(zoo_command("info", name, "--json").out)
    model = zoo.load(name, 3, weights=None)
    taken: dict[str, list[str]] = {"heads": [], "tasks": []}
    for head in catalog.names("heads"):
        with contextlib.suppress(UsageError):
            zoo.swap_head(model, head)
            taken["heads"].append(head)
    zoo.swap_head(model)
    for task in get_args(Task):
        with contextlib.suppress(UsageError):
            zoo.swap_head(model, classes=2, task=task)
            taken["tasks"].append(task)
    assert taken == {"heads": told["heads"], "tasks": told["tasks"]}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("resnet18", "every head; every task"),
        ("mobilenet_v2", "the heads cosine, dropout-linear, linear, mlp, norm-linear; every task"),
        ("squeezenet1_1", "the heads cosine, dropout-linear, linear, mlp; the task single-label alone"),
        ("quantized_resnet18", None),
    ],
)
def test_info_says_in_a_line_which_heads_and_tasks_a_model_takes(
    name: str, line: str | None, zoo_command: Command
) -> None:
    lines = zoo_command("info", name).out.splitlines()
    assert [each.split(maxsplit=1)[1] for each in lines if each.startswith("  takes ")] == ([line] if line else [])
