"""Runs of each task on pictures that are easy to tell apart: they learn, and what they leave behind is of the task."""

import csv
import dataclasses
import json
import statistics
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

import zoo
from tests.conftest import Command, write_pictures, write_squares
from tests.finetuning.conftest import TINY, Listener, Train, press_ctrl_c, rows_of, same_weights, weights_of
from zoo import recipe as recipes
from zoo.checkpoint.config import from_json
from zoo.errors import DataError, Stopped, UsageError
from zoo.finetuning.comparing import recipe_changes
from zoo.sources.rebuilding import rebuild_lines


def test_one_output_learns_two_classes(train: Train, pictures: Path) -> None:
    run = train(task="binary", epochs=25, freeze="backbone", lr=0.1)
    assert weights_of(run.best)["fc.weight"].shape == (1, 8)
    assert run.metrics["accuracy"] == run.metrics["f1"] == run.metrics["auc"] == 1.0
    config = json.loads((run.best / "config.json").read_text())
    assert config["spec"]["head"]["task"] == "binary"
    assert config["classes"] == ["ant", "bee"]
    for each in zoo.predict(run.best, pictures, workers=0, device="cpu"):
        assert each.best == each.path.parent.name
        assert (each.values["bee"] > 0.5) == (each.best == "bee")
        assert each.probabilities[0] > 0.5


def test_the_positive_class_is_the_second(train: Train, pictures: Path) -> None:
    run = train(task="binary", classes=["bee", "ant"], epochs=25, freeze="backbone", lr=0.1)
    (found,) = zoo.predict(run.best, pictures / "ant" / "0.png", workers=0, device="cpu")
    assert found.to_values()["positive"] == "ant"
    assert found.values["ant"] > 0.5


def test_figures_follow_the_task(train: Train) -> None:
    (row, *_) = rows_of(train(task="binary").folder)
    names = ["accuracy", "f1", "precision", "recall", "auc"]
    assert list(row) == ["epoch", "stage", "step", "lr", "train_loss", "train_accuracy", "val_loss"] + [
        f"val_{name}" for name in names
    ]


def test_a_binary_task_takes_two_classes(train: Train, tmp_path: Path) -> None:
    three = write_pictures(tmp_path / "three", dict.fromkeys("abc", 3))
    with pytest.raises(DataError, match=r"has 3 classes \(a, b, c\), and a binary task has two"):
        train(data=three, task="binary")
    assert train(data=three, task="binary", classes=["c", "a"]).metrics["accuracy"] >= 0
    with pytest.raises(UsageError, match="a binary task has two classes, and here 3 are given"):
        zoo.load(TINY, classes=3, task="binary")


def test_a_stopped_binary_run_goes_on_bit_for_bit(train: Train) -> None:
    given = {"task": "binary", "epochs": 3, "augment": "standard"}
    unbroken = train("unbroken", **given)
    with pytest.raises(Stopped):
        train("broken", **given, reporter=Listener({6: press_ctrl_c}))
    resumed = zoo.resume(unbroken.folder.with_name("broken"))
    assert same_weights(resumed.last, unbroken.last)
    assert rows_of(resumed.folder) == rows_of(unbroken.folder)


def test_another_task_is_another_run(train: Train, zoo_command: Command) -> None:
    run = train()
    recipe = run.folder / "run.toml"
    recipe.write_text(recipe.read_text().replace('task = "single-label"', 'task = "binary"'))
    told = zoo_command("resume", run.folder, "--epochs", 3)
    assert told.code == 4
    assert "task  single-label → binary" in told.err
    assert "--allow 'task' cannot be meant" in zoo_command("resume", run.folder, "--allow", "task").err


def test_a_checkpoint_of_before_there_were_tasks_is_single_label(train: Train, pictures: Path) -> None:
    run = train(epochs=1)
    model = zoo.load_checkpoint(run.best)
    head = zoo.spec_of(model).head
    assert head is not None
    config = json.loads((run.best / "config.json").read_text())
    for key in ("task", "mean", "std"):
        del config["spec"]["head"][key]
    assert from_json(config, "config.json").spec == zoo.spec_of(model)
    told = recipes.find(str(run.folder / "run.toml"))
    before = {key: value for key, value in recipes.to_values(told).items() if key != "task"}
    assert recipe_changes(before, told) == []
    assert [each.key for each in recipe_changes(before, recipes.override(told, {"task": "binary"}))] == ["task"]


def test_a_model_that_is_given_says_its_task(train: Train) -> None:
    model = zoo.load(TINY, classes=["ant", "bee"], task="binary")
    run = train(model=model, epochs=1)
    assert weights_of(run.best)["fc.weight"].shape == (1, 8)
    with pytest.raises(UsageError, match="head of the model that is given is for binary"):
        train("other", model=model, task="single-label")
    zoo.swap_head(model, "mlp")
    assert zoo.spec_of(model).head.task == "binary"  # type: ignore[union-attr]
    assert model(torch.zeros(1, 3, 16, 16)).shape == (1, 1)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("squares"), 120)


@pytest.fixture(scope="module")
def labels(table: Path) -> zoo.Run:
    """A run that learned which colours there are."""
    return learned(table, "multi-label")


@pytest.fixture(scope="module")
def numbers(table: Path) -> zoo.Run:
    """A run that learned how bright the grey is."""
    return learned(table, "regression", label_column=["grey"])


def learned(table: Path, task: str, **given: object) -> zoo.Run:
    usual: dict[str, object] = {"augment": "none", "batch_size": 8, "epochs": 20, "lr": 0.1, "workers": 0}
    usual |= {"settings": {"label-smoothing": 0.0}} if task == "multi-label" else {}
    usual |= {"out": table.parent / "runs", "name": task, "device": "cpu", "keep": "best,last"}
    return zoo.finetune(TINY, table, task=task, **{**usual, **given})  # type: ignore[arg-type]


def test_several_labels_are_learned(labels: zoo.Run, table: Path) -> None:
    assert labels.metrics["map"] > 0.95
    assert labels.metrics["micro_f1"] > 0.9
    assert list(labels.metrics) == ["loss", "map", "f1", "micro_f1", "exact"]
    (row, *_) = rows_of(labels.folder)
    assert list(row)[4:] == [
        "train_loss",
        "train_micro_f1",
        "val_loss",
        "val_map",
        "val_f1",
        "val_micro_f1",
        "val_exact",
    ]
    text = (labels.folder / "summary.txt").read_text()
    assert "3 labels (blue " in text
    assert f"best mAP {labels.metrics['map']:.3f} at epoch {labels.best_epoch}" in text
    best = max(rows_of(labels.folder), key=lambda row: float(row["val_map"]))
    assert int(best["epoch"]) == labels.best_epoch


def test_numbers_are_learned_in_their_own_unit(numbers: zoo.Run, table: Path) -> None:
    assert numbers.metrics["r2"] > 0.9
    assert 0 < numbers.metrics["mae"] < 12
    listed = json.loads((numbers.folder / "data.json").read_text())
    values = [label[0] for _, label, *_ in listed["train"]]
    head = zoo.spec_of(zoo.load_checkpoint(numbers.best)).head
    assert head is not None
    assert (head.mean, head.std) == ((statistics.fmean(values),), (statistics.pstdev(values),))
    said = dict(line.split(",")[0:3:2] for line in table.read_text().splitlines()[1:])
    pictures = [table.parent / name for name in list(said)[:20]]
    for each in zoo.predict(numbers.best, pictures, workers=0, device="cpu"):
        assert each.values["grey"] == pytest.approx(float(said[f"squares/{each.path.name}"]), abs=45)
        with pytest.raises(UsageError, match="tells numbers, not classes"):
            _ = each.best
    text = (numbers.folder / "summary.txt").read_text()
    assert "1 target (grey 4" in text
    assert "target (last epoch)  MAE" in text


def test_what_is_predicted_is_what_is_evaluated(labels: zoo.Run, numbers: zoo.Run, table: Path) -> None:
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    pictures = [table.parent / row[0] for row in rows]
    told = zoo.predict(labels.best, pictures, workers=0, device="cpu")
    exact = sum(set(each.classes) == set(filter(None, row[1].split("|"))) for each, row in zip(told, rows, strict=True))
    found = zoo.evaluate(labels.best, table, workers=0, device="cpu")
    assert found.metrics["exact"] == exact / len(rows)
    assert found.confusion == ()
    flags = zoo.evaluate(labels.best, table, label_column=["blue", "green", "red"], workers=0, device="cpu")
    assert flags.metrics == found.metrics
    # One text holds several columns, as on the command line.
    assert (
        zoo.evaluate(labels.best, table, label_column="blue,green,red", workers=0, device="cpu").metrics
        == found.metrics
    )
    values = zoo.predict(numbers.best, pictures, workers=0, device="cpu")
    errors = [abs(each.values["grey"] - float(row[2])) for each, row in zip(values, rows, strict=True)]
    assert zoo.evaluate(numbers.best, table, workers=0).metrics["mae"] == pytest.approx(statistics.fmean(errors))


def test_a_threshold_says_which_labels_are_told(labels: zoo.Run, numbers: zoo.Run, table: Path) -> None:
    pictures = [table.parent / "squares" / f"{place}.png" for place in range(30)]
    counts = [
        sum(len(each.classes) for each in zoo.predict(labels.best, pictures, threshold=limit, workers=0))
        for limit in (0.0, 0.5, 0.99)
    ]
    assert counts[0] == 90
    assert counts[0] > counts[1] > counts[2]
    for given, message in (({"top": 2}, "top is for one class"), ({"threshold": 1.0}, "threshold is 1; it must be")):
        with pytest.raises(UsageError, match=message):
            zoo.predict(labels.best, pictures, **given)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="threshold is for yes or no"):
        zoo.predict(numbers.best, pictures, threshold=0.5)


def test_the_command_prints_what_each_task_tells(
    labels: zoo.Run, numbers: zoo.Run, table: Path, zoo_command: Command
) -> None:
    picture = table.parent / "squares" / "1.png"
    (many,), (one,) = (zoo.predict(run.best, picture, workers=0, device="cpu") for run in (labels, numbers))

    def told(run: zoo.Run, form: str) -> str:
        result = zoo_command("predict", run.best, picture, "--format", form, "-j", 0, "--device", "cpu")
        assert (result.code, result.err) == (0, "")
        return result.out

    assert json.loads(told(labels, "json"))["predictions"] == [
        {"path": str(picture), "labels": list(many.classes), "probabilities": many.values}
    ]
    assert json.loads(told(numbers, "json"))["predictions"] == [{"path": str(picture), "values": one.values}]
    header, line = told(labels, "csv").splitlines()
    assert header == "path,labels,probability_blue,probability_green,probability_red"
    assert line.split(",")[1] == "|".join(many.classes)
    assert told(numbers, "csv").splitlines() == ["path,grey", f"{picture},{one.values['grey']:.6g}"]
    assert f"{one.values['grey']:.4g}" in told(numbers, "table")
    assert all(name in told(labels, "table") for name in many.classes)
    shown = zoo_command("evaluate", numbers.best, "--data", table, "-j", 0)
    assert "target  MAE" in shown.out
    assert "R² 0.9" in shown.out
    assert zoo_command("evaluate", labels.best, "--data", table.parent).code == 3


def test_a_table_of_other_ways_to_say_it_is_evaluated_alike(
    labels: zoo.Run, table: Path, tmp_path: Path, zoo_command: Command
) -> None:
    other = tmp_path / "other.csv"
    other.write_text(table.read_text().replace("|", ";"))
    said = ["--label-separator", ";", "--image-root", table.parent, "-j", 0, "--device", "cpu", "--json"]
    found = zoo_command("evaluate", labels.best, "--data", other, *said)
    usual = zoo_command("evaluate", labels.best, "--data", table, "-j", 0, "--device", "cpu", "--json")
    assert json.loads(found.out)["metrics"] == json.loads(usual.out)["metrics"]


def test_columns_of_a_folder_are_refused(train: Train, pictures: Path, zoo_command: Command) -> None:
    with pytest.raises(UsageError, match="label-column is for tables"):
        train(label_column=["species"])
    run = train()
    told = zoo_command("evaluate", run.folder, "--data", pictures, "--image-column", "file")
    assert (told.code, "image-column is for tables" in told.err) == (2, True)


def test_the_best_weights_alone_give_the_numbers_by_the_lines_of_the_checkpoint(numbers: zoo.Run) -> None:
    lines = json.loads((numbers.best / "config.json").read_text())["rebuild"]
    assert lines == [], "a model of the user's own is built by nobody else"
    head = zoo.spec_of(zoo.load_checkpoint(numbers.best)).head
    model = zoo.load("shufflenet_v2_x0_5", classes=["grey"], task="regression", weights=None)
    spec = zoo.spec_of(model)
    (*_, last) = rebuild_lines(dataclasses.replace(spec, head=dataclasses.replace(spec.head, mean=(2.5,), std=(0.5,))))
    assert last == "# grey = model(pictures) * torch.tensor([0.5]) + torch.tensor([2.5])"
    assert head.mean != ()


@pytest.mark.parametrize("task", ["binary", "multi-label", "regression"])
def test_append_learns_from_the_original_outputs(train: Train, table: Path, task: str) -> None:
    given = {"task": task, "mode": "append", "epochs": 1, "batch_size": 8}
    given |= {"label_column": ["red"]} if task != "multi-label" else {}
    run = train(data=table, **given)
    model = zoo.load_checkpoint(run.best)
    outputs = 3 if task == "multi-label" else 1
    assert model.fc[1].weight.shape == (outputs, 10)
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, outputs)
    assert run.metrics["loss"] > 0


@pytest.mark.parametrize("task", ["binary", "multi-label"])
def test_a_delta_and_an_export_keep_the_task(train: Train, table: Path, task: str, tmp_path: Path) -> None:
    torch.save(zoo.load(TINY, weights=None).state_dict(), tmp_path / "weights.pth")
    given = {"weights": tmp_path / "weights.pth", "freeze": "backbone", "save": "delta", "epochs": 1}
    run = train(data=table, task=task, label_column=["red"] if task == "binary" else None, **given)
    picture = table.parent / "squares" / "1.png"
    whole = zoo.export(run.best, tmp_path / "whole", save="full").folder
    assert zoo.predict(whole, picture, workers=0) == zoo.predict(run.best, picture, workers=0)
    assert zoo.spec_of(zoo.load_checkpoint(whole)).head.task == task  # type: ignore[union-attr]


def test_the_first_screen_says_in_which_units_losses_and_figures_are(numbers: zoo.Run, labels: zoo.Run) -> None:
    head = zoo.spec_of(zoo.load_checkpoint(numbers.best)).head
    assert head is not None
    learned = f"(grey − {head.mean[0]:.4g}) / {head.std[0]:.4g}"
    text = (numbers.folder / "summary.txt").read_text()
    assert f"losses: mean square of {learned}, without unit · MAE and RMSE: in the unit of grey" in text
    assert "without unit" not in (labels.folder / "summary.txt").read_text()


def test_inspect_calls_outputs_by_what_they_are(
    numbers: zoo.Run, labels: zoo.Run, train: Train, zoo_command: Command
) -> None:
    assert "  targets        1: grey\n" in zoo_command("inspect", numbers.best).out
    assert "  labels         3: blue, green, red\n" in zoo_command("inspect", labels.best).out
    run = train(task="binary", epochs=1)
    assert "  classes        2: ant, bee; bee is the positive one\n" in zoo_command("inspect", run.best).out


def test_a_target_called_path_leaves_the_pictures_their_column(train: Train, table: Path, zoo_command: Command) -> None:
    named = table.with_name("named.csv")
    named.write_text(table.read_text().replace("image,label,grey,blue", "image,label,path,value_path"))
    run = train(data=named, task="regression", label_column=["path", "value_path"], epochs=1)
    picture = table.parent / "squares" / "1.png"
    told = zoo_command("predict", run.best, picture, "--format", "csv", "-j", 0, "--device", "cpu")
    (found,) = zoo.predict(run.best, picture, workers=0, device="cpu")
    (row,) = csv.DictReader(told.out.splitlines())
    assert list(row) == ["path", "value_value_path", "value_path"]
    assert (row["path"], float(row["value_value_path"])) == (
        str(picture),
        pytest.approx(found.values["path"], rel=1e-5),
    )


def test_another_loss_or_another_scale_would_be_seen(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures that the runs reach are no accident of the pictures: a wrong loss does not reach them."""
    from zoo.training.tasks import MultiLabel, Regression

    monkeypatch.setattr(MultiLabel, "loss", lambda self, logits, labels, smoothing=0.0: (logits * 0 + labels).mean())
    assert learned(table, "multi-label", name="wrong").metrics["map"] < 0.9
    monkeypatch.setattr(Regression, "outcome", lambda self, logits: logits.double())
    run = learned(table, "regression", label_column=["grey"], name="unscaled", epochs=2)
    (told,) = zoo.predict(run.best, table.parent / "squares" / "1.png", workers=0)
    assert abs(told.values["grey"]) < 10


def test_smoothing_of_numbers_is_refused_where_it_was_asked_for(train: Train, table: Path) -> None:
    given = {"task": "regression", "label_column": ["grey"], "epochs": 1, "data": table}
    with pytest.raises(UsageError, match="a regression learns numbers"):
        train(settings={"label-smoothing": 0.1}, **given)
    assert train(recipe="fine-tune", **given).metrics["loss"] > 0


def test_numbers_that_are_all_alike_are_told(train: Train, tmp_path: Path) -> None:
    table = write_squares(tmp_path / "flat", 10)
    table.write_text("image,age\n" + "".join(f"squares/{place}.png,7\n" for place in range(10)))
    with pytest.raises(DataError, match="age is the same for every picture"):
        train(data=table, task="regression", label_column=["age"])


def test_numbers_too_large_to_add_up_are_told(train: Train, tmp_path: Path) -> None:
    table = write_squares(tmp_path / "huge", 10)
    table.write_text("image,age\n" + "".join(f"squares/{place}.png,1.{place % 8}e308\n" for place in range(10)))
    with pytest.raises(DataError, match="too large to add up"):
        train(data=table, task="regression", label_column=["age"])


def test_a_run_of_one_label_called_by_a_number_is_repeated(train: Train, tmp_path: Path) -> None:
    table = write_squares(tmp_path / "one", 10)
    table.write_text("image,label\n" + "".join(f"squares/{place}.png,7\n" for place in range(10)))
    first = train(data=table, task="multi-label")
    again = zoo.finetune(recipe=first.folder / "run.toml", out=tmp_path / "again")
    assert again.metrics == first.metrics


def test_a_model_that_cuts_its_outputs_off_at_zero_is_refused() -> None:
    assert zoo.load("squeezenet1_1", classes=2, weights=None)
    for task in ("binary", "multi-label", "regression"):
        with pytest.raises(UsageError, match="has a ReLU behind its head, so no output is below 0"):
            zoo.load("squeezenet1_1", classes=2, weights=None, task=task)  # type: ignore[arg-type]


class Named(nn.Module):
    """Its head stands in a container whose modules have names, as in torchvision's vision transformers."""

    def __init__(self, last: type[nn.Module] = nn.Identity) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.heads = nn.Sequential(OrderedDict(before=nn.ReLU(), head=nn.Linear(3 * 16 * 16, 4), last=last()))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.heads(self.flatten(pictures))
        return scores


def test_what_stands_behind_a_head_is_looked_at_by_its_name_too() -> None:
    zoo.register("tests-named", Named, head_path="heads.head", input_size=(16, 16))
    zoo.register("tests-named-relu", lambda: Named(nn.ReLU), head_path="heads.head", input_size=(16, 16))
    for task, outputs in (("binary", 1), ("multi-label", 2), ("regression", 2)):
        model = zoo.load("own:tests-named", classes=["ant", "bee"], task=task)  # type: ignore[arg-type]
        assert model(torch.zeros(1, 3, 16, 16)).shape == (1, outputs)
        with pytest.raises(UsageError, match="has a ReLU behind its head"):
            zoo.load("own:tests-named-relu", classes=["ant", "bee"], task=task)  # type: ignore[arg-type]
