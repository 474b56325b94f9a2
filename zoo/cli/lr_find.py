"""`zoo lr-find`: try learning rates, and suggest one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo import recipe as recipes
from zoo.cli.completion import head_names, model_names, recipe_names
from zoo.cli.options import AsJson, Debug, Quiet, Workers, pixels, with_settings

if TYPE_CHECKING:
    from zoo.finetuning.rates import RateSearch

app = typer.Typer(add_completion=False)


@app.command(epilog="zoo lr-find mobilenet_v2 --freeze backbone --data ./imgs --plot rates.png")
def lr_find(
    model: Annotated[
        str | None,
        typer.Argument(help="A name, as for zoo finetune.", metavar="MODEL", autocompletion=model_names),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="As for zoo finetune.", metavar="DATA", show_default=False)
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="A recipe or a file of one.",
            metavar="RECIPE",
            autocompletion=recipe_names,
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", help="As for zoo finetune.", metavar="WEIGHTS", show_default=False),
    ] = None,
    freeze: Annotated[
        str | None, typer.Option("--freeze", help="As for zoo finetune.", metavar="POLICY", show_default=False)
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            "--head", help="As for zoo finetune.", metavar="HEAD", autocompletion=head_names, show_default=False
        ),
    ] = None,
    opt: Annotated[str | None, typer.Option("--opt", help="The optimizer.", metavar="NAME", show_default=False)] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("-b", "--batch-size", help="Pictures at a time.", metavar="N", show_default=False),
    ] = None,
    img_size: Annotated[
        str | None,
        typer.Option(
            "--img-size",
            help="As for zoo finetune.",
            metavar="PIXELS",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any key of the recipe, as KEY=VALUE; may be repeated.",
            metavar="KEY=VALUE",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="The seed of everything random.", metavar="N", show_default=False),
    ] = None,
    lowest: Annotated[float, typer.Option("--from", help="The rate to begin with.", metavar="RATE")] = 1e-7,
    highest: Annotated[float, typer.Option("--to", help="The rate to end with.", metavar="RATE")] = 10.0,
    steps: Annotated[int, typer.Option("--steps", help="How many rates to try.", metavar="N")] = 100,
    stage: Annotated[int, typer.Option("--stage", help="Which stage of the recipe to try.", metavar="N")] = 1,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Draw it: a name in .png, .svg or .pdf.", metavar="FILE", show_default=False),
    ] = None,
    workers: Workers = None,
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu, cuda:0 or mps.", metavar="DEVICE", show_default=False)
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train for a moment with a rising learning rate, and suggest one; nothing is saved.

    The suggestion is the rate at which the loss falls fastest, fastai's valley a more careful one.
    """
    given = {
        "model": model,
        "data": data,
        "weights": weights,
        "freeze": freeze,
        "head": head,
        "opt": opt,
        "batch-size": batch_size,
        "img-size": pixels(img_size),
        "seed": seed,
        "workers": workers,
        "device": device,
    }
    resolved = recipes.resolve(recipe, with_settings(given, settings))
    # What is wrong is told before torch is imported, which takes seconds.
    from zoo.foreseeing import check_search, foresee
    from zoo.tracking.plots import plot_rates, require_plots

    check_search(resolved, lowest=lowest, highest=highest, steps=steps, stage=stage)
    if plot is not None:
        require_plots(plot)
    dataset = foresee(resolved)

    from zoo.cli.output import print_json
    from zoo.cli.reporter import Printer
    from zoo.finetuning.rates import search

    printer = Printer(quiet=quiet, aside=as_json)
    found = search(
        resolved,
        lowest=lowest,
        highest=highest,
        steps=steps,
        stage=stage,
        offline=offline,
        dataset=dataset,
        reporter=printer,
    )
    if plot is not None:
        plot_rates(
            plot,
            found.rates,
            found.losses,
            found.raw,
            suggestion=found.suggestion,
            valley=found.valley,
            title=f"{found.model} on {Path(resolved.data or '').name}",
        )
    if as_json:
        print_json(found.to_values())
        return
    for line in shown(found, width=min(60, printer.console.width - 9)):
        printer.line(line)
    if plot is not None:
        printer.line(f"drawn into {plot}")


def shown(found: "RateSearch", *, width: int = 60, height: int = 6) -> list[str]:
    """The course of the loss as bars, with the suggestion below."""
    columns = min(width, len(found.losses))
    places = [round(column * (len(found.losses) - 1) / max(1, columns - 1)) for column in range(columns)]
    values = [found.losses[place] for place in places]
    # What comes after the lowest point may be so high that all else would be flat.
    low, high = min(values), max(values[: values.index(min(values)) + 1])
    levels = [round((min(value, high) - low) / ((high - low) or 1.0) * height * 8) for value in values]
    lines = []
    for row in reversed(range(height)):
        bar = "".join(" ▁▂▃▄▅▆▇█"[min(8, max(0, level - 8 * row))] for level in levels)
        name = f"{high:8.3f}" if row == height - 1 else f"{low:8.3f}" if row == 0 else " " * 8
        lines.append(f"{name} {bar}".rstrip())
    at = min(range(columns), key=lambda column: abs(found.rates[places[column]] - found.suggestion))
    ends = f"{found.rates[0]:.0e}", f"{found.rates[-1]:.0e}"
    lines.append(f"{'':8} {'':{at}}↑")
    lines.append(f"{'':8} {ends[0]}{ends[1]:>{max(1, columns - len(ends[0]))}}")
    what = "the loss diverged there" if found.diverged else "the loss did not diverge"
    lines.append(f"{found.model}: {len(found.rates)} rates tried; {what}")
    if not found.diverged:
        highest = found.rates[-1]
        lines.append(
            f"  it never rose to 4 times its lowest: higher rates may do too, --to {10 * highest:g} tries them"
        )
    careful = f"; more careful: {found.valley:g}" if found.valley < found.suggestion else ""
    lines.append(f"suggestion: --lr {found.suggestion:g}, where it falls fastest{careful}")
    return lines
