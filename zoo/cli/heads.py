"""`zoo heads`: list, show or copy heads."""

from pathlib import Path
from typing import Annotated

import typer

from zoo import catalog
from zoo.cli import presets
from zoo.cli.completion import head_names
from zoo.cli.fitting import fitted
from zoo.cli.options import AsJson, Debug

app = typer.Typer(add_completion=False, invoke_without_command=True, epilog="zoo heads copy mlp ./mine.toml")

NAME = typer.Argument(help="A head's name, or a file of one.", metavar="NAME", autocompletion=head_names)


@app.callback()
def heads(
    context: typer.Context,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List, show or copy heads, which turn features into class scores."""
    if context.invoked_subcommand is not None:
        presets.require_list("heads", context.invoked_subcommand, as_json=as_json)
        return
    found = {name: catalog.read("heads", name) for name in catalog.names("heads")}
    if as_json:
        from zoo.cli.output import print_json

        print_json({"heads": [{"name": name, **values} for name, values in found.items()]})
        return
    for name, values in found.items():
        typer.echo(fitted(f"{name:<16} {', '.join(values['takes']):<12}  {values['summary']}", 31))
    typer.echo(fitted("zoo heads show NAME · zoo finetune MODEL --head NAME --data FOLDER"))


@app.command()
def show(name: Annotated[str, NAME], debug: Debug = False) -> None:
    """Print a head as it stands."""
    presets.show("heads", name)


@app.command()
def copy(
    name: Annotated[str, NAME],
    target: Annotated[Path, typer.Argument(help="Where to put the copy.", metavar="FILE")],
    debug: Debug = False,
) -> None:
    """Copy a head to a file of one's own; a file that exists is left alone."""
    presets.copy("heads", name, target, "--head")
