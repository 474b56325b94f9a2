"""Every model of torchvision, timm and transformers through one contract, with random weights and real tensors.

One architecture of each model file that has a small one is fast; all others are slow, and counted by
`python -m tests.contract.counting`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from . import keeping
from .contract import check
from .plain import Plain
from .subjects import Subject, hf_names, hf_subject, indexed_subject, smallest_of_each
from .subjects import names as names_of

LARGEST_FAST = 40e6
"""Parameters above which even the smallest of a file is left to the slow tests."""
LARGEST = 200e6
"""Parameters above which a model is left to the counting: two such tests at a time would take more than 24 GB."""


@pytest.fixture(scope="module")
def plain() -> Iterator[Plain]:
    with Plain() as process:
        yield process


def _fast(source: str) -> list[str]:
    return [name for name, size in smallest_of_each(source).items() if size <= LARGEST_FAST]


def _slow(source: str) -> list[str]:
    return sorted(set(names_of(source)) - set(_fast(source)))


@pytest.mark.parametrize("name", _fast("torchvision"))
def test_a_model_of_torchvision(name: str, tmp_path: Path, plain: Plain) -> None:
    check(indexed_subject("torchvision", name), tmp_path, plain, places=1)


@pytest.mark.parametrize("name", _fast("timm"))
def test_a_model_of_timm(name: str, tmp_path: Path, plain: Plain) -> None:
    check(indexed_subject("timm", name), tmp_path, plain, places=1)


@pytest.mark.parametrize(("kind", "class_name"), hf_names())
def test_a_model_of_transformers(kind: str, class_name: str, tmp_path: Path, plain: Plain) -> None:
    check(hf_subject(kind, class_name, tmp_path / "models"), tmp_path, plain, places=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", _slow("torchvision"))
def test_every_other_model_of_torchvision(name: str, tmp_path: Path, plain: Plain) -> None:
    _check_if_it_fits(indexed_subject("torchvision", name), tmp_path, plain)


@pytest.mark.slow
@pytest.mark.parametrize("name", _slow("timm"))
def test_every_other_model_of_timm(name: str, tmp_path: Path, plain: Plain) -> None:
    _check_if_it_fits(indexed_subject("timm", name), tmp_path, plain)


def _check_if_it_fits(subject: Subject, folder: Path, plain: Plain) -> None:
    if subject.parameters > LARGEST:
        pytest.skip(f"too slow here: more than {LARGEST / 1e6:.0f} M parameters; tests.contract.counting takes them")
    check(subject, folder, plain)


def test_the_contract_sees_a_backbone_that_is_not_held_in_eval_mode(
    tmp_path: Path, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.freezing.held.hold", lambda *_: None)
    with pytest.raises(AssertionError, match=r"backbone: .* moved, .*running_mean"):
        check(indexed_subject("torchvision", "resnet18"), tmp_path, plain)


def test_the_contract_sees_dropout_that_fires_behind_what_is_frozen(
    tmp_path: Path, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.freezing.order.RunningOrder.with_frozen_inputs", lambda *_: set())
    monkeypatch.setattr(keeping, "policies", lambda *_: ["until:vit.layers.1"])
    with pytest.raises(AssertionError, match=r"until:vit.layers.1: 1 moved, results of vit.layers.1"):
        check(hf_subject("vit", "ViTForImageClassification", tmp_path / "models"), tmp_path, plain)


def test_the_contract_sees_a_frozen_layer_that_trains(
    tmp_path: Path, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = keeping.zoo.freezing.policy.resolve
    monkeypatch.setattr(
        "zoo.freezing.policy.resolve",
        lambda *given: [name for name in resolved(*given) if name != "layer1.0.conv1.weight"],
    )
    with pytest.raises(AssertionError, match="backbone: 1 moved, fc by what is trained"):
        check(indexed_subject("torchvision", "resnet18"), tmp_path, plain)
