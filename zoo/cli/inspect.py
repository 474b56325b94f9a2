"""`zoo inspect`: what is in a checkpoint, a run, or a file of weights that anybody wrote."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.cli.options import AsJson, Debug
from zoo.names import listed, printable
from zoo.units import count, megabytes

app = typer.Typer(add_completion=False)


@app.command(
    epilog="zoo inspect checkpoints/vgg16-imgs · zoo inspect checkpoints/vgg16-imgs/epoch-0005 · zoo inspect w.pth"
)
def inspect(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="A checkpoint's folder, a run's, one of transformers, or a file of weights.", metavar="CHECKPOINT"
        ),
    ],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Tell what is in a checkpoint, after comparing every file with its manifest, or in a file of weights.

    Nothing is executed, and no tensor of a foreign file is read.
    """
    from zoo.checkpoint import inspecting
    from zoo.checkpoint.foreign import describing, folders
    from zoo.cli.output import print_json

    show: Callable[[dict[str, Any]], None] = _print_file
    if not checkpoint.is_dir():
        found = describing.of_file(checkpoint)
    elif folders.is_transformers(checkpoint):
        found = describing.of_folder(checkpoint)
    elif (run := inspecting.of_run(checkpoint)) is not None:
        found, show = run, _print_run
    else:
        found, show = inspecting.of_checkpoint(checkpoint), _print_checkpoint
    if as_json:
        print_json(found)
    else:
        show(found)


def _say(text: str) -> None:
    """A line, in which nothing out of a file can move the cursor."""
    typer.echo(printable(text))


def _line(label: str, text: str) -> None:
    _say(f"  {label:<14} {text}")


def _print_run(run: dict[str, Any]) -> None:
    _say(f"run {run['run']}")
    for each in run["checkpoints"]:
        metrics = " · ".join(f"{name} {value:.3f}" for name, value in each["metrics"].items())
        mark = "  ← best" if each["folder"] == run["best"] else ""
        _say(f"  {each['name']:<22} {metrics}{mark}")
    for damaged, reason in run["reasons"].items():
        _say(f"  {Path(damaged).name:<22} damaged: {reason}")
    if not run["checkpoints"]:
        _say("  no complete checkpoint")


def _print_checkpoint(found: dict[str, Any]) -> None:
    _say(f"checkpoint {found['folder']} · every file is what its manifest says")
    _line("model", f"{found['model']} ({found['model_class']})")
    _line("weights from", str(found["weights"] or "random values"))
    _line("head", str(found["head"]))
    if found["task"]:
        _line("task", found["task"])
    names = f"{len(found['classes'])}: {', '.join(found['classes'][:8])}{' …' if len(found['classes']) > 8 else ''}"
    positive = f"; {found['classes'][1]} is the positive one" if found["task"] == "binary" else ""
    _line({"multi-label": "labels", "regression": "targets"}.get(found["task"], "classes"), names + positive)
    _line("input", f"{found['input'][0]} × {found['input'][1]}" if found["input"] else "unknown")
    _line("numbers", f"{count(found['numbers'])} in parameters and buffers, {found['frozen']} tensors frozen")
    if found["base"]:
        _line("delta", f"the rest is in {found['base'].get('file')} of {found['base'].get('model')}")
    _line("epoch", str(found["epoch"]))
    _line("metrics", " · ".join(f"{name} {value:.4f}" for name, value in found["metrics"].items()) or "none")
    _line("optimizer", str(found["optimizer"] or "none"))
    _line("saved with", ", ".join(f"{name} {version}" for name, version in found["versions"].items()))
    for name, size in found["files"].items():
        _line("file", f"{name} ({megabytes(size)})")
    if found["rebuild"]:
        where = "in a folder that zoo export makes of this one" if found["base"] else "in this folder"
        _say(f"without zoo, {where}:")
        for text in found["rebuild"]:
            _say(f"  {text}")


def _print_file(found: dict[str, Any]) -> None:
    _say(f"{found['file']} · {found['what']}")
    _line("size", megabytes(found["size"]))
    types = ", ".join(f"{number} {name}" for name, number in found["dtypes"].items())
    _line("tensors", f"{found['tensors']} ({types})" if types else str(found["tensors"]))
    _line("numbers", count(found["numbers"]))
    for label, names in (("files", found.get("files")), ("keys", found.get("keys"))):
        if names:
            _line(label, _names(names))
    if found.get("taken_from"):
        _line("weights at", found["taken_from"])
    if found["prefix"]:
        _line("prefix", f"{found['prefix']} before every name")
    if found.get("metadata"):
        _line("says", _pairs(found["metadata"]))
    if found.get("globals"):
        _line("would import", _names(found["globals"], 40))
    if found.get("refused"):
        _line("refused", f"as weights: {found['refused']}")
    for number, text in enumerate(found["use"]):
        _line("" if number else "use it", text)


def _names(names: Iterable[str], most: int = 12) -> str:
    return listed([f"{name:.60}" for name in names], most)


def _pairs(values: Mapping[str, Any]) -> str:
    return listed([f"{key:.40} {value!s:.60}" for key, value in values.items()], 8)
