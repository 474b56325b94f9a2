"""`zoo resume`: go on with a run that was stopped."""

from typing import Annotated

import typer

from zoo.cli.options import Base, Debug, Quiet, RunAsJson, Workers, split

app = typer.Typer(add_completion=False)


@app.command(
    epilog="zoo resume checkpoints/vgg16-imgs · zoo resume checkpoints/vgg16-imgs --epochs 20"
    " · zoo resume checkpoints/vgg16-imgs --data /new/place/imgs"
)
def resume(
    run: Annotated[str, typer.Argument(help="The run's folder.", metavar="RUN")],
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", help="Epochs in all, to give it more.", min=1, metavar="N", show_default=False),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Where the same pictures lie now.", metavar="FOLDER", show_default=False),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            help="Keys that may differ from when the checkpoint was saved: lr,data.",
            metavar="KEYS",
            show_default=False,
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="First train the steps before the checkpoint again and compare.")
    ] = False,
    base: Base = None,
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
    workers: Workers = None,
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu, cuda:0 or mps.", metavar="DEVICE", show_default=False)
    ] = None,
    as_json: RunAsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Go on with a run where its newest checkpoint stands, as if it had never stopped."""
    from zoo import recipe as recipes

    # What is wrong is told before torch is imported, which takes seconds.
    recipes.require_allowable(split(allow))

    from zoo import finetuning
    from zoo.cli.output import print_json
    from zoo.cli.reporter import Printer

    resumed = finetuning.resume(
        run,
        epochs=epochs,
        data=data,
        workers=workers,
        device=device,
        allow=split(allow),
        verify=verify,
        base=base,
        offline=offline,
        reporter=Printer(quiet=quiet, aside=as_json),
    )
    if as_json:
        print_json(resumed.to_values())
