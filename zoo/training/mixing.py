"""Mixup and cutmix: two pictures of a batch become one, and its target lies between theirs."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixed:
    """A batch whose pictures are mixed with one another."""

    pictures: Tensor
    targets: Tensor
    """Between the targets of the two pictures, in the share of each."""
    labels: Tensor
    """Those of the picture that has the larger share, for figures that need one."""


@dataclass(frozen=True)
class Mixer:
    """Mixes batches; 0 leaves a kind out, and where both are given a fair coin picks one of the two each time.

    The numbers are alpha of Beta(alpha, alpha), from which the share of the first picture is drawn with torch's own
    generator: near 0 it is almost always one picture, 1 makes every share alike.
    """

    mixup: float
    """Weighted sums of pictures (arXiv 1710.09412)."""
    cutmix: float
    """Rectangles of one picture in another (arXiv 1905.04899)."""

    def __call__(self, pictures: Tensor, targets: Tensor, labels: Tensor) -> Mixed:
        """Mix each picture of (batch, channels, height, width) with its neighbour; targets are numbers."""
        cut = self.cutmix > 0 and (self.mixup <= 0 or bool(torch.rand(()) < 0.5))
        alpha = torch.tensor(self.cutmix if cut else self.mixup)
        share = float(torch.distributions.Beta(alpha, alpha).sample())
        others = pictures.roll(1, 0)
        if cut:
            top, bottom, left, right = box(pictures.shape[-2], pictures.shape[-1], share)
            mixed = pictures.clone()
            mixed[..., top:bottom, left:right] = others[..., top:bottom, left:right]
            share = 1 - (bottom - top) * (right - left) / (pictures.shape[-2] * pictures.shape[-1])
        else:
            mixed = pictures * share + others * (1 - share)
        between = targets * share + targets.roll(1, 0) * (1 - share)
        return Mixed(mixed, between, labels if share >= 0.5 else labels.roll(1, 0))


def box(height: int, width: int, share: float) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a rectangle around a random point, whose area is at most 1 - share."""
    part = (1 - share) ** 0.5
    y, x = int(torch.randint(height, ())), int(torch.randint(width, ()))
    tall, wide = int(part * height) // 2, int(part * width) // 2
    return max(0, y - tall), min(height, y + tall), max(0, x - wide), min(width, x + wide)
