"""`zoo list`: the models there are."""

import enum
import math
import re
import shutil
import sys
from fnmatch import fnmatchcase
from typing import Annotated

import typer

from zoo import registry
from zoo.cli.fitting import columns, fitted
from zoo.cli.options import AsJson, Debug
from zoo.errors import UsageError
from zoo.names import listed
from zoo.units import count

app = typer.Typer(add_completion=False)
_BESIDE = len(f"{'':12} ") + len(f" {'parameters':>10}  {'input':<11}  ImageNet top-1")
"""The columns of a row beside its name."""


class Sort(enum.StrEnum):
    """What a list is ordered by."""

    name = "name"
    params = "params"
    accuracy = "accuracy"


@app.command("list", epilog="zoo list 'resnet*' --source timm --pretrained · zoo list --max-params 5M --sort accuracy")
def list_command(
    pattern: Annotated[
        str, typer.Argument(help="A glob in quotes, over names with or without their source.", metavar="GLOB")
    ] = "*",
    source: Annotated[
        str | None,
        typer.Option("--source", help="torchvision, timm, hf or own.", metavar="SOURCE", show_default=False),
    ] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Only models with weights, timm's by each set.")
    ] = False,
    max_params: Annotated[
        str | None,
        typer.Option(
            "--max-params",
            help="No larger than this: 5M, 800k, 25000000.",
            metavar="COUNT",
            show_default=False,
        ),
    ] = None,
    sort: Annotated[
        Sort | None,
        typer.Option("--sort", help="Order by this, the best accuracy first.", show_default=False),
    ] = None,
    all_rows: Annotated[bool, typer.Option("--all", help="Show every row on a terminal too.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the models there are: source, name, parameters, input size, and accuracy where stated."""
    found = registry.list_models(pattern, source=source, pretrained=pretrained, max_parameters=_number(max_params))
    if sort is Sort.name:
        found.sort(key=lambda each: each.name)
    elif sort is Sort.params:
        found.sort(key=lambda each: each.parameters or math.inf)
    elif sort is Sort.accuracy:
        found.sort(key=lambda each: -(each.accuracy or 0.0))
    if as_json:
        # Of what a program asks for there may be none.
        from zoo.cli.output import print_json

        print_json({"models": [_values(each) for each in found]})
        return
    if not found:
        if source == "own" and not registry.list_models("*", source="own"):
            raise UsageError("no package brings a model of your own.", "docs/own-models.md tells how one does")
        of_torchvision = registry.others.other_names("torchvision") if source in (None, "torchvision") else ()
        others = [name for name in of_torchvision if fnmatchcase(name, pattern)] if pattern != "*" else []
        narrowed = [f"--source {source}"] * bool(source) + ["--pretrained"] * pretrained
        narrowed += [f"--max-params {max_params}"] * bool(max_params)
        raise UsageError(
            f"no {'classifier of pictures' if others else 'model'} matches"
            f" {pattern!r}{f' with {listed(narrowed)}' if narrowed else ''}.",
            *([f"of other tasks, which zoo does not fine-tune: {listed(others)}"] if others else []),
            "zoo list shows all; a glob is written like 'resnet*'",
        )
    _print(found, all_rows)


def _print(found: list[registry.Entry], all_rows: bool) -> None:
    """Aligned rows; on a terminal no more than a screenful, with the count of the rest."""
    most = len(found) if all_rows or not sys.stdout.isatty() else max(10, shutil.get_terminal_size().lines - 4)
    longest = max(len(each.name) for each in found[:most])
    narrow = columns() is not None and _BESIDE + longest > (columns() or 0)
    # Where a row does not fit, its name has a line of its own.
    shown = found[: most // 2] if narrow and most < len(found) else found[:most]
    width = max(len(each.name) for each in shown)
    starts = [f"{each.full_name}\n   " if narrow else f"{each.source:<12} {each.name:<{width}}" for each in shown]
    first = "source:name\n   " if narrow else f"{'source':<12} {'name':<{width}}"
    lines = [f"{first} {'parameters':>10}  {'input':<11}  ImageNet top-1"]
    for start, each in zip(starts, shown, strict=True):
        height, across = each.preprocessing.size
        accuracy = f"{each.accuracy:.1f} %" if each.accuracy is not None else "–"
        note = "  (cannot be fine-tuned)" if each.refused else ""
        size = "–" if each.packages else f"{height} × {across}"
        parameters = "–" if each.parameters is None else count(each.parameters)
        lines.append(f"{start} {parameters:>10}  {size:<11}  {accuracy}{note}")
    if len(found) > len(shown):
        lines.append(
            fitted(f"… {len(found) - len(shown):,} more; --all shows them, a glob narrows them: zoo list 'resnet*'")
        )
    sys.stdout.write("\n".join(lines) + "\n")


def _values(each: registry.Entry) -> dict[str, object]:
    return {
        "source": each.source,
        "name": each.name,
        "parameters": each.parameters,
        "input": None if each.packages else list(each.preprocessing.size),
        "accuracy": each.accuracy,
        "weights": list(each.weights),
        "refused": each.refused,
        **({"packages": list(each.packages)} if each.source == "own" else {}),
    }


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGB]?)", text.strip())
    if not match:
        raise UsageError(f"--max-params is {text!r}.", "give a count like 5M, 800k or 25000000")
    scale = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}
    return float(match[1]) * scale[match[2]]
