"""Figures of how well scores put the true ones first; equal scores count as one place."""

import torch
from torch import Tensor


def average_precision(scores: Tensor, truths: Tensor) -> float | None:
    """The precision at each true one, averaged; None where nothing is true. Both are of shape (pictures,).

    It is the sum over places of precision times the recall won there, without interpolation.

    >>> average_precision(torch.tensor([0.9, 0.8, 0.1]), torch.tensor([1, 0, 1]))
    0.8333333333333333
    """
    true, seen = _cumulated(scores, truths)
    if not len(true) or not true[-1]:
        return None
    won = torch.diff(true, prepend=true.new_zeros(1))
    return float((won * true / seen).sum() / true[-1])


def roc_auc(scores: Tensor, truths: Tensor) -> float | None:
    """How often a true one has a higher score than one that is not; None where all are alike. Shape (pictures,).

    >>> roc_auc(torch.tensor([0.9, 0.8, 0.1]), torch.tensor([1, 0, 1]))
    0.5
    """
    true, seen = _cumulated(scores, truths)
    if not len(true) or not 0 < true[-1] < seen[-1]:
        return None
    false = seen - true
    before, after = torch.cat([true.new_zeros(1), true[:-1]]), torch.cat([true.new_zeros(1), false[:-1]])
    # Trapezoids under the curve of true ones by false ones.
    return float(((true + before) / 2 * (false - after)).sum() / (true[-1] * false[-1]))


def _cumulated(scores: Tensor, truths: Tensor) -> tuple[Tensor, Tensor]:
    """How many are true, and how many there are, at each score and above it."""
    order = scores.argsort(descending=True)
    ordered, true = scores[order], truths[order].double().cumsum(0)
    # The last one of each group of equal scores.
    ends = torch.cat([(ordered[1:] != ordered[:-1]).nonzero().flatten(), torch.tensor([len(ordered) - 1])])
    if not len(ordered):
        return true, true
    return true[ends], ends.double() + 1
