from typing import ClassVar

import pytest

import zoo

from .contract import SourceContract

MODELS = ("mobilenetv2_100", "vit_tiny_patch16_224", "resnet10t")


class TestTimm(SourceContract):
    models: ClassVar[dict[str, str]] = {
        f"timm:{name}": f"import timm\nmodel = timm.create_model({name!r}, num_classes={{classes}})" for name in MODELS
    }


def test_a_model_with_two_heads_is_refused() -> None:
    with pytest.raises(zoo.UsageError, match=r"has 2 heads \(head, head_dist\), so one head of yours cannot"):
        zoo.load("timm:deit_tiny_distilled_patch16_224", classes=2, weights=None)


def test_a_tag_is_no_part_of_the_architecture() -> None:
    model = zoo.load("timm:resnet10t.c3_in1k", classes=2, weights=None)
    spec = zoo.spec_of(model)
    assert (spec.name, spec.weights, spec.head_path, spec.pool_path) == ("resnet10t.c3_in1k", None, "fc", "global_pool")


def test_unknown_weights_are_answered_with_those_there_are() -> None:
    with pytest.raises(zoo.UsageError, match=r"resnet10t has no weights called 'c4'\.\n  it has: c3_in1k"):
        zoo.load("timm:resnet10t", classes=2, weights="c4")
