"""What others install: sdist → wheel → a folder of its own, run outside of the checkout."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.conftest import Result
from zoo import catalog, files

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist, and the wheel that was built from it."""
    place = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(place), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    return place


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel is installed into."""
    place = tmp_path_factory.mktemp("site")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    wheel = str(next(dist.glob("*.whl")))
    command = [sys.executable, "-m", "pip", *install, "--target", str(place), wheel]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return place


def outside(installed: Path, cwd: Path, *command: str) -> Result:
    """Run something away from the checkout, with what is installed before everything else."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def test_the_command_runs_outside_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    command = str(installed / "bin" / "zoo")
    listed = outside(installed, tmp_path, command, "list", "vgg16")
    assert (listed.code, listed.err) == (0, "")
    assert [row.split()[:2] for row in listed.out.splitlines()[1:]] == [["torchvision", "vgg16"], ["timm", "vgg16"]]
    shown = outside(installed, tmp_path, command, "recipes", "show", "linear-probe")
    assert shown.out == catalog.text("recipes", "linear-probe")


def test_what_runs_is_the_installed_package_with_its_own_presets(installed: Path, tmp_path: Path) -> None:
    script = (
        "import json, zoo; from zoo import catalog;"
        "kinds = ('heads', 'recipes', 'checkpoints');"
        "print(json.dumps([zoo.__file__, *(str(catalog.folder(kind)) for kind in kinds), catalog.names('heads')]))"
    )
    own = installed / "zoo"
    assert json.loads(outside(installed, tmp_path, sys.executable, "-c", script).out) == [
        str(own / "__init__.py"),
        *(str(own / "_catalog" / kind) for kind in ("heads", "recipes", "checkpoints")),
        catalog.names("heads"),
    ]


@pytest.mark.parametrize("kind", ["heads", "recipes"])
def test_every_preset_is_installed_as_it_stands(kind: str, installed: Path) -> None:
    shipped = {path.name: path.read_bytes() for path in (installed / "zoo" / "_catalog" / kind).iterdir()}
    assert shipped == {path.name: path.read_bytes() for path in (ROOT / kind).iterdir()}


def test_the_bundled_backbone_is_installed_complete_and_small(installed: Path) -> None:
    backbone = installed / "zoo" / "_catalog" / "checkpoints" / "digits-backbone"
    assert files.is_complete(backbone)
    assert files.damaged(backbone) == []
    assert sum(path.stat().st_size for path in backbone.iterdir()) < 2_000_000


def test_every_file_of_the_package_is_installed(installed: Path) -> None:
    def package_files(folder: Path) -> set[Path]:
        found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}
        return {path for path in found if path.parts[0] != "_catalog"}

    shipped = package_files(installed / "zoo")
    assert shipped == package_files(ROOT / "zoo")
    assert {Path("py.typed"), Path("index/torchvision.json"), Path("index/timm.json"), Path("index/hf.json")} <= shipped


def test_zoo_is_the_only_name_that_is_installed(dist: Path, installed: Path) -> None:
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"zoo"}
    script = (
        f"import sys; sys.path.insert(0, {str(installed)!r}); from importlib.util import find_spec;"
        "print(*(n for n in ('zoo', 'heads', 'recipes', 'checkpoints', 'tests', 'tools') if find_spec(n)))"
    )
    bare = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    assert bare.stdout.split() == ["zoo"]


def test_the_wheel_says_what_it_is(installed: Path) -> None:
    folder = next(installed.glob("*.dist-info"))
    metadata = Parser().parsestr((folder / "METADATA").read_text(encoding="utf-8"))
    assert (metadata["Name"], metadata["License-Expression"]) == ("zoo-finetune", "Apache-2.0")
    assert "zoo = zoo.cli:main" in (folder / "entry_points.txt").read_text()
    assert (folder / "licenses" / "LICENSE").is_file()


def test_the_sdist_carries_what_a_developer_needs(dist: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"Makefile", "README.md", "LICENSE", "pyproject.toml", "tests/conftest.py", "tools/build_index.py"} <= names
    assert not [name for name in names if name.endswith(".pyc") or name.startswith((".venv", ".git/"))]
