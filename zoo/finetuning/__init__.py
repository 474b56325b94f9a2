"""Fine-tuning from the first look at the data to the last checkpoint.

`preparing` looks at everything that can go wrong before anything is written, `running` trains and saves,
`rehearsing` tries one batch and tells what a run would take, `reporting` is who listens.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo import files, freezing
from zoo import recipe as recipes
from zoo.checkpoint import reading
from zoo.data.folders import from_json
from zoo.errors import CheckpointError, DataError, OutOfMemoryError, UsageError
from zoo.finetuning.plan import Plan
from zoo.finetuning.plan import Run as Run
from zoo.finetuning.preparing import checkpoint_size, prepare, set_dropout, tables_of
from zoo.finetuning.rehearsing import Estimate as Estimate
from zoo.finetuning.rehearsing import rehearse as rehearse
from zoo.finetuning.reporting import Reporter
from zoo.finetuning.running import Position, Runner, last_and_best, open_folder, replaced
from zoo.finetuning.screens import class_sections, plain, plan_sections
from zoo.recipe import Recipe
from zoo.sources.checkpoints import load_checkpoint
from zoo.tracking import logs
from zoo.training.devices import default_workers, machine, peak_memory, pick
from zoo.training.loop import random_state_kept
from zoo.training.metrics import Metrics
from zoo.units import duration

DEFAULT_OUT = Path("checkpoints")


def finetune(
    model: str | nn.Module | None = None,
    data: str | Path | None = None,
    *,
    recipe: str | Path | Recipe | None = None,
    weights: str | Path | None = "default",
    classes: Sequence[str] | int | None = None,
    head: str | None = None,
    mode: str | None = None,
    freeze: str | None = None,
    unfreeze: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    wd: float | None = None,
    opt: str | None = None,
    sched: str | None = None,
    warmup_epochs: float | None = None,
    augment: str | None = None,
    img_size: int | None = None,
    seed: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    amp: str | None = None,
    save: str | None = None,
    keep: str | None = None,
    settings: Mapping[str, Any] | None = None,
    out: str | Path = DEFAULT_OUT,
    name: str | None = None,
    overwrite: bool = False,
    offline: bool = False,
    allow_partial: bool | None = None,
    reporter: Reporter | None = None,
) -> Run:
    """Fine-tune a model on a folder of pictures and keep its checkpoints.

    `model` is a name or a model of `zoo.load`, `data` a folder with one folder a class. `recipe` is a
    preset, a file, or left to the policy: `linear-probe` for a frozen backbone, else `fine-tune`. The other
    arguments override it, `settings` by its own keys. Nothing is printed; a `reporter` hears what happens. A
    model that is given is trained in place: it moves to the device, and what the recipe freezes stays frozen.

        run = zoo.finetune("resnet18", "./imgs", freeze="backbone")
        model = zoo.load_checkpoint(run.best)

    Raises UsageError, DataError, CheckpointError or StorageError before anything is written, NumericsError
    when the loss is no number, Stopped after Ctrl-C.
    """
    given = {
        "model": model if isinstance(model, str) else None,
        "data": str(data) if data is not None else None,
        # "default" leaves the word to the recipe; None means random weights, as it does for zoo.load.
        "weights": None if weights == "default" else "none" if weights is None else str(weights),
        "classes": [str(classes)] if isinstance(classes, int) else list(classes) if classes else None,
        "head": head,
        "mode": mode,
        "freeze": freeze,
        "unfreeze": unfreeze,
        "epochs": epochs,
        "batch-size": batch_size,
        "lr": lr,
        "wd": wd,
        "opt": opt,
        "sched": sched,
        "warmup-epochs": warmup_epochs,
        "augment": augment,
        "img-size": img_size,
        "seed": seed,
        "workers": workers,
        "device": device,
        "amp": amp,
        "save": save,
        "keep": keep,
        "allow-partial": allow_partial,
        **(settings or {}),
    }
    plan = plan_for(
        recipe,
        given,
        model=model if isinstance(model, nn.Module) else None,
        out=Path(out),
        name=name,
        overwrite=overwrite,
        offline=offline,
        reporter=reporter or Reporter(),
    )
    return carry_out(plan, overwrite=overwrite, reporter=reporter or Reporter())


def plan_for(
    recipe: str | Path | Recipe | None,
    given: Mapping[str, Any],
    *,
    model: nn.Module | None = None,
    out: Path = DEFAULT_OUT,
    name: str | None = None,
    overwrite: bool = False,
    offline: bool = False,
    reporter: Reporter,
) -> Plan:
    """What a run would do, with everything looked at and nothing written; `given` maps a recipe's keys."""
    with random_state_kept():
        return prepare(
            recipes.resolve(recipe, given),
            model=model,
            out=out,
            name=name,
            overwrite=overwrite,
            offline=offline,
            reporter=reporter,
        )


def carry_out(plan: Plan, *, overwrite: bool = False, reporter: Reporter) -> Run:
    """Train as planned."""
    command = f"zoo finetune --recipe {plan.folder / 'run.toml'}"
    reporter.planned(plan)
    with replaced(plan.folder) if overwrite else contextlib.nullcontext():
        open_folder(plan, command)
        logs.log(plan.folder, "start", model=plan.spec.full_name, device=str(plan.device), steps=plan.steps)
        return _run(plan, Runner(plan, reporter), reporter)


def resume(run: str | Path, model: nn.Module | None = None, *, reporter: Reporter | None = None) -> Run:
    """Go on with a run where its newest good checkpoint stands, as if it had never stopped.

        run = zoo.resume("checkpoints/vgg16-imgs")

    A damaged checkpoint is passed over, which the reporter hears. A run that is finished is returned as it is.
    `model` is needed only where a checkpoint cannot build the model, because its head was a module of your own.

    Raises CheckpointError when there is no run or no good checkpoint, DataError when pictures are gone.
    """
    reporter = reporter or Reporter()
    folder = Path(run).expanduser()
    if not (folder / "run.toml").is_file():
        hint = f"the run is {folder.parent}" if (folder.parent / "run.toml").is_file() else "give a run's folder"
        what = "is no run: it has no run.toml" if folder.exists() else "does not exist"
        raise CheckpointError(f"{folder} {what}.", hint)
    files.sweep(folder)
    recipe = recipes.find(str(folder / "run.toml"))
    newest = _newest_good(folder, reporter)
    state = reading.read_training(newest)
    try:
        position = Position(**state["progress"])
    except TypeError as error:
        raise CheckpointError(f"{newest} does not say where its run stood: {error}.") from error
    if position.epoch >= recipe.epochs:
        finished = _finished(folder, position, None)
        reporter.note(f"the run is finished: {position.epoch} of {recipe.epochs} epochs are done")
        reporter.finished(finished)
        return finished
    with random_state_kept():
        plan = _plan_again(folder, recipe, newest, model)
    reporter.note(f"going on from {newest.name}")
    _tell_differences(state, plan, reporter)
    reporter.planned(plan)
    return _run(plan, Runner(plan, reporter, position, state), reporter)


def _newest_good(folder: Path, reporter: Reporter) -> Path:
    """The newest checkpoint whose files are what its manifest says; what is passed over is told."""
    for found in reversed(reading.checkpoints_of(folder)):
        try:
            reading.verify(found.folder)
        except CheckpointError as error:
            reporter.note(f"{error.message} It is passed over.")
            continue
        return found.folder
    raise CheckpointError(
        f"the run {folder} has no complete checkpoint to go on from.",
        f"start it again: zoo finetune --recipe {folder / 'run.toml'} --name NAME",
    )


def _tell_differences(state: Mapping[str, Any], plan: Plan, reporter: Reporter) -> None:
    """Put the thread count back, and say what else makes the numbers differ from those of an unbroken run."""
    saved = state["machine"]
    if isinstance(saved.get("threads"), int) and saved["threads"] > 0:
        torch.set_num_threads(saved["threads"])
    now = machine(plan.device)
    changed = [f"{key} was {saved.get(key)}, is {value}" for key, value in now.items() if saved.get(key) != value]
    if changed:
        reporter.note(f"not bit-exact: {'; '.join(changed)}")


def _plan_again(folder: Path, recipe: Recipe, checkpoint: Path, model: nn.Module | None) -> Plan:
    """The plan of a run that exists: its own data and the model of its checkpoint."""
    listed = reading.read_json(folder / "data.json")
    dataset = from_json(listed, str(folder / "data.json"))
    model = load_checkpoint(checkpoint, model)
    if recipe.dropout is not None:
        set_dropout(model, recipe.dropout)
    device = pick(recipe.device, recipe.amp)
    order = freezing.observe(model)
    workers = recipe.workers if recipe.workers is not None else default_workers(device)
    size = checkpoint_size(model, recipe, order)
    tables = tables_of(model, recipe, order)
    return Plan(recipe, model, dataset, device, order, folder, tables, size, workers)


def _run(plan: Plan, runner: Runner, reporter: Reporter) -> Run:
    with random_state_kept(), _explained(plan):
        figures = runner.run()
    finished = _finished(plan.folder, runner.at, figures, peak_memory(plan.device))
    results = [] if figures is None else class_sections(figures)
    outcome = f"best {finished.metrics['accuracy']:.3f} at epoch {finished.best_epoch} · {duration(finished.seconds)}"
    files.write_text(plan.folder / "summary.txt", plain([*plan_sections(plan), *results, "", outcome]))
    logs.log(plan.folder, "end", **finished.to_values())
    reporter.finished(finished)
    return finished


@contextlib.contextmanager
def _explained(plan: Plan) -> Iterator[None]:
    """What goes wrong in the middle of training, in words that a user can act on."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"{plan.device} has too little memory for steps of {plan.recipe.batch_size} pictures.",
            "try a smaller --batch-size or --img-size, or freeze more",
        ) from error
    except OSError as error:
        raise DataError(f"a picture cannot be read any more: {str(error).splitlines()[-1]}.") from error
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UsageError(
            "a batch norm cannot learn from a single number a channel.",
            "take a larger --batch-size or --img-size, or freeze the backbone",
        ) from error


def _finished(folder: Path, position: Position, figures: Metrics | None, peak: int | None = None) -> Run:
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
