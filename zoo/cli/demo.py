"""`zoo demo`: see it work, without a network."""

import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.options import Debug

app = typer.Typer(add_completion=False)


@app.command(epilog="zoo demo")
def demo(
    folder: Annotated[Path, typer.Option("--out", help="Where to put its pictures and runs.")] = Path("zoo-demo"),
    debug: Debug = False,
) -> None:
    """Fine-tune a bundled backbone on handwritten digits that it has never seen, in a minute."""
    from zoo import demo as demonstration
    from zoo.cli.reporter import Printer

    began = time.monotonic()
    data = demonstration.unpack(folder)
    out = folder / "checkpoints"
    weights = _shortest(demonstration.backbone())
    typer.echo("A small backbone that was trained on the handwritten digits 0 to 4 learns 5 to 9,")
    typer.echo(f"from {demonstration.TRAIN_PICTURES} pictures of each:\n")
    typer.echo(f"$ {demonstration.command(data, out, shlex.quote(weights))}\n")
    pretrained = demonstration.fine_tune(data, out, weights, Printer())
    typer.echo("\nThe same once more, from random weights:\n")
    typer.echo(f"$ {demonstration.command(data, out, 'none')}\n")
    random = demonstration.fine_tune(data, out, "none", Printer(quiet=True))
    typer.echo(f"  pretrained      accuracy {pretrained.metrics['accuracy']:.3f}")
    typer.echo(f"  random weights  accuracy {random.metrics['accuracy']:.3f}")
    typer.echo(f"\ndone in {time.monotonic() - began:.0f} s. Try next:")
    typer.echo(f"  zoo predict {shlex.quote(str(pretrained.folder))} {shlex.quote(str(data / 'val' / '7'))} --top 2")
    typer.echo("  zoo finetune resnet18 --freeze backbone --data FOLDER    (one folder a class)")


def _shortest(path: Path) -> str:
    """A path as one would type it: relative where that is shorter."""
    inside = path.resolve().is_relative_to(Path.cwd())
    return str(path.resolve().relative_to(Path.cwd())) if inside else str(path)
