"""The command line: it parses, calls, prints, and maps errors to exit codes.

Each command is a file that is imported when it is called; the table here is what `zoo --help` and shell
completion need, so that both start at once.
"""

import contextlib
import importlib
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from zoo import __version__
from zoo.cli.mistakes import as_flags, of_system, usage_text
from zoo.errors import Stopped, ZooError
from zoo.names import printable

COMMANDS = {
    "finetune": "Fine-tune a pretrained model on your own pictures.",
    "resume": "Go on with a run that was stopped.",
    "lr-find": "Try learning rates, and suggest one.",
    "evaluate": "Measure a checkpoint on a folder or a table of pictures.",
    "predict": "Say what pictures show.",
    "list": "List the models there are.",
    "info": "Tell what is known about a model.",
    "summary": "Show a model's modules, and what a policy freezes.",
    "inspect": "Tell what is in a checkpoint, a run, or a file of weights.",
    "export": "Make a checkpoint whole, or leave its base out.",
    "recipes": "List, show or copy recipes.",
    "heads": "List, show or copy heads.",
    "demo": "See it work in a minute, without a network.",
}


class LazyGroup(TyperGroup):
    """Commands by name; a command's file is imported only when that command runs."""

    _only_listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        """The names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command itself, or while help or completion lists them all, its name and line alone."""
        if cmd_name not in COMMANDS:
            return None
        if self._only_listing:
            line = COMMANDS[cmd_name]
            return TyperCommand(cmd_name, callback=None, help=line, short_help=line)
        module = importlib.import_module(f"zoo.cli.{_MODULES.get(cmd_name, cmd_name)}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        _plain_if_narrow(command)
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called; for a mistyped one typer looks for near names among these."""
        self.commands = {name: TyperCommand(name) for name in COMMANDS}
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help page, from the table alone."""
        _plain_if_narrow(self)
        with self._listing():
            super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Completion of the commands' names, from the table alone."""
        with self._listing():
            return super().shell_complete(ctx, incomplete)

    @contextlib.contextmanager
    def _listing(self) -> Iterator[None]:
        self._only_listing = True
        try:
            yield
        finally:
            self._only_listing = False


_FOR_TABLES = 80
"""Columns below which the tables of a help page would cut words apart: it is plain text there."""


def _plain_if_narrow(command: Any) -> None:
    """Let a command's help be plain text where the terminal is so narrow that tables would cut words apart."""
    if shutil.get_terminal_size().columns < _FOR_TABLES:
        for each in (command, *getattr(command, "commands", {}).values()):
            each.rich_markup_mode = None
            # Unless it is given, a list of commands cuts it off.
            each.short_help = each.short_help or (each.help or "").partition("\n")[0]


# `list` is a builtin's name, which a module should not hide.
_MODULES = {"list": "listing", "lr-find": "lr_find"}

app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="First steps: zoo demo · zoo finetune resnet18 --freeze backbone --data ./imgs",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"zoo {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    """Load a pretrained model, give it your classes, fine-tune it, keep it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the code that says how it went."""
    # Threads that wait for one another give their core away: with another program on the machine, spinning ones
    # cost several times the work itself. It counts only before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    given = list(sys.argv[1:] if arguments is None else arguments)
    for name in ("SIGTERM", "SIGHUP", "SIGUSR1"):
        number = getattr(signal, name, None)
        # nohup asks for hangups to be ignored.
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _leave)
    sys.exit(run(given))


class _Signalled(BaseException):
    """A signal came where there is nothing to save; what is half done is undone on the way out."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number


def _leave(number: int, frame: FrameType | None) -> None:
    raise _Signalled(number)


def run(given: list[str]) -> int:
    """Run the command line and return the exit code that says how it went."""
    debug = "--debug" in given
    try:
        result = _called(given)
    except Stopped as stopped:
        typer.echo(str(stopped), err=True)
        return _told(given, str(stopped), stopped.exit_code)
    except ZooError as error:
        return _refused(given, error)
    except TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(error.format_message())
            return 0
        say_error(usage_text(error))
        return _told(given, usage_text(error), 2)
    except (KeyboardInterrupt, typer.Abort):
        _trace(debug)
        result = 130
    except _Signalled as signalled:
        _trace(debug)
        result = signalled.exit_code
    except OSError as error:
        return _refused(given, of_system(error))
    except Exception as error:
        _trace(debug)
        text = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
        say_error(f"{text}\n  this is a mistake in zoo; --debug shows where, and a report of it helps")
        return _told(given, text, 1)
    # Typer, too, turns Ctrl-C into this number.
    if isinstance(result, int) and result >= 128:
        say_error("stopped at once; nothing more was saved.")
        return _told(given, "stopped at once; nothing more was saved.", result)
    return result if isinstance(result, int) else 0


def _called(given: list[str]) -> object:
    """What typer makes of the command line; nothing where the reader of a pipe has gone, who has seen enough."""
    try:
        return app(given, prog_name="zoo", standalone_mode=False)
    except BrokenPipeError:
        pass
    except SystemExit as ended:
        # typer and rich take it for a failure.
        if not isinstance(ended.__context__, BrokenPipeError):
            raise
    # Python would complain again when it flushes at the end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return None


def _refused(given: list[str], error: ZooError) -> int:
    """Say what went wrong in the words of the command line; the exit code that goes with it."""
    _trace("--debug" in given)
    text = as_flags(str(error), given)
    say_error(text)
    return _told(given, text, error.exit_code)


def _told(given: list[str], text: str, code: int) -> int:
    """The exit code of what went wrong; who asked for JSON gets one object then too."""
    if _wants_json(given):
        from zoo.cli.output import print_json

        # Whoever read it may have gone.
        with contextlib.suppress(BrokenPipeError):
            print_json({"error": text, "exit_code": code})
            sys.stdout.flush()
    return code


def _wants_json(given: Sequence[str]) -> bool:
    pairs = zip(given, [*given[1:], ""], strict=True)
    return "--json" in given or "--format=json" in given or ("--format", "json") in pairs


def _trace(debug: bool) -> None:
    """Show where the error at hand comes from, where that was asked for."""
    if debug:
        traceback.print_exc()


def say_error(text: str) -> None:
    """Print an error where errors go, its first word in red on a terminal."""
    word = typer.style("error:", fg="red", bold=True) if _coloured() else "error:"
    # It may quote a file, whose texts must not move a terminal's cursor.
    typer.echo(f"{word} " + "\n".join(map(printable, text.split("\n"))), err=True)


def _coloured() -> bool:
    return sys.stderr.isatty() and "NO_COLOR" not in os.environ
