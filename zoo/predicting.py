"""Saying what pictures show, from a checkpoint alone."""

import dataclasses
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from zoo import files
from zoo.data import streams
from zoo.data.datasets import Picture
from zoo.data.loading import Loader, evaluation_transform
from zoo.data.pictures import problems_of, require_readable
from zoo.data.walking import pictures_of
from zoo.errors import CheckpointError, DataError, UsageError
from zoo.markup import table
from zoo.registry import HeadSpec, ModelSpec, Task, find_spec
from zoo.sources.checkpoints import load_checkpoint, located
from zoo.sources.classes import class_names
from zoo.training.devices import default_workers, pick
from zoo.training.loop import logits_of, to_device
from zoo.training.tasks import objective_of

THRESHOLD = 0.5
"""Above this probability a label, or the positive class of two, is told."""


@dataclass(frozen=True)
class Prediction:
    """What one picture shows."""

    path: Path
    classes: tuple[str, ...] = ()
    """The most probable first; of several labels those above the threshold; none in a regression."""
    probabilities: tuple[float, ...] = ()
    """Those of `classes`."""
    task: Task = "single-label"
    values: Mapping[str, float] = field(default_factory=dict, hash=False)
    """What each output says: the probability of the positive class or of every label, or the number of a target."""

    @property
    def best(self) -> str:
        """The class that the picture shows, or its most probable label."""
        if self.task == "regression":
            raise UsageError("a regression tells numbers, not classes.", "they are in the prediction's .values")
        return self.classes[0] if self.classes else max(self.values, key=self.values.__getitem__)

    def _repr_html_(self) -> str:
        numbers = (
            dict(zip(self.classes, self.probabilities, strict=True)) if self.task == "single-label" else self.values
        )
        head = ("target", "value") if self.task == "regression" else ("class", "probability")
        return table(str(self.path), numbers.items(), head)

    def to_values(self) -> dict[str, Any]:
        """The prediction as plain values."""
        path = {"path": str(self.path)}
        if self.task == "regression":
            return {**path, "values": dict(self.values)}
        if self.task == "multi-label":
            return {**path, "labels": list(self.classes), "probabilities": dict(self.values)}
        told = {**path, "class": self.best, "probability": self.probabilities[0]}
        if self.task == "binary":
            ((positive, probability),) = self.values.items()
            return {**told, "positive": positive, "positive_probability": probability}
        pairs = zip(self.classes, self.probabilities, strict=True)
        return {**told, "top": [{"class": name, "probability": probability} for name, probability in pairs]}

    def row(self) -> dict[str, str]:
        """The prediction as a line of a table, by its columns; numbers with six digits."""
        path = {"path": str(self.path)}
        if self.task == "regression":
            return {**path, **{_column(name, self.values): f"{value:.6g}" for name, value in self.values.items()}}
        if self.task == "multi-label":
            each = {f"probability_{name}": f"{value:.6f}" for name, value in self.values.items()}
            return {**path, "labels": "|".join(self.classes), **each}
        if self.task == "binary":
            told = self.to_values()
            return {key: f"{value:.6f}" if isinstance(value, float) else value for key, value in told.items()}
        pairs = enumerate(zip(self.classes, self.probabilities, strict=True), 1)
        numbered = {n: (name, f"{value:.6f}") for n, (name, value) in pairs}
        return {
            **path,
            **{f"{key}_{n}": text for n, two in numbered.items() for key, text in zip(NAMES, two, strict=True)},
        }


NAMES = ("class", "probability")


def _column(target: str, others: Collection[str]) -> str:
    """The column of a target: its name, unless it is called as the column of the pictures is."""
    if target != "path":
        return target
    name = "value_path"
    while name in others:
        name = f"value_{name}"
    return name


def predict(
    checkpoint: str | PathLike[str],
    pictures: str | Path | Sequence[str | Path],
    model: nn.Module | None = None,
    *,
    top: int | None = None,
    threshold: float | None = None,
    batch_size: int = 32,
    workers: int | None = None,
    device: str = "auto",
    amp: str = "off",
    base: str | Path | None = None,
    trust: str | None = None,
) -> list[Prediction]:
    """Say what pictures show, each with its `top` most probable classes, one unless given.

        zoo.predict("checkpoints/vgg16-imgs", "a.jpg")[0].best

    `pictures` are files, folders or globs. Preprocessing and classes are the checkpoint's; a run stands for
    its best checkpoint. Probabilities are from 0 to 1 and sum to 1 over all classes. Several labels, and the
    positive one of two classes, are told above the `threshold`, 0.5 unless given. A regression tells numbers in the
    units of training.

    `model`, `base` and `trust` are those of `load_checkpoint`.

    Raises CheckpointError for a checkpoint that cannot be used, DataError for files that are no pictures,
    UsageError for a `top` or a `threshold` that cannot be meant.
    """
    check_numbers(top, threshold)
    given = [pictures] if isinstance(pictures, str | Path) else pictures
    place = located(checkpoint)
    paths = pictures_of(str(each) for each in given)
    require_readable(paths)
    predictor = Predictor(
        place,
        model,
        top=top,
        threshold=threshold,
        batch_size=batch_size,
        workers=workers,
        device=device,
        amp=amp,
        base=base,
        trust=trust,
    )
    return predictor.of(paths)


class Predictor:
    """A checkpoint that is loaded once and asked again and again; the arguments are those of `predict`."""

    def __init__(
        self,
        checkpoint: str | PathLike[str],
        model: nn.Module | None = None,
        *,
        top: int | None = None,
        threshold: float | None = None,
        batch_size: int = 32,
        workers: int | None = None,
        device: str = "auto",
        amp: str = "off",
        base: str | Path | None = None,
        trust: str | None = None,
    ) -> None:
        check_numbers(top, threshold)
        place = located(checkpoint)
        self.model = load_checkpoint(place, model, base=base, trust=trust)
        spec = find_spec(self.model)
        if spec is None:
            raise CheckpointError(f"{place} does not say what its classes are.", "give the folder of a checkpoint")
        self.head = spec.head or _own_head(self.model, spec)
        self.preprocessing = spec.preprocessing
        _check_asked(self.head, top, threshold)
        self.top, self.threshold = top or 1, THRESHOLD if threshold is None else threshold
        self.batch_size, self.workers = batch_size, workers
        self.on, self.objective = pick(device, amp), objective_of(self.head)
        self.on.place(self.model)

    def of(self, paths: Sequence[Path]) -> list[Prediction]:
        """What these pictures show, which are known to be readable."""
        on = self.on
        loader = Loader(
            [Picture(path, 0) for path in paths],
            evaluation_transform(self.preprocessing),
            batch_size=self.batch_size,
            seed=0,
            channels=len(self.preprocessing.mean),
            shuffle=False,
            # Starting processes takes longer than reading a few pictures.
            workers=(default_workers(on) if len(paths) > 64 else 0) if self.workers is None else self.workers,
            pin=on.device.type == "cuda",
        )
        outcomes: list[torch.Tensor] = []
        with loader, torch.no_grad():
            for batch, _ in to_device(loader.epoch(0), on):
                with on.autocast():
                    logits = logits_of(self.model(batch))
                outcomes.append(self.objective.outcome(logits).cpu())
        rows = torch.cat(outcomes)
        if self.head.task == "single-label":
            return list(_classified(paths, rows, self.head.classes, self.top))
        return [_told(path, self.head, row, self.threshold) for path, row in zip(paths, rows.tolist(), strict=True)]


PART = 256
"""So many pictures of a stream are looked at and told at a time."""


def predictions_of(predictor: Predictor, stream: BinaryIO) -> Iterator[list[Prediction]]:
    """What the pictures of a stream show, some at a time: of paths, one a line, or of one picture's bytes.

    Raises DataError for lines that name no picture that can be read, and when there is nothing.
    """
    start, stream = streams.peeked(stream)
    if streams.is_picture(start):
        # Pictures are read from files, also by worker processes.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "picture"
            files.write_bytes(path, stream.read())
            reason = problems_of([path])
            if reason:
                raise DataError(f"the picture on standard input cannot be used: {reason[path]}.")
            yield [dataclasses.replace(each, path=Path("-")) for each in predictor.of([path])]
        return
    some = False
    for part in streams.parts_of(streams.lines_of(stream), PART):
        some = True
        yield predictor.of([line.path for line in part])
    if not some:
        raise DataError(
            "there is nothing on standard input.", "give paths of pictures, one a line, or the bytes of a picture"
        )


def _own_head(model: nn.Module, spec: ModelSpec) -> HeadSpec:
    """The library's own classifier as a head of the classes that its weights were published with."""
    try:
        return HeadSpec("linear", "replace", spec.head_path, class_names(model), None)
    except UsageError as error:
        raise CheckpointError(f"the checkpoint has the library's own classifier: {error.message}") from error


def check_numbers(top: int | None, threshold: float | None) -> None:
    """Raise UsageError for a `top` or a `threshold` that cannot be meant."""
    if top is not None and top < 1:
        raise UsageError(f"top is {top}; it must be 1 or more.")
    if threshold is not None and not 0 <= threshold < 1:
        raise UsageError(f"threshold is {threshold:g}; it must be 0 or more, and below 1.")


def _check_asked(head: HeadSpec, top: int | None, threshold: float | None) -> None:
    if top is not None and head.task != "single-label":
        what = "a threshold says which labels are told" if head.task == "multi-label" else "leave it out"
        raise UsageError(f"top is for one class of several, and this checkpoint's task is {head.task}.", what)
    if threshold is not None and head.task not in ("binary", "multi-label"):
        raise UsageError(f"threshold is for yes or no, and this checkpoint's task is {head.task}.", "leave it out")


def _classified(
    paths: Iterable[Path], probabilities: torch.Tensor, classes: Sequence[str], top: int
) -> Iterator[Prediction]:
    values, places = probabilities.topk(min(top, len(classes)), dim=1)
    for path, row, at in zip(paths, values.tolist(), places.tolist(), strict=True):
        yield Prediction(path, tuple(classes[place] for place in at), tuple(row))


def _told(path: Path, head: HeadSpec, row: Sequence[float], threshold: float) -> Prediction:
    """A prediction of outputs that are each a question of its own."""
    values = dict(zip(head.output_names, row, strict=True))
    if head.task == "regression":
        return Prediction(path, task=head.task, values=values)
    if head.task == "binary":
        (probability,) = row
        yes = probability > threshold
        return Prediction(path, (head.classes[yes],), (probability if yes else 1 - probability,), head.task, values)
    told = sorted((name for name in values if values[name] > threshold), key=values.__getitem__, reverse=True)
    return Prediction(path, tuple(told), tuple(values[name] for name in told), head.task, values)
