"""`zoo recipes`: list, show or copy recipes."""

from pathlib import Path
from typing import Annotated

import typer

from zoo import catalog, recipe
from zoo.cli import presets
from zoo.cli.completion import recipe_names
from zoo.cli.fitting import fitted
from zoo.cli.options import AsJson, Debug
from zoo.units import some

app = typer.Typer(add_completion=False, invoke_without_command=True, epilog="zoo recipes copy linear-probe ./mine.toml")

NAME = typer.Argument(help="A recipe's name, or a file of one.", metavar="NAME", autocompletion=recipe_names)


@app.callback()
def recipes(
    context: typer.Context,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List, show or copy recipes; what they say can be overridden by flags."""
    if context.invoked_subcommand is not None:
        presets.require_list("recipes", context.invoked_subcommand, as_json=as_json)
        return
    found = [recipe.find(name) for name in catalog.names("recipes")]
    if as_json:
        from zoo.cli.output import print_json

        print_json({"recipes": [{"name": each.name, **recipe.to_values(each)} for each in found]})
        return
    for each in found:
        stages = f"{some(len(each.stages), 'stage'):<8}"
        typer.echo(fitted(f"{each.name:<22} {stages}  {some(each.epochs, 'epoch'):>9}  {each.summary}", 44))
    typer.echo(fitted("zoo recipes show NAME · zoo finetune MODEL --recipe NAME --data FOLDER"))


@app.command()
def show(name: Annotated[str, NAME], debug: Debug = False) -> None:
    """Print a recipe as it stands."""
    presets.show("recipes", name)


@app.command()
def copy(
    name: Annotated[str, NAME],
    target: Annotated[Path, typer.Argument(help="Where to put the copy.", metavar="FILE")],
    debug: Debug = False,
) -> None:
    """Copy a recipe to a file of one's own; a file that exists is left alone."""
    presets.copy("recipes", name, target, "--recipe")
