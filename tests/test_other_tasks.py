"""Models of other tasks are answered by name, with what they are and which classifier comes near."""

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.conftest import Command
from tests.test_light_start import HEAVY, imported_by
from tools import build_other_tasks
from zoo.registry import find, index, others


@pytest.mark.parametrize(
    ("name", "what", "near"),
    [
        ("fasterrcnn_resnet50_fpn", "torchvision:fasterrcnn_resnet50_fpn is a detection model", "torchvision:resnet50"),
        ("torchvision:fcn_resnet101", "torchvision:fcn_resnet101 is a segmentation model", "torchvision:resnet101"),
        ("swin3d_t", "torchvision:swin3d_t is a video model", "torchvision:swin_t"),
        ("raft_large", "torchvision:raft_large is an optical-flow model", "torchvision"),
        ("hf:detr", "a transformers model of type 'detr' is a detection model", "zoo list --source hf"),
        ("hf:wav2vec2", "is an audio model", "zoo list --source hf"),
    ],
)
def test_a_model_of_another_task_is_told_what_it_is(name: str, what: str, near: str) -> None:
    for call in (find, zoo.load):
        with pytest.raises(zoo.UsageError) as caught:
            call(name)
        told = str(caught.value)
        assert what in told.splitlines()[0]
        assert "zoo fine-tunes classifiers of pictures" in told
        assert near in told
        assert len(told.splitlines()) <= 3


def test_a_quantized_model_is_known_and_told_why_it_cannot_be_trained(tmp_path: Path, zoo_command: Command) -> None:
    with pytest.raises(zoo.UsageError, match=r"no gradient; fine-tune torchvision:mobilenet_v2 instead"):
        zoo.load("quantized_mobilenet_v2", classes=2)
    assert (
        "cannot be fine-tuned: its weights are whole numbers of 8 bits"
        in zoo_command("info", "quantized_mobilenet_v2").out
    )


def test_every_model_of_torchvision_is_a_known_classifier_or_is_told_what_it_is() -> None:
    from torchvision import models

    known, refused = set(index("torchvision")["models"]), set(others.other_names("torchvision"))
    assert not known & refused
    assert set(models.list_models()) <= known | refused


@pytest.mark.parametrize(
    ("source", "made"),
    [("torchvision", build_other_tasks.of_torchvision), ("hf", build_other_tasks.of_transformers)],
)
def test_the_table_is_that_of_the_installed_libraries(source: str, made: Callable[[], dict[str, str]]) -> None:
    library = {"torchvision": "torchvision", "hf": "transformers"}[source]
    if version(library).partition("+")[0] != index(source)["version"]:
        pytest.skip("the table was made from another version")
    assert json.loads(build_other_tasks.TARGET.read_text(encoding="utf-8"))[source] == made()


def test_a_folder_of_transformers_with_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    values: dict[str, Any] = {"model_type": "yolos", "architectures": ["YolosForObjectDetection"]}
    (tmp_path / "config.json").write_text(json.dumps(values))
    for weights in ("default", None):
        with pytest.raises(zoo.UsageError, match="of type 'yolos' is a detection model"):
            zoo.load(f"hf:{tmp_path}", classes=2, weights=weights)


def test_it_is_told_without_a_heavy_library(tmp_path: Path) -> None:
    script = "import sys, zoo.cli; sys.exit(zoo.cli.run(['finetune', 'ssd300_vgg16', '--data', '.']) != 2)"
    imported, _ = imported_by("-c", script, cwd=tmp_path)
    assert not imported & HEAVY


def test_a_list_of_other_tasks_says_that_there_are_such_models(zoo_command: Command) -> None:
    told = zoo_command("list", "maskrcnn*")
    assert told.code == 2
    assert "of other tasks, which zoo does not fine-tune: maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2" in told.err
    assert zoo_command("info", "maskrcnn_resnet50_fpn").code == 2
