"""What a person sees of a run: the plan, a bar or lines while it goes, the figures at its end."""

import contextlib
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from zoo.cli.output import console, table
from zoo.finetuning.plan import Plan, Run
from zoo.finetuning.reporting import Advance, Reporter
from zoo.finetuning.screens import WORDS, Section, best_words, class_sections, figure, plan_sections
from zoo.names import printable
from zoo.units import duration, megabytes


class Printer(Reporter):
    """Prints a run; with `aside` on standard error, so that standard output holds one JSON object alone."""

    def __init__(self, *, quiet: bool = False, aside: bool = False) -> None:
        self.quiet = quiet
        self.console: Console = console(stderr=aside, lasting=True)

    def line(self, text: str = "", style: str | None = None) -> None:
        """Print a line, unless the run is to be quiet."""
        if not self.quiet:
            self.console.print(escape("\n".join(map(printable, text.split("\n")))), style=style)

    def show(self, sections: Sequence[Section]) -> None:
        """Print lines, and draw grids as tables that fit the terminal."""
        for section in sections:
            if isinstance(section, str):
                self.line(section)
            elif not self.quiet:
                drawn = table(*section.columns, right=section.right)
                for row in section.rows:
                    drawn.add_row(*(escape(printable(cell)) for cell in row))
                self.console.print(drawn)

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
        self.show(plan_sections(plan))

    def epoch(self, row: Mapping[str, Any], best: bool) -> None:
        """An epoch ended with these figures."""
        first, second = [key for key in row if key.startswith("val_") and key != "val_loss"][:2]
        one, other = (key.removeprefix("val_") for key in (first, second))
        if row["epoch"] == 1 or self._first:
            words = f"{WORDS.get(one, one):<9} {WORDS.get(other, other):<6}"
            self.line(f" epoch    loss   val loss  {words} time", style="dim")
            self._first = False
        share = f"{row['epoch']}/{row['epochs']}"
        figures = f"{figure(one, row[first]):<9} {figure(other, row[second]):<6}"
        self.line(
            f" {share:>7}  {row['train_loss']:<6.3f} {row['val_loss']:<9.3f} {figures}"
            f" {duration(row['seconds']):<8}{'  ← best so far' if best else ''}".rstrip()
        )

    _first = True

    def finished(self, run: Run) -> None:
        """The run is done."""
        if self.quiet:
            return
        if run.figures is not None:
            self.show(class_sections(run.figures, most=20))
        peak = f" · peak {megabytes(run.peak)}" if run.peak else ""
        self.line()
        self.line(f" {best_words(run.metrics, run.best_epoch)} · {duration(run.seconds)}{peak} → {run.best}")
        folder = shlex.quote(str(run.folder))
        self.line(f" next: zoo predict {folder} PICTURE…")
        self.line(f"       zoo evaluate {folder} --data DATA")
