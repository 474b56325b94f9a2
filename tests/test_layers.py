"""Imports point down: the table of layers, read from the source of every module."""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "zoo"
DOOR = "zoo"
LAYERS = {
    0: {"errors"},
    1: {"catalog", "files", "markup", "names", "recipe", "registry", "seeding", "units"},
    2: {"checkpoint", "data", "freezing", "head", "layers", "summarizing", "surgery", "tracking", "training"},
    3: {"sources"},
    4: {"demo", "evaluating", "exporting", "finetuning", "foreseeing", "predicting"},
    5: {"cli"},
}
# Some layers have floors: words and files under the tables of facts, layers under the heads that are made of them,
# what is known without torch under the jobs, single jobs under the job made of jobs.
UPPER_FLOORS = {"catalog": 1, "registry": 1, "recipe": 2, "head": 1, "finetuning": 1, "demo": 2}
LAYER_OF = {part: layer for layer, parts in LAYERS.items() for part in parts}
MODEL_LIBRARIES = {"torchvision.models", "timm", "transformers", "huggingface_hub"}


@dataclass(frozen=True)
class Import:
    """One module that another one imports."""

    importer: str
    target: str
    line: int
    in_function: bool

    @property
    def parts(self) -> tuple[str, str]:
        """The top-level parts of zoo on both ends; empty for the door and the script behind it."""
        return part_of(self.importer), part_of(self.target)

    def __str__(self) -> str:
        return f"{self.importer} (line {self.line}) imports {self.target}"


def part_of(module: str) -> str:
    part = module.split(".")[1] if "." in module else ""
    return "" if part == "__main__" else part


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def targets(node: ast.AST) -> list[str]:
    """What an import statement, or a call with a constant name, imports."""
    match node:
        case ast.Import(names=names):
            return [name.name for name in names]
        case ast.ImportFrom(module=str(module), names=names, level=0):
            if module.partition(".")[0] not in ("zoo", "torchvision"):
                return [module]
            full = [f"{module}.{name.name}" for name in names]
            return [each if module == "torchvision" or each in MODULES else module for each in full]
        case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]):
            return [name]
        case ast.ImportFrom():
            pytest.fail(f"relative import in line {node.lineno}: write it from zoo on")
    return []


def imports_of(module: str) -> Iterator[Import]:
    def walk(node: ast.AST, in_function: bool) -> Iterator[Import]:
        for target in targets(node):
            yield Import(module, target, node.lineno, in_function)
        inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    yield from walk(ast.parse(MODULES[module].read_text(encoding="utf-8")), False)


IMPORTS = [each for module in MODULES for each in imports_of(module)]
OWN = [each for each in IMPORTS if each.target.partition(".")[0] == "zoo"]
BETWEEN_PARTS = [each for each in OWN if set(each.parts) <= LAYER_OF.keys() and len(set(each.parts)) == 2]


def assert_none(imports: list[Import]) -> None:
    assert not imports, "\n".join(map(str, imports))


def test_every_module_has_a_layer() -> None:
    unknown = {part_of(module) for module in MODULES} - LAYER_OF.keys() - {""}
    assert not unknown, (
        f"no layer is known for {sorted(unknown)}: put each into LAYERS here, as low as its imports allow, "
        "and into the table of CONTRIBUTING.md"
    )


def test_the_contributors_read_the_same_table() -> None:
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| (.*?) \|", text, re.MULTILINE)
    written = {int(layer): set(re.findall(r"`(\w+)", rooms)) for layer, rooms in rows}
    assert written == LAYERS


def test_imports_point_down() -> None:
    upward = [each for each in BETWEEN_PARTS if LAYER_OF[each.parts[0]] < LAYER_OF[each.parts[1]]]
    assert_none(upward)


def test_modules_of_one_layer_do_not_import_one_another() -> None:
    sideways = [
        each
        for each in BETWEEN_PARTS
        if LAYER_OF[each.parts[0]] == LAYER_OF[each.parts[1]]
        and UPPER_FLOORS.get(each.parts[0], 0) <= UPPER_FLOORS.get(each.parts[1], 0)
    ]
    assert_none(sideways)


def test_only_the_command_line_comes_in_through_the_door() -> None:
    guests = [each for each in OWN if each.target == DOOR and part_of(each.importer) != "cli"]
    assert_none(guests)


def test_there_is_no_circle() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for each in OWN:
        if each.target != each.importer:
            graph[each.importer].add(each.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))


@pytest.mark.parametrize(("layer", "besides"), [(0, set()), (1, {"tomli_w", "filelock"})])
def test_the_lowest_layers_need_almost_nothing(layer: int, besides: set[str]) -> None:
    allowed = sys.stdlib_module_names | besides | {"zoo"}
    foreign = [
        each
        for each in IMPORTS
        if LAYER_OF.get(part_of(each.importer)) == layer and each.target.partition(".")[0] not in allowed
    ]
    assert_none(foreign)


def of_a_model_library(target: str) -> bool:
    return target == "torchvision" or any(f"{target}.".startswith(f"{name}.") for name in MODEL_LIBRARIES)


def test_only_sources_know_the_model_libraries_and_only_inside_functions() -> None:
    used = [each for each in IMPORTS if of_a_model_library(each.target)]
    assert {part_of(each.importer) for each in used} == {"sources"}, "\n".join(map(str, used))
    assert_none([each for each in used if not each.in_function])


def test_only_data_and_sources_import_torchvision() -> None:
    users = {part_of(each.importer) for each in IMPORTS if each.target.partition(".")[0] == "torchvision"}
    assert users <= {"data", "sources"}
