"""The commands that tell facts: list, info, summary, recipes, inspect."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.conftest import Command, Result
from zoo import catalog, recipe, registry
from zoo.registry import own


def values(result: Result) -> Any:
    assert (result.code, result.err) == (0, "")
    return json.loads(result.out)


def names(result: Result) -> list[str]:
    return [f"{each['source']}:{each['name']}" for each in values(result)["models"]]


def test_list_prints_an_aligned_row_a_model(zoo_command: Command) -> None:
    rows = zoo_command("list", "vgg1[16]", "--source", "torchvision").out.splitlines()
    assert rows == [
        "source       name  parameters  input        ImageNet top-1",
        "torchvision  vgg11    132.9 M  224 × 224    69.0 %",
        "torchvision  vgg16    138.4 M  224 × 224    71.6 %",
    ]


def test_list_narrows_by_source_weights_and_size(zoo_command: Command) -> None:
    assert names(zoo_command("list", "vgg16", "--json")) == ["torchvision:vgg16", "timm:vgg16"]
    assert names(zoo_command("list", "vgg16", "--source", "timm", "--json")) == ["timm:vgg16"]
    tagged = names(zoo_command("list", "resnet18*", "--source", "timm", "--pretrained", "--json"))
    assert "timm:resnet18.a1_in1k" in tagged
    assert "timm:resnet18" not in tagged
    small = values(zoo_command("list", "--max-params", "1.3M", "--json"))["models"]
    assert "squeezenet1_1" in {each["name"] for each in small}
    assert max(each["parameters"] for each in small) <= 1_300_000


@pytest.mark.parametrize("count", ["1240k", "1.24M", "0.00124G", "1240000"])
def test_a_count_can_be_written_in_several_ways(count: str, zoo_command: Command) -> None:
    found = names(zoo_command("list", "squeezenet*", "--max-params", count, "--json"))
    assert found == ["torchvision:squeezenet1_1"]


@pytest.mark.parametrize(("key", "reverse"), [("name", False), ("params", False), ("accuracy", True)])
def test_list_sorts(key: str, reverse: bool, zoo_command: Command) -> None:
    listed = values(zoo_command("list", "resne*", "--sort", key, "--json"))["models"]
    column = [each["parameters" if key == "params" else key] or 0.0 for each in listed]
    assert column == sorted(column, reverse=reverse)
    assert listed != values(zoo_command("list", "resne*", "--json"))["models"]


def test_a_list_without_a_match_is_an_error_for_people_and_empty_for_programs(zoo_command: Command) -> None:
    told = zoo_command("list", "nothing")
    assert (told.code, told.err.splitlines()[0]) == (2, "error: no model matches 'nothing'.")
    assert values(zoo_command("list", "nothing", "--json")) == {"models": []}
    assert "other tasks" in zoo_command("list", "fcn_*").err
    for elsewhere in (("fcn_*", "--source", "own"), ("--max-params", "1")):
        assert "other tasks" not in zoo_command("list", *elsewhere).err


def test_a_terminal_gets_a_screenful_and_the_count_of_the_rest(tmp_path: Path) -> None:
    screen, terminal = pty.openpty()
    environment = {**os.environ, "LINES": "20", "COLUMNS": "100"}
    done = subprocess.Popen(
        [sys.executable, "-m", "zoo", "list", "--source", "torchvision"], stdout=terminal, env=environment, cwd=tmp_path
    )
    os.close(terminal)
    assert done.wait(timeout=60) == 0
    rows = os.read(screen, 100_000).decode().splitlines()
    os.close(screen)
    assert len(rows) == 18
    assert rows[-1] == f"… {len(registry.index('torchvision')['models']) - 16} more; --all shows them, " + (
        "a glob narrows them: zoo list 'resnet*'"
    )


def test_info_fits_a_screen_and_states_the_facts(zoo_command: Command) -> None:
    shown = zoo_command("info", "vgg16").out
    assert len(shown.splitlines()) <= 24
    for fact in (
        "torchvision:vgg16\n",
        "138.4 M (138,357,544)",
        "224 × 224",
        "scale to 256 (bilinear, crop), centre 224, mean 0.485 0.456 0.406, std 0.229 0.224 0.225",
        "classifier.6, 4,096 features (vector)",
        "features.0 … 28, classifier.0 … 3\n",
        "IMAGENET1K_V1 (default) · top-1 71.6 % · 528 MB",
        "IMAGENET1K_FEATURES · 528 MB",
    ):
        assert fact in shown


def test_info_gives_programs_the_same(zoo_command: Command) -> None:
    facts = values(zoo_command("info", "timm:resnet50.tv_in1k", "--json"))
    assert (facts["source"], facts["parameters"], facts["features"]) == ("timm", 25_557_032, 2048)
    assert (facts["head_path"], facts["default"]) == ("fc", "tv_in1k")
    assert facts["preprocessing"]["interpolation"] == "bilinear"
    assert facts["places"].index("layer1.0") < facts["places"].index("layer4.2") < facts["places"].index("fc")
    assert "a1_in1k" in facts["weights"]


def test_summary_shows_shapes_and_what_a_policy_freezes(zoo_command: Command) -> None:
    shown = zoo_command("summary", "resnet18", "--freeze", "until:layer3", "--unfreeze", "layer1.*").out
    rows = {line.split()[0]: line.split() for line in shown.splitlines() if line.startswith("  ") and line[2] != " "}
    assert rows["layer1"][-1] == "trained"
    assert rows["layer3"] == ["layer3", "Sequential", "256", "×", "14", "×", "14", "2,099,712", "frozen"]
    assert rows["fc"] == ["fc", "Linear", "1000", "513,000", "trained"]
    assert "0 … 1 (2 alike)" in shown
    assert shown.splitlines()[-1] == "trained 9,054,696 of 11,689,512 (77.5 %)"


def test_summary_gives_programs_the_same_as_deep_as_asked(zoo_command: Command) -> None:
    found = values(zoo_command("summary", "resnet18", "--freeze", "until:layer3", "--depth", "1", "--json"))
    assert (found["parameters"], found["trained"]) == (11_689_512, 8_906_728)
    states = {each["path"]: each["state"] for each in found["modules"]}
    assert (states["layer3"], states["layer4"], states[""]) == ("frozen", "trained", "part")
    assert max(each["depth"] for each in found["modules"]) == 1


def test_summary_numbers_the_blocks_and_says_what_a_policy_means(zoo_command: Command) -> None:
    shown = zoo_command("summary", "resnet18", "--depth", "1", "--freeze", "backbone", "--unfreeze", "last:1,norm").out
    rows = [line.split() for line in shown.splitlines()]
    assert ["1", "conv1", "9,536", "part"] in rows
    assert ["2-3", "layer1.0", "…", "layer1.1", "147,968", "part"] in rows
    assert ["9", "layer4.1", "4,720,640", "trained"] in rows
    assert (
        "the policy freezes all but the head, except the last block and the norm layers: parts of blocks 1-8" in shown
    )
    found = values(zoo_command("summary", "resnet18", "--freeze", "first:3", "--json"))
    assert [row["state"] for row in found["blocks"]] == ["frozen"] * 3 + ["trained"] * 6
    assert found["policy"] == "freezes the first 3 blocks: blocks 1-3 of 9 (conv1 … layer1.1)"
    assert "the policy" not in zoo_command("summary", "resnet18", "--depth", "1").out


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of an own model with two checkpoints, the second better."""
    monkeypatch.setattr(own, "REGISTERED", {})
    zoo.register(
        "tiny",
        lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 10)),
        head_path="1",
        input_size=(2, 2),
    )
    model = zoo.load("own:tiny", classes=["ant", "bee"], weights=None)
    for epoch in (1, 2):
        folder = tmp_path / "run" / f"epoch-000{epoch}"
        zoo.save_checkpoint(folder, model, epoch=epoch, metrics={"accuracy": epoch / 4}, progress={"score": epoch})
    (tmp_path / "run" / "run.toml").touch()
    return tmp_path / "run"


def test_inspect_lists_the_checkpoints_of_a_run(run_folder: Path, zoo_command: Command) -> None:
    rows = zoo_command("inspect", run_folder).out.splitlines()
    assert rows[1].split() == ["epoch-0001", "accuracy", "0.250"]
    assert rows[2].split() == ["epoch-0002", "accuracy", "0.500", "←", "best"]
    assert values(zoo_command("inspect", run_folder, "--json"))["best"] == str(run_folder / "epoch-0002")


def test_inspect_tells_what_is_in_a_checkpoint(run_folder: Path, zoo_command: Command) -> None:
    shown = zoo_command("inspect", run_folder / "epoch-0001").out
    for fact in ("own:tiny", "linear, replace, at 1", "2: ant, bee", "2 × 2", "accuracy 0.2500", "model.safetensors"):
        assert fact in shown
    facts = values(zoo_command("inspect", run_folder / "epoch-0001", "--json"))
    assert (facts["classes"], facts["numbers"], facts["epoch"]) == (["ant", "bee"], 26, 1)


def test_inspect_names_what_is_damaged(run_folder: Path, zoo_command: Command) -> None:
    with (run_folder / "epoch-0001" / "model.safetensors").open("r+b") as file:
        file.truncate(100)
    result = zoo_command("inspect", run_folder / "epoch-0001")
    assert result.code == 4
    assert "damaged: model.safetensors" in result.err
    assert zoo_command("inspect", run_folder / "epoch-0009").code == 4


def test_recipes_are_listed_shown_and_copied(zoo_command: Command, tmp_path: Path) -> None:
    listed = zoo_command("recipes").out
    assert all(recipe.find(name).summary in listed for name in catalog.names("recipes"))
    found = values(zoo_command("recipes", "--json"))["recipes"]
    assert [each["name"] for each in found] == catalog.names("recipes")
    text = catalog.text("recipes", "linear-probe")
    assert zoo_command("recipes", "show", "linear-probe").out == text
    assert zoo_command("recipes", "copy", "linear-probe", tmp_path / "mine.toml").code == 0
    assert (tmp_path / "mine.toml").read_text() == text.replace(
        "--recipe linear-probe", f"--recipe {tmp_path}/mine.toml"
    )
    assert zoo_command("recipes", "copy", "fine-tune", tmp_path).code == 0
    assert recipe.find(str(tmp_path / "fine-tune.toml")) == recipe.find("fine-tune")


def test_copying_a_recipe_leaves_a_file_alone(zoo_command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("mine")
    again = zoo_command("recipes", "copy", "linear-probe", tmp_path / "mine.toml")
    assert again.code == 2
    assert "exists already" in again.err
    assert (tmp_path / "mine.toml").read_text() == "mine"
    assert zoo_command("recipes", "copy", "linear-probe", tmp_path / "other").code == 2
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(("kind", "name", "flag"), [("heads", "mlp", "--head"), ("recipes", "quick", "--recipe")])
def test_a_file_is_shown_and_copied_as_a_preset_is(
    kind: str, name: str, flag: str, zoo_command: Command, tmp_path: Path
) -> None:
    mine, other = tmp_path / "mine.toml", tmp_path / "an other.toml"
    zoo_command(kind, "copy", name, mine)
    assert zoo_command(kind, "show", mine).out == mine.read_text()
    assert f"{flag} '{other}'" in zoo_command(kind, "copy", mine, other).out
    first, rest = other.read_text().split("\n", 1)
    assert first == f"# zoo finetune resnet18 {flag} '{other}' --data ./imgs"
    assert rest == catalog.text(kind, name).split("\n", 1)[1]
    (tmp_path / "folder").mkdir()
    assert zoo_command(kind, "copy", mine, tmp_path / "folder").code == 0
    assert (tmp_path / "folder" / "mine.toml").is_file()
    told = zoo_command(kind, "show", tmp_path / "absent.toml")
    assert (told.code, f"there is no {kind[:-1]}" in told.err) == (2, True)


def test_a_first_line_without_the_command_stays(zoo_command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text := '# for --head of birds\n[[layers]]\nlayer = "ReLU"\n')
    zoo_command("recipes", "copy", tmp_path / "mine.toml", tmp_path / "other.toml")
    assert (tmp_path / "other.toml").read_text() == text


def test_what_is_taken_out_of_nothing_and_what_is_only_of_the_head_is_told_plainly(zoo_command: Command) -> None:
    told = zoo_command("summary", "resnet18", "--unfreeze", "last:1")
    assert told.code == 2
    way = "set freeze too, to backbone for instance"
    assert told.err.strip() == f"error: --unfreeze is 'last:1'; it takes nothing out, as freeze is none; {way}"
    shown = zoo_command("summary", "resnet18", "--depth", "1", "--freeze", "fc.*").out
    assert "the policy freezes what fc.* names: nothing of the backbone" in shown
