"""`zoo export`: one form of a checkpoint from another."""

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.options import AsJson, Base, Checkpoint, Debug
from zoo.names import printable
from zoo.recipe import Save
from zoo.units import megabytes

app = typer.Typer(add_completion=False)


@app.command(
    epilog="zoo export checkpoints/vgg16-imgs --to vgg16-whole"
    " · zoo export checkpoints/vgg16-imgs --save delta --to vgg16-small"
)
def export(
    checkpoint: Checkpoint,
    to: Annotated[Path, typer.Option("--to", help="The folder to write; it must not exist.", metavar="FOLDER")],
    save: Annotated[
        Save,
        typer.Option("--save", help="state, full (the whole model too) or delta (what differs from the weights)."),
    ] = "state",
    base: Base = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a checkpoint anew: whole, as a delta of its pretrained weights, or with the whole model."""
    from zoo import exporting
    from zoo.cli.output import print_json

    exported = exporting.export(checkpoint, to, save=save, base=base)
    if as_json:
        print_json(exported.to_values())
        return
    for note in exported.notes:
        typer.echo(printable(f"note: {note}"))
    typer.echo(printable(f"wrote {exported.folder}"))
    for name, size in exported.files.items():
        typer.echo(f"  {name:<22} {megabytes(size)}")
