"""What a person reads of a run, as lines and grids: a terminal draws them, `summary.txt` holds them as text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zoo import files
from zoo.finetuning.plan import Plan
from zoo.finetuning.rehearsing import Estimate
from zoo.finetuning.table import Row
from zoo.training.metrics import Metrics
from zoo.units import count, duration, megabytes


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
    sections: list[Section] = [f"{spec.full_name} · {weights} · {count(total)} parameters · input {height} × {width}"]
    if spec.report:
        sections.append(f"  {spec.report}")
    if spec.weights is None:
        sections.append("  warning: the weights are random, so there is nothing to transfer")
    sections.append(f"{data.root} · {len(data.classes)} classes ({_counted(data.counts())}) · {data.how} → data.json")
    sections += [f"  note: {note}" for note in data.notes]
    for number, rows in enumerate(plan.tables):
        stage = recipe.stages[number]
        sections.append("")
        if len(plan.tables) > 1:
            sections.append(f"stage {number + 1} of {len(plan.tables)} · {stage.epochs} epochs · freeze {stage.freeze}")
        sections += _blocks(rows)
    stages = f"{len(recipe.stages)} stage{'s' if len(recipe.stages) > 1 else ''}"
    free = files.free_space(plan.folder)
    return [
        *sections,
        "",
        f"recipe {recipe.name} · {stages} · {recipe.epochs} epochs × {plan.steps} steps of {recipe.batch_size}"
        f" · {recipe.opt}, {recipe.stages[0].sched} · augment {recipe.augment} · {plan.device}",
        f"→ {plan.folder} (each checkpoint {megabytes(plan.checkpoint_bytes)}, kept: {recipe.keep},"
        f" {megabytes(free)} free)",
        "",
    ]


def class_sections(figures: Metrics, most: int | None = None) -> list[Section]:
    """The figures of each class at the last epoch; `most` cuts a long table short."""
    shown = figures.classes[:most]
    grid = Grid(
        ("class (last epoch)", "pictures", "precision", "recall", "F1"),
        tuple(
            (each.name, f"{each.pictures:,}", f"{each.precision:.3f}", f"{each.recall:.3f}", f"{each.f1:.3f}")
            for each in shown
        ),
        right=("pictures",),
    )
    sections: list[Section] = ["", grid]
    if len(figures.classes) > len(shown):
        sections.append(f"… {len(figures.classes) - len(shown)} more classes in summary.txt")
    if figures.top5 is not None:
        sections.append(f"top-5 accuracy {figures.top5:.3f}")
    return sections


def estimate_sections(estimate: Estimate) -> list[Section]:
    """What a dry run found."""
    peak = f" · peak memory {megabytes(estimate.peak)}" if estimate.peak else ""
    return [
        f"one batch ran: loss {estimate.loss:.3f} · {estimate.step_seconds:.2f} s a step{peak}",
        f"a run takes {estimate.steps:,} steps, about {duration(estimate.seconds)}",
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
    trained = sum(row.parameters for row in rows if row.trained)
    total = sum(row.parameters for row in rows)
    grid = Grid(
        ("block", "parameters", "state", "norm", "lr", ""),
        tuple(
            (
                row.block,
                count(row.parameters),
                "trained" if row.trained else "frozen",
                row.norm,
                f"{row.lr:g}" if row.lr is not None else "–",
                row.note,
            )
            for row in rows
        ),
        right=("parameters",),
    )
    return [grid, f"trained {count(trained)} of {count(total)} ({100 * trained / total:.3g} %)"]


def _counted(counts: Mapping[str, int], most: int = 6) -> str:
    parts = [f"{name} {number:,}" for name, number in counts.items()]
    return ", ".join(parts[:most]) + (f", … {len(parts) - most} more" if len(parts) > most else "")
