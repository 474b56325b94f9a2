"""Pictures as batches: the same seed gives the same tensors, whoever reads them and in whatever order."""

import dataclasses
import random
from itertools import islice
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from tests.conftest import write_pictures
from zoo.data.datasets import Picture
from zoo.data.loading import Batches, Loader, Pictures, _Shortened, evaluation_transform, training_transform
from zoo.registry import Preprocessing

SMALL = Preprocessing(size=(16, 16), resize=(20, 20))
PLAIN = dataclasses.replace(SMALL, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@pytest.fixture
def files(tmp_path: Path) -> list[Picture]:
    root = write_pictures(tmp_path, {"ant": 5, "bee": 4})
    return [
        Picture(path, label) for label, name in enumerate(("ant", "bee")) for path in sorted((root / name).iterdir())
    ]


def loader(
    files: list[Picture], *, workers: int = 0, augment: str = "standard", shuffle: bool = True, seed: int = 0
) -> Loader:
    transform = training_transform(SMALL, augment)
    return Loader(files, transform, batch_size=4, seed=seed, shuffle=shuffle, workers=workers, pin=False)


def same(one: list[tuple[Tensor, Tensor]], other: list[tuple[Tensor, Tensor]]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)
    )


def test_workers_change_nothing(files: list[Picture]) -> None:
    alone = loader(files)
    epochs = [list(alone.epoch(0)), list(alone.epoch(1))]
    helped = loader(files, workers=2)
    assert same(list(helped.epoch(0)), epochs[0])
    assert same(list(helped.epoch(1)), epochs[1])
    assert not same(epochs[0], epochs[1])
    assert not same(list(loader(files, seed=1).epoch(0)), epochs[0])


def test_an_epoch_goes_on_where_it_stopped(files: list[Picture]) -> None:
    whole = list(loader(files).epoch(3))
    assert same(list(loader(files).epoch(3, skip=1)), whole[1:])


def test_a_sample_depends_on_epoch_and_index_alone(files: list[Picture]) -> None:
    pictures = Pictures(files, training_transform(SMALL, "standard"), seed=0)
    first = pictures[2, 5][0]
    _ = pictures[0, 1], pictures[2, 4]
    assert torch.equal(pictures[2, 5][0], first)
    assert not torch.equal(pictures[3, 5][0], first)
    assert not torch.equal(Pictures(files, pictures.transform, seed=1)[2, 5][0], first)


def test_reading_leaves_the_global_generators_alone(files: list[Picture]) -> None:
    before = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].copy()
    _ = Pictures(files, training_transform(SMALL, "standard"), seed=0)[0, 0]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (numpy.random.get_state()[1] == before[2]).all()


def test_levels_of_augmentation_differ(files: list[Picture]) -> None:
    read = {
        level: [Pictures(files, training_transform(SMALL, level), seed=0)[epoch, 0][0] for epoch in range(8)]
        for level in ("none", "light", "standard")
    }
    still = Pictures(files, evaluation_transform(SMALL), seed=0)[0, 0][0]
    assert all(torch.equal(each, still) for each in read["none"])
    for level in ("light", "standard"):
        assert len({each.sum().item() for each in read[level]}) == 8
        assert all(each.shape == (3, 16, 16) for each in read[level])
    assert not any(torch.equal(one, other) for one, other in zip(read["light"], read["standard"], strict=True))


def test_the_batches_of_an_epoch_hold_every_picture_once() -> None:
    batches = Batches(10, 4, seed=0)
    assert len(batches) == 3
    epochs = []
    for epoch in range(2):
        batches.start(epoch)
        epochs.append([index for batch in batches for _, index in batch])
        assert sorted(epochs[-1]) == list(range(10))
    assert epochs[0] != epochs[1]
    assert [index for batch in Batches(10, 4, seed=None) for _, index in batch] == list(range(10))


@pytest.mark.parametrize(
    ("count", "seed", "sizes"), [(9, 0, [4, 4]), (9, None, [4, 4, 1]), (1, 0, [1]), (8, 0, [4, 4])]
)
def test_training_leaves_a_last_batch_of_one_out(count: int, seed: int | None, sizes: list[int]) -> None:
    batches = Batches(count, 4, seed=seed)
    assert [len(batch) for batch in batches] == sizes
    assert len(batches) == len(sizes)


def pattern() -> Image.Image:
    """Twenty by twenty: the central sixteen in green, a red rim of two around it."""
    picture = Image.new("RGB", (20, 20), (255, 0, 0))
    picture.paste((0, 255, 0), (2, 2, 18, 18))
    return picture


def test_evaluation_takes_the_centre_and_normalises() -> None:
    plain = evaluation_transform(PLAIN)(pattern())
    assert plain.shape == (3, 16, 16)
    assert plain.dtype is torch.float32
    assert plain.amax(dim=(1, 2)).tolist() == [0.0, 1.0, 0.0]
    scaled = evaluation_transform(SMALL)(pattern())
    expected = [(value - mean) / std for value, mean, std in zip((0, 1, 0), SMALL.mean, SMALL.std, strict=True)]
    assert scaled[:, 5, 5].tolist() == pytest.approx(expected)


def test_the_shape_is_kept_or_squashed() -> None:
    wide = Image.new("RGB", (40, 20), (255, 0, 0))
    wide.paste((0, 255, 0), (10, 0, 30, 20))
    cropped = evaluation_transform(dataclasses.replace(PLAIN, resize=(16, 16)))(wide)
    assert (cropped[1, 8] > 0.9).sum() == 16
    squashed = evaluation_transform(dataclasses.replace(PLAIN, resize=(16, 16), fit="squash"))(wide)
    assert 6 <= (squashed[1, 8] > 0.9).sum() <= 8


def test_order_and_number_of_channels_follow_the_weights() -> None:
    turned = evaluation_transform(dataclasses.replace(PLAIN, order="BGR"))(Image.new("RGB", (20, 20), (255, 0, 0)))
    assert turned[:, 0, 0].tolist() == [0.0, 0.0, 1.0]
    for mode, channels in (("L", 1), ("RGBA", 4)):
        given = dataclasses.replace(PLAIN, mean=(0.5,) * channels, std=(0.5,) * channels)
        assert evaluation_transform(given)(pattern().convert(mode)).shape == (channels, 16, 16)


def test_worker_processes_end_with_their_loader(files: list[Picture]) -> None:
    import multiprocessing

    before = len(multiprocessing.active_children())
    helped = loader(files, workers=2)
    assert len(list(islice(helped.epoch(0), 1))) == 1
    assert len(multiprocessing.active_children()) == before + 2
    del helped
    assert len(multiprocessing.active_children()) == before


@pytest.mark.parametrize("shape", [(40, 20), (20, 40), (33, 33), (21, 100)])
def test_an_input_that_is_not_square_keeps_the_shape_of_things_as_timm_does(shape: tuple[int, int]) -> None:
    from timm.data.transforms import ResizeKeepRatio

    known = dataclasses.replace(PLAIN, size=(16, 24), resize=(18, 27))
    picture = Image.fromarray(numpy.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=numpy.uint8))
    theirs = ResizeKeepRatio((18, 27), interpolation="bilinear")(picture)
    top, left = round((theirs.height - 16) / 2), round((theirs.width - 24) / 2)
    cut = numpy.asarray(theirs.crop((left, top, left + 24, top + 16)), dtype=numpy.float32)
    made = evaluation_transform(known)(picture)
    assert made.shape == (3, 16, 24)
    assert made.permute(1, 2, 0).numpy() * 255 == pytest.approx(cut, abs=1e-3)
    trained = training_transform(known, "light")(picture)
    assert trained.shape == (3, 16, 24)


@pytest.mark.parametrize("shape", [(9000, 1), (1, 9001), (501, 5), (5, 120)])
@pytest.mark.parametrize("size", [(16, 16), (16, 24)])
def test_a_very_long_picture_is_not_scaled_as_a_whole(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], size: tuple[int, int]
) -> None:
    known = dataclasses.replace(PLAIN, size=size, resize=size)
    picture = Image.fromarray(numpy.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=numpy.uint8))
    whole = v2.Compose([step for step in evaluation_transform(known).transforms if not isinstance(step, _Shortened)])
    expected = whole(picture)
    made: list[tuple[int, int]] = []
    resize = Image.Image.resize

    def seen(self: Image.Image, size: tuple[int, int], *given: Any, **named: Any) -> Image.Image:
        made.append(size)
        return resize(self, size, *given, **named)

    monkeypatch.setattr(Image.Image, "resize", seen)
    assert evaluation_transform(known)(picture).numpy() == pytest.approx(expected.numpy(), abs=2 / 255)
    assert len(made) == 1
    assert max(made[0]) <= 32 * max(size)


@pytest.mark.parametrize("shape", [(20, 400), (400, 20), (33, 70), (1, 20)])
def test_any_other_picture_is_scaled_as_a_whole(shape: tuple[int, int]) -> None:
    picture = Image.fromarray(numpy.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=numpy.uint8))
    steps = evaluation_transform(PLAIN).transforms
    assert steps[0](picture) is picture


def test_training_stretches_things_no_more_where_the_input_is_not_square() -> None:
    """A square of the picture stays within 3:4 and 4:3, whatever the shape of the input."""
    for size in (16, 16), (16, 48), (48, 16):
        known = dataclasses.replace(PLAIN, size=size, resize=size)
        picture = Image.new("RGB", (10 * size[1], 10 * size[0]))
        crop = training_transform(known, "light").transforms[0]
        torch.manual_seed(0)
        stretched = []
        for _ in range(50):
            box = crop.make_params([picture])
            stretched.append((size[1] / box["width"]) / (size[0] / box["height"]))
        assert 0.7 < min(stretched) < 0.9 < 1.1 < max(stretched) < 1.4
