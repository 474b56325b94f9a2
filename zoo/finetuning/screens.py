"""What a person reads of a run, as lines and grids: a terminal draws them, `summary.txt` holds them as text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zoo import files
from zoo.data.datasets import Dataset
from zoo.finetuning.plan import Plan
from zoo.finetuning.rehearsing import Estimate
from zoo.finetuning.stages import policy_text
from zoo.finetuning.table import Row
from zoo.names import listed
from zoo.recipe import Recipe
from zoo.registry import HeadSpec
from zoo.training.tasks import AnyMetrics
from zoo.units import count, duration, megabytes, some


@dataclass(frozen=True)
class Grid:
    """A table; the columns named in `right` hold numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[str, ...] = ()


Section = str | Grid


def plan_sections(plan: Plan) -> list[Section]:
    """The first screen: model, data, what is trained, how, and where it goes."""
    spec, recipe, data = plan.spec, plan.recipe, plan.dataset
    total = sum(parameter.numel() for parameter in plan.model.parameters())
    height, width = spec.preprocessing.size
    weights = spec.weights or "random weights"
    channels = len(spec.preprocessing.mean)
    size = f"{height} × {width}{'' if channels == 3 else f' × {channels}'}"
    sections: list[Section] = [f"{spec.full_name} · {weights} · {count(total)} parameters · input {size}"]
    if spec.report:
        sections.append(f"  {spec.report}")
    if spec.weights is None:
        sections.append("  warning: the weights are random, so there is nothing to transfer")
    sections.append(f"{data.place} · {_known(data)} · {data.how} → data.json")
    sections += [f"  note: {note}" for note in data.notes]
    for number, rows in enumerate(plan.tables):
        stage = recipe.stages[number]
        sections.append("")
        if len(plan.tables) > 1:
            epochs = some(stage.epochs, "epoch")
            sections.append(f"stage {number + 1} of {len(plan.tables)} · {epochs} · {policy_text(stage)}")
        sections += _blocks(rows)
    stages = some(len(recipe.stages), "stage")
    free = files.free_space(plan.folder)
    head = spec.head
    assert head is not None, "a plan's model has a head"
    return [
        *sections,
        "",
        f"recipe {recipe.name} · {stages} · {some(recipe.epochs, 'epoch')} × {some(plan.steps, 'step')}"
        f" of {_step(recipe)} · {', '.join(_knobs(recipe))} · augment {recipe.augment} · {plan.device}",
        f"→ {plan.folder} (each checkpoint {megabytes(plan.checkpoint_bytes)}, kept: {recipe.keep},"
        f" {megabytes(free)} free)",
        *([units] if (units := units_of(head)) else []),
        "",
    ]


def _step(recipe: Recipe) -> str:
    """How many pictures a step has."""
    size, times = recipe.batch_size, recipe.accumulate
    return str(size) if times == 1 else f"{times} × {size} = {size * times:,}"


def _knobs(recipe: Recipe) -> list[str]:
    """How the weights are moved, as far as it is out of the ordinary."""
    first = recipe.stages[0]
    knobs = {
        "clip-grad": recipe.clip_grad,
        "EMA": recipe.ema,
        "mixup": recipe.mixup,
        "cutmix": recipe.cutmix,
        "erasing": recipe.erasing,
        "patience": first.patience,
    }
    return [recipe.opt, first.sched, *(f"{name} {value:g}" for name, value in knobs.items() if value)]


WORDS: Mapping[str, str] = {
    "f1": "F1",
    "top5": "top-5 accuracy",
    "auc": "AUC",
    "map": "mAP",
    "micro_f1": "micro F1",
    "exact": "exact match",
    "average_precision": "AP",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
}
"""Figures as people write them; the others are called what they are."""
OF_TARGETS = frozenset({"mae", "rmse", "r2"})
"""Figures of each target of a regression."""
IN_UNITS = frozenset({"mae", "rmse"})
"""Figures in the unit of their target; the others are shares."""


def figure(name: str, value: float | int | str | None) -> str:
    """A figure as it is shown.

    >>> figure("accuracy", 0.95), figure("mae", 1234.5678), figure("pictures", 1200), figure("auc", None)
    ('0.950', '1235', '1,200', '–')
    """
    if isinstance(value, float):
        return f"{value:.4g}" if name in IN_UNITS else f"{value:.3f}"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else value


def units_of(head: HeadSpec) -> str | None:
    """In which units the losses and figures of a regression are; None for tasks whose figures have none.

    >>> units_of(HeadSpec("linear", "replace", "fc", ("age",), None, task="regression", mean=(40.0,), std=(9.5,)))
    'losses: mean square of (age − 40) / 9.5, without unit · MAE and RMSE: in the unit of age'
    """
    if head.task != "regression":
        return None
    each = zip(
        head.classes, head.mean or (0.0,) * len(head.classes), head.std or (1.0,) * len(head.classes), strict=True
    )
    learned = listed([f"({name} − {mean:.4g}) / {std:.4g}" for name, mean, std in each], 3)
    among = "in the unit of " + head.classes[0] if len(head.classes) == 1 else "the mean of all targets in their units"
    return f"losses: mean square of {learned}, without unit · MAE and RMSE: {among}"


def best_words(metrics: Mapping[str, float], epoch: int) -> str:
    """Which epoch was the best, and by what figure.

    >>> best_words({"loss": 0.1, "accuracy": 0.95}, 3), best_words({"map": 0.9, "f1": 0.8}, 4)
    ('best 0.950 at epoch 3', 'best mAP 0.900 at epoch 4')
    """
    name = next((each for each in ("accuracy", "map", "r2", "micro_f1") if each in metrics), "accuracy")
    word = "" if name == "accuracy" else f"{WORDS[name]} "
    return f"best {word}{figure(name, metrics.get(name, float('nan')))} at epoch {epoch}"


def class_grid(classes: Sequence[object], first: str) -> Grid:
    """The figures of each class, label or target, one a row; `first` is the name of the first column."""
    rows = [vars(each) for each in classes]
    names = [name for name in (rows[0] if rows else {}) if name != "name"]
    return Grid(
        (first, *(WORDS.get(name, name) for name in names)),
        tuple((row["name"], *(figure(name, row[name]) for name in names)) for row in rows),
        right=("pictures",),
    )


def class_sections(figures: AnyMetrics, most: int | None = None) -> list[Section]:
    """The figures of each class at the last epoch; `most` cuts a long table short."""
    shown = figures.classes[:most]
    word = "target" if "r2" in figures.named() else "class"
    sections: list[Section] = ["", class_grid(shown, f"{word} (last epoch)")]
    if len(figures.classes) > len(shown):
        sections.append(f"… {len(figures.classes) - len(shown)} more classes in summary.txt")
    others = {name: value for name, value in figures.named().items() if name not in IN_EPOCHS}
    if others:
        sections.append(figures_line(others, len(figures.classes)))
    return sections


def figures_line(figures: Mapping[str, float], outputs: int) -> str:
    """The figures of the whole in a line; of several targets they are means, which say so.

    >>> figures_line({"loss": 0.25, "mae": 5.0}, 1), figures_line({"loss": 0.25, "mae": 5.0}, 2)
    ('loss 0.250 · MAE 5', 'loss 0.250 · mean MAE 5')
    """
    several = outputs > 1
    return " · ".join(
        f"{'mean ' if several and name in OF_TARGETS else ''}{WORDS.get(name, name)} {figure(name, value)}"
        for name, value in figures.items()
    )


IN_EPOCHS = frozenset({"loss", "accuracy", "f1", "map", "mae", "r2"})
"""The figures that every epoch's line has."""


def estimate_sections(estimate: Estimate) -> list[Section]:
    """What a dry run found."""
    peak = f" · peak memory {megabytes(estimate.peak)}" if estimate.peak else ""
    return [
        f"one batch ran: loss {estimate.loss:.3f} · {estimate.step_seconds:.2f} s a step{peak}",
        f"a run takes {some(estimate.steps, 'step')}, about {duration(estimate.seconds)}",
        f"its checkpoints take {megabytes(estimate.disk_bytes)} of {megabytes(estimate.free_bytes)} free;"
        " nothing was written",
    ]


def plain(sections: Sequence[Section]) -> str:
    """The sections as text whose columns are aligned by blanks."""
    lines: list[str] = []
    for section in sections:
        if isinstance(section, str):
            lines.append(section)
            continue
        rows = [section.columns, *section.rows]
        widths = [max(len(row[column]) for row in rows) for column in range(len(section.columns))]
        for row in rows:
            cells = [
                cell.rjust(width) if name in section.right else cell.ljust(width)
                for cell, width, name in zip(row, widths, section.columns, strict=True)
            ]
            lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def _blocks(rows: Sequence[Row]) -> list[Section]:
    trained = sum(row.trained for row in rows)
    total = sum(row.parameters for row in rows)
    grid = Grid(
        ("block", "parameters", "state", "norm", "lr", ""),
        tuple(
            (
                row.block,
                count(row.parameters),
                row.state,
                row.norm,
                f"{row.lr:.3g}" if row.lr is not None else "–",
                row.note,
            )
            for row in rows
        ),
        right=("parameters",),
    )
    return [grid, f"trained {count(trained)} of {count(total)} ({100 * trained / total:.3g} %)"]


def _known(data: Dataset) -> str:
    """What is known of the pictures, in a few words."""
    counted = _counted(data.counts())
    if data.task == "regression":
        spans = [
            f"{name} {min(numbers):.4g} … {max(numbers):.4g}"
            for name, numbers in zip(data.classes, data.values(), strict=True)
        ]
        return f"{len(spans)} target{'s' if len(spans) > 1 else ''} ({listed(spans)})"
    if data.task == "multi-label":
        none = sum(not picture.label for picture in (*data.train, *data.val))
        return f"{len(data.classes)} labels ({counted}{f'; {none:,} pictures with none' if none else ''})"
    positive = f"; {data.classes[1]} is the positive one" if data.task == "binary" else ""
    return f"{len(data.classes)} classes ({counted}{positive})"


def _counted(counts: Mapping[str, int], most: int = 6) -> str:
    parts = [f"{name} {number:,}" for name, number in counts.items()]
    return ", ".join(parts[:most]) + (f", … {len(parts) - most} more" if len(parts) > most else "")
