"""`zoo summary`: a model's modules, and what a policy freezes."""

from typing import Annotated

import typer

from zoo.cli.completion import model_names
from zoo.cli.options import AsJson, Debug
from zoo.errors import UsageError
from zoo.recipe.policies import freeze_mistake, unfreeze_mistake

app = typer.Typer(add_completion=False)


@app.command(epilog="zoo summary vgg16 · zoo summary resnet18 --freeze until:layer3")
def summary(
    name: Annotated[
        str,
        typer.Argument(help="A model's name, or a checkpoint's folder.", metavar="MODEL", autocompletion=model_names),
    ],
    freeze: Annotated[
        str | None,
        typer.Option("--freeze", help="Show what this policy freezes.", metavar="POLICY", show_default=False),
    ] = None,
    unfreeze: Annotated[
        str | None,
        typer.Option(
            "--unfreeze", help="Taken out of what is frozen, in the same words.", metavar="POLICY", show_default=False
        ),
    ] = None,
    depth: Annotated[int, typer.Option("--depth", help="How far the tree is opened.", min=1, metavar="N")] = 3,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show a model's modules and blocks with shapes, parameters, and what is trained or frozen.

    A model that is named is built with random weights, since none of this depends on them.
    """
    # What is wrong is told before torch is imported, which takes seconds.
    for called, policy, mistake in (("freeze", freeze, freeze_mistake), ("unfreeze", unfreeze, unfreeze_mistake)):
        if policy is not None and (wrong := mistake(policy)):
            raise UsageError(f"{called} is {policy!r}; {wrong}")
    from pathlib import Path

    import zoo
    from zoo import freezing
    from zoo.cli.output import console, print_json, table
    from zoo.freezing.dividing import folded
    from zoo.freezing.policy import sentence
    from zoo.registry import entry

    # A folder that happens to have a model's name is not meant; one with a path in its name is.
    is_folder = Path(name).is_dir() and all(entry(source, name) is None for source in ("torchvision", "timm"))
    known = None if is_folder else entry(*zoo.registry.find(name))
    # A model that comes without a classifier is shown with the head that would take its place.
    classes = 1 if known and known.lacks_classifier else None
    model = zoo.load_checkpoint(name) if is_folder else zoo.load(name, classes, weights=None)
    order = freezing.observe(model)
    said = ""
    if freeze is not None or unfreeze is not None:
        frozen = freezing.freeze(model, freeze or "none", unfreeze=unfreeze, order=order)
        said = ": ".join(each for each in (sentence(freeze or "none", unfreeze), frozen.meaning) if each)
    found = zoo.summary(model, depth=depth)
    blocks = freezing.block_rows(model, order)
    if as_json:
        print_json({**found.to_values(), "blocks": [vars(row) for row in blocks], "policy": said})
        return
    shown = table(
        "module", "type", "output", "parameters", "state", right=("parameters",), whole=("output", "parameters")
    )
    for line in found.lines:
        label = line.path.rpartition(".")[2] or found.name
        if line.repeats > 1:
            label += f" … {line.last.rpartition('.')[2]} ({line.repeats} alike)"
        shape = " × ".join(map(str, line.shape)) if line.shape else ""
        shown.add_row("  " * line.depth + label, line.type, shape, f"{line.parameters:,}", line.state)
    to = console()
    to.print(shown)
    listed = table("block", "", "parameters", "state", right=("block", "parameters"))
    for numbers, names, parameters, state in folded(blocks):
        listed.add_row(numbers, names, f"{parameters:,}", state)
    to.print(listed)
    if said:
        to.print(f"the policy {said}", markup=False)
    share = 100 * found.trained / max(1, found.parameters)
    to.print(f"trained {found.trained:,} of {found.parameters:,} ({share:.3g} %)")
