"""What `import zoo` offers: these names, each at home where it is said to be, each explained."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import zoo

NAMES = [
    "CheckpointError",
    "DataError",
    "ModelSpec",
    "NumericsError",
    "OutOfMemoryError",
    "OwnModel",
    "Run",
    "Stopped",
    "StorageError",
    "UsageError",
    "ZooError",
    "__version__",
    "append_head",
    "blocks",
    "class_names",
    "cut_at",
    "evaluate",
    "export",
    "find_modules",
    "finetune",
    "freeze",
    "get_module",
    "insert_after",
    "list_models",
    "load",
    "load_checkpoint",
    "lr_find",
    "predict",
    "register",
    "replace_module",
    "resume",
    "save_checkpoint",
    "spec_of",
    "summary",
    "swap_head",
    "unfreeze",
]
OBJECTS = [name for name in NAMES if name != "__version__"]
FUNCTIONS = [name for name in OBJECTS if name[0].islower()]


def typed_imports() -> dict[str, str]:
    """What the type checker is told: each name, and the module that it comes from."""
    source = Path(inspect.getfile(zoo)).read_text(encoding="utf-8")
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    homes = {}
    for node in imports:
        for alias in node.names:
            if str(node.module).startswith("zoo."):
                assert alias.asname == alias.name, f"write `{alias.name} as {alias.name}`: it is exported"
                homes[alias.name] = str(node.module)
    return homes


def test_exactly_these_names_are_public() -> None:
    assert sorted(zoo.__all__) == NAMES


def test_a_star_import_brings_these_names_and_no_other() -> None:
    got: dict[str, object] = {}
    exec("from zoo import *", got)
    assert sorted(got.keys() - {"__builtins__"}) == NAMES


def test_completion_in_a_shell_shows_these_names_and_no_other() -> None:
    assert sorted(dir(zoo)) == NAMES


def test_the_type_checker_sees_what_python_sees() -> None:
    assert typed_imports() == zoo._HOMES
    assert sorted(zoo._HOMES) == OBJECTS


@pytest.mark.parametrize("name", OBJECTS)
def test_a_name_is_the_object_of_its_home(name: str) -> None:
    home = importlib.import_module(zoo._HOMES[name])
    assert getattr(zoo, name) is getattr(home, name)
    assert getattr(zoo, name).__module__ == home.__name__


def test_no_module_has_a_public_name_that_its_import_would_hide() -> None:
    modules = {module.name for module in pkgutil.iter_modules(zoo.__path__)}
    assert not modules & set(NAMES)


def test_an_unknown_name_is_an_attribute_error_as_in_any_module() -> None:
    with pytest.raises(AttributeError, match="module 'zoo' has no attribute 'finetuned'"):
        _ = zoo.finetuned
    assert not hasattr(zoo, "importlib_resources")


@pytest.mark.parametrize("name", OBJECTS)
def test_a_name_is_explained_in_a_sentence(name: str) -> None:
    explained = inspect.getdoc(getattr(zoo, name)) or ""
    assert explained.partition("\n")[0].endswith("."), f"{name} lacks a docstring that begins with a sentence"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_shows_an_example(name: str) -> None:
    lines = (inspect.getdoc(getattr(zoo, name)) or "").splitlines()
    assert any(line.startswith((">>> ", "    ")) for line in lines), f"{name} lacks an example"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_the_type_of_all_it_takes_and_gives(name: str) -> None:
    signature = inspect.signature(getattr(zoo, name))
    untyped = [each.name for each in signature.parameters.values() if each.annotation is each.empty]
    assert not untyped
    assert signature.return_annotation is not signature.empty


def test_others_may_rely_on_the_types() -> None:
    assert (Path(inspect.getfile(zoo)).parent / "py.typed").is_file()
