"""`zoo evaluate`: measure a checkpoint."""

from typing import Annotated

import typer

from zoo.cli.options import AsJson, Base, BatchSize, Checkpoint, Debug, Device, Trust, Workers

app = typer.Typer(add_completion=False)


@app.command(epilog="zoo evaluate checkpoints/vgg16-imgs --data ./test")
def evaluate(
    checkpoint: Checkpoint,
    data: Annotated[
        str,
        typer.Option("--data", help="Folder with one folder a class, or with test/ or val/.", metavar="FOLDER"),
    ],
    split: Annotated[
        str | None,
        typer.Option("--split", help="Which folder below it to read: test, val, train.", metavar="NAME"),
    ] = None,
    batch_size: BatchSize = 32,
    workers: Workers = None,
    device: Device = "auto",
    base: Base = None,
    trust_pickle: Trust = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure a checkpoint on a folder of pictures, with its own classes and preprocessing."""
    from rich.markup import escape

    from zoo.cli.output import console, print_json, table
    from zoo.evaluating import evaluate as measure
    from zoo.names import printable

    found = measure(
        checkpoint,
        data,
        split=split,
        batch_size=batch_size,
        workers=workers,
        device=device,
        base=base,
        trust=trust_pickle,
    )
    if as_json:
        print_json(found.to_values())
        return
    to = console()
    to.print(f"{found.checkpoint} on {found.data}, {found.pictures:,} pictures", markup=False)
    for note in found.notes:
        to.print(f"note: {note}", markup=False)
    shown = table("class", "pictures", "precision", "recall", "F1", right=("pictures",))
    for each in found.classes:
        shown.add_row(
            escape(printable(each.name)),
            f"{each.pictures:,}",
            f"{each.precision:.3f}",
            f"{each.recall:.3f}",
            f"{each.f1:.3f}",
        )
    to.print(shown)
    to.print(" · ".join(f"{name} {value:.3f}" for name, value in found.metrics.items()), markup=False)
