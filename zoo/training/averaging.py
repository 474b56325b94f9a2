"""The exponential moving average of what training changes, which is often better than its last step.

Polyak averaging as it is used for networks: arXiv 1703.01780 for the idea in training, torch.optim.swa_utils and
timm's ModelEmaV3 for the practice. The running statistics of norms are averaged as the weights are.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from zoo.names import join


def moving(model: nn.Module) -> dict[str, Tensor]:
    """What training changes of a model in training mode: trained parameters, and buffers of modules that train.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).train()
    >>> sorted(moving(model.requires_grad_(False)))
    ['1.num_batches_tracked', '1.running_mean', '1.running_var']
    """
    found: dict[str, Tensor] = {name: each for name, each in model.named_parameters() if each.requires_grad}
    kept = model.state_dict(keep_vars=True).keys()
    for path, module in model.named_modules():
        if module.training:
            named = ((join(path, name), each) for name, each in module.named_buffers(recurse=False))
            found |= {name: each for name, each in named if name in kept}
    return found


def decay_at(step: int, decay: float) -> float:
    """The decay at a step of a stage: small at first, so that the start is soon forgotten, then as it was given.

    >>> [round(decay_at(step, 0.99), 2) for step in (0, 10, 10_000)]
    [0.1, 0.55, 0.99]
    """
    return min(decay, (1 + step) / (10 + step))


class Average:
    """Keeps the average beside a model in training mode; it begins with the model as it is."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._live = moving(model)
        self._aside = {name: each.detach().clone() for name, each in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take over what a step, counted in the stage, has made of the model; counters are copied."""
        floats = [name for name, each in self._live.items() if each.is_floating_point()]
        if floats:
            averages, current = [self._aside[name] for name in floats], [self._live[name] for name in floats]
            torch._foreach_lerp_(averages, current, 1.0 - decay_at(step, self.decay))
        for name in self._live.keys() - set(floats):
            self._aside[name].copy_(self._live[name])

    @contextmanager
    def applied(self) -> Iterator[Mapping[str, Tensor]]:
        """The average in the model for the body, which gets the model's own tensors by name."""
        self.exchange()
        try:
            yield self._aside
        finally:
            self.exchange()

    def exchange(self) -> None:
        """Put the average into the model, and what the model had aside; or back again."""
        for name, each in self._live.items():
            each.data, self._aside[name] = self._aside[name], each.data
