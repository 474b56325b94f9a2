"""What a person sees of a run: the plan, a bar or lines while it goes, the figures at its end."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from zoo import files
from zoo.cli.output import console, count, duration, megabytes, table
from zoo.finetuning import Estimate, Run
from zoo.finetuning.preparing import Plan
from zoo.finetuning.reporting import Advance, Reporter
from zoo.finetuning.table import Row


class Printer(Reporter):
    """Prints a run; with `aside` on standard error, so that standard output holds one JSON object alone."""

    def __init__(self, *, quiet: bool = False, aside: bool = False) -> None:
        self.quiet = quiet
        self.console: Console = console(stderr=aside)

    def line(self, text: str = "", style: str | None = None) -> None:
        """Print a line, unless the run is to be quiet."""
        if not self.quiet:
            self.console.print(escape(text), style=style)

    def note(self, text: str) -> None:
        """Something a person should know."""
        self.line(f"note: {text}")

    @contextlib.contextmanager
    def progress(self, what: str, total: int) -> Iterator[Advance]:
        """A bar with rate and time left on a terminal; elsewhere nothing, the epochs' lines tell."""
        if self.quiet or not self.console.is_terminal:
            yield lambda _: None
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[word]}"),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(escape(what), total=total, rate="", word="")
            began = time.monotonic()

            def advance(word: str) -> None:
                done = bar.tasks[0].completed + 1
                rate = done / max(1e-9, time.monotonic() - began)
                bar.update(task, advance=1, rate=f"{rate:.1f}/s", word=word)

            yield advance

    def planned(self, plan: Plan) -> None:
        """All is known and training begins."""
        if not self.quiet:
            print_plan(self.console, plan)

    def epoch(self, row: Mapping[str, Any], best: bool) -> None:
        """An epoch ended with these figures."""
        if row["epoch"] == 1 or self._first:
            self.line(" epoch    loss   val loss  accuracy  F1     time", style="dim")
            self._first = False
        share = f"{row['epoch']}/{row['epochs']}"
        self.line(
            f" {share:>7}  {row['train_loss']:<6.3f} {row['val_loss']:<9.3f} {row['val_accuracy']:<9.3f}"
            f" {row['val_f1']:<6.3f} {duration(row['seconds']):<8}{'  ← best so far' if best else ''}".rstrip()
        )

    _first = True

    def finished(self, run: Run) -> None:
        """The run is done."""
        if self.quiet:
            return
        if run.figures is not None:
            self._print_classes(run)
        peak = f" · peak {megabytes(run.peak)}" if run.peak else ""
        accuracy = run.metrics.get("accuracy", float("nan"))
        self.line()
        self.line(f" best {accuracy:.3f} at epoch {run.best_epoch} · {duration(run.seconds)}{peak} → {run.best}")
        self.line(f" next: zoo predict {run.folder} PICTURE…")
        self.line(f"       zoo evaluate {run.folder} --data FOLDER")

    def _print_classes(self, run: Run) -> None:
        assert run.figures is not None
        self.line()
        rows = table("class (last epoch)", "pictures", "precision", "recall", "F1", right=("pictures",))
        shown = run.figures.classes[:20]
        for each in shown:
            rows.add_row(
                escape(each.name),
                f"{each.pictures:,}",
                f"{each.precision:.3f}",
                f"{each.recall:.3f}",
                f"{each.f1:.3f}",
            )
        self.console.print(rows)
        if len(run.figures.classes) > len(shown):
            self.line(f" … {len(run.figures.classes) - len(shown)} more classes in summary.txt")
        if run.figures.top5 is not None:
            self.line(f" top-5 accuracy {run.figures.top5:.3f}")


def print_plan(to: Console, plan: Plan) -> None:
    """The first screen: model, data, what is trained, how, and where it goes."""
    spec, recipe, data = plan.spec, plan.recipe, plan.dataset

    def line(text: str = "") -> None:
        to.print(escape(text))

    total = sum(parameter.numel() for parameter in plan.model.parameters())
    height, width = spec.preprocessing.size
    line(
        f"{spec.full_name} · {spec.weights or 'random weights'} · {count(total)} parameters · input {height} × {width}"
    )
    if spec.report:
        line(f"  {spec.report}")
    if spec.weights is None:
        line("  warning: the weights are random, so there is nothing to transfer; a frozen backbone stays random")
    line(f"{data.root} · {len(data.classes)} classes ({_counted(data.counts())}) · {data.how} → data.json")
    for note in data.notes:
        line(f"  note: {note}")
    for number, rows in enumerate(plan.tables):
        stage = recipe.stages[number]
        line()
        if len(plan.tables) > 1:
            line(f"stage {number + 1} of {len(plan.tables)} · {stage.epochs} epochs · freeze {stage.freeze}")
        _print_blocks(to, rows)
    stages = f"{len(recipe.stages)} stage{'s' if len(recipe.stages) > 1 else ''}"
    line()
    line(
        f"recipe {recipe.name} · {stages} · {recipe.epochs} epochs × {plan.steps} steps of {recipe.batch_size}"
        f" · {recipe.opt}, {recipe.stages[0].sched} · augment {recipe.augment} · {plan.device}"
    )
    kept = recipe.keep
    free = files.free_space(plan.folder)
    line(f"→ {plan.folder} (each checkpoint {megabytes(plan.checkpoint_bytes)}, kept: {kept}, {megabytes(free)} free)")
    line()


def _print_blocks(to: Console, rows: list[Row]) -> None:
    shown = table("block", "parameters", "state", "norm", "lr", "", right=("parameters",))
    for row in rows:
        state = "trained" if row.trained else "frozen"
        rate = f"{row.lr:g}" if row.lr is not None else "–"
        shown.add_row(escape(row.block), count(row.parameters), state, row.norm, rate, escape(row.note))
    to.print(shown)
    trained = sum(row.parameters for row in rows if row.trained)
    total = sum(row.parameters for row in rows)
    to.print(f"trained {count(trained)} of {count(total)} ({100 * trained / total:.3g} %)")


def _counted(counts: Mapping[str, int], most: int = 6) -> str:
    parts = [f"{name} {number:,}" for name, number in counts.items()]
    return ", ".join(parts[:most]) + (f", … {len(parts) - most} more" if len(parts) > most else "")


def print_estimate(to: Console, estimate: Estimate) -> None:
    """What a dry run found."""
    peak = f" · peak memory {megabytes(estimate.peak)}" if estimate.peak else ""
    to.print(f"one batch ran: loss {estimate.loss:.3f} · {estimate.step_seconds:.2f} s a step{peak}")
    to.print(f"a run takes {estimate.steps:,} steps, about {duration(estimate.seconds)}")
    to.print(
        f"its checkpoints take {megabytes(estimate.disk_bytes)} of {megabytes(estimate.free_bytes)} free;"
        " nothing was written"
    )
