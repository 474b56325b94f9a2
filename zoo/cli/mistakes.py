"""How mistakes are told on the command line: what typer finds in zoo's own form, keys as the flags they are."""

import errno
import re
from collections.abc import Sequence
from typing import Any

from typer.exceptions import TyperException

from zoo.errors import StorageError, UsageError, ZooError
from zoo.names import one_of


def usage_text(error: TyperException) -> str:
    """What typer found wrong with the arguments: what was given, what is allowed, and where to look."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "zoo"
    return f"{_in_own_words(error) or error.format_message()}\n  {command} --help shows what it takes."


def _in_own_words(error: TyperException) -> str | None:
    """A value that its option does not take, as the recipe's keys tell it; None for anything else."""
    option: Any = getattr(error, "param", None)
    cause: Any = error.__cause__
    if option is None or not hasattr(cause, "errors"):
        return None
    found = cause.errors()[0]
    allowed = _allowed(found, getattr(getattr(option, "type_descriptor", None), "choices", None) or ())
    if allowed is None:
        return None
    called = max(option.opts, key=len) if option.opts[0].startswith("-") else option.metavar or option.name
    is_number = found["type"].endswith("than_equal")
    return f"{called} is {found['input'] if is_number else repr(found['input'])}; {allowed}"


def _allowed(found: Any, choices: Sequence[Any]) -> str | None:
    if choices:
        return one_of(str(found["input"]), [str(getattr(each, "value", each)) for each in choices])
    limits = found.get("ctx", {})
    match found["type"]:
        case "int_parsing" | "int_from_float":
            return "it takes a whole number"
        case "float_parsing":
            return "it takes a number"
        case "greater_than_equal":
            return f"it must be {limits['ge']} or more"
        case "less_than_equal":
            return f"it must be {limits['le']} or less"
    return None


def as_flags(text: str, given: Sequence[str]) -> str:
    """An error's text with the keys that its lines begin with as the flags that they were given by.

    >>> as_flags("lr is -1; it must be above 0", ["finetune", "--lr", "-1"])
    '--lr is -1; it must be above 0'
    """
    flags = {argument.partition("=")[0] for argument in given if argument.startswith("--")}
    flags |= {argument[:2] for argument in given if re.match("-[a-z]", argument)}

    def dashed(match: re.Match[str]) -> str:
        called = next((flag for flag in (f"--{match[2]}", _ALIASES.get(match[2])) if flag in flags), match[2])
        return f"{match[1]}{called}"

    return _KEY.sub(dashed, text)


_ALIASES = {"wd": "--weight-decay", "batch-size": "-b", "workers": "-j"}
"""What a key's flag is called otherwise."""


_KEY = re.compile(r"^( *)([a-z]+(?:-[a-z]+)*)(?= is | names | '| none)", re.MULTILINE)


def of_system(error: OSError) -> ZooError:
    """What the system refused, where no part of zoo expected it: a place that cannot be one, or a failing disk."""
    if error.errno == errno.ENAMETOOLONG:
        return UsageError(f"{str(error.filename)[:40]!r}… is longer than a path can be.", "give a shorter one")
    where = f" {error.filename}" if error.filename else ""
    return StorageError(f"the system refused{where}: {error.strerror or error}.", "--debug shows what was tried")
