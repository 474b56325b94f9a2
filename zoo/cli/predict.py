"""`zoo predict`: say what pictures show."""

import csv
import enum
import sys
from typing import Annotated

import typer

from zoo.cli.options import Base, BatchSize, Checkpoint, Debug, Device, Trust, Workers

app = typer.Typer(add_completion=False)


class Format(enum.StrEnum):
    """How predictions are printed."""

    table = "table"
    csv = "csv"
    json = "json"


@app.command(epilog="zoo predict checkpoints/vgg16-imgs a.jpg './more/*.png' --top 3")
def predict(
    checkpoint: Checkpoint,
    pictures: Annotated[list[str], typer.Argument(help="Files, folders, or globs in quotes.", metavar="PICTURE…")],
    top: Annotated[int, typer.Option("--top", "-k", help="How many classes to name.", min=1, metavar="N")] = 1,
    form: Annotated[Format, typer.Option("--format", help="How to print them.")] = Format.table,
    batch_size: BatchSize = 32,
    workers: Workers = None,
    device: Device = "auto",
    base: Base = None,
    trust_pickle: Trust = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    debug: Debug = False,
) -> None:
    """Say what pictures show, with a checkpoint's own classes and preprocessing."""
    from rich.markup import escape

    from zoo.cli.output import console, print_json, table
    from zoo.names import printable
    from zoo.predicting import predict as run

    found = run(
        checkpoint,
        pictures,
        top=top,
        batch_size=batch_size,
        workers=workers,
        device=device,
        base=base,
        trust=trust_pickle,
    )
    if as_json or form is Format.json:
        print_json({"predictions": [each.to_values() for each in found]})
    elif form is Format.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        numbers = range(1, len(found[0].classes) + 1)
        writer.writerow(["path", *(name for n in numbers for name in (f"class_{n}", f"probability_{n}"))])
        for each in found:
            pairs = zip(each.classes, each.probabilities, strict=True)
            writer.writerow([each.path, *(cell for name, value in pairs for cell in (name, f"{value:.6f}"))])
    else:
        shown = table("picture", "class", "probability")
        for each in found:
            names = escape("\n".join(map(printable, each.classes)))
            shown.add_row(
                escape(printable(str(each.path))), names, "\n".join(f"{value:.3f}" for value in each.probabilities)
            )
        console().print(shown)
