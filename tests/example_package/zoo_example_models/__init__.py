"""A small network that zoo finds by its entry point, `own:example-net`."""

import torch
from torch import Tensor, nn

import zoo


class ExampleNet(nn.Module):
    """Two convolutions with norms, and a classifier of ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.drop = nn.Dropout(0.2)
        self.classifier = nn.Linear(16, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures of shape (batch, 3, height, width) to scores of shape (batch, 10)."""
        scores: Tensor = self.classifier(self.drop(self.body(self.stem(pictures)).mean(dim=(2, 3))))
        return scores


def pretrained() -> nn.Module:
    """The network with its weights; a real package would read them from a file of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ExampleNet()


def example_net() -> zoo.OwnModel:
    """What zoo has to know of it."""
    return zoo.OwnModel(build=pretrained, head_path="classifier", input_size=(32, 32), licence="Apache-2.0")
