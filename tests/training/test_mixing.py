"""Mixup and cutmix, against their definitions and torchvision's own."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from zoo.training import loop
from zoo.training.devices import Device
from zoo.training.metrics import Tally
from zoo.training.mixing import Mixer, box
from zoo.training.tasks import Binary, MultiLabel, Objective, Regression, SingleLabel

PICTURES = torch.rand(4, 3, 12, 10, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 1])
DENSE = nn.functional.one_hot(LABELS, 3).float()


def seeds(count: int) -> range:
    return range(count)


@pytest.mark.parametrize("seed", seeds(5))
def test_mixup_is_a_weighted_sum_of_neighbours_and_of_their_targets(seed: int) -> None:
    torch.manual_seed(seed)
    mixed = Mixer(0.7, 0)(PICTURES, DENSE, LABELS)
    torch.manual_seed(seed)
    pictures, targets = v2.MixUp(alpha=0.7, num_classes=3)(PICTURES, LABELS)
    torch.testing.assert_close(mixed.pictures, pictures)
    torch.testing.assert_close(mixed.targets, targets)
    assert torch.equal(mixed.labels, mixed.targets.argmax(dim=1)), "the labels of the larger share"


@pytest.mark.parametrize("seed", seeds(20))
def test_cutmix_gives_each_picture_the_share_of_its_area(seed: int) -> None:
    torch.manual_seed(seed)
    mixed = Mixer(0, 1.0)(PICTURES, DENSE, LABELS)
    others = PICTURES.roll(1, 0)
    from_other = (mixed.pictures == others).all(dim=1)
    own = (mixed.pictures == PICTURES).all(dim=1)
    assert (from_other | own).all(), "every pixel is of one of the two"
    share = 1 - from_other.float().mean(dim=(1, 2))
    expected = share[:, None] * DENSE + (1 - share[:, None]) * DENSE.roll(1, 0)
    torch.testing.assert_close(mixed.targets, expected)
    assert mixed.targets.sum(dim=1).tolist() == pytest.approx([1.0] * 4)


def test_a_box_is_within_the_picture_and_no_larger_than_its_share() -> None:
    torch.manual_seed(0)
    areas = []
    for _ in range(300):
        top, bottom, left, right = box(20, 30, 0.5)
        assert 0 <= top <= bottom <= 20
        assert 0 <= left <= right <= 30
        areas.append((bottom - top) * (right - left) / 600)
    assert max(areas) <= 0.5
    assert min(areas) < 0.25 < max(areas), "one at the edge is smaller"


def test_where_both_are_given_each_comes_in_turn() -> None:
    kinds = set()
    for seed in range(12):
        torch.manual_seed(seed)
        mixed = Mixer(1.0, 1.0)(PICTURES, DENSE, LABELS).pictures
        pieces = ((mixed == PICTURES) | (mixed == PICTURES.roll(1, 0))).all()
        kinds.add("cutmix" if pieces else "mixup")
    assert kinds == {"mixup", "cutmix"}


OBJECTIVES: list[tuple[Objective, Tensor]] = [
    (SingleLabel(("ant", "bee", "cow")), LABELS),
    (Binary(("no", "yes")), torch.tensor([0, 1, 1, 0])),
    (MultiLabel(("ant", "bee", "cow")), torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 0], [0, 1, 0]])),
    (Regression(("size", "age", "mass")), torch.randn(4, 3, generator=torch.Generator().manual_seed(1))),
]


@pytest.mark.parametrize(("objective", "labels"), OBJECTIVES, ids=lambda each: type(each).__name__)
def test_every_task_learns_from_targets_between_two(objective: Objective, labels: Tensor) -> None:
    """Of two that are the same nothing is changed; the loss of a mixture lies between those of its parts."""
    torch.manual_seed(0)
    logits = torch.randn(4, 1 if isinstance(objective, Binary) else 3)
    dense = objective.dense(labels)
    torch.testing.assert_close(objective.loss(logits, dense), objective.loss(logits, labels))
    parts = [objective.loss(logits, each).item() for each in (dense, dense.roll(1, 0))]
    between = objective.loss(logits, dense * 0.5 + dense.roll(1, 0) * 0.5).item()
    if isinstance(objective, Regression):
        assert between < sum(parts) / 2, "squares lie below the line"
    else:
        assert between == pytest.approx(sum(parts) / 2, rel=1e-5)


def test_a_step_mixes_its_pictures_by_its_own_seed() -> None:
    seen: list[Tensor] = []

    class Look(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(360, 3)

        def forward(self, pictures: Tensor) -> Tensor:
            seen.append(pictures)
            return self.fc(pictures.flatten(1))

    def steps(step: int) -> Tally:
        torch.manual_seed(0)
        model, tally = Look(), Tally(["ant", "bee", "cow"])
        optimizer = torch.optim.SGD([{"params": list(model.parameters()), "lr": 0.1, "peak": 0.1}])
        trainer = loop.Trainer(
            model, optimizer, Device(torch.device("cpu"), None), None, lambda _: 1.0, OBJECTIVES[0][0], 0.0, 0
        )
        trainer.mixer = Mixer(1.0, 0)
        assert len([*loop.train_steps(trainer, [(PICTURES, LABELS)], tally, step=step, stage_step=0)]) == 1
        return tally

    assert steps(3).count == 4
    steps(3), steps(4)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], PICTURES)
