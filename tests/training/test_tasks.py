"""The losses and figures of every task, beside those of torch, torchmetrics and scikit-learn."""

import json

import pytest
import torch
import torchmetrics.functional.classification as oracle
from sklearn import metrics as sklearn
from torch import Tensor
from torch.nn import functional

from zoo.registry import HeadSpec
from zoo.training.ranking import average_precision, roc_auc
from zoo.training.tasks import AnyMetrics, Binary, MultiLabel, Objective, Regression, SingleLabel, objective_of

NAMES = ("ant", "bee", "cow", "dog")


def binary(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits that are right more often than by chance, some of them alike, and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (count,), generator=generator)
    logits = torch.randn(count, 1, generator=generator) + labels[:, None]
    return (logits * 4).round() / 4, labels


def labels_of(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(count, len(NAMES), generator=generator) < 0.4).float()
    logits = torch.randn(count, len(NAMES), generator=generator) + 2 * labels - 1
    return (logits * 4).round() / 4, labels


def numbers(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    true = torch.randn(count, 2, generator=generator)
    return true + torch.randn(count, 2, generator=generator) * torch.tensor([0.3, 2.0]), true


def tallied(objective: Objective, logits: Tensor, labels: Tensor, batch: int = 7) -> AnyMetrics:
    tally = objective.tally()
    for scores, true in zip(logits.split(batch), labels.split(batch), strict=True):
        tally.add(scores, true, objective.loss(scores, true).item())
    assert tally.count == len(labels)
    return tally.metrics()


@pytest.mark.parametrize("count", [3, 40, 300])
def test_binary_figures_are_those_of_torchmetrics(count: int) -> None:
    logits, labels = binary(count)
    found = tallied(Binary(NAMES[:2]), logits, labels)
    given = {"preds": logits[:, 0].sigmoid(), "target": labels}
    figures = found.named()
    assert found.loss == pytest.approx(
        functional.binary_cross_entropy_with_logits(logits[:, 0], labels.float()).item(), rel=1e-6
    )
    for name, function in (
        ("accuracy", oracle.binary_accuracy),
        ("precision", oracle.binary_precision),
        ("recall", oracle.binary_recall),
        ("f1", oracle.binary_f1_score),
        ("auc", oracle.binary_auroc),
    ):
        assert figures[name] == pytest.approx(function(**given).item(), abs=1e-6), name
    assert [list(row) for row in found.confusion] == oracle.binary_confusion_matrix(**given).tolist()
    assert found.score == figures["accuracy"]


@pytest.mark.parametrize("count", [12, 40, 300])
def test_figures_of_several_labels_are_those_of_torchmetrics_and_scikit_learn(count: int) -> None:
    logits, labels = labels_of(count)
    assert labels.any(dim=0).all()
    found = tallied(MultiLabel(NAMES), logits, labels)
    given = {"preds": logits.sigmoid(), "target": labels.int(), "num_labels": len(NAMES)}
    figures = found.named()
    assert found.loss == pytest.approx(functional.binary_cross_entropy_with_logits(logits, labels).item(), rel=1e-6)
    assert figures["map"] == pytest.approx(sklearn.average_precision_score(labels, logits, average="macro"))
    assert figures["map"] == pytest.approx(oracle.multilabel_average_precision(**given).item(), abs=1e-6)
    assert figures["f1"] == pytest.approx(oracle.multilabel_f1_score(**given, average="macro").item(), abs=1e-6)
    assert figures["micro_f1"] == pytest.approx(oracle.multilabel_f1_score(**given, average="micro").item(), abs=1e-6)
    assert figures["exact"] == pytest.approx(oracle.multilabel_exact_match(**given).item())
    for name, function in (
        ("precision", oracle.multilabel_precision),
        ("recall", oracle.multilabel_recall),
        ("f1", oracle.multilabel_f1_score),
        ("average_precision", oracle.multilabel_average_precision),
    ):
        expected = function(**given, average="none").tolist()
        assert [getattr(each, name) for each in found.classes] == pytest.approx(expected, abs=1e-6), name
    assert [each.pictures for each in found.classes] == labels.sum(dim=0).int().tolist()  # type: ignore[union-attr]
    assert found.score == figures["map"]


@pytest.mark.parametrize("count", [3, 40, 300])
def test_figures_of_numbers_are_those_of_scikit_learn_in_the_units_of_the_targets(count: int) -> None:
    objective = Regression(("age", "weight"), mean=(40.0, 1e6), std=(10.0, 0.5))
    outputs, true = numbers(count)
    found = tallied(objective, outputs, true)
    told, truths = objective.outcome(outputs), objective.outcome(true)
    assert found.loss == pytest.approx(functional.mse_loss(outputs, true).item(), rel=1e-6)
    errors, roots = (
        function(truths, told, multioutput="raw_values")
        for function in (sklearn.mean_absolute_error, sklearn.root_mean_squared_error)
    )
    shares = sklearn.r2_score(truths, told, multioutput="raw_values")
    assert [each.mae for each in found.classes] == pytest.approx(errors.tolist())  # type: ignore[union-attr]
    assert [each.rmse for each in found.classes] == pytest.approx(roots.tolist())  # type: ignore[union-attr]
    assert [each.r2 for each in found.classes] == pytest.approx(shares.tolist(), rel=1e-5)  # type: ignore[union-attr]
    means = {"mae": errors.mean(), "rmse": roots.mean(), "r2": shares.mean()}
    assert {name: found.named()[name] for name in means} == pytest.approx(means, rel=1e-5)
    assert found.score == found.named()["r2"]


def test_numbers_go_there_and_back_without_loss() -> None:
    objective = Regression(("time",), mean=(1.7e9,), std=(1.0,))
    value = 1.7e9 + 0.25
    assert objective.outcome(objective.target((value,))[None]).item() == value
    assert Regression(("age",)).outcome(Regression(("age",)).target((3.5,))[None]).item() == 3.5


@pytest.mark.parametrize("seed", range(5))
def test_ranking_counts_equal_scores_as_one_place(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores, truths = torch.randint(4, (30,), generator=generator), torch.randint(2, (30,), generator=generator)
    assert average_precision(scores, truths) == pytest.approx(sklearn.average_precision_score(truths, scores))
    assert roc_auc(scores, truths) == pytest.approx(sklearn.roc_auc_score(truths, scores))


def test_what_cannot_be_ranked_has_no_figure() -> None:
    scores = torch.tensor([0.1, 0.2])
    assert average_precision(scores, torch.zeros(2)) is None
    assert roc_auc(scores, torch.zeros(2)) is None
    assert roc_auc(scores, torch.ones(2)) is None
    assert average_precision(scores[:0], scores[:0]) is None
    assert roc_auc(scores[:0], scores[:0]) is None
    found = tallied(MultiLabel(NAMES[:2]), torch.tensor([[1.0, -1.0]]), torch.tensor([[1.0, 0.0]]))
    assert [each.average_precision for each in found.classes] == [1.0, None]  # type: ignore[union-attr]
    assert found.named()["map"] == found.named()["f1"] == 1.0
    nothing = tallied(MultiLabel(NAMES[:2]), torch.tensor([[-1.0, -1.0]]), torch.tensor([[0.0, 0.0]]))
    assert "map" not in nothing.named()
    assert nothing.score == 0.0


def test_truths_that_are_all_alike_explain_nothing() -> None:
    objective = Regression(("age",))
    assert tallied(objective, torch.tensor([[1.0], [2.0]]), torch.ones(2, 1)).named()["r2"] == 0.0
    assert tallied(objective, torch.ones(2, 1), torch.ones(2, 1)).named()["r2"] == 1.0


CASES: list[tuple[Objective, tuple[Tensor, Tensor]]] = [
    (Binary(NAMES[:2]), binary(50)),
    (MultiLabel(NAMES), labels_of(50)),
    (Regression(("age", "weight"), (40.0, 60.0), (10.0, 3.0)), numbers(50)),
]


@pytest.mark.parametrize(("objective", "data"), CASES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("ranked", [True, False])
def test_a_tally_goes_on_from_its_state_exactly(
    objective: Objective, data: tuple[Tensor, Tensor], ranked: bool
) -> None:
    (logits, labels), first, second = data, objective.tally(ranked=ranked), objective.tally(ranked=ranked)
    first.add(logits[:20], labels[:20], 0.5)
    second.restore(json.loads(json.dumps(first.state())))
    for tally in (first, second):
        tally.add(logits[20:], labels[20:], 0.25)
    assert first.metrics() == second.metrics()
    assert first.state() == second.state()
    assert first.count == 50
    with pytest.raises((KeyError, TypeError, ValueError)):
        objective.tally().restore({"counts": [[1]], "sums": [[1]], "both": {"confusion": [[1]]}})


def test_without_ranking_the_figures_that_rank_are_left_out() -> None:
    for objective, lost in ((Binary(NAMES[:2]), "auc"), (MultiLabel(NAMES), "map")):
        tally = objective.tally(ranked=False)
        logits, labels = binary(9) if lost == "auc" else labels_of(9)
        tally.add(logits, labels, 0.5)
        assert lost not in tally.metrics().named()
        assert set(objective.trained) <= tally.metrics().named().keys()


def test_smoothing_a_yes_or_no_is_smoothing_over_both_classes() -> None:
    logits, labels = binary(40)
    both = torch.cat([torch.zeros_like(logits), logits], dim=1)
    expected = functional.cross_entropy(both, labels, label_smoothing=0.2).item()
    assert Binary(NAMES[:2]).loss(logits, labels, 0.2).item() == pytest.approx(expected)
    assert MultiLabel(("bee",)).loss(logits, labels[:, None].float(), 0.2).item() == pytest.approx(expected)
    assert Binary(NAMES[:2]).loss(logits, labels).item() != pytest.approx(expected)


def test_dense_labels_give_the_same_loss_and_can_be_mixed() -> None:
    for objective, (logits, labels) in CASES:
        assert torch.equal(objective.loss(logits, objective.dense(labels)), objective.loss(logits, labels))
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    single = SingleLabel(NAMES)
    dense = single.dense(labels)
    assert single.loss(logits, dense).item() == pytest.approx(single.loss(logits, labels).item())
    mixed = single.loss(logits, 0.3 * dense + 0.7 * dense.flip(0)).item()
    halves = 0.3 * single.loss(logits, labels).item() + 0.7 * single.loss(logits, labels.flip(0)).item()
    assert mixed == pytest.approx(halves)


def test_labels_become_targets() -> None:
    assert MultiLabel(NAMES).target((1, 3)).tolist() == [0, 1, 0, 1]
    assert MultiLabel(NAMES).target(()).tolist() == [0, 0, 0, 0]
    assert Regression(("age",), (40.0,), (10.0,)).target((50.0,)).tolist() == [1.0]
    assert SingleLabel(NAMES).target(2) == 2


@pytest.mark.parametrize(
    ("task", "kind"),
    [("single-label", SingleLabel), ("binary", Binary), ("multi-label", MultiLabel), ("regression", Regression)],
)
def test_a_head_says_its_objective(task: str, kind: type) -> None:
    head = HeadSpec("linear", "replace", "fc", NAMES[:2], None, task=task)  # type: ignore[arg-type]
    objective = objective_of(head)
    assert type(objective) is kind
    assert set(objective.trained) <= set(objective.figures)
    logits = torch.randn(3, head.outputs)
    assert objective.outcome(logits).shape == (3, head.outputs)
    assert len(head.output_names) == head.outputs
