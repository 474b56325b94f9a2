"""Which run a command means that may have begun one before."""

import dataclasses
from pathlib import Path

from zoo import recipe as recipes
from zoo import registry
from zoo.errors import UsageError
from zoo.files import DATA, RECIPE
from zoo.finetuning.folder import default_name, is_numbered
from zoo.head.presets import name_of
from zoo.recipe import Recipe


def find_run(recipe: Recipe, out: Path, name: str | None) -> Path | None:
    """The run that a recipe would make, if it was begun already: the newest of the name that is given, or that
    model and data give."""
    if name is not None:
        return out / name if (out / name / RECIPE).is_file() else None
    if recipe.model is None or recipe.data is None:
        raise UsageError("--resume needs the model and the data of its run.", "or: zoo resume RUN")
    root = Path(recipe.data).expanduser().resolve()
    found = [place.parent for place in out.glob(f"*/{RECIPE}") if _is_of(place.parent, recipe.model, root)]
    # A run that was killed at once has no list of data yet.
    begun = {run: run / DATA if (run / DATA).is_file() else run / RECIPE for run in found}
    return max(found, key=lambda run: begun[run].stat().st_mtime_ns, default=None)


def like(run: Path, recipe: Recipe) -> Recipe:
    """A recipe in the words of a run's own: names in full, places absolute, classes as the data gave them."""
    mine = recipes.find(str(run / RECIPE))
    same_model = recipe.model is None or (mine.model is not None and _same_model(mine.model, recipe.model))
    weights = recipe.weights
    if "weights" not in recipe.flags or Path(weights).expanduser().resolve() == Path(mine.weights):
        weights = mine.weights
    classes = recipe.classes
    counted = classes is not None and mine.classes is not None and classes == (str(len(mine.classes)),)
    return dataclasses.replace(
        recipe,
        model=mine.model if same_model else recipe.model,
        weights=weights,
        head=name_of(recipe.head),
        classes=mine.classes if classes is None or counted else classes,
        data=str(Path(recipe.data).expanduser().resolve()) if recipe.data else mine.data,
    )


def _is_of(folder: Path, model: str, root: Path) -> bool:
    """Whether a run is of this model and data, under the name that it got from them."""
    try:
        run = recipes.find(str(folder / RECIPE))
    except (UsageError, OSError):
        # Somebody else's run that cannot be read is not the one that is meant.
        return False
    if run.model is None or run.data is None or not _same_model(run.model, model) or Path(run.data) != root:
        return False
    return is_numbered(folder.name, default_name(run.model, root))


def _same_model(full: str, text: str) -> bool:
    """Whether a text names the model with this full name; timm's names may go on with a tag."""
    name = ":".join(registry.find(text))
    return full == name or (full.startswith("timm:") and full.startswith(f"{name}."))
