"""Tables that say something else than the task takes: one clear line, instead of classes that nobody meant."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import write_pictures
from zoo.data.finding import find_dataset, find_labelled
from zoo.data.tables import Columns
from zoo.errors import DataError, UsageError

SINGLE: list[Any] = ["single-label", "binary"]


def write(root: Path, cells: list[str], halves: list[str] | None = None) -> Path:
    write_pictures(root, {"imgs": len(cells)}, size=8)
    rows = [f"imgs/{place}.png,{cell}" + (f",{halves[place]}" if halves else "") for place, cell in enumerate(cells)]
    (root / "labels.csv").write_text("\n".join(["image,label" + (",split" if halves else ""), *rows]) + "\n")
    return root / "labels.csv"


@pytest.mark.parametrize("task", SINGLE)
def test_cells_of_several_labels_and_empty_ones_give_one_hint(tmp_path: Path, task: Any) -> None:
    table = write(tmp_path, ["red", "red|round", "", "", "round"] * 6)
    with pytest.raises(DataError) as raised:
        find_dataset(table, task=task)
    assert raised.value.message == f"in {table} 12 rows do not name one class."
    assert raised.value.hints == ("row 3 ('red|round') looks like several labels: --task multi-label learns those",)


def test_other_mistakes_are_told_beside_the_hint(tmp_path: Path) -> None:
    table = write(tmp_path, ["red", "red|round", "", "round", ""])
    table.write_text(table.read_text() + "imgs/77.png,red\n")
    with pytest.raises(DataError) as raised:
        find_dataset(table)
    assert raised.value.hints[:-1] == (
        f"row 7: there is no picture {tmp_path / 'imgs' / '77.png'}",
        "2 rows do not name one class; row 3 ('red|round') looks like several labels: --task multi-label learns those",
    )


def test_empty_cells_alone_are_told_row_by_row(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        find_dataset(write(tmp_path, ["red", "", "round", "red"]))
    assert raised.value.hints[0] == "row 3: the label is empty"


def test_classes_that_look_like_several_labels_are_noted_unless_they_are_named(tmp_path: Path) -> None:
    table = write(tmp_path, ["red", "red;round", "round"] * 6)
    (note,) = find_dataset(table).notes
    assert note.startswith(
        "row 3 ('red;round') looks like several labels: --task multi-label --set 'label-separator=;'"
    )
    assert not any("several" in each for each in find_dataset(table, classes=["red", "red;round"]).notes)
    semicolons = Columns(separator=";")
    assert find_dataset(table, task="multi-label", columns=semicolons).classes == ("red", "round")


def test_a_list_in_json_lines_is_several_labels(tmp_path: Path) -> None:
    write_pictures(tmp_path, {"imgs": 6}, size=8)
    rows = [{"image": f"imgs/{place}.png", "label": ["red", "round"][: 1 + place % 2]} for place in range(6)]
    (tmp_path / "l.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"6 rows do not name one class.\n  row 1 \(\['red'\]\) looks like several"):
        find_dataset(tmp_path / "l.jsonl")


@pytest.mark.parametrize(
    ("cells", "task"), [(["red", "round", "red|round"] * 4, "binary"), (["red", "round"] * 5 + ["red|round"], None)]
)
def test_the_hint_stands_where_the_classes_do_not_suit(tmp_path: Path, cells: list[str], task: Any) -> None:
    halves = None if task else ["train"] * 8 + ["val"] * 3
    with pytest.raises(DataError, match=r"'red\|round'\) looks like several labels"):
        find_dataset(write(tmp_path, cells, halves), task=task or "single-label")


def test_another_separator_between_labels_is_noted(tmp_path: Path) -> None:
    table = write(tmp_path, ["red", "red;round", "round"] * 6)
    (note,) = find_dataset(table, task="multi-label").notes
    assert note == "row 3 ('red;round') looks like several labels: label-separator ';' parts them"
    assert not find_dataset(table, task="multi-label", columns=Columns(separator=";")).notes
    with pytest.raises(DataError, match=r"label-separator ';' parts them"):
        find_labelled(table, ["red", "round"], task="multi-label")


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_a_column_of_numbers_is_told(tmp_path: Path, task: Any) -> None:
    table = write(tmp_path, ["0.5", "1.5", "2.0"] * 6)
    assert "the column label holds numbers: --task regression learns those" in find_dataset(table, task=task).notes
    assert not find_dataset(write(tmp_path, ["1", "2"] * 9), task=task).notes
    table = write(tmp_path, [f"{number / 8}" for number in range(9)])
    with pytest.raises(DataError, match=r"leaves no picture for validation.\n  the column label holds numbers"):
        find_dataset(table)


@pytest.mark.parametrize("task", [*SINGLE, "regression"])
def test_a_separator_without_several_labels_is_refused(tmp_path: Path, task: Any) -> None:
    table = write(tmp_path, ["1", "2"] * 4)
    with pytest.raises(UsageError, match=f"label-separator is for several labels in one cell, and the task is {task}"):
        find_dataset(table, task=task, columns=Columns(separator=";"))
    with pytest.raises(UsageError, match="label-separator is for several labels"):
        find_labelled(table, ["1", "2"], task=task, columns=Columns(separator=";", label=("label",)))


def test_a_separator_between_columns_is_refused(tmp_path: Path) -> None:
    table = write(tmp_path, ["1,0", "0,1"] * 4)
    table.write_text(table.read_text().replace("image,label", "image,red,round"))
    columns = Columns(label=("red", "round"))
    assert find_dataset(table, task="multi-label", columns=columns).classes == ("red", "round")
    with pytest.raises(UsageError, match="the labels are the columns red, round"):
        find_dataset(table, task="multi-label", columns=Columns(label=("red", "round"), separator=";"))


def test_a_row_that_names_a_folder_is_told(tmp_path: Path) -> None:
    table = write(tmp_path, ["red", "round"] * 4)
    (tmp_path / "imgs" / "more").mkdir()
    table.write_text(table.read_text() + "imgs/more,red\n")
    with pytest.raises(DataError) as raised:
        find_dataset(table)
    assert raised.value.hints[0] == f"row 10: {tmp_path / 'imgs' / 'more'} is a folder, and a row names one picture"
