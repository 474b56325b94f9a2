"""The end of a run: its figures, and what is written and told of them."""

from collections.abc import Sequence
from pathlib import Path

from zoo import files
from zoo.checkpoint import reading
from zoo.finetuning.explaining import explained
from zoo.finetuning.folder import last_and_best
from zoo.finetuning.plan import Plan, Run
from zoo.finetuning.position import Position
from zoo.finetuning.reporting import Reporter
from zoo.finetuning.running import Runner
from zoo.finetuning.screens import Section, best_words, class_sections, plain, plan_sections
from zoo.tracking import logs
from zoo.training.devices import peak_memory
from zoo.training.loop import random_state_kept
from zoo.training.tasks import AnyMetrics
from zoo.units import duration, some

SUMMARY = "summary.txt"


def run_to_its_end(plan: Plan, runner: Runner, reporter: Reporter) -> Run:
    """Let a runner train, write what it came to, and tell it."""
    # A finished run that got more epochs is not finished any more, whatever becomes of this process.
    (plan.folder / SUMMARY).unlink(missing_ok=True)
    with random_state_kept(), explained(plan):
        figures = runner.run()
    finished = finished_run(plan.folder, runner.at, figures, peak_memory(plan.device))
    results = [] if figures is None else class_sections(figures)
    early = _early(runner.at, plan)
    summarize(finished, [*plan_sections(plan), *results, *early, ""])
    logs.log(plan.folder, "end", **finished.to_values())
    reporter.finished(finished)
    return finished


def _early(at: Position, plan: Plan) -> list[Section]:
    """What is said of a run whose patience came to an end before its epochs."""
    last = plan.recipe.stages[-1]
    if at.stage_epoch >= last.epochs or not at.is_out_of_patience(last):
        return []
    return [f"ended early: no better score for {some(at.waited, 'epoch')}"]


def summarize(run: Run, sections: Sequence[Section] = ()) -> None:
    """Write what a run came to below what is to be read of it first."""
    outcome = f"{best_words(run.metrics, run.best_epoch)} · {duration(run.seconds)}"
    files.write_text(run.folder / SUMMARY, plain([*sections, outcome]))


def finished_run(folder: Path, position: Position, figures: AnyMetrics | None, peak: int | None = None) -> Run:
    """A run that has nothing left to do, as values."""
    last, best = last_and_best(folder)
    facts = reading.read_facts(best)
    return Run(
        folder=folder,
        best=best,
        last=last,
        epochs=position.epoch,
        metrics=facts["metrics"],
        seconds=position.seconds,
        best_epoch=int(facts["epoch"]),
        figures=figures,
        peak=peak,
    )
