"""`zoo resume`: go on with a run that was stopped."""

from typing import Annotated

import typer

app = typer.Typer()


@app.command(epilog="zoo resume checkpoints/vgg16-imgs")
def resume(
    run: Annotated[str, typer.Argument(help="The run's folder.", metavar="RUN")],
    as_json: Annotated[bool, typer.Option("--json", help="End standard output with one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors alone.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
) -> None:
    """Go on with a run where its newest checkpoint stands, as if it had never stopped."""
    from zoo import finetuning
    from zoo.cli.output import print_json
    from zoo.cli.reporter import Printer

    resumed = finetuning.resume(run, reporter=Printer(quiet=quiet, aside=as_json))
    if as_json:
        print_json(resumed.to_values())
