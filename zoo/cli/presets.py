"""What `zoo recipes` and `zoo heads` have in common: presets that a person reads, copies and edits."""

import re
import shlex
from pathlib import Path

import typer

from zoo import catalog, files
from zoo.errors import UsageError


def require_list(kind: str, command: str, *, as_json: bool) -> None:
    """Raise UsageError for a `--json` before a command that has none."""
    if as_json:
        raise UsageError(f"--json is for the list, zoo {kind} --json; {command} has no such form.", "leave it out")


def show(kind: str, name: str) -> None:
    """Print a preset, or a file of the user's own, as it stands."""
    typer.echo(catalog.find(kind, name), nl=False)


def copy(kind: str, name: str, target: Path, use: str) -> None:
    """Copy a preset or a file to one of the user's own, which must not exist; `use` is the flag that takes it.

    The command in its first line becomes that of the copy.
    """
    text = catalog.find(kind, name)
    if target.is_dir():
        target = target / f"{Path(name).stem if catalog.is_file(name) else name}.toml"
    if target.exists():
        raise UsageError(f"{target} exists already.", "give another name")
    if target.suffix != ".toml":
        raise UsageError(f"{target} does not end in .toml.", f"for example: zoo {kind} copy {name} ./mine.toml")
    first, newline, rest = text.partition("\n")
    if first.startswith("# zoo finetune "):
        first = re.sub(rf"(?<={use} )(\S+)", lambda _: shlex.quote(str(target)), first, count=1)
    files.write_text(target, first + newline + rest)
    typer.echo(f"wrote {target}; run it with: zoo finetune MODEL {use} {shlex.quote(str(target))} --data FOLDER")
