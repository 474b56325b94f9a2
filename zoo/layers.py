"""Layers of heads that no list of `torch.nn` layers says; each class is complete in itself and knows torch alone.

A checkpoint's rebuild lines carry the source of those that its head has, so nothing here refers to anything else.
Pooling layers take a map, (batch, channels, height, width), or with `channels_last` what has its channels last:
(batch, height, width, channels), or with one dimension of `places` instead of two tokens, (batch, places, channels).
They give one vector a picture, as (batch, channels), or unless `flatten` with sizes of 1 where the places were.
"""

import torch
from torch import Tensor, nn


class ConcatPool(nn.Module):
    """The largest and the mean value of each channel over all places, one behind the other: twice the channels.

    As fastai's AdaptiveConcatPool2d does it, https://docs.fast.ai/layers.html#adaptiveconcatpool2d.

    >>> ConcatPool(flatten=True)(torch.zeros(2, 8, 7, 7)).shape
    torch.Size([2, 16])
    """

    def __init__(self, channels_last: bool = False, places: int = 2, flatten: bool = False) -> None:
        super().__init__()
        self.channels_last = channels_last
        self.places = places
        self.flatten = flatten

    def extra_repr(self) -> str:
        """How it takes and gives its places."""
        return f"channels_last={self.channels_last}, places={self.places}, flatten={self.flatten}"

    def forward(self, features: Tensor) -> Tensor:
        """The pooled features of each picture."""
        axis = -1 if self.channels_last else 1
        places = features.movedim(axis, 1).flatten(2)
        # amax, since the gradient of a max pool depends on the order of threads on a GPU.
        pooled = torch.cat([places.amax(2), places.mean(2)], 1)
        return pooled if self.flatten else pooled.unflatten(1, (-1, *[1] * self.places)).movedim(1, axis)


class AttentionPool(nn.Module):
    """The mean over all places, weighted by how well each answers a learned question, one for each group of channels.

    A learned query that attends over the places, as in the pooling of Set Transformer (arXiv 1810.00825, section
    3.2), of `heads` heads and without projections, whose numbers a few hundred pictures do not teach. The queries
    begin as zeros, so that it begins as the ordinary mean.

    >>> AttentionPool(8, heads=2, flatten=True)(torch.zeros(2, 8, 7, 7)).shape
    torch.Size([2, 8])
    """

    def __init__(
        self, features: int, heads: int = 4, channels_last: bool = False, places: int = 2, flatten: bool = False
    ) -> None:
        super().__init__()
        self.heads = heads
        self.channels_last = channels_last
        self.places = places
        self.flatten = flatten
        self.query = nn.Parameter(torch.zeros(heads, features // heads))

    def extra_repr(self) -> str:
        """How many heads it has, and how it takes and gives its places."""
        form = f"channels_last={self.channels_last}, places={self.places}, flatten={self.flatten}"
        return f"{self.query.numel()}, heads={self.heads}, {form}"

    def forward(self, features: Tensor) -> Tensor:
        """The pooled features of each picture."""
        axis = -1 if self.channels_last else 1
        places = features.movedim(axis, 1).flatten(2).unflatten(1, (self.heads, -1))
        answers = torch.einsum("bhcp,hc->bhp", places, self.query) * self.query.shape[1] ** -0.5
        pooled = torch.einsum("bhcp,bhp->bhc", places, answers.softmax(2)).flatten(1)
        return pooled if self.flatten else pooled.unflatten(1, (-1, *[1] * self.places)).movedim(1, axis)


class CosineLinear(nn.Module):
    """The cosine of the angle between the features and a learned direction of each class, times a learned scale.

    From "Dynamic Few-Shot Visual Learning without Forgetting", arXiv 1804.09458, section 3.2. On a map, or with
    `channels_last` on tokens, it computes the same at every place.

    >>> CosineLinear(8, 3)(torch.ones(2, 8)).shape
    torch.Size([2, 3])
    """

    def __init__(self, in_features: int, out_features: int, scale: float = 10.0, channels_last: bool = False) -> None:
        super().__init__()
        self.axis = -1 if channels_last else 1
        self.weight = nn.Parameter(torch.randn(out_features, in_features) * in_features**-0.5)
        self.scale = nn.Parameter(torch.tensor(float(scale)))

    def extra_repr(self) -> str:
        """What it takes and gives."""
        return f"in_features={self.weight.shape[1]}, out_features={self.weight.shape[0]}"

    def forward(self, features: Tensor) -> Tensor:
        """The scores, each from minus to plus the scale."""
        directions = nn.functional.normalize(self.weight, dim=1)
        cosines = nn.functional.normalize(features, dim=self.axis).movedim(self.axis, -1) @ directions.t()
        return self.scale * cosines.movedim(-1, self.axis)
