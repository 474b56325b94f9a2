"""A run's folder: made under a name that nobody has, locked while the run goes on, replaced only by a better one."""

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from zoo import files
from zoo.checkpoint import reading
from zoo.data.tables import is_table
from zoo.errors import StorageError, UsageError
from zoo.files import DATA, RECIPE
from zoo.finetuning.plan import Plan
from zoo.finetuning.reporting import Reporter
from zoo.foreseeing import ended_early
from zoo.recipe import to_toml


@contextlib.contextmanager
def opened(plan: Plan, reporter: Reporter) -> Iterator[None]:
    """The run's folder, locked for the body, with what it needs to be repeated.

    Where another run took the default name a moment ago, the next free one is taken.
    """
    first = plan.folder.with_name(default_name(plan.spec.full_name, plan.dataset.place.resolve()))
    with files.explained(plan.folder):
        plan.folder.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                plan.folder.mkdir()
                break
            except FileExistsError as error:
                if plan.named:
                    raise UsageError(
                        f"{plan.folder} exists already.", "--overwrite replaces it, another --name keeps it"
                    ) from error
                plan.folder = next_free(first)
    begun = False
    try:
        with files.locked(plan.folder, reporter.note):
            write_recipe(plan)
            files.write_json(plan.folder / DATA, plan.listing)
            begun = True
            yield
    except StorageError:
        if not begun:
            shutil.rmtree(plan.folder, ignore_errors=True)
        raise


def write_recipe(plan: Plan) -> None:
    """Write the resolved recipe, which repeats the run."""
    command = f"zoo finetune --recipe {plan.folder / RECIPE}"
    files.write_text(plan.folder / RECIPE, to_toml(plan.recipe, command))


def default_name(model: str, root: Path) -> str:
    """What a run is called unless it is named: its model, without the owner on a hub, and its folder or table.

    >>> default_name("hf:google/vit-base-patch16-224", Path("/data/my pictures"))
    'vit-base-patch16-224-my-pictures'
    """
    source, _, name = model.partition(":")
    short = Path(name).name if source == "hf" else name
    data = root.stem if is_table(root) else root.name
    return re.sub(r"[^\w.+-]+", "-", f"{short}-{data}").strip("-.")


def is_numbered(name: str, first: str) -> bool:
    """Whether a name is one of those that `next_free` gives after the first: NAME, NAME-2, NAME-3, …"""
    return name == first or (name.startswith(f"{first}-") and name.removeprefix(f"{first}-").isdecimal())


def next_free(folder: Path) -> Path:
    """The folder, or the first of -2, -3, … that does not exist."""
    candidate, number = folder, 1
    # A link that points nowhere does not exist, and has the name all the same.
    while candidate.exists() or candidate.is_symlink():
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate


def cleared(folder: Path) -> bool:
    """Take away a run that ended before it had a checkpoint, so that it can begin again; whether it was one.

    Raises StorageError when another process has the run, which may be about to save its first.
    """
    if not ended_early(folder):
        return False
    with files.locked(folder):
        files.remove_folder(folder)
    return True


@contextlib.contextmanager
def replaced(folder: Path) -> Iterator[None]:
    """An old run steps aside for the body; it goes if the body leaves a complete checkpoint, else it comes back."""
    aside = folder.with_name(f".{folder.name}.replaced")
    if aside.exists() and not reading.checkpoints_of(folder):
        # A process was killed in here before its run had a checkpoint: the old one is still the better one.
        _put_back(aside, folder)
    if not folder.exists():
        yield
        return
    with files.locked(folder), files.explained(folder):
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    (aside / files.HOLDER).unlink(missing_ok=True)
    try:
        yield
    finally:
        if reading.checkpoints_of(folder):
            shutil.rmtree(aside, ignore_errors=True)
        else:
            with contextlib.suppress(StorageError):
                _put_back(aside, folder)


def _put_back(aside: Path, folder: Path) -> None:
    """Give an old run its name again; raises StorageError when another process has begun one there meanwhile."""
    with files.locked(folder) if folder.exists() else contextlib.nullcontext(), files.explained(folder):
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)


def last_and_best(run: Path) -> tuple[Path, Path]:
    """The newest and the best checkpoint of a run that has one."""
    found = reading.checkpoints_of(run)
    best = reading.best_of(run)
    assert found
    assert best is not None
    return found[-1].folder, best
