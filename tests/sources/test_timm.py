from typing import ClassVar

import pytest
import torch

import zoo

from .contract import SourceContract

MODELS = (
    "mobilenetv2_100",
    "vit_tiny_patch16_224",
    "resnet10t",
    "deit_tiny_distilled_patch16_224",
    "crossvit_tiny_240",
)


class TestTimm(SourceContract):
    models: ClassVar[dict[str, str]] = {
        f"timm:{name}": f"import timm\nmodel = timm.create_model({name!r}, num_classes={{classes}})" for name in MODELS
    }


def test_each_head_of_several_takes_its_own_features() -> None:
    model = zoo.load("timm:crossvit_tiny_240", ["ant", "bee"], weights=None, head="mlp")
    assert zoo.spec_of(model).head_paths == ("head.0", "head.1")
    first, second = (zoo.get_module(model, path) for path in zoo.spec_of(model).head_paths)
    assert (first[0].in_features, second[0].in_features) == (96, 192)
    with pytest.raises(zoo.UsageError, match="does not take the model's 192 features"):
        zoo.swap_head(model, torch.nn.Linear(96, 2))
    assert zoo.get_module(model, "head.0") is first


def test_a_module_of_ones_own_is_copied_to_the_other_heads() -> None:
    head = torch.nn.Linear(192, 2)
    model = zoo.load("timm:deit_tiny_distilled_patch16_224", 2, weights=None, head=head)
    other = zoo.get_module(model, "head_dist")
    assert zoo.get_module(model, "head") is head
    assert other is not head
    assert torch.equal(other.weight, head.weight)


def test_a_tag_is_no_part_of_the_architecture() -> None:
    model = zoo.load("timm:resnet10t.c3_in1k", classes=2, weights=None)
    spec = zoo.spec_of(model)
    assert (spec.name, spec.weights, spec.head_path, spec.pool_path) == ("resnet10t.c3_in1k", None, "fc", "global_pool")


def test_unknown_weights_are_answered_with_those_there_are() -> None:
    with pytest.raises(zoo.UsageError, match=r"resnet10t has no weights called 'c4'\.\n  it has: c3_in1k"):
        zoo.load("timm:resnet10t", classes=2, weights="c4")
