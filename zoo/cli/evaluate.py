"""`zoo evaluate`: measure a checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.options import (
    AsJson,
    Base,
    BatchSize,
    Checkpoint,
    Debug,
    Device,
    ImageColumn,
    LabelColumn,
    Trust,
    Workers,
)
from zoo.cli.options import split as words_of

app = typer.Typer(add_completion=False)


@app.command(epilog="zoo evaluate checkpoints/vgg16-imgs --data ./test")
def evaluate(
    checkpoint: Checkpoint,
    data: Annotated[
        str,
        typer.Option(
            "--data", help="Folder with one folder a class, maybe in test/ or val/; or a table.", metavar="DATA"
        ),
    ],
    split: Annotated[
        str | None,
        typer.Option("--split", help="Which part of it to read: test, val, train.", metavar="NAME"),
    ] = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    label_separator: Annotated[
        str | None,
        typer.Option(
            "--label-separator", help="Between several labels in one cell, |.", metavar="SIGN", show_default=False
        ),
    ] = None,
    image_root: Annotated[
        Path | None,
        typer.Option(
            "--image-root",
            help="What a table's paths are relative to, its own folder.",
            metavar="FOLDER",
            show_default=False,
        ),
    ] = None,
    batch_size: BatchSize = 32,
    workers: Workers = None,
    device: Device = "auto",
    base: Base = None,
    trust_pickle: Trust = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure a checkpoint on a folder or a table of pictures, with its own classes and preprocessing."""
    from rich.markup import escape

    from zoo.cli.output import console, print_json, table
    from zoo.evaluating import evaluate as measure
    from zoo.finetuning.screens import class_grid, figures_line
    from zoo.names import printable
    from zoo.units import some

    found = measure(
        checkpoint,
        data,
        split=split,
        image_column=image_column,
        label_column=words_of(label_column),
        label_separator=label_separator,
        image_root=image_root,
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
    to.print(printable(f"{found.checkpoint} on {found.data}, {some(found.pictures, 'picture')}"), markup=False)
    for note in found.notes:
        to.print(printable(f"note: {note}"), markup=False)
    grid = class_grid(found.classes, "target" if "r2" in found.metrics else "class")
    shown = table(*grid.columns, right=grid.right)
    for row in grid.rows:
        shown.add_row(*(escape(printable(cell)) for cell in row))
    to.print(shown)
    to.print(figures_line(found.metrics, len(found.classes)), markup=False)
