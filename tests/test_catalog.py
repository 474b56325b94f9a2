"""Presets are found beside `zoo/` in a checkout and inside the package once it is installed."""

from pathlib import Path

import pytest

from zoo import catalog
from zoo.errors import UsageError

ROOT = Path(__file__).parents[1]
HEADS = ["attention-pool", "concat-pool", "cosine", "dropout-linear", "linear", "mlp", "norm-linear"]


def place(monkeypatch: pytest.MonkeyPatch, root: Path, presets: Path) -> None:
    """Pretend that zoo lies below a root, with one head in a folder of presets."""
    (root / "zoo").mkdir(parents=True, exist_ok=True)
    (presets / "heads").mkdir(parents=True, exist_ok=True)
    (presets / "heads" / f"{presets.name}.toml").write_text('summary = "one"\ntakes = ["vector"]\n')
    monkeypatch.setattr(catalog, "__file__", str(root / "zoo" / "catalog.py"))


@pytest.mark.parametrize("kind", ["heads", "recipes", "checkpoints"])
def test_a_checkout_has_its_presets_beside_the_package(kind: str) -> None:
    assert catalog.folder(kind) == ROOT / kind


def test_an_installed_package_carries_its_presets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place(monkeypatch, tmp_path, tmp_path / "zoo" / "_catalog")
    assert catalog.folder("heads") == tmp_path / "zoo" / "_catalog" / "heads"
    assert catalog.names("heads") == ["_catalog"]


def test_an_installed_package_does_not_look_beside_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place(monkeypatch, tmp_path, tmp_path)
    assert catalog.names("heads") == [tmp_path.name]
    place(monkeypatch, tmp_path, tmp_path / "zoo" / "_catalog")
    assert catalog.names("heads") == ["_catalog"]


def test_the_presets_are_these() -> None:
    assert catalog.names("heads") == HEADS
    assert catalog.names("recipes") == [
        "bitfit", "fine-tune", "gradual-unfreeze", "layer-decay", "linear-probe", "probe-then-fine-tune", "quick",
        "surgical",
    ]  # fmt: skip


@pytest.mark.parametrize("name", catalog.names("heads"))
def test_a_head_says_what_it_is_good_for_what_it_takes_and_how_it_is_used(name: str) -> None:
    values = catalog.read("heads", name)
    assert values["summary"]
    assert set(values["takes"]) <= {"vector", "map", "tokens"}
    assert catalog.text("heads", name).startswith(f"# zoo finetune resnet18 --head {name} ")


def test_a_preset_that_is_not_there_is_told_with_what_is_near() -> None:
    with pytest.raises(
        UsageError, match=r"no head is called 'lineer'.\n  near: linear\n  heads: attention-pool, concat-pool"
    ):
        catalog.text("heads", "lineer")


@pytest.mark.parametrize("name", ["../recipes/fine-tune", "", "linear.toml", "/etc/passwd"])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(UsageError, match="no head is called"):
        catalog.read("heads", name)
