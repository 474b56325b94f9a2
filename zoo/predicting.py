"""Saying what pictures show, from a checkpoint alone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zoo.data.folders import Picture, pictures_of
from zoo.data.loading import Loader, evaluation_transform
from zoo.data.pictures import require_readable
from zoo.errors import CheckpointError, UsageError
from zoo.registry import find_spec
from zoo.sources.checkpoints import load_checkpoint, located
from zoo.training.devices import default_workers, pick
from zoo.training.loop import logits_of, to_device


@dataclass(frozen=True)
class Prediction:
    """What one picture shows, the most probable classes first."""

    path: Path
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]

    @property
    def best(self) -> str:
        """The most probable class."""
        return self.classes[0]

    def to_values(self) -> dict[str, Any]:
        """The prediction as plain values."""
        top = [
            {"class": name, "probability": probability}
            for name, probability in zip(self.classes, self.probabilities, strict=True)
        ]
        return {"path": str(self.path), "class": self.best, "probability": self.probabilities[0], "top": top}


def predict(
    checkpoint: str | Path,
    pictures: str | Path | Sequence[str | Path],
    *,
    top: int = 1,
    batch_size: int = 32,
    workers: int | None = None,
    device: str = "auto",
    amp: str = "off",
    base: str | Path | None = None,
    trust: str | None = None,
) -> list[Prediction]:
    """Say what pictures show, each with its `top` most probable classes.

        zoo.predict("checkpoints/vgg16-imgs", "a.jpg")[0].best

    `pictures` are files, folders or globs. Preprocessing and classes are the checkpoint's; a run stands for
    its best checkpoint. Probabilities are from 0 to 1 and sum to 1 over all classes.

    `base` and `trust` are those of `load_checkpoint`.

    Raises CheckpointError for a checkpoint that cannot be used, DataError for files that are no pictures,
    UsageError for a `top` below 1.
    """
    if top < 1:
        raise UsageError(f"top is {top}; it must be 1 or more.")
    place = located(checkpoint)
    given = [pictures] if isinstance(pictures, str | Path) else pictures
    paths = pictures_of(str(each) for each in given)
    require_readable(paths)
    model = load_checkpoint(place, base=base, trust=trust)
    spec = find_spec(model)
    if spec is None:
        raise CheckpointError(f"{place} does not say what its classes are.", "give the folder of a checkpoint")
    if spec.head is None:
        raise CheckpointError(f"{place} has the library's own classifier, whose classes have no names here.")
    on = pick(device, amp)
    loader = Loader(
        [Picture(path, 0) for path in paths],
        evaluation_transform(spec.preprocessing),
        batch_size=batch_size,
        seed=0,
        shuffle=False,
        # Starting processes takes longer than reading a few pictures.
        workers=(default_workers(on) if len(paths) > 64 else 0) if workers is None else workers,
        pin=on.device.type == "cuda",
    )
    on.place(model)
    probabilities: list[torch.Tensor] = []
    with torch.no_grad():
        for batch, _ in to_device(loader.epoch(0), on):
            with on.autocast():
                logits = logits_of(model(batch))
            probabilities.append(logits.float().softmax(dim=1).cpu())
    return list(_predictions(paths, torch.cat(probabilities), spec.head.classes, top))


def _predictions(
    paths: Iterable[Path], probabilities: torch.Tensor, classes: Sequence[str], top: int
) -> Iterator[Prediction]:
    values, places = probabilities.topk(min(top, len(classes)), dim=1)
    for path, row, at in zip(paths, values.tolist(), places.tolist(), strict=True):
        yield Prediction(path, tuple(classes[place] for place in at), tuple(row))
