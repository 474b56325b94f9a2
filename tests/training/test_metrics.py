"""The figures against those of torchmetrics, and where they are a matter of definition."""

import pytest
import torch
from torch import Tensor
from torchmetrics.functional import classification as oracle

from zoo.training.metrics import Metrics, Tally


def data(classes: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Logits that are right more often than by chance, and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    logits = torch.randn(count, classes, generator=generator)
    logits[torch.arange(count), labels] += 1.0
    return logits, labels


def tallied(logits: Tensor, labels: Tensor, classes: int, batch: int = 7) -> Metrics:
    tally = Tally([f"class {place}" for place in range(classes)])
    for scores, true in zip(logits.split(batch), labels.split(batch), strict=True):
        tally.add(scores, true, torch.nn.functional.cross_entropy(scores, true).item())
    return tally.metrics()


@pytest.mark.parametrize("classes", [2, 5, 6, 11])
@pytest.mark.parametrize("count", [3, 40, 300])
def test_figures_are_those_of_torchmetrics(classes: int, count: int) -> None:
    logits, labels = data(classes, count, seed=classes * 1000 + count)
    found = tallied(logits, labels, classes)
    given = {"preds": logits, "target": labels, "num_classes": classes}
    assert found.loss == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-6)
    assert found.accuracy == pytest.approx(oracle.multiclass_accuracy(**given, average="micro").item())
    assert found.f1 == pytest.approx(oracle.multiclass_f1_score(**given, average="macro").item())
    for name, function in (
        ("precision", oracle.multiclass_precision),
        ("recall", oracle.multiclass_recall),
        ("f1", oracle.multiclass_f1_score),
    ):
        expected = function(**given, average="none").tolist()
        assert [getattr(each, name) for each in found.classes] == pytest.approx(expected), name
    assert [list(row) for row in found.confusion] == oracle.multiclass_confusion_matrix(**given).tolist()
    assert [each.pictures for each in found.classes] == torch.bincount(labels, minlength=classes).tolist()
    if classes > 5:
        expected = oracle.multiclass_accuracy(**given, average="micro", top_k=5).item()
        assert found.top5 == pytest.approx(expected)
    else:
        assert found.top5 is None


def test_a_class_that_nobody_has_or_says_does_not_count() -> None:
    """A class that is predicted though no picture has it counts as 0; one that is neither is left out."""
    logits = torch.eye(4)[torch.tensor([0, 0, 1, 2])]
    labels = torch.tensor([0, 0, 1, 1])
    found = tallied(logits, labels, 4)
    assert [each.f1 for each in found.classes] == pytest.approx([1.0, 2 / 3, 0.0, 0.0])
    assert found.f1 == pytest.approx((1 + 2 / 3 + 0) / 3)
    expected = oracle.multiclass_f1_score(logits, labels, num_classes=4, average="macro").item()
    assert found.f1 == pytest.approx(expected)


def test_batches_of_any_size_add_up_to_the_same() -> None:
    logits, labels = data(7, 50, seed=0)
    one, other = tallied(logits, labels, 7, batch=50), tallied(logits, labels, 7, batch=3)
    assert one.confusion == other.confusion
    assert one.named() == pytest.approx(other.named())


def test_a_tally_goes_on_from_its_state() -> None:
    logits, labels = data(7, 50, seed=0)
    first, second = Tally("abcdefg"), Tally("abcdefg")
    first.add(logits[:20], labels[:20], 0.5)
    second.restore(first.state())
    for tally in (first, second):
        tally.add(logits[20:], labels[20:], 0.25)
    assert first.metrics() == second.metrics()
    assert first.count == 50


def test_nothing_added_gives_zeros() -> None:
    assert Tally(["ant", "bee"]).metrics().named() == {"loss": 0.0, "accuracy": 0.0, "f1": 0.0}


def test_figures_have_names() -> None:
    assert list(tallied(*data(5, 20, seed=0), 5).named()) == ["loss", "accuracy", "f1"]
    assert list(tallied(*data(6, 20, seed=0), 6).named()) == ["loss", "accuracy", "f1", "top5"]
