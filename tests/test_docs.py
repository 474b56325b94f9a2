"""What the documents say is true: their Python runs, their commands parse, what they name exists.

A ```python block of the README runs, in the order of the page, in a folder with small pictures in `./imgs` and
`./test`. One that cannot says why on the line before: <!-- not run: needs a GPU -->
"""

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from typer.exceptions import TyperException

from tests.conftest import write_pictures
from zoo import catalog, recipe, registry
from zoo.cli import COMMANDS, app

ROOT = Path(__file__).parents[1]
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "checkpoints").glob("*.md"), *(ROOT / "docs").glob("*.md")})
FENCE = re.compile(
    r"(?P<before>^[^\n]*\n)?^ *```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^ *```", re.MULTILINE | re.DOTALL
)
INLINE = re.compile(r"`([^`\n]+)`")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
LARGEST = 40e6

Command = Any
"""One of typer's commands, whose types are not public."""


def python_blocks(page: str) -> Iterator[tuple[int, str]]:
    """The Python of a page that runs, with the line that it begins in."""
    for block in FENCE.finditer(page):
        if block["language"] == "python" and not (block["before"] or "").startswith("<!-- not run: "):
            yield page.count("\n", 0, block.start("code")), textwrap.dedent(block["code"])


def shell_lines(page: str) -> Iterator[str]:
    """The commands of zoo on a page, in its blocks and within its lines."""
    for block in FENCE.finditer(page):
        if block["language"] != "python":
            lines = block["code"].replace("\\\n", " ").splitlines()
            yield from (line.strip().removeprefix("$ ") for line in lines)
    yield from INLINE.findall(FENCE.sub("", page))


def commands_in(lines: Iterator[str]) -> list[str]:
    """Each call of a command by its name; placeholders like `zoo COMMAND` are none."""
    parts = (part.strip() for line in lines for part in re.split(r" · | && | \| ", line))
    return [part for part in parts if re.match(r"zoo [a-z-]", part)]


def mistake_in(command: Command, words: list[str]) -> str | None:
    """Why a command line would be refused; words that are still missing are no mistake, and nothing is run."""
    words = [word for word in words if word not in ("--help", "-h")]
    own_flags = {name for parameter in command.params for name in parameter.opts}
    try:
        if not hasattr(command, "resolve_command"):
            command.make_context("zoo", words)
        elif words and words[0].startswith("-"):
            return None if words[0] in own_flags else f"no option {words[0]}"
        elif words:
            _, inner, rest = command.resolve_command(typer.Context(command), words)
            return mistake_in(inner, rest)
    except TyperException as error:
        return None if type(error).__name__ == "MissingParameter" else error.format_message()
    return None


def known_flags(command: Command) -> set[str]:
    """Every flag of a command and of those below it."""
    flags = {name for parameter in command.params for name in parameter.opts}
    context = typer.Context(command)
    below = command.list_commands(context) if hasattr(command, "list_commands") else []
    return flags.union({"--help"}, *(known_flags(command.get_command(context, name)) for name in below))


@pytest.fixture(scope="module")
def root() -> Command:
    return typer.main.get_command(app)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like that of the README's reader, and a cache of its own."""
    for name, count in (("imgs", 10), ("test", 3)):
        write_pictures(tmp_path / name, {"ant": count, "bee": count}, seed=count)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def cache_random_weights(place: Path, code: str) -> None:
    """Stand in for the download of the published weights that a text of Python loads by torchvision's names."""
    import torch
    from torchvision.models import get_model

    folder = place / "cache" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    for name in set(re.findall(r"""(?:load|finetune)\(\s*["'](?:torchvision:)?(\w+)["']""", code)):
        entry = registry.entry("torchvision", name)
        if entry is not None:
            assert entry.parameters < LARGEST, f"the README runs {name}; a smaller model shows the same in less time"
            url = entry.weights[entry.default or ""]["url"]
            torch.save(get_model(name, weights=None).state_dict(), folder / url.rpartition("/")[2])


@pytest.mark.parametrize("page", ["README.md", "docs/own-models.md"])
def test_the_python_of_a_page_runs_from_top_to_bottom(page: str, place: Path) -> None:
    blocks = list(python_blocks((ROOT / page).read_text(encoding="utf-8")))
    assert blocks
    cache_random_weights(place, "\n".join(code for _, code in blocks))
    names: dict[str, Any] = {"__name__": "readme"}
    for line, code in blocks:
        exec(compile("\n" * line + code, page, "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_parse(page: Path, root: Command) -> None:
    commands = commands_in(shell_lines(page.read_text(encoding="utf-8")))
    assert commands or page.name != "README.md"
    for command in commands:
        assert not mistake_in(root, shlex.split(command, comments=True)[1:]), command


def test_every_knob_of_training_is_described() -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    elsewhere = {"freeze", "unfreeze", "summary", "head", "mode"}
    knobs = {*recipe.RECIPE_KEYS, *recipe.STAGE_KEYS} - elsewhere
    assert not [knob for knob in knobs if f"`{knob}`" not in text]
    choices = {word for knob in knobs for word in {**recipe.RECIPE_KEYS, **recipe.STAGE_KEYS}[knob].choices}
    assert not [word for word in (*choices, *get_args(recipe.Opt)) if f"`{word}`" not in text]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_in_the_help_of_a_command_parse(name: str, root: Command) -> None:
    epilog = root.get_command(typer.Context(root), name).epilog
    examples = commands_in(iter([epilog]))
    assert any(example.startswith(f"zoo {name}") for example in examples), f"zoo {name} --help shows no example"
    for example in examples:
        assert not mistake_in(root, shlex.split(example)[1:]), example


@pytest.mark.parametrize("kind", ["heads", "recipes"])
def test_the_command_at_the_top_of_a_preset_parses(kind: str, root: Command) -> None:
    for name in catalog.names(kind):
        command = catalog.text(kind, name).splitlines()[0].removeprefix("# ")
        assert command.startswith("zoo finetune ")
        assert not mistake_in(root, shlex.split(command)[1:]), command


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "zoo").rglob("*.py"))], ids=lambda page: page.name
)
def test_a_flag_that_is_named_exists(page: Path, root: Command) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(FLAG.findall(" ".join(INLINE.findall(text)) if page.suffix == ".md" else text))
    assert not named - known_flags(root)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_files_and_targets_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert not [link for link in links if link and not (page.parent / link).exists()]
    scripts = re.findall(r"\b(?:tools|tests|benchmarks)/[\w/]+\.py", text)
    assert not [script for script in scripts if not (ROOT / script).exists()]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`|\$ )make ([a-z-]+)", text, re.MULTILINE))
    assert named <= targets
