"""`zoo resume`: go on with a run that was stopped."""

from typing import Annotated

import typer

from zoo.cli.options import Debug, Quiet, RunAsJson

app = typer.Typer(add_completion=False)


@app.command(epilog="zoo resume checkpoints/vgg16-imgs")
def resume(
    run: Annotated[str, typer.Argument(help="The run's folder.", metavar="RUN")],
    as_json: RunAsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Go on with a run where its newest checkpoint stands, as if it had never stopped."""
    from zoo import finetuning
    from zoo.cli.output import print_json
    from zoo.cli.reporter import Printer

    resumed = finetuning.resume(run, reporter=Printer(quiet=quiet, aside=as_json))
    if as_json:
        print_json(resumed.to_values())
