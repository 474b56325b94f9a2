"""`zoo finetune`: the main job."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from zoo import recipe as recipes
from zoo.cli.completion import head_names, model_names, recipe_names
from zoo.cli.options import pixels, split, with_settings
from zoo.errors import UsageError
from zoo.recipe import Amp, Augment, Opt, Save, Sched
from zoo.registry import Mode, Task

if TYPE_CHECKING:
    from zoo.data.datasets import Dataset

app = typer.Typer(add_completion=False)


MODEL = "Model"
TRAINING = "Training"
MACHINE = "Machine"
RUN = "Run"


def _one(choices: Any) -> str:
    """The choices of a literal type as a person lists them."""
    *others, last = get_args(choices)
    return f"{', '.join(others)} or {last}"


def option(*names: str, help: str, panel: str, metavar: str | None = None, **more: Any) -> Any:
    """An option of this command under its heading; its default is the recipe's."""
    return typer.Option(*names, help=help, rich_help_panel=panel, metavar=metavar, show_default=False, **more)


@app.command(
    epilog="zoo finetune vgg16 --freeze backbone --data ./imgs"
    " · zoo finetune timm:vit_small_patch16_224 --recipe probe-then-fine-tune --data ./imgs"
)
def finetune(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A name like vgg16, timm:resnet50 or hf:OWNER/NAME; zoo list shows them.",
            metavar="MODEL",
            autocompletion=model_names,
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        option(
            "--data",
            help="Folder with one folder a class, or with train/ and val/; or a table of pictures.",
            panel=RUN,
            metavar="DATA",
        ),
    ] = None,
    image_column: Annotated[
        str | None, option("--image-column", help="A table's column of pictures, image.", panel=RUN, metavar="NAME")
    ] = None,
    label_column: Annotated[
        list[str] | None,
        option("--label-column", help="A table's column of labels, label, or several.", panel=RUN, metavar="NAMES"),
    ] = None,
    weights: Annotated[
        str | None,
        option(
            "--weights",
            help="default, the name of a set, a file, a checkpoint, or none.",
            panel=MODEL,
            metavar="WEIGHTS",
        ),
    ] = None,
    allow_partial: Annotated[
        bool, option("--allow-partial", help="Load weights that fit in part.", panel=MODEL)
    ] = False,
    classes: Annotated[
        str | None,
        option(
            "--classes",
            help="Class folders to use, in this order: ant,bee; or how many there must be.",
            panel=MODEL,
            metavar="NAMES",
        ),
    ] = None,
    head: Annotated[
        str | None,
        option(
            "--head",
            help="A head or a file of one; zoo heads shows them.",
            panel=MODEL,
            metavar="HEAD",
            autocompletion=head_names,
        ),
    ] = None,
    mode: Annotated[
        Mode | None,
        option(
            "--mode",
            help="replace the last layer, or append behind it.",
            panel=MODEL,
            metavar="MODE",
        ),
    ] = None,
    task: Annotated[
        Task | None,
        option(
            "--task",
            help=f"What is told of a picture: {_one(Task)}.",
            panel=MODEL,
            metavar="TASK",
        ),
    ] = None,
    freeze: Annotated[
        str | None,
        option(
            "--freeze",
            help="none, backbone, until:PATH, from:PATH, first:N, last:N, norm, bias, or globs.",
            panel=MODEL,
            metavar="POLICY",
        ),
    ] = None,
    unfreeze: Annotated[
        str | None,
        option("--unfreeze", help="Taken out of what is frozen, in the same words.", panel=MODEL, metavar="POLICY"),
    ] = None,
    recipe: Annotated[
        str | None,
        option(
            "--recipe",
            help="A recipe or a file of one; zoo recipes shows them.",
            panel=TRAINING,
            metavar="RECIPE",
            autocompletion=recipe_names,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        option(
            "--set",
            help="Any key of the recipe, as KEY=VALUE; may be repeated.",
            panel=TRAINING,
            metavar="KEY=VALUE",
        ),
    ] = None,
    epochs: Annotated[
        int | None, option("--epochs", help="How often the data is seen.", panel=TRAINING, metavar="N")
    ] = None,
    batch_size: Annotated[
        int | None, option("-b", "--batch-size", help="Pictures at a time.", panel=TRAINING, metavar="N")
    ] = None,
    lr: Annotated[float | None, option("--lr", help="The peak learning rate.", panel=TRAINING, metavar="RATE")] = None,
    accumulate: Annotated[
        int | None, option("--accumulate", help="Batches added up for a step.", panel=TRAINING, metavar="N")
    ] = None,
    wd: Annotated[
        float | None, option("--wd", "--weight-decay", help="Weight decay.", panel=TRAINING, metavar="DECAY")
    ] = None,
    opt: Annotated[
        str | None,
        option(
            "--opt",
            help="adamw, sgd, adam, muon or another of torch.optim.",
            panel=TRAINING,
            metavar="NAME",
            autocompletion=lambda: list(get_args(Opt)),
        ),
    ] = None,
    sched: Annotated[
        Sched | None,
        option(
            "--sched",
            help=f"The course of the rate: {_one(Sched)}.",
            panel=TRAINING,
            metavar="COURSE",
        ),
    ] = None,
    warmup_epochs: Annotated[
        float | None,
        option("--warmup-epochs", help="Epochs in which the rate rises.", panel=TRAINING, metavar="N"),
    ] = None,
    patience: Annotated[
        int | None,
        option("--patience", help="Epochs without a better score that end a stage.", panel=TRAINING, metavar="N"),
    ] = None,
    clip_grad: Annotated[
        float | None, option("--clip-grad", help="Norm to cut the gradients to.", panel=TRAINING, metavar="NORM")
    ] = None,
    ema: Annotated[
        float | None,
        option("--ema", help="Keep a moving average of the weights: 0.999.", panel=TRAINING, metavar="DECAY"),
    ] = None,
    augment: Annotated[
        Augment | None,
        option(
            "--augment",
            help=f"How training pictures are varied: {_one(Augment)}.",
            panel=TRAINING,
            metavar="HOW",
        ),
    ] = None,
    mixup: Annotated[
        float | None, option("--mixup", help="Mix pairs of pictures: 0.2.", panel=TRAINING, metavar="ALPHA")
    ] = None,
    cutmix: Annotated[
        float | None, option("--cutmix", help="Put pieces into other pictures: 1.", panel=TRAINING, metavar="ALPHA")
    ] = None,
    img_size: Annotated[
        str | None,
        option(
            "--img-size",
            help="Pixels of the input: 224, or height and width, 224x160.",
            panel=TRAINING,
            metavar="PIXELS",
        ),
    ] = None,
    channels: Annotated[
        int | None,
        option("--channels", help="Channels of the pictures: 1, 3 or 4.", panel=MODEL, metavar="N"),
    ] = None,
    seed: Annotated[
        int | None, option("--seed", help="The seed of everything random.", panel=TRAINING, metavar="N")
    ] = None,
    workers: Annotated[
        int | None,
        option("-j", "--workers", help="Processes that read pictures.", panel=MACHINE, metavar="N"),
    ] = None,
    device: Annotated[
        str | None, option("--device", help="auto, cpu, cuda:0 or mps.", panel=MACHINE, metavar="DEVICE")
    ] = None,
    amp: Annotated[
        Amp | None,
        option(
            "--amp",
            help=f"Mixed precision: {_one(Amp)}.",
            panel=MACHINE,
            metavar="AMP",
        ),
    ] = None,
    deterministic: Annotated[
        bool,
        option("--deterministic", help="On a GPU: only algorithms that repeat themselves.", panel=MACHINE),
    ] = False,
    save: Annotated[
        Save | None,
        option(
            "--save",
            help="state, full (the whole model too) or delta (what differs from the weights).",
            panel=RUN,
            metavar="WHAT",
        ),
    ] = None,
    keep: Annotated[
        str | None,
        option("--keep", help="Which checkpoints stay: best,last,every:N.", panel=RUN, metavar="WHICH"),
    ] = None,
    save_every: Annotated[
        str | None,
        option(
            "--save-every",
            help="How often to save within an epoch: 200steps, 10min, never.",
            panel=RUN,
            metavar="HOW-OFTEN",
        ),
    ] = None,
    resume: Annotated[
        bool, option("--resume", help="Go on with the run that this command began before, if it did.", panel=RUN)
    ] = False,
    allow: Annotated[
        list[str] | None,
        option("--allow", help="With --resume: keys that may differ from the run's.", panel=RUN, metavar="KEYS"),
    ] = None,
    out: Annotated[
        Path,
        option("--out", help="Where runs are kept, ./checkpoints unless given.", panel=RUN, metavar="FOLDER"),
    ] = Path("checkpoints"),
    name: Annotated[
        str | None,
        option("--name", help="The run's name, MODEL-DATA unless given.", panel=RUN, metavar="NAME"),
    ] = None,
    overwrite: Annotated[bool, option("--overwrite", help="Replace the run of that name.", panel=RUN)] = False,
    offline: Annotated[bool, option("--offline", help="Download nothing.", panel=MACHINE)] = False,
    dry_run: Annotated[
        bool, option("--dry-run", help="Try one batch, tell what a run would take, write nothing.", panel=RUN)
    ] = False,
    as_json: Annotated[bool, option("--json", help="End standard output with one JSON object.", panel=RUN)] = False,
    quiet: Annotated[bool, option("--quiet", help="Print errors alone.", panel=RUN)] = False,
    debug: Annotated[bool, option("--debug", help="Show where an error comes from.", panel=RUN)] = False,
) -> None:
    """Fine-tune a pretrained model on your own pictures.

    The data is a folder with one folder a class, or a table of pictures
    (.csv, .tsv, .jsonl, .parquet). Without --recipe, --freeze backbone
    trains by linear-probe, everything else by fine-tune. What is not
    given is the recipe's; zoo recipes show NAME tells it.
    """
    given: dict[str, Any] = {
        "model": model,
        "data": data,
        "image-column": image_column,
        "label-column": split(label_column) or None,
        "weights": weights,
        "allow-partial": allow_partial or None,
        "classes": split([classes]) if classes else None,
        "head": head,
        "mode": mode,
        "task": task,
        "freeze": freeze,
        "unfreeze": unfreeze,
        "epochs": epochs,
        "batch-size": batch_size,
        "lr": lr,
        "accumulate": accumulate,
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
        "img-size": pixels(img_size),
        "channels": channels,
        "seed": seed,
        "workers": workers,
        "device": device,
        "amp": amp,
        "deterministic": deterministic or None,
        "save": save,
        "keep": keep,
        "save-every": save_every,
    }
    contrary = "--overwrite" if overwrite else "--dry-run" if dry_run else None
    if resume and contrary:
        raise UsageError(f"--resume and {contrary} contradict each other.", "give one of them")
    if allow and not resume:
        raise UsageError("--allow is for --resume: a new run may be as it likes.", "leave it out")
    # What is wrong is told before torch is imported, which takes seconds.
    given = with_settings(given, settings)
    resolved = recipes.resolve(recipe, given)
    recipes.require_allowable(split(allow))
    dataset = None if resume else _foreseen(resolved, out, name, overwrite)

    from zoo import finetuning
    from zoo.cli.output import print_json
    from zoo.cli.reporter import Printer
    from zoo.finetuning.screens import estimate_sections

    printer = Printer(quiet=quiet, aside=as_json)
    begun = None
    if resume:
        begun = finetuning.resume_if_begun(
            resolved, {}, out=out, name=name, allow=split(allow), offline=offline, reporter=printer
        )
    if begun is not None:
        if as_json:
            print_json(begun.to_values())
        return
    plan = finetuning.plan_for(
        resolved, {}, out=out, name=name, overwrite=overwrite, offline=offline, dataset=dataset, reporter=printer
    )
    if dry_run:
        printer.planned(plan)
        estimate = finetuning.rehearse(plan)
        if as_json:
            print_json(estimate.to_values())
        else:
            printer.show(estimate_sections(estimate))
        return
    run = finetuning.carry_out(plan, overwrite=overwrite, reporter=printer)
    if as_json:
        print_json(run.to_values())


def _foreseen(recipe: recipes.Recipe, out: Path, name: str | None, overwrite: bool) -> "Dataset":
    from zoo import registry

    # A name that stands for no model to train needs no library of pictures either.
    if recipe.model is not None:
        registry.find(recipe.model)
    from zoo.foreseeing import check_place, foresee

    check_place(out, name, overwrite=overwrite)
    return foresee(recipe)
