"""`zoo inspect`: what is in a checkpoint or a run."""

from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.cli.options import AsJson, Debug
from zoo.errors import CheckpointError
from zoo.units import count, megabytes

app = typer.Typer(add_completion=False)


@app.command(epilog="zoo inspect checkpoints/vgg16-imgs · zoo inspect checkpoints/vgg16-imgs/epoch-0005")
def inspect(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint's folder, or a run's.", metavar="CHECKPOINT")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Tell what is in a checkpoint, after comparing every file with its manifest; nothing is executed."""
    from zoo.checkpoint import inspecting
    from zoo.cli.output import print_json

    run = inspecting.of_run(checkpoint) if checkpoint.is_dir() else None
    if run is not None:
        if as_json:
            print_json(run)
        else:
            _print_run(run)
        return
    if not checkpoint.is_dir():
        raise CheckpointError(f"there is no checkpoint {checkpoint}.", "give the folder of a checkpoint or of a run")
    found = inspecting.of_checkpoint(checkpoint)
    if as_json:
        print_json(found)
    else:
        _print_checkpoint(found)


def _print_run(run: dict[str, Any]) -> None:
    typer.echo(f"run {run['run']}")
    for each in run["checkpoints"]:
        metrics = " · ".join(f"{name} {value:.3f}" for name, value in each["metrics"].items())
        mark = "  ← best" if each["folder"] == run["best"] else ""
        typer.echo(f"  {each['name']:<22} {metrics}{mark}")
    for damaged in run["damaged"]:
        typer.echo(f"  {Path(damaged).name:<22} damaged: not what its manifest says")
    if not run["checkpoints"]:
        typer.echo("  no complete checkpoint")


def _print_checkpoint(found: dict[str, Any]) -> None:
    def line(label: str, text: str) -> None:
        typer.echo(f"  {label:<14} {text}")

    typer.echo(f"checkpoint {found['folder']} · every file is what its manifest says")
    line("model", f"{found['model']} ({found['model_class']})")
    line("weights from", str(found["weights"] or "random values"))
    line("head", str(found["head"]))
    line(
        "classes",
        f"{len(found['classes'])}: {', '.join(found['classes'][:8])}{' …' if len(found['classes']) > 8 else ''}",
    )
    line("input", f"{found['input'][0]} × {found['input'][1]}" if found["input"] else "unknown")
    line("parameters", f"{count(found['parameters'])}, {found['frozen']} tensors frozen")
    line("epoch", str(found["epoch"]))
    line("metrics", " · ".join(f"{name} {value:.4f}" for name, value in found["metrics"].items()) or "none")
    line("optimizer", str(found["optimizer"] or "none"))
    line("saved with", ", ".join(f"{name} {version}" for name, version in found["versions"].items()))
    for name, size in found["files"].items():
        line("file", f"{name} ({megabytes(size)})")
    if found["rebuild"]:
        typer.echo("without zoo, in this folder:")
        for text in found["rebuild"]:
            typer.echo(f"  {text}")
