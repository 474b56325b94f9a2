"""Pictures as batches of tensors: prepared as the weights want, varied for training, seeded one by one."""

import contextlib
import math
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy
import torch
from PIL import Image
from torch import Tensor
from torch.utils import data as torch_data
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from zoo.data.datasets import Picture
from zoo.data.pictures import read_picture, require_mode
from zoo.errors import OutOfMemoryError
from zoo.registry import Preprocessing
from zoo.seeding import derive


def evaluation_transform(preprocessing: Preprocessing) -> v2.Transform:
    """A PIL picture to the float tensor (channels, height, width) that the weights were trained for."""
    return v2.Compose([*_central(preprocessing), *_to_tensor(preprocessing)])


def training_transform(preprocessing: Preprocessing, augment: str, erasing: float | None = None) -> v2.Transform:
    """The same with random variations, which `augment` names.

    `none`: not even a crop. `light`: crop and flip. `standard`: also colour, and erasing in a tenth. `randaugment`
    (arXiv 1909.13719) and `trivial` (TrivialAugment, arXiv 2103.10158): crop, flip, and torchvision's own two or one
    operation a picture. `erasing` (arXiv 1708.04896) is the share of pictures that lose a rectangle, where it is not
    to be what `augment` says.
    """
    share = erasing if erasing is not None else 0.1 if augment == "standard" else 0.0
    erase = [v2.RandomErasing(p=share)] if share > 0 else []
    if augment == "none":
        return v2.Compose([*_central(preprocessing), *_to_tensor(preprocessing), *erase])
    interpolation = InterpolationMode(preprocessing.interpolation)
    height, width = preprocessing.size
    varied: dict[str, list[Any]] = {
        "light": [],
        "standard": [v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3)],
        "randaugment": [v2.RandAugment(interpolation=_BILINEAR)],
        "trivial": [v2.TrivialAugmentWide(interpolation=_BILINEAR)],
    }
    crop = v2.RandomResizedCrop(
        preprocessing.size,
        scale=(0.5 if augment == "light" else 0.2, 1.0),
        # Things become so much wider or narrower at most, whatever the shape of the input.
        ratio=(3 / 4 * (width / height), 4 / 3 * (width / height)),
        interpolation=interpolation,
        antialias=True,
    )
    return v2.Compose([crop, v2.RandomHorizontalFlip(), *varied[augment], *_to_tensor(preprocessing), *erase])


_BILINEAR = InterpolationMode.BILINEAR


def _central(preprocessing: Preprocessing) -> list[Any]:
    height, width = preprocessing.resize
    interpolation = InterpolationMode(preprocessing.interpolation)
    middle = v2.CenterCrop(preprocessing.size)
    if preprocessing.fit == "squash":
        return [v2.Resize([height, width], interpolation=interpolation, antialias=True), middle]
    resize = (
        v2.Resize([height], interpolation=interpolation, antialias=True)
        if height == width
        else _Covering(height, width, interpolation)
    )
    return [_Shortened(LONGEST * max(height, width) / min(height, width)), resize, middle]


def _to_tensor(preprocessing: Preprocessing) -> list[Any]:
    steps: list[Any] = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    if preprocessing.order == "BGR":
        steps.append(_ToBgr())
    return [*steps, v2.Normalize(list(preprocessing.mean), list(preprocessing.std))]


LONGEST = 20
"""How many times longer than wide a picture is scaled as a whole before its middle is taken."""


class _Shortened(torch.nn.Module):
    """Cuts the ends off a picture that is very long, far from the middle that is taken in the end.

    Scaled as a whole, a line of 9,000 pixels would take gigabytes. Any other picture stays as it is.
    """

    def __init__(self, longest: float) -> None:
        super().__init__()
        self.longest = longest

    def forward(self, picture: Image.Image) -> Image.Image:
        short, long = sorted(picture.size)
        kept = math.ceil(self.longest * short)
        # As many pixels go on either side, so the middle stays where it is.
        kept += (long - kept) % 2
        if long <= kept:
            return picture
        cut: Image.Image = functional.center_crop(picture, [min(picture.height, kept), min(picture.width, kept)])
        return cut


class _Covering(torch.nn.Module):
    """Scales a picture to the smallest that covers a height and a width, the shape of things kept.

    As timm's ResizeKeepRatio does it for inputs that are not square.
    """

    def __init__(self, height: int, width: int, interpolation: InterpolationMode) -> None:
        super().__init__()
        self.height, self.width, self.interpolation = height, width, interpolation

    def forward(self, picture: Image.Image) -> Image.Image:
        scale = min(picture.height / self.height, picture.width / self.width)
        size = [round(picture.height / scale), round(picture.width / scale)]
        made: Image.Image = functional.resize(picture, size, interpolation=self.interpolation, antialias=True)
        return made


class _ToBgr(torch.nn.Module):
    def forward(self, picture: Tensor) -> Tensor:
        return picture.flip(-3)


Target = Callable[[Any], Any]
"""What a label becomes before it is put into a batch: a number, or a tensor."""


def as_it_is(label: Any) -> Any:
    """The label itself."""
    return label


class Pictures(torch_data.Dataset[tuple[Tensor, Any]]):
    """Pictures by (epoch, index): the same two numbers give the same tensor in any process, in any order."""

    def __init__(
        self,
        pictures: Sequence[Picture],
        transform: v2.Transform,
        seed: int,
        target: Target = as_it_is,
        channels: int = 3,
    ) -> None:
        self.pictures = pictures
        self.mode = require_mode(channels)
        self.transform = transform
        self.seed = seed
        self.target = target

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Any]:
        epoch, index = key
        picture = self.pictures[index]
        with seeded(derive(self.seed, "sample", epoch, index)):
            return self.transform(read_picture(picture.path, self.mode)), self.target(picture.label)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch, numpy and random seeded for the body, and put back as they were."""
    before = torch.random.get_rng_state(), numpy.random.get_state(), random.getstate()
    torch.default_generator.manual_seed(seed)
    numpy.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        torch.random.set_rng_state(before[0])
        numpy.random.set_state(before[1])
        random.setstate(before[2])


class Batches(torch_data.Sampler[list[tuple[int, int]]]):
    """The batches of one epoch after another, as (epoch, index) pairs; `start` sets where to go on.

    Training shuffles by (seed, epoch). A last batch of a single picture is left out of training where there
    are others, since batch statistics of one picture are none.
    """

    def __init__(self, count: int, batch_size: int, *, seed: int | None) -> None:
        self.count = count
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.skip = 0

    def start(self, epoch: int, skip: int = 0) -> None:
        """Go on with this epoch, its first batches left out."""
        self.epoch = epoch
        self.skip = skip

    def __len__(self) -> int:
        full, rest = divmod(self.count, self.batch_size)
        drop = self.seed is not None and rest == 1 and full > 0
        return full + (1 if rest and not drop else 0)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = self._order(self.epoch)
        for step in range(self.skip, len(self)):
            yield [(self.epoch, index) for index in self._part(order, step)]

    def indices(self, epoch: int, step: int) -> list[int]:
        """Which pictures one batch of an epoch has."""
        return self._part(self._order(epoch), step)

    def _order(self, epoch: int) -> list[int]:
        if self.seed is None:
            return list(range(self.count))
        generator = torch.Generator().manual_seed(derive(self.seed, "order", epoch))
        order: list[int] = torch.randperm(self.count, generator=generator).tolist()
        return order

    def _part(self, order: list[int], step: int) -> list[int]:
        return order[step * self.batch_size : (step + 1) * self.batch_size]


class Loader:
    """A data loader whose epochs are chosen, with worker processes that live as long as it does."""

    def __init__(
        self,
        pictures: Sequence[Picture],
        transform: v2.Transform,
        *,
        batch_size: int,
        seed: int,
        channels: int = 3,
        shuffle: bool,
        workers: int,
        pin: bool,
        target: Target = as_it_is,
    ) -> None:
        self.batches = Batches(len(pictures), batch_size, seed=seed if shuffle else None)
        self.pictures = pictures
        self._loader = torch_data.DataLoader(
            Pictures(pictures, transform, seed, target, channels),
            batch_sampler=self.batches,
            num_workers=workers,
            pin_memory=pin,
            persistent_workers=workers > 0,
            worker_init_fn=_start_worker if workers else None,
        )

    def __len__(self) -> int:
        return len(self.batches)

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes now; an error's traceback would keep them until the end of the process.

        There torch waits five seconds for each of them.
        """
        iterator = self._loader._iterator
        self._loader._iterator = None
        # torch has no public word for it.
        if isinstance(iterator, torch_data.dataloader._MultiProcessingDataLoaderIter):
            iterator._shutdown_workers()

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch: pictures (batch, channels, height, width) and their targets (batch, …).

        Raises OutOfMemoryError when a worker process was ended from outside.
        """
        self.batches.start(epoch, skip)
        try:
            yield from self._loader
        except RuntimeError as error:
            # torch has no class for it. What a worker itself raises has other words: "Caught … in DataLoader worker".
            if not str(error).startswith("DataLoader worker"):
                raise
            raise OutOfMemoryError(
                "a process that reads pictures was ended from outside, as a system does that is short of memory.",
                "take fewer with --workers, or none with --workers 0",
            ) from error

    def paths(self, epoch: int, first: int, count: int = 1) -> list[Path]:
        """The files of so many batches of an epoch."""
        batches = range(first, min(first + count, len(self)))
        return [self.pictures[index].path for batch in batches for index in self.batches.indices(epoch, batch)]


def _start_worker(_: int) -> None:
    """One thread each, and signals left to the main process, which still needs the batches of its last step.

    A terminal, a service manager or a cluster sends its signal to all processes of a job at once.
    """
    torch.set_num_threads(1)
    for name in ("SIGINT", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "SIGALRM"):
        # A process that ignored this for good would keep its parent waiting at the end.
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))


GRACE = 10
"""Seconds that a worker goes on after it was told to end."""
