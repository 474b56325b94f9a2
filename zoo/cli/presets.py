"""What `zoo recipes` and `zoo heads` have in common: presets that a person reads, copies and edits."""

from pathlib import Path

import typer

from zoo import catalog, files
from zoo.errors import UsageError


def show(kind: str, name: str) -> None:
    """Print a preset as it stands."""
    typer.echo(catalog.text(kind, name), nl=False)


def copy(kind: str, name: str, target: Path, use: str) -> None:
    """Copy a preset to a file of the user's own, which must not exist; `use` is the flag that takes it."""
    text = catalog.text(kind, name)
    if target.is_dir():
        target = target / f"{name}.toml"
    if target.exists():
        raise UsageError(f"{target} exists already.", "give another name")
    if target.suffix != ".toml":
        raise UsageError(f"{target} does not end in .toml.", f"for example: zoo {kind} copy {name} ./mine.toml")
    files.write_text(target, text)
    typer.echo(f"wrote {target}; run it with: zoo finetune MODEL {use} {target} --data FOLDER")
