"""Rules that every module keeps: one way to the disk, nothing out of a file is run."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "zoo"
SOURCES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}

# Who may write without the writer: it itself; what fills a folder of its; the demonstration's pictures.
WRITERS = {"files/writing.py", "checkpoint/full.py", "demo/__init__.py"}
WRITING = {"write_text", "write_bytes", "save_file", "save", "savetxt", "dump"}
# Who may load a pickle that runs: the door that asks for its hash.
TRUSTING = {"checkpoint/foreign/modules.py"}
RUNNING = {"unsafe_load", "extractall", "extract", "system", "popen"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "subprocess"}


def calls(tree: ast.AST) -> Iterator[tuple[str, str, ast.Call]]:
    """Every call as (what it is called on, name, call)."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=name, value=value)):
                yield ast.unparse(value), name, node
            case ast.Call(func=ast.Name(id=name)):
                yield "", name, node


def opens_to_write(name: str, call: ast.Call) -> bool:
    texts = [
        each.value for each in (*call.args, *(word.value for word in call.keywords)) if isinstance(each, ast.Constant)
    ]
    return name == "open" and any(isinstance(text, str) and set(text) & set("wax+") and len(text) < 4 for text in texts)


@pytest.mark.parametrize("module", sorted(SOURCES.keys() - WRITERS))
def test_only_the_writer_writes(module: str) -> None:
    found = [
        f"line {call.lineno}: {ast.unparse(call)[:80]}"
        for on, name, call in calls(SOURCES[module])
        if opens_to_write(name, call)
        or (name in WRITING and on not in ("files", "writing", "self.journal", "self.saver"))
    ]
    assert not found


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_nothing_that_was_read_is_run(module: str) -> None:
    found = [
        f"line {call.lineno}: {name}"
        for on, name, call in calls(SOURCES[module])
        if name in (RUNNING if on else BUILTINS)
    ]
    for node in ast.walk(SOURCES[module]):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"line {node.lineno}: {name}" for name in names if name.partition(".")[0] in MODULES]
    # Its errors are told apart by their class, which runs nothing.
    assert [each for each in found if "pickle" not in each or not only_errors(SOURCES[module])] == []


def only_errors(tree: ast.AST) -> bool:
    names = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "pickle"
        for alias in node.names
    ]
    return bool(names) and set(names) <= {"PicklingError", "UnpicklingError"}


@pytest.mark.parametrize("module", sorted(SOURCES.keys() - TRUSTING))
def test_torch_load_reads_weights_alone(module: str) -> None:
    for on, name, call in calls(SOURCES[module]):
        if (on, name) == ("torch", "load"):
            words = {word.arg: ast.unparse(word.value) for word in call.keywords}
            assert words.get("weights_only") == "True", f"line {call.lineno}"


def test_the_rules_find_what_they_forbid() -> None:
    tree = ast.parse("open('x', 'w')\ntorch.load(f)\npath.open('r+b')\neval('1')\npath.open('rb')")
    found = [(name, opens_to_write(name, call)) for _, name, call in calls(tree)]
    assert found == [("open", True), ("load", False), ("open", True), ("eval", False), ("open", False)]
