"""Fine-tuning from the first look at the data to the last checkpoint.

`preparing` looks at everything that can go wrong before anything is written, `running` trains, `journal` and
`saving` write, `resuming` goes on with what was begun, `rehearsing` tries one batch and tells what a run would
take, `reporting` is who listens.
"""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from zoo import recipe as recipes
from zoo.data.datasets import Dataset
from zoo.errors import UsageError
from zoo.finetuning.finding import find_run, like
from zoo.finetuning.finishing import run_to_its_end
from zoo.finetuning.folder import cleared, opened, replaced
from zoo.finetuning.journal import Journal
from zoo.finetuning.plan import Plan
from zoo.finetuning.plan import Run as Run
from zoo.finetuning.preparing import prepare
from zoo.finetuning.rehearsing import Estimate as Estimate
from zoo.finetuning.rehearsing import rehearse as rehearse
from zoo.finetuning.reporting import Reporter
from zoo.finetuning.resuming import go_on
from zoo.finetuning.resuming import resume as resume
from zoo.finetuning.running import Runner
from zoo.foreseeing import check_name
from zoo.names import require_order
from zoo.recipe import Recipe
from zoo.tracking import logs
from zoo.training.loop import random_state_kept

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
    task: str | None = None,
    image_column: str | None = None,
    label_column: Sequence[str] | None = None,
    freeze: str | None = None,
    unfreeze: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    accumulate: int | None = None,
    lr: float | None = None,
    wd: float | None = None,
    opt: str | None = None,
    sched: str | None = None,
    warmup_epochs: float | None = None,
    patience: int | None = None,
    clip_grad: float | None = None,
    ema: float | None = None,
    augment: str | None = None,
    mixup: float | None = None,
    cutmix: float | None = None,
    img_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    seed: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    amp: str | None = None,
    deterministic: bool | None = None,
    save: str | None = None,
    keep: str | None = None,
    save_every: str | None = None,
    settings: Mapping[str, Any] | None = None,
    out: str | Path = DEFAULT_OUT,
    name: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    allow: Sequence[str] = (),
    offline: bool = False,
    allow_partial: bool | None = None,
    reporter: Reporter | None = None,
) -> Run:
    """Fine-tune a model on a folder or a table of pictures and keep its checkpoints.

    `model` is a name or a model of `zoo.load`, `data` a folder with one folder a class, or a table with a column of
    paths and one of labels, named by `image_column` and `label_column`; `task` says what is learned. `recipe` is a
    preset, a file, or left to the policy: `linear-probe` for a frozen backbone, else `fine-tune`. The other
    arguments override it, `settings` by its own keys. Nothing is printed; a `reporter` hears what happens. A
    model that is given is trained in place: it moves to the device, and what the recipe freezes stays frozen.
    With `resume` a run that the same settings began before goes on; `allow` names the keys that may differ.

        run = zoo.finetune("resnet18", "./imgs", freeze="backbone")
        model = zoo.load_checkpoint(run.best)

    Raises UsageError, DataError, CheckpointError or StorageError before anything is written, NumericsError
    when the loss, a gradient or a weight is no number, Stopped after Ctrl-C and signals like it.
    """
    given = {
        "model": model if isinstance(model, str) else None,
        "data": str(data) if data is not None else None,
        # "default" leaves the word to the recipe; None means random weights, as it does for zoo.load.
        "weights": None if weights == "default" else "none" if weights is None else str(weights),
        "classes": [str(classes)] if isinstance(classes, int) else _words("classes", classes),
        "head": head,
        "mode": mode,
        "task": task,
        "image-column": image_column,
        "label-column": _words("label_column", label_column),
        "freeze": freeze,
        "unfreeze": unfreeze,
        "epochs": epochs,
        "batch-size": batch_size,
        "accumulate": accumulate,
        "lr": lr,
        "wd": wd,
        "opt": opt,
        "sched": sched,
        "warmup-epochs": warmup_epochs,
        "patience": patience,
        "clip-grad": clip_grad,
        "ema": ema,
        "augment": augment,
        "mixup": mixup,
        "cutmix": cutmix,
        "img-size": img_size,
        "channels": channels,
        "seed": seed,
        "workers": workers,
        "device": device,
        "amp": amp,
        "deterministic": deterministic,
        "save": save,
        "keep": keep,
        "save-every": save_every,
        "allow-partial": allow_partial,
        **(settings or {}),
    }
    if resume:
        module = model if isinstance(model, nn.Module) else None
        if overwrite or (module is not None and name is None):
            what = "overwrite=True contradicts resume=True" if overwrite else "a model that is given has no run's name"
            raise UsageError(f"{what}.", "name the run to go on with: name=…, or zoo.resume(RUN)")
        run = resume_if_begun(
            recipe,
            given,
            out=Path(out),
            name=name,
            allow=allow,
            model=module,
            offline=offline,
            reporter=reporter or Reporter(),
        )
        if run is not None:
            return run
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
    dataset: Dataset | None = None,
    reporter: Reporter,
) -> Plan:
    """What a run would do, with everything looked at and nothing written; `given` maps a recipe's keys.

    `dataset` is what `zoo.foreseeing` found for these, if it was asked.
    """
    with random_state_kept():
        return prepare(
            recipes.resolve(recipe, given),
            model=model,
            out=out,
            name=name,
            overwrite=overwrite,
            offline=offline,
            reporter=reporter,
            dataset=dataset,
        )


def carry_out(plan: Plan, *, overwrite: bool = False, reporter: Reporter) -> Run:
    """Train as planned."""
    with replaced(plan.folder) if overwrite else contextlib.nullcontext(), opened(plan, reporter):
        reporter.planned(plan)
        logs.log(plan.folder, "start", model=plan.spec.full_name, device=str(plan.device), steps=plan.steps)
        return run_to_its_end(plan, Runner(plan, reporter, Journal(plan, reporter)), reporter)


def resume_if_begun(
    recipe: str | Path | Recipe | None,
    given: Mapping[str, Any],
    *,
    out: Path = DEFAULT_OUT,
    name: str | None = None,
    allow: Sequence[str] = (),
    model: nn.Module | None = None,
    offline: bool = False,
    reporter: Reporter,
) -> Run | None:
    """Go on with the run that these settings began before; None where there is none yet."""
    wanted = recipes.resolve(recipe, given)
    if name is not None:
        check_name(name)
    begun = find_run(wanted, out, name)
    place = begun or (out / name if name is not None else None)
    if place is not None and cleared(place):
        reporter.note(f"{place} ended before it saved anything, so it begins again")
        return None
    if begun is None:
        reporter.note("there is no such run yet, so it begins")
        return None
    reporter.note(f"{begun} was begun before")
    return go_on(begun, like(begun, wanted), model, allow=allow, offline=offline, reporter=reporter)


def _words(key: str, given: Sequence[str] | None) -> list[str] | None:
    """Names as a list; one text holds several between commas, as on the command line."""
    require_order(key, given)
    if isinstance(given, str):
        return [word.strip() for word in given.split(",")]
    return list(given) if given else None
