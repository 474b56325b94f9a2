"""`zoo evaluate`: measure a checkpoint."""

from typing import Annotated

import typer

app = typer.Typer()


@app.command(epilog="zoo evaluate checkpoints/vgg16-imgs --data ./test")
def evaluate(
    checkpoint: Annotated[
        str,
        typer.Argument(help="A checkpoint, or a run, which stands for its best one.", metavar="CHECKPOINT"),
    ],
    data: Annotated[
        str,
        typer.Option("--data", help="Folder with one folder a class, or with test/ or val/.", metavar="FOLDER"),
    ],
    split: Annotated[
        str | None,
        typer.Option("--split", help="Which folder below it to read: test, val, train.", metavar="NAME"),
    ] = None,
    batch_size: Annotated[int, typer.Option("-b", "--batch-size", help="Pictures at a time.", min=1, metavar="N")] = 32,
    workers: Annotated[
        int | None,
        typer.Option("-j", "--workers", help="Processes that read pictures.", min=0, metavar="N", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda:0 or mps.", metavar="DEVICE")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
) -> None:
    """Measure a checkpoint on a folder of pictures, with its own classes and preprocessing."""
    from zoo.cli.output import console, print_json, table
    from zoo.evaluating import evaluate as measure

    found = measure(checkpoint, data, split=split, batch_size=batch_size, workers=workers, device=device)
    if as_json:
        print_json(found.to_values())
        return
    to = console()
    to.print(f"{found.checkpoint} on {found.data}, {found.pictures:,} pictures", markup=False)
    for note in found.notes:
        to.print(f"note: {note}", markup=False)
    shown = table("class", "pictures", "precision", "recall", "F1", right=("pictures",))
    for each in found.classes:
        shown.add_row(each.name, f"{each.pictures:,}", f"{each.precision:.3f}", f"{each.recall:.3f}", f"{each.f1:.3f}")
    to.print(shown)
    to.print(" · ".join(f"{name} {value:.3f}" for name, value in found.metrics.items()), markup=False)
