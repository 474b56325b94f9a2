"""Options that several commands share, in one form."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo import recipe as recipes
from zoo.errors import UsageError

Checkpoint = Annotated[
    str, typer.Argument(help="A checkpoint, or a run, which stands for its best one.", metavar="CHECKPOINT")
]
BatchSize = Annotated[int, typer.Option("-b", "--batch-size", help="Pictures at a time.", min=1, metavar="N")]
Workers = Annotated[
    int | None,
    typer.Option("-j", "--workers", help="Processes that read pictures.", min=0, metavar="N", show_default=False),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda:0 or mps.", metavar="DEVICE")]
Base = Annotated[
    Path | None,
    typer.Option("--base", help="The weights of a delta, if they have moved.", metavar="FILE", show_default=False),
]
Trust = Annotated[
    str | None,
    typer.Option(
        "--trust-pickle",
        help="The sha256 of a model.pt that may run its code.",
        metavar="SHA256",
        show_default=False,
    ),
]
ImageColumn = Annotated[
    str | None,
    typer.Option("--image-column", help="A table's column of pictures, image.", metavar="NAME", show_default=False),
]
LabelColumn = Annotated[
    list[str] | None,
    typer.Option(
        "--label-column", help="A table's column of labels, label, or several.", metavar="NAMES", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
RunAsJson = Annotated[bool, typer.Option("--json", help="End standard output with one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors alone.")]
# What it does stands in the package's door, which catches the errors of every command.
Debug = Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")]


def split(given: Sequence[str] | None) -> list[str]:
    """The words of an option that may be repeated and may hold several, separated by commas."""
    return [word.strip() for text in given or () for word in text.split(",") if word.strip()]


def with_settings(flags: Mapping[str, Any], settings: Sequence[str] | None) -> dict[str, Any]:
    """What flags and `--set` gave, by the keys of the recipe; raises UsageError for a key that came both ways."""
    found = key_values(settings or ())
    twice = [key for key in found if flags.get(key) is not None]
    if twice:
        raise UsageError(f"{twice[0]} is given twice, by its flag and by --set.", "leave one of them out")
    return {**flags, **found}


def key_values(settings: Sequence[str]) -> dict[str, Any]:
    """What `--set` was given, by the keys of the recipe.

    >>> key_values(["lr=0.1", "label-column=age,weight"])
    {'lr': 0.1, 'label-column': ['age', 'weight']}
    """
    parsed = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {setting!r} is no KEY=VALUE.", "for example --set label-smoothing=0.1")
        key, value = key.strip(), value.strip()
        parsed[key] = pixels(value) if key == "img-size" else recipes.value_of(value)
        known = recipes.KEYS.get(key)
        if known is not None and known.kind is list and not isinstance(parsed[key], list):
            parsed[key] = split([value])
    return parsed


def pixels(text: str | None) -> Any:
    """What a size on the command line means, the height first.

    >>> pixels("224x160"), pixels("224")
    ([224, 160], 224)
    """
    if text is None:
        return None
    edges = text.lower().split("x")
    if len(edges) == 2 and all(edge.isdecimal() for edge in edges):
        return [int(edge) for edge in edges]
    return recipes.value_of(text)
