"""Measuring a checkpoint on labelled pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from zoo import files
from zoo.checkpoint import reading
from zoo.data.finding import find_labelled
from zoo.data.listing import Facts, parse
from zoo.data.loading import Loader, evaluation_transform
from zoo.data.pictures import require_readable
from zoo.data.tables import Columns
from zoo.errors import CheckpointError
from zoo.markup import table
from zoo.names import listed
from zoo.registry import find_spec
from zoo.sources.checkpoints import load_checkpoint, located
from zoo.training.devices import default_workers, pick
from zoo.training.loop import evaluate as run_evaluation
from zoo.training.metrics import ClassFigures
from zoo.training.numbers import TargetFigures
from zoo.training.outputs import LabelFigures
from zoo.training.tasks import objective_of


@dataclass(frozen=True)
class Evaluation:
    """The figures of a checkpoint on a folder or a table of pictures."""

    checkpoint: Path
    data: str
    pictures: int
    metrics: Mapping[str, float]
    classes: tuple[ClassFigures | LabelFigures | TargetFigures, ...]
    """The figures of each class, label or target."""
    confusion: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        facts = [vars(each) for each in self.classes]
        head = tuple(facts[0]) if facts else ()
        whole = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        caption = f"{self.checkpoint} on {self.pictures:,} pictures of {self.data}: {whole}"
        return table(caption, [tuple(each.values()) for each in facts], head)

    def to_values(self) -> dict[str, Any]:
        """The evaluation as plain values."""
        return {
            "checkpoint": str(self.checkpoint),
            "data": self.data,
            "pictures": self.pictures,
            "metrics": dict(self.metrics),
            "classes": [vars(each) for each in self.classes],
            "confusion": [list(row) for row in self.confusion],
            "notes": list(self.notes),
        }


def evaluate(
    checkpoint: str | PathLike[str],
    data: str | Path,
    model: nn.Module | None = None,
    *,
    split: str | None = None,
    image_column: str | None = None,
    label_column: Sequence[str] = (),
    label_separator: str | None = None,
    image_root: str | Path | None = None,
    batch_size: int = 32,
    workers: int | None = None,
    device: str = "auto",
    amp: str = "off",
    base: str | Path | None = None,
    trust: str | None = None,
) -> Evaluation:
    """Measure a checkpoint on a folder with one folder a class, or on a table of pictures.

        zoo.evaluate("checkpoints/vgg16-imgs", "./test").metrics["accuracy"]

    Classes, task and preprocessing are the checkpoint's; a run stands for its best checkpoint. Where the folder
    has `test/` or `val/`, or the table such rows in its column `split`, those are read, or what `split` names. The
    columns of a table are `image` and `label`, in a regression those of the targets, unless they are given;
    `label_separator` stands between several labels in a cell, and paths are relative to `image_root`.

    `model`, `base` and `trust` are those of `load_checkpoint`.

    Raises CheckpointError for a checkpoint that cannot be used, DataError for pictures that cannot.
    """
    place = located(checkpoint)
    model = load_checkpoint(place, model, base=base, trust=trust)
    spec = find_spec(model)
    if spec is None:
        raise CheckpointError(f"{place} does not say what its classes are.", "give the folder of a checkpoint")
    if spec.head is None:
        raise CheckpointError(f"{place} has the library's own classifier, whose classes are no folders of yours.")
    root = Path(image_root) if image_root else None
    named = [word.strip() for word in label_column.split(",")] if isinstance(label_column, str) else label_column
    columns = Columns(image_column, tuple(named), label_separator, root)
    dataset, read_from = find_labelled(
        Path(data).expanduser(), spec.head.classes, split, task=spec.head.task, columns=columns
    )
    facts = require_readable([picture.path for picture in dataset.val])
    on, objective = pick(device, amp), objective_of(spec.head)
    loader = Loader(
        dataset.val,
        evaluation_transform(spec.preprocessing),
        batch_size=batch_size,
        seed=0,
        channels=len(spec.preprocessing.mean),
        shuffle=False,
        workers=default_workers(on) if workers is None else workers,
        pin=on.device.type == "cuda",
        target=objective.target,
    )
    tally = objective.tally()
    with loader:
        run_evaluation(on.place(model), loader.epoch(0), objective, tally, on)
    figures = tally.metrics()
    absent = [each.name for each in figures.classes if not isinstance(each, TargetFigures) and not each.pictures]
    lacks = [f"no picture of {listed(absent)}"] if absent else []
    notes = (*dataset.notes, *lacks, *_trained_on(place, facts))
    return Evaluation(place, read_from, tally.count, figures.named(), tuple(figures.classes), figures.confusion, notes)


def _trained_on(checkpoint: Path, pictures: Mapping[Path, Facts]) -> list[str]:
    """What is said of pictures that the checkpoint's run learned from, found by what is in them."""
    listed_in = checkpoint.parent / files.DATA
    if not listed_in.is_file():
        return []
    try:
        run = parse(reading.read_json(listed_in), str(listed_in))
    except CheckpointError as error:
        return [f"{error.message} So it cannot be told which of the pictures it was trained on."]
    learned = {row.facts.sha256 for row in run.train if row.facts is not None}
    seen = sum(each.sha256 in learned for each in pictures.values())
    if not seen:
        return []
    which = "it was trained on these pictures" if seen == len(pictures) else f"it was trained on {seen:,} of these"
    return [f"{which}, so the figures say little of new ones"]
