"""Every task on a model of every source: the command's whole way, and what a process without zoo makes of it."""

import csv
import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from transformers import AutoModelForImageClassification, ResNetConfig, ViTConfig

import zoo
from tests.conftest import Command, write_squares
from tests.resuming.conftest import run_stopped, unlike
from zoo.registry import set_spec
from zoo.training.tasks import objective_of

from .contract import logits

TASKS: dict[str, dict[str, Any]] = {
    "single-label": {"label_column": ["red"]},
    "binary": {"label_column": ["red"]},
    "multi-label": {},
    "regression": {"label_column": ["grey", "red"]},
}
CLASSES: dict[str, list[str]] = {
    "single-label": ["ant", "bee", "it's\n a 'cow'"],
    "binary": ["ant", "bee"],
    "multi-label": ["red", "round", "wet"],
    "regression": ["age", "weight\nimport os"],
}
WAYS = {"linear": {}, "mlp": {"head": "mlp"}, "concat-pool": {"head": "concat-pool"}, "append": {"mode": "append"}}
MODELS = ("torchvision:shufflenet_v2_x0_5", "timm:test_vit", "timm:test_resnet", "hf:vit", "hf:resnet")
POOLLESS = {"torchvision:shufflenet_v2_x0_5", "hf:vit"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small pictures with a table, and models of transformers and of timm with weights."""
    folder = tmp_path_factory.mktemp("place")
    write_squares(folder, 15)
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    configs = {
        "vit": ViTConfig(image_size=16, patch_size=8, hidden_dropout_prob=0.3, **small),
        "resnet": ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
    }
    torch.manual_seed(0)
    for name, config in configs.items():
        config.num_labels, config.problem_type = 4, "single_label_classification"
        AutoModelForImageClassification.from_config(config).save_pretrained(folder / name)
    torch.save(zoo.load("timm:test_resnet", weights=None).state_dict(), folder / "timm.pth")
    return folder


def full_name(name: str, place: Path) -> str:
    return f"hf:{place / name.partition(':')[2]}" if name.startswith("hf:") else name


COMMANDS = [
    ("timm:test_resnet", "single-label", "mlp"),
    ("timm:test_resnet", "binary", "concat-pool"),
    ("timm:test_resnet", "multi-label", "append"),
    ("timm:test_resnet", "regression", "linear"),
    ("hf:resnet", "single-label", "concat-pool"),
    ("hf:vit", "binary", "linear"),
    ("hf:vit", "multi-label", "mlp"),
    ("hf:resnet", "regression", "append"),
]


@pytest.mark.parametrize(("name", "task", "way"), COMMANDS, ids=["-".join(each) for each in COMMANDS])
def test_a_task_goes_the_whole_way_by_the_command(
    name: str, task: str, way: str, place: Path, tmp_path: Path, zoo_command: Command
) -> None:
    """Stopped within an epoch, gone on with, compared with a run that never stopped, evaluated, predicted with."""
    table = place / "labels.csv"
    given: dict[str, Any] = {"model": full_name(name, place), "data": table, "task": task, **TASKS[task], **WAYS[way]}
    given |= {"freeze": "backbone", "save": "delta", "epochs": 2, "batch_size": 4, "lr": 0.01, "augment": "light"}
    given |= {"out": tmp_path, "name": "run", "workers": 0, "device": "cpu", "keep": "every:1"}
    given |= {"weights": place / "timm.pth"} if name.startswith("timm") else {}
    given |= {"img_size": 32} if name != "hf:vit" else {}
    flags = [
        part
        for key, value in given.items()
        if key != "model"
        for part in (f"--{key.replace('_', '-')}", ",".join(value) if isinstance(value, list) else value)
    ]
    told = zoo_command("finetune", given["model"], *flags)
    assert (told.code, told.err) == (0, "")
    run = tmp_path / "run"
    broken = run_stopped({**given, "name": "broken"}, at_step=5)
    told = zoo_command("resume", broken)
    assert (told.code, told.err, unlike(broken, run)) == (0, "", [])

    rows = list(csv.DictReader(table.read_text().splitlines()))
    model = zoo.load_checkpoint(run)
    head = zoo.spec_of(model).head
    assert head is not None
    assert (head.task, head.outputs) == (task, {"binary": 1, "multi-label": 3}.get(task, 2))
    said = zoo_command("predict", run, "-j", 0, "--device", "cpu", "--json", *[place / row["image"] for row in rows])
    found = json.loads(said.out)["predictions"]
    column = ["--label-column", ",".join(TASKS[task]["label_column"])] if TASKS[task] else []
    figures = zoo_command("evaluate", run, "--data", table, *column, "-j", 0, "--device", "cpu", "--json")
    assert (said.err, figures.err) == ("", "")
    metrics = json.loads(figures.out)["metrics"]
    assert measured(task, found, rows) == pytest.approx(metrics[MEASURE[task]], rel=1e-5)


MEASURE = {"single-label": "accuracy", "binary": "accuracy", "multi-label": "exact", "regression": "mae"}


def measured(task: str, found: list[dict[str, Any]], rows: list[dict[str, str]]) -> float:
    """What an evaluation must say, by the predictions alone."""
    scores = []
    for each, row in zip(found, rows, strict=True):
        if task == "regression":
            scores += [abs(each["values"][name] - float(row[name])) for name in ("grey", "red")]
        elif task == "multi-label":
            scores.append(set(each["labels"]) == set(filter(None, row["label"].split("|"))))
        else:
            scores.append(each["class"] == row["red"])
    return sum(scores) / len(scores)


ALONE = """
import json, os, sys, traceback
sys.modules["zoo"] = None
import torch
from safetensors.torch import load_file
torch.set_num_threads(1)

def outcome(folder):
    os.chdir(folder)
    values = {"torch": torch}
    try:
        lines = json.load(open("config.json"))["rebuild"]
        assert all(len(line.splitlines()) <= 1 for line in lines), "a line that is several"
        exec("\\n".join(lines), values)
        model, seen = values["model"], load_file("seen.safetensors")
        knows = hasattr(model, "config")
        with torch.no_grad():
            out = model(seen["pictures"], **({"labels": seen["labels"]} if knows else {}))
        torch.testing.assert_close(out.logits if knows else out, seen["scores"])
        if lines[-1].startswith("# "):
            told = eval(lines[-1].partition(" = ")[2], {**values, "pictures": seen["pictures"]})
            torch.testing.assert_close(told, seen["outcome"])
        if not knows:
            return ["same"]
        torch.testing.assert_close(out.loss, seen["loss"])
        return ["same", [*model.config.id2label.values()], model.config.problem_type, model.config.num_labels]
    except Exception:
        return [traceback.format_exc()]

print(json.dumps({folder: outcome(folder) for folder in json.load(sys.stdin)}))
"""
PROBLEMS = {"single-label": "single_label_classification", "regression": "regression"}


def example(model: nn.Module, task: str) -> dict[str, Tensor]:
    """What a model says of two pictures, and its loss as zoo computes it; labels are as transformers takes them."""
    spec = zoo.spec_of(model)
    assert spec.head is not None
    objective = objective_of(spec.head)
    pictures = torch.randn(2, 3, *spec.preprocessing.size, generator=torch.Generator().manual_seed(0))
    numbers = [(30.0, 5.0), (50.0, 7.0)]
    true: Any = {"single-label": [2, 0], "binary": [1, 0], "multi-label": [(0, 2), ()]}.get(task, numbers)
    labels = torch.stack([torch.as_tensor(objective.target(each)) for each in true])
    with torch.no_grad():
        scores = logits(model, pictures)
    return {
        "pictures": pictures,
        "scores": scores,
        "outcome": objective.outcome(scores).float(),
        "labels": labels.float()[:, None] if task == "binary" else labels,
        "loss": objective.loss(scores, labels),
    }


CELLS = [
    (name, task, way)
    for name in MODELS
    for task in TASKS
    for way in WAYS
    if not (way == "concat-pool" and name in POOLLESS)
]


NEAR = {
    "torchvision:shufflenet_v2_x0_5": ("linear", "mlp"),
    "timm:test_vit": ("append",),
    "timm:test_resnet": ("linear", "concat-pool"),
    "hf:vit": ("linear", "mlp", "append"),
    "hf:resnet": ("concat-pool",),
}
"""The ways that say the most; one class of several is looked at elsewhere, but for transformers."""
FAST = [each for each in CELLS if each[2] in NEAR[each[0]] and (each[1] != "single-label" or each[0].startswith("hf"))]


@pytest.fixture(scope="module")
def answers(place: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], list[Any]]:
    return alone(FAST, place, tmp_path_factory.mktemp("alone"))


def alone(cells: Sequence[tuple[str, str, str]], place: Path, folder: Path) -> dict[tuple[str, str, str], list[Any]]:
    """What a process without zoo makes of a checkpoint of each model, task and head."""
    for name, task, way in cells:
        torch.manual_seed(0)
        model = zoo.load(full_name(name, place), CLASSES[task], weights=None, task=task, **WAYS[way])
        if task == "regression":
            head = dataclasses.replace(zoo.spec_of(model).head, mean=(40.0, 6.0), std=(12.5, 0.5))  # type: ignore[type-var]
            set_spec(model, dataclasses.replace(zoo.spec_of(model), head=head))
        seen = example(model, task)
        saved = zoo.save_checkpoint(cell(folder, name, task, way), model).folder
        assert torch.equal(logits(zoo.load_checkpoint(saved), seen["pictures"]), seen["scores"])
        safetensors.torch.save_file(seen, saved / "seen.safetensors")
    jobs = json.dumps([str(cell(folder, *each)) for each in cells])
    done = subprocess.run(
        [sys.executable, "-c", ALONE], input=jobs, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    shutil.rmtree(folder)
    return {each: answers[str(cell(folder, *each))] for each in cells}


def cell(folder: Path, name: str, task: str, way: str) -> Path:
    return folder / f"{name.replace(':', '-')}-{task}-{way}"


@pytest.mark.parametrize("each", FAST, ids=["-".join(each) for each in FAST])
def test_the_lines_of_a_checkpoint_give_the_same_outputs_and_the_librarys_own_loss(
    each: tuple[str, str, str], answers: dict[tuple[str, str, str], list[Any]]
) -> None:
    assert answers[each] == expected(*each), answers[each][0]


@pytest.mark.slow
def test_the_lines_do_so_with_every_head(place: Path, tmp_path: Path) -> None:
    rest = [each for each in CELLS if each not in FAST]
    assert alone(rest, place, tmp_path) == {each: expected(*each) for each in rest}


def expected(name: str, task: str, way: str) -> list[Any]:
    """What is told of lines that do what they should: of a model of transformers also what it knows of its outputs."""
    names = CLASSES[task][-1:] if task == "binary" else CLASSES[task]
    known = [names, PROBLEMS.get(task, "multi_label_classification"), len(names)]
    return ["same", *(known if name.startswith("hf:") else [])]


@pytest.mark.parametrize("task", TASKS)
def test_transformers_itself_saves_and_loads_a_model_of_each_task(task: str, place: Path, tmp_path: Path) -> None:
    model = zoo.load(full_name("hf:vit", place), CLASSES[task], task=task)  # type: ignore[arg-type]
    seen = example(model, task)
    again = zoo.save_checkpoint(tmp_path / "mine", model)
    for number, made in enumerate((model, zoo.load_checkpoint(again.folder))):
        made.save_pretrained(tmp_path / str(number))  # type: ignore[operator]
        theirs = AutoModelForImageClassification.from_pretrained(tmp_path / str(number)).eval()
        with torch.no_grad():
            out = theirs(seen["pictures"], labels=seen["labels"])
        assert torch.equal(out.logits, seen["scores"])
        torch.testing.assert_close(out.loss, seen["loss"])
        assert [*theirs.config.id2label.values()] == (CLASSES[task][-1:] if task == "binary" else CLASSES[task])
        assert theirs.config.problem_type == PROBLEMS.get(task, "multi_label_classification")


def test_another_task_later_is_another_problem(place: Path) -> None:
    model = zoo.load(full_name("hf:vit", place), ["ant", "bee"])
    zoo.swap_head(model, classes=["age"], task="regression")
    assert (model.config.problem_type, model.config.num_labels) == ("regression", 1)  # type: ignore[union-attr]
    zoo.swap_head(model, classes=["ant", "bee"], task="single-label")
    assert model.config.problem_type == "single_label_classification"  # type: ignore[union-attr]
