"""Models that installed packages bring: listed by name alone, imported when loaded, explained when broken."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import zoo
from tests.conftest import ROOT, Command, Result, write_pictures
from tests.test_light_start import HEAVY, imported_by
from zoo import registry

EXAMPLE = ROOT / "tests" / "example_package"
Install = Callable[..., None]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the example package is installed, as pip does it."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(EXAMPLE, folder / "source")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", folder / "site", folder / "source"],
        check=True,
        timeout=120,
    )
    return folder / "site"


def path_with(site: Path) -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join((str(site), str(ROOT)))}


@pytest.mark.parametrize("arguments", ["list", "list example* --json", "info example-net", "info own:example-net"])
def test_it_is_found_without_being_imported(site: Path, arguments: str, tmp_path: Path) -> None:
    imported, out = imported_by("-m", "zoo", *arguments.split(), cwd=tmp_path, **path_with(site))
    assert "example-net" in out
    assert ("zoo-example-models 1.0" in out) == (arguments != "list")
    assert not imported & {*HEAVY, "zoo_example_models"}


GOING_ON = """
import json, sys, zoo
run = zoo.resume(sys.argv[1], epochs=3)
model = zoo.load_checkpoint(run.last)
frozen = [name for name, each in model.named_parameters() if not each.requires_grad]
print(json.dumps([run.epochs, type(model).__module__, zoo.spec_of(model).full_name, frozen]))
"""


def test_it_freezes_trains_saves_loads_and_goes_on(site: Path, zoo_process: Command, tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "imgs", {"ant": 6, "bee": 6})
    shared = ["--data", data, "--out", tmp_path, "--name", "run", "--epochs", 2, "-j", 0, "--device", "cpu"]
    begun = zoo_process("finetune", "example-net", "--freeze", "backbone", *shared, **path_with(site))
    assert begun.code == 0, begun.err
    assert "own:example-net" in begun.out
    done = subprocess.run(
        [sys.executable, "-c", GOING_ON, str(tmp_path / "run")],
        env={**os.environ, **path_with(site)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    layers = [f"{part}.{each}" for part in ("stem", "body") for each in ("0.weight", "0.bias", "1.weight", "1.bias")]
    assert json.loads(done.stdout) == [3, "zoo_example_models", "own:example-net", layers]
    with pytest.raises(zoo.UsageError, match="no model is called 'own:example-net'"):
        zoo.load_checkpoint(tmp_path / "run")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package that brings models beside the others, by the files that pip would leave."""

    def call(package: str, code: str, *points: str) -> None:
        folder = tmp_path / package
        (folder / f"{package}-2.0.dist-info").mkdir(parents=True)
        (folder / f"{package}-2.0.dist-info" / "METADATA").write_text(f"Name: {package}\nVersion: 2.0\n")
        lines = "\n".join(f"{point} = {package}:made" for point in points)
        (folder / f"{package}-2.0.dist-info" / "entry_points.txt").write_text(f"[zoo.models]\n{lines}\n")
        (folder / f"{package}.py").write_text(code)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, package, raising=False)

    return call


GOOD = """
import zoo
from torch import nn
def made():
    return zoo.OwnModel(lambda: nn.Sequential(nn.Flatten(), nn.Linear(48, 9)), "1", input_size=(4, 4))
"""


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("def made(:", "SyntaxError"),
        ("other = 1", "AttributeError: module 'brought_broken' has no attribute 'made'"),
        ("made = 5", "brought_broken:made is a int."),
        ("def made():\n    return {}", r"brought_broken:made\(\) returned a dict."),
        ("def made():\n    raise OSError('no weights')", r"brought_broken:made\(\) gives OSError: no weights"),
        ("def made(size):\n    return size", r"made\(\) gives TypeError"),
        ("import zoo\ndef made():\n    return zoo.OwnModel(list, 'fc', std=())", r"own:broken-net has input_size"),
        ("import zoo\ndef made():\n    return zoo.OwnModel(list, 'fc')", "own:broken-net returned a list, not an nn"),
    ],
)
def test_a_package_that_does_not_work_is_named(install: Install, code: str, reason: str) -> None:
    install("brought_broken", code, "broken-net")
    assert "broken-net" in [each.name for each in registry.list_models(source="own")]
    with pytest.raises(zoo.UsageError, match=reason) as caught:
        zoo.load("own:broken-net", classes=2)
    assert "own:broken-net" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3
    if "OwnModel(" not in code:
        assert "own:broken-net of brought_broken 2.0 cannot be loaded" in str(caught.value)


def test_a_broken_package_is_in_the_way_of_no_other_model(install: Install) -> None:
    install("brought_broken", "import no_such_library", "broken-net")
    install("brought_good", GOOD, "good-net")
    assert zoo.spec_of(zoo.load("good-net", classes=3)).full_name == "own:good-net"
    with pytest.raises(zoo.UsageError, match=r"(?s)no model is called 'good-nte'.*own:good-net"):
        registry.find("good-nte")


def test_a_name_that_two_packages_bring_means_neither(install: Install, zoo_command: Command) -> None:
    install("brought_one", GOOD, "same-net")
    install("brought_two", GOOD, "same-net")
    assert [each.packages for each in registry.list_models("same-net")] == [("brought_two 2.0", "brought_one 2.0")]
    with pytest.raises(zoo.UsageError, match=r"brought by brought_two 2.0 and brought_one 2.0, so that none"):
        zoo.load("own:same-net")
    told: Result = zoo_command("info", "same-net")
    assert "cannot be loaded before all but one of them are uninstalled" in told.out


def test_a_name_that_a_package_brings_is_taken(install: Install) -> None:
    install("brought_good", GOOD, "good-net")
    with pytest.raises(zoo.UsageError, match=r"'own:good-net' is brought by brought_good 2.0 already"):
        zoo.register("good-net", list, head_path="fc")


def test_a_name_that_a_library_has_too_is_told(install: Install, zoo_command: Command) -> None:
    install("brought_good", GOOD, "resnet18")
    assert registry.find("resnet18") == ("torchvision", "resnet18")
    assert registry.find("own:resnet18") == ("own", "resnet18")
    assert "write it as own:resnet18: resnet18 alone means torchvision's" in zoo_command("info", "own:resnet18").out


def test_models_of_ones_own_are_listed_and_told(zoo_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.own, "REGISTERED", {})
    zoo.register("listed-net", list, head_path="fc", input_size=(48, 32))
    assert [each.full_name for each in zoo.list_models("listed*")] == ["own:listed-net"]
    assert zoo_command("list", "--source", "own").out.splitlines()[1].split() == [
        "own",
        "listed-net",
        "–",
        "48",
        "×",
        "32",
        "–",
    ]
    values = json.loads(zoo_command("list", "listed-net", "--json").out)["models"][0]
    assert (values["parameters"], values["input"], values["packages"]) == (None, [48, 32], [])
    assert zoo_command("info", "listed-net").out.splitlines() == [
        "own:listed-net",
        "  input          48 × 32",
        "  head           fc",
        "  zoo summary own:listed-net loads it and looks",
    ]
    assert zoo.list_models("listed-net", pretrained=True) == zoo.list_models("listed-net", max_parameters=1e9) == []


@pytest.mark.parametrize("name", ["", "a b", "own:x", "../x", "-x"])
def test_a_name_that_nobody_could_type_is_refused(name: str) -> None:
    with pytest.raises(zoo.UsageError, match="is no name for a model"):
        zoo.register(name, list, head_path="fc")
