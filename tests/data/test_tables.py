"""Tables of pictures: what they may hold, all their mistakes at once, and which pictures validate."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars
import pytest

from tests.conftest import write_pictures
from zoo.data.cells import class_in, flags_in, half_in, labels_in, numbers_in, path_in
from zoo.data.datasets import Dataset, from_json, to_json
from zoo.data.finding import find_dataset, find_labelled
from zoo.data.fingerprint import changes, fingerprint, remaining
from zoo.data.pictures import require_readable
from zoo.data.splitting import by_labels
from zoo.data.tables import Columns
from zoo.errors import DataError, UsageError

Rows = Sequence[Mapping[str, Any]]
Write = Callable[[Rows], Path]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_pictures(tmp_path, {"imgs": 20}, size=8)
    return tmp_path


@pytest.fixture
def write(root: Path) -> Write:
    """A CSV table of these rows beside the pictures, texts as they are."""

    def written(rows: Rows, name: str = "labels.csv") -> Path:
        names = list(dict.fromkeys(key for row in rows for key in row))
        lines = [",".join(names), *(",".join(str(row.get(key, "")) for key in names) for row in rows)]
        (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return root / name

    return written


def rows_of(count: int, **columns: Callable[[int], Any]) -> list[dict[str, Any]]:
    return [{"image": f"imgs/{place}.png", **{key: of(place) for key, of in columns.items()}} for place in range(count)]


def by_name(dataset: Dataset) -> dict[str, Any]:
    return {each.path.name: each.label for each in (*dataset.train, *dataset.val)}


TWO = rows_of(20, label=lambda place: ("ant", "bee")[place % 2])


def test_every_form_of_a_table_says_the_same(write: Write, root: Path) -> None:
    expected = find_dataset(write(TWO))
    (root / "labels.tsv").write_text((root / "labels.csv").read_text().replace(",", "\t"), encoding="utf-8-sig")
    (root / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in TWO))
    polars.DataFrame(TWO).write_parquet(root / "labels.parquet")
    assert (expected.classes, len(expected.train), len(expected.val)) == (("ant", "bee"), 16, 4)
    assert expected.how == "split 16 / 4, stratified, seed 0"
    for suffix in ("tsv", "jsonl", "parquet"):
        found = find_dataset(root / f"labels.{suffix}")
        assert (found.train, found.val, found.root) == (expected.train, expected.val, root)
        assert found.place == root / f"labels.{suffix}"


def test_nothing_is_guessed_of_texts(write: Write) -> None:
    rows = rows_of(8, label=lambda place: ("01", "1")[place % 2])
    assert find_dataset(write(rows)).classes == ("01", "1")


def test_a_table_and_its_folders_split_alike(root: Path) -> None:
    write_pictures(root / "flat", {"ant": 10, "bee": 15}, size=8)
    names = [f"{name}/{place}.png" for name, count in (("ant", 10), ("bee", 15)) for place in range(count)]
    (root / "flat" / "labels.csv").write_text(
        "image,label\n" + "".join(f"{name},{name.partition('/')[0]}\n" for name in names)
    )
    folders, table = find_dataset(root / "flat"), find_dataset(root / "flat" / "labels.csv")
    assert (folders.train, folders.val, folders.how) == (table.train, table.val, table.how)


def test_several_labels_stand_in_one_cell_in_a_list_or_in_columns(write: Write, root: Path) -> None:
    told = [("red", "round"), ("red",), (), ("round", "wet")] * 5
    expected = {
        f"{place}.png": [("red", "round", "wet").index(name) for name in names] for place, names in enumerate(told)
    }
    cells = find_dataset(write(rows_of(20, label=lambda place: "|".join(told[place]))), task="multi-label")
    assert cells.classes == ("red", "round", "wet")
    assert {name: list(label) for name, label in by_name(cells).items()} == expected
    semicolons = write(rows_of(20, label=lambda place: " ; ".join(told[place])))
    assert by_name(find_dataset(semicolons, task="multi-label", columns=Columns(separator=";"))) == by_name(cells)
    (root / "l.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of(20, label=lambda at: told[at])))
    assert by_name(find_dataset(root / "l.jsonl", task="multi-label")) == by_name(cells)
    names = ("red", "round", "wet")
    flags = write([{**row, **{name: int(name in told[at]) for name in names}} for at, row in enumerate(rows_of(20))])
    columns = find_dataset(flags, task="multi-label", columns=Columns(label=names))
    assert (columns.classes, by_name(columns)) == (names, by_name(cells))
    assert find_dataset(flags, task="multi-label", columns=Columns(label=names), classes=["wet", "red"]).classes == (
        "wet",
        "red",
    )


def test_numbers_stand_in_columns(write: Write) -> None:
    table = write(rows_of(20, age=lambda place: place / 2, weight=lambda place: f"{place}e3"))
    found = find_dataset(table, task="regression", columns=Columns(label=("age", "weight")))
    assert found.classes == ("age", "weight")
    assert by_name(found)["7.png"] == (3.5, 7000.0)
    assert (len(found.train), len(found.val)) == (16, 4)
    again = find_dataset(table, task="regression", classes=["age", "weight"])
    assert (again.train, again.val) == (found.train, found.val)
    assert find_dataset(table, task="regression", columns=Columns(label=("age",)), seed=1).val != found.val


def test_decimal_numbers_of_parquet_are_numbers(root: Path) -> None:
    rows = rows_of(5, label=lambda place: Decimal(place) / 4)
    polars.DataFrame(rows, schema_overrides={"label": polars.Decimal(10, 2)}).write_parquet(root / "labels.parquet")
    assert by_name(find_dataset(root / "labels.parquet", task="regression"))["3.png"] == (0.75,)
    for wrong in ("NaN", "Infinity", "1e400"):
        with pytest.raises(ValueError, match=r"a is (nan|inf), which is no number"):
            numbers_in({"a": Decimal(wrong)}, "a")


def test_classes_may_count_the_columns_of_numbers(write: Write) -> None:
    table = write(rows_of(20, age=lambda place: place, weight=lambda place: place))
    columns = Columns(label=("age", "weight"))
    assert find_dataset(table, task="regression", columns=columns, classes=2).classes == ("age", "weight")
    with pytest.raises(UsageError, match="classes is 3, and the columns with numbers are age, weight"):
        find_dataset(table, task="regression", columns=columns, classes=3)


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_a_column_that_is_named_twice_is_told(write: Write, task: Any) -> None:
    table = write(rows_of(20, red=lambda place: place % 2))
    with pytest.raises(UsageError, match="label-column names a column twice: red, red"):
        find_dataset(table, task=task, columns=Columns(label=("red", "red")))
    with pytest.raises(UsageError, match="classes names a column twice: red, red"):
        find_dataset(table, task="regression", classes=["red", "red"])


def test_a_column_may_say_which_half_a_picture_is_in(write: Write) -> None:
    halves = ["train"] * 10 + ["Valid"] * 4 + ["test"] * 6
    table = write([{**row, "split": halves[at]} for at, row in enumerate(TWO)])
    found = find_dataset(table)
    assert [each.path.name for each in found.val] == ["10.png", "11.png", "12.png", "13.png"]
    assert len(found.train) == 10
    assert found.how == "10 train, 4 val by its column split"
    assert "6 rows are for test and left out" in found.notes
    for split, count in (("train", 10), ("val", 4), ("test", 6), (None, 6)):
        assert len(find_labelled(table, ["bee", "ant"], split)[0].val) == count
    with pytest.raises(DataError, match="has no row of dev"):
        find_labelled(table, ["ant", "bee"], "dev")


MANY = """image,label,split
imgs/0.png,ant,train
imgs/77.png,ant,train
imgs/1.png,,train
../secret.png,ant,train
,bee,train
imgs/0.png,bee,train
imgs/2.png,bee,trian
/etc/passwd,bee,val
"""


def test_all_mistakes_are_told_together_with_their_rows(root: Path) -> None:
    (root / "labels.csv").write_text(MANY)
    with pytest.raises(DataError) as raised:
        find_dataset(root / "labels.csv")
    assert raised.value.message == f"{root / 'labels.csv'} has 7 mistakes in 8 rows:"
    assert raised.value.hints == (
        f"row 3: there is no picture {root / 'imgs' / '77.png'}",
        "row 4: the label is empty",
        f"row 5: '../secret.png' does not lie below {root}",
        "row 6: no picture is named",
        "row 7: imgs/0.png is in row 2 already",
        "row 8: split is 'trian'; it takes train, val or test; near: train",
        f"row 9: '/etc/passwd' does not lie below {root}",
        "mend them, or take the rows away.",
    )


def test_numbers_that_are_none_are_told(write: Write) -> None:
    values = ["1", "nan", "inf", "-inf", "1,5".replace(",", "."), "1_000", "ten", "", "0x1f", "1e400", "+.5", "true"]
    table = write(rows_of(12, label=lambda place: values[place]))
    with pytest.raises(DataError) as raised:
        find_dataset(table, task="regression")
    wrong = {2, 3, 4, 6, 7, 8, 9, 10, 12}
    assert [hint.partition(":")[0] for hint in raised.value.hints[:-1]] == [
        f"row {n + 1}" for n in sorted(n for n in wrong)
    ]
    assert "row 3: label is 'nan', which is no number" in raised.value.hints
    assert "row 9: label is empty, which is no number" in raised.value.hints


def test_only_the_first_mistakes_are_told_one_by_one(write: Write) -> None:
    table = write([{"image": f"imgs/{place}.jpg", "label": "ant"} for place in range(50)])
    with pytest.raises(DataError) as raised:
        find_dataset(table)
    assert len(raised.value.hints) == 22
    assert raised.value.hints[-2] == "… and 30 more"


@pytest.mark.parametrize(
    ("given", "task", "error", "message"),
    [
        ({"columns": Columns(image="imge")}, "single-label", DataError, r"no column 'imge'(?s:.)*near: image"),
        ({"columns": Columns(label=("labl",))}, "single-label", DataError, r"no column 'labl'(?s:.)*near: label"),
        ({"classes": ["ant", "bea"]}, "single-label", UsageError, r"classes names bea(?s:.)*near: bee"),
        ({"classes": 3}, "single-label", UsageError, r"classes is 3, and .* has 2 classes: ant, bee"),
        ({"classes": ["ant"]}, "single-label", DataError, "has one class, 'ant'"),
        ({"classes": ["ant"]}, "binary", DataError, r"has 1 class \(ant\), and a binary task has two"),
        ({"columns": Columns(label=("label", "image"))}, "binary", UsageError, "label-column names 2 columns"),
        ({"columns": Columns(label=("label", "image"))}, "multi-label", DataError, "label is 'ant', neither 0 nor 1"),
        ({"columns": Columns(root=Path("/nowhere"))}, "binary", DataError, "no folder /nowhere, which image-root"),
    ],
)
def test_what_does_not_suit_the_table_is_told(
    write: Write, given: dict[str, Any], task: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        find_dataset(write(TWO), task=task, **given)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.csv", b"", "has no row"),
        ("labels.csv", b"image,label\n", "has no row"),
        ("labels.csv", b"image,label,label\na,b,c\n", "has two columns 'label'"),
        ("labels.csv", b"image,label\na.png,1\nb.png,1,2\n", "row 3 has 3 cells, and there are 2 columns"),
        ("labels.csv", b"image,label\n\xff.png,1\n", "cannot be read"),
        ("labels.csv", b'image,"label\n' + b"a.png,1\n" * 20_000, "cannot be read: .* is a quote not closed"),
        (
            "labels.csv",
            b'image,label\na.png,1\n5" pipe.png,2\n' + b"a.png,1\n" * 9,
            r"line 3 has a quote that is not closed",
        ),
        ("labels.csv", b"image;label\na.png;1\n", r"no column 'label'(?s:.)*separated by semicolons"),
        ("labels.parquet", b"PAR1", "cannot be read"),
        ("labels.jsonl", b'{"image": 1\n', "line 1 is no JSON"),
        ("labels.jsonl", b'{"image": "a"}\n\n[1]\n', "line 3 is no JSON object"),
        ("labels.jsonl", b"[" * 100_000, "cannot be read|is no JSON"),
    ],
)
def test_what_is_no_table_is_told(root: Path, name: str, content: bytes, message: str) -> None:
    (root / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        find_dataset(root / name)


def test_a_table_that_is_not_there_is_told_with_near_ones(write: Write, root: Path) -> None:
    write(TWO)
    with pytest.raises(DataError, match=r"there is no table .*lables\.csv\.\n  near: labels\.csv"):
        find_dataset(root / "lables.csv")


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_folders_say_one_class_alone(root: Path, task: Any) -> None:
    with pytest.raises(DataError, match=f"the task {task} needs a table"):
        find_dataset(root, task=task)


def test_classes_that_are_not_named_are_left_out(write: Write) -> None:
    table = write(rows_of(20, label=lambda place: ("ant", "bee", "cow", "dog")[place % 4]))
    found = find_dataset(table, classes=["cow", "ant"])
    assert (found.classes, len(by_name(found))) == (("cow", "ant"), 10)
    assert by_name(found)["0.png"] == 1
    assert found.notes == ("not used, as --classes leaves them out: bee, dog",)


def test_rows_of_val_that_the_chosen_classes_leave_out_are_no_reason_to_draw(write: Write) -> None:
    rows = rows_of(20, label=lambda place: "ab"[place % 2] if place < 16 else "c")
    table = write([{**row, "split": "train" if at < 16 else "val"} for at, row in enumerate(rows)])
    with pytest.raises(
        DataError, match=r"no row of .* whose split is val is of the classes a, b, so nothing validates"
    ):
        find_dataset(table, classes=["a", "b"])


def test_targets_come_in_the_order_of_classes(write: Write) -> None:
    table = write(rows_of(20, x=lambda place: place, y=lambda place: -place))
    found = find_dataset(table, task="regression", classes=["y", "x"], columns=Columns(label=("x", "y")))
    assert found.classes == ("y", "x")
    assert all(each.label[0] == -each.label[1] <= 0 for each in found.train)  # type: ignore[index]


def test_whole_numbers_longer_than_any_float_are_classes(root: Path) -> None:
    rows = rows_of(20, label=lambda place: 10**400 + place % 2)
    (root / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert len(find_dataset(root / "labels.jsonl").classes) == 2


def test_a_class_that_only_validates_is_a_mistake(write: Write) -> None:
    rows = [{**row, "split": "train" if at < 16 else "val"} for at, row in enumerate(TWO)]
    rows[18]["label"] = "beee"
    with pytest.raises(DataError, match="row 20: 'beee' no row to train on has; near: bee"):
        find_dataset(write(rows))


def test_classes_that_the_checkpoint_does_not_know_are_told_with_near_ones(write: Write) -> None:
    for task in ("single-label", "multi-label"):
        with pytest.raises(DataError, match=r"row 3: 'bee' the checkpoint does not know; near: bees"):
            find_labelled(write(TWO), ["ant", "bees"], task=task)  # type: ignore[arg-type]


def test_paths_lie_below_the_root(root: Path) -> None:
    (root / "tables").mkdir()
    (root / "tables" / "labels.csv").write_text("image,label\n" + "".join(f"imgs/{n}.png,{n % 2}\n" for n in range(8)))
    with pytest.raises(DataError, match="8 mistakes in 8 rows"):
        find_dataset(root / "tables" / "labels.csv")
    found = find_dataset(root / "tables" / "labels.csv", columns=Columns(root=root))
    assert found.root == root
    assert by_name(found)["3.png"] == 1
    for bad in ("..", ".", "", "a/../..", "\0", 5, None, str(root)):
        with pytest.raises(ValueError, match=r"below|no picture is named|no path"):
            path_in(bad, root)
    assert path_in(str(root / "imgs" / "1.png"), root) == "imgs/1.png"


def test_a_relative_root_keeps_pictures_below_it(write: Write, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "imgs")
    rows = [{"image": root / "imgs" / f"{place}.png", "label": ("ant", "bee")[place % 2]} for place in range(10)]
    write(rows, "imgs/labels.csv")
    found = find_dataset(Path("labels.csv"))
    assert sorted(by_name(found)) == [f"{place}.png" for place in range(10)]
    assert from_json(recorded(found), "data.json").classes == ("ant", "bee")
    (root / "imgs" / "0.png").rename(root / "out.png")
    for outside in ("../out.png", root / "out.png"):
        rows[0]["image"] = outside
        write(rows, "imgs/labels.csv")
        with pytest.raises(DataError, match=rf"row 2: '.* does not lie below {root / 'imgs'}"):
            find_dataset(Path("labels.csv"))


def test_names_that_no_system_takes_are_no_pictures(write: Write) -> None:
    with pytest.raises(DataError) as raised:
        find_dataset(write([*TWO, {"image": "x" * 5000, "label": "ant"}]))
    assert raised.value.hints[0].startswith("row 22: there is no picture ")
    assert raised.value.message.endswith(" has a mistake in 21 rows:")


@pytest.mark.parametrize("bad", [None, "", " ", 1.5, float("nan"), [], {}, "ant\ud800"])
def test_a_cell_that_is_no_class_is_told(bad: Any) -> None:
    with pytest.raises(ValueError, match="the label"):
        class_in(bad)


def test_cells_mean_what_they_say() -> None:
    assert labels_in(None, "|") == labels_in(" ", "|") == ()
    assert labels_in("a|b|a", "|") == ("a", "b")
    assert labels_in(3, "|") == ("3",)
    assert flags_in({"a": True, "b": "0", "c": 1.0, "d": " True "}, "abcd") == ("a", "c", "d")
    assert numbers_in({"a": 1, "b": "-2.5e1"}, "ab") == (1.0, -25.0)
    assert half_in(" Validation") == "val"
    for wrong in ({"a": 2}, {"a": None}, {}, {"a": "yes"}):
        with pytest.raises(ValueError, match=r"a is .*, neither 0 nor 1"):
            flags_in(wrong, "a")
    for number in (True, [1.0], 10**400):
        with pytest.raises(ValueError, match="no number"):
            numbers_in({"a": number}, "a")


def test_every_label_validates_in_its_share() -> None:
    labels = [
        tuple(name for name, every in ((0, 2), (1, 3), (2, 10), (3, 25)) if place % every == 0) for place in range(200)
    ]
    val = by_labels(labels, 4, seed=0)
    assert len(val) == pytest.approx(40, abs=2)
    for label in range(4):
        total = sum(label in each for each in labels)
        assert sum(label in labels[place] for place in val) == pytest.approx(total * 0.2, abs=1)
    assert by_labels(labels, 4, seed=0) == val
    assert by_labels(labels, 4, seed=1) != val


class Looked(tuple[int, ...]):
    """Labels that count how often they are looked at."""

    looks = 0

    def __iter__(self) -> Iterator[int]:
        Looked.looks += 1
        return super().__iter__()

    def __contains__(self, label: object) -> bool:
        Looked.looks += 1
        return super().__contains__(label)


def test_many_labels_split_as_ever_without_looking_at_every_picture_for_each() -> None:
    labels = [Looked(label for label in range(12) if place % (label + 1) < 2) for place in range(40)]
    assert by_labels(labels, 12, seed=3) == {4, 10, 14, 24, 31, 33, 34, 36}
    Looked.looks = 0
    by_labels([Looked((place % 90, 90 + place % 7)) for place in range(400)], 97, seed=0)
    assert Looked.looks <= 3 * 400


def recorded(dataset: Dataset) -> dict[str, Any]:
    facts = require_readable([each.path for each in (*dataset.train, *dataset.val)])
    values: dict[str, Any] = json.loads(json.dumps(to_json(dataset, 0, facts)))
    return values


KINDS: list[tuple[Any, Columns, Callable[[int], Any], str]] = [
    ("single-label", Columns(), lambda place: ("ant", "bee")[place % 2], "ant"),
    ("multi-label", Columns(), lambda place: ("ant|bee", "bee", "")[place % 3], "ant"),
    ("regression", Columns(), lambda place: place / 3, "0.5"),
]


@pytest.mark.parametrize(("task", "columns", "label", "other"), KINDS, ids=[kind[0] for kind in KINDS])
def test_a_list_of_a_table_comes_back_and_tells_what_changed(
    write: Write, root: Path, task: Any, columns: Columns, label: Callable[[int], Any], other: str
) -> None:
    rows = rows_of(20, label=label)
    table = write(rows)
    dataset = find_dataset(table, task=task, columns=columns)
    values = recorded(dataset)
    back = from_json(values, "data.json")
    assert (back.train, back.val, back.task, back.table) == (dataset.train, dataset.val, task, table)
    assert not changes(values, root, table=table)

    # Other places of the rows and of the file change nothing; other labels, rows and pictures do.
    write(rows[::-1])
    assert not changes(values, root, table=table)
    rows[5]["label"] = "ant|bee" if task == "multi-label" and label(5) == other else other
    assert rows[5]["label"] != str(label(5))
    del rows[7]
    (root / "imgs" / "9.png").rename(root / "imgs" / "moved.png")
    rows[8]["image"] = "imgs/moved.png"
    write_pictures(root / "more", {"imgs": 1}, size=8, seed=7)
    (root / "more" / "imgs" / "0.png").rename(root / "imgs" / "new.png")
    write([*rows, {"image": "imgs/new.png", "label": other}])
    found = changes(values, root, table=table)
    assert found.counts() == {"removed": 1, "edited": 0, "relabelled": 1, "renamed": 1, "added": 1, "resplit": 0}
    assert str(found.relabelled[0]) == "imgs/5.png has another label"
    assert found.removed == ("imgs/7.png",)
    left = remaining(values, root, found)
    assert (left.task, left.table) == (task, table)
    names = by_name(left)
    assert names["5.png"] == found.relabelled[0].label != by_name(dataset)["5.png"]
    assert ("moved.png" in names, "7.png" in names, "new.png" in names) == (True, False, False)
    assert fingerprint(recorded(left)) != fingerprint(values)


def test_rows_that_are_for_test_are_none_of_a_runs(write: Write, root: Path) -> None:
    rows = rows_of(20, label=lambda place: ("ant", "bee")[place % 2], split=lambda place: "test" if place < 4 else "")
    for row in rows[4:]:
        row["split"] = "train"
    values = recorded(find_dataset(write(rows)))
    assert not changes(values, root, table=write(rows))
    # What was trained on is not to be tested on.
    trained = values["train"][0][0]
    next(row for row in rows if row["image"] == trained)["split"] = "test"
    assert changes(values, root, table=write(rows)).removed == (trained,)


def test_an_edited_picture_with_another_label_has_both_told(write: Write, root: Path) -> None:
    rows = rows_of(20, label=lambda place: ("ant", "bee")[place % 2])
    values = recorded(find_dataset(write(rows)))
    rows[4]["label"] = "bee"
    with (root / "imgs" / "4.png").open("ab") as file:
        file.write(b"more")
    found = changes(values, root, table=write(rows))
    assert (found.edited, [each.old for each in found.relabelled]) == (("imgs/4.png",), ["imgs/4.png"])
    assert by_name(remaining(values, root, found))["4.png"] == 1


def test_the_columns_of_targets_are_read_by_their_names_in_the_order_of_the_checkpoint(write: Write) -> None:
    path = write(rows_of(4, age=lambda n: n, weight=lambda n: 10 * n, years=lambda n: n))
    for label in ((), ("age", "weight"), ("weight", "age")):
        found, _ = find_labelled(path, ("age", "weight"), task="regression", columns=Columns(label=label))
        assert [each.label for each in found.val] == [(n, 10 * n) for n in range(4)]
        assert not found.notes
    found, _ = find_labelled(path, ("age",), task="regression", columns=Columns(label=("years",)))
    assert found.notes == ("age is read from the column years",)
    for label in (("age",), ("age", "weight", "years")):
        with pytest.raises(UsageError, match="and the checkpoint tells age, weight"):
            find_labelled(path, ("age", "weight"), task="regression", columns=Columns(label=label))


def test_a_table_none_of_whose_pictures_is_there_says_where_it_looks(write: Write, tmp_path: Path) -> None:
    path = write([{"image": f"gone/{n}.png", "label": "ant"} for n in range(3)])
    with pytest.raises(DataError, match=f"looked for below {path.parent}; image-root names another"):
        find_dataset(path)


def test_a_table_of_another_encoding_says_what_to_do(root: Path) -> None:
    (root / "latin.csv").write_bytes("image,café\nimgs/0.png,ant\n".encode("latin-1"))
    with pytest.raises(DataError, match="it is not UTF-8 at byte 9; save it as 'CSV UTF-8'"):
        find_dataset(root / "latin.csv")
