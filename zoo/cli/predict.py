"""`zoo predict`: say what pictures show."""

import csv
import enum
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli.options import Base, BatchSize, Checkpoint, Debug, Device, Trust, Workers
from zoo.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.predicting import Prediction

app = typer.Typer(add_completion=False)


class Format(enum.StrEnum):
    """How predictions are printed."""

    table = "table"
    csv = "csv"
    json = "json"


@app.command(
    epilog="zoo predict checkpoints/vgg16-imgs a.jpg './more/*.png' --top 3"
    " · find ./imgs -name '*.jpg' | zoo predict checkpoints/vgg16-imgs -"
)
def predict(
    checkpoint: Checkpoint,
    pictures: Annotated[
        list[str],
        typer.Argument(help="Files, folders, globs in quotes, or - for standard input.", metavar="PICTURE…"),
    ],
    top: Annotated[
        int | None,
        typer.Option(
            "--top", "-k", help="How many classes to name, 1 unless given.", min=1, metavar="N", show_default=False
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Probability above which a label is told.", metavar="P", show_default=False),
    ] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="How to print them, table unless given.", show_default=False)
    ] = None,
    batch_size: BatchSize = 32,
    workers: Workers = None,
    device: Device = "auto",
    base: Base = None,
    trust_pickle: Trust = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    debug: Debug = False,
) -> None:
    """Say what pictures show, with a checkpoint's own classes and preprocessing.

    - takes paths from standard input, one a line, or the bytes of one picture.
    """
    if "-" in pictures and len(pictures) > 1:
        raise UsageError("- reads standard input, and stands alone.", "give the other pictures there too")
    if as_json and form not in (None, Format.json):
        raise UsageError(f"--json and --format {form} contradict each other.", "give one of them")
    from zoo.predicting import Predictor, predictions_of
    from zoo.predicting import predict as run

    asked: dict[str, Any] = {
        "top": top,
        "threshold": threshold,
        "batch_size": batch_size,
        "workers": workers,
        "device": device,
        "base": base,
        "trust": trust_pickle,
    }
    if "-" in pictures:
        parts = predictions_of(Predictor(checkpoint, **asked), sys.stdin.buffer)
    else:
        parts = iter([run(checkpoint, pictures, **asked)])
    show = {Format.json: _show_json, Format.csv: _show_csv, Format.table: _show_table}
    show[Format.json if as_json else form or Format.table](parts)


def _show_json(parts: "Iterator[list[Prediction]]") -> None:
    from zoo.cli.output import print_json

    print_json({"predictions": [each.to_values() for part in parts for each in part]})


def _show_csv(parts: "Iterator[list[Prediction]]") -> None:
    writer = None
    for part in parts:
        if writer is None:
            writer = csv.DictWriter(sys.stdout, list(part[0].row()), lineterminator="\n")
            writer.writeheader()
        writer.writerows(each.row() for each in part)
        sys.stdout.flush()


def _show_table(parts: "Iterator[list[Prediction]]") -> None:
    """A table for each part; further ones have no head."""
    from rich.markup import escape

    from zoo.cli.output import console, table
    from zoo.names import printable

    for number, part in enumerate(parts):
        shown = table("picture", *(escape(printable(name)) for name in _columns(part[0])))
        shown.show_header = number == 0
        for each in part:
            shown.add_row(escape(printable(str(each.path))), *(escape(cell) for cell in _cells(each)))
        console().print(shown)
        sys.stdout.flush()


def _columns(prediction: "Prediction") -> list[str]:
    """What a table shows of every picture beside its path."""
    names = list(prediction.values)
    if prediction.task == "regression":
        return names
    return ["class", f"probability of {names[0]}" if prediction.task == "binary" else "probability"]


def _cells(prediction: "Prediction") -> list[str]:
    """What stands in these columns for one picture."""
    from zoo.names import printable

    if prediction.task == "regression":
        return [f"{value:.4g}" for value in prediction.values.values()]
    if prediction.task == "binary":
        return [printable(prediction.best), *(f"{value:.3f}" for value in prediction.values.values())]
    names = "\n".join(map(printable, prediction.classes)) or "–"
    return [names, "\n".join(f"{value:.3f}" for value in prediction.probabilities) or "–"]
