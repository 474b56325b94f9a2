"""Class folders: what is found, how it is split, and what is said where nothing can be trained."""

import errno
import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import write_pictures
from zoo.data.datasets import Dataset, from_json, to_json
from zoo.data.finding import find_dataset, find_labelled
from zoo.data.folders import labels_below
from zoo.data.walking import pictures_of
from zoo.errors import CheckpointError, DataError, UsageError


def names(pictures: tuple, root: Path) -> list[str]:
    return [each.path.relative_to(root).as_posix() for each in pictures]


@pytest.mark.parametrize(("count", "validated"), [(2, 1), (3, 1), (5, 1), (7, 1), (8, 2), (10, 2), (13, 3), (25, 5)])
def test_a_fifth_of_each_class_validates(tmp_path: Path, count: int, validated: int) -> None:
    root = write_pictures(tmp_path, {"ant": count, "bee": 10})
    found = find_dataset(root)
    assert Counter(each.label for each in found.val) == {0: validated, 1: 2}
    assert Counter(each.label for each in found.train) == {0: count - validated, 1: 8}
    assert set(names(found.train, root)).isdisjoint(names(found.val, root))


def test_the_split_depends_on_the_seed_and_the_class_alone(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"ant": 20, "bee": 20})
    first = find_dataset(root, seed=0)
    assert find_dataset(root, seed=0) == first
    assert find_dataset(root, seed=1).val != first.val
    write_pictures(tmp_path, {"cow": 5})
    with_a_third = find_dataset(root, seed=0)
    assert [each for each in names(with_a_third.val, root) if "cow" not in each] == names(first.val, root)


def test_a_class_too_small_to_split_is_said(tmp_path: Path) -> None:
    found = find_dataset(write_pictures(tmp_path, {"ant": 1, "bee": 5}))
    assert Counter(each.label for each in found.val) == {1: 1}
    assert any("too small to split" in note and "ant" in note and "bee" not in note for note in found.notes)


def test_nothing_left_to_validate_is_an_error(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"ant": 1, "bee": 1})
    with pytest.raises(DataError, match="no picture for validation"):
        find_dataset(root)


def test_classes_and_files_come_in_natural_order(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"10 cow": 12, "9 bee": 2, "a": 2, "²": 2})
    found = find_dataset(root)
    assert found.classes[:2] == ("9 bee", "10 cow")
    assert set(found.classes[2:]) == {"a", "²"}
    cows = [int(each.path.stem) for each in found.train if each.label == 1]
    assert cows == sorted(cows)


def test_nested_folders_belong_to_their_class(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"ant": 2, "ant/wings/more": 3, "bee": 2})
    assert find_dataset(root).counts() == {"ant": 5, "bee": 2}


def test_hidden_files_and_system_folders_are_not_seen(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"ant": 3, "bee": 3, ".git": 2, "__MACOSX": 2, "ant/.cache": 2, "ant/__MACOSX": 1})
    shutil.copy(root / "ant" / "0.png", root / "ant" / "._0.png")
    (root / "ant" / "Thumbs.db").write_bytes(b"x")
    found = find_dataset(root)
    assert found.counts() == {"ant": 3, "bee": 3}
    assert found.notes == ()


def test_files_that_are_no_pictures_are_told(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"ant": 3, "bee": 3})
    (root / "bee" / "notes.txt").write_text("hello")
    (note,) = find_dataset(root).notes
    assert "notes.txt" in note


def test_runs_that_lie_beside_the_classes_are_none(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"ant": 5, "bee": 5, "checkpoints/resnet18-imgs": 1, "one-run": 1})
    (root / "one-run" / "run.toml").touch()
    assert find_dataset(root).classes == ("ant", "bee", "checkpoints"), "a name alone makes no run"
    (root / "checkpoints" / "resnet18-imgs" / "run.toml").touch()
    found = find_dataset(root)
    assert found.counts() == {"ant": 5, "bee": 5}
    assert found.notes == ("what was trained before lies there too, and is no class: checkpoints/, one-run/",)
    assert len(find_labelled(root, ["ant", "bee"])[0].val) == 10
    assert find_dataset(root, classes=["ant", "one-run"]).classes == ("ant", "one-run"), "who names it means it"


def test_folders_train_and_val_are_used_as_they_are(tmp_path: Path) -> None:
    for folder in ("val", "valid", "validation"):
        root = write_pictures(tmp_path / folder, {"train/ant": 3, "train/bee": 4, f"{folder}/ant": 2})
        found = find_dataset(root)
        assert found.classes == ("ant", "bee")
        assert (len(found.train), len(found.val)) == (7, 2)
        assert any(note == f"{folder}/ has no picture of bee" for note in found.notes)


@pytest.mark.parametrize(("train", "val", "test"), [("Train", "Val", "TEST"), ("training", "Validation", "testing")])
def test_halves_are_known_by_any_of_their_words_in_any_case(tmp_path: Path, train: str, val: str, test: str) -> None:
    root = write_pictures(tmp_path, {f"{half}/{name}": 4 for half in (train, test) for name in ("ant", "bee")})
    found = find_dataset(root)
    assert (found.classes, len(found.train), len(found.val)) == (("ant", "bee"), 6, 2)
    assert all(each.path.parts[-3] == train for each in (*found.train, *found.val))
    write_pictures(tmp_path, {f"{val}/ant": 2})
    assert [each.path.parts[-3] for each in find_dataset(root).val] == [val] * 2
    assert find_labelled(root, ["ant", "bee"])[1] == str(root / test)
    assert find_labelled(root, ["ant", "bee"], "val")[1] == str(root / val)
    write_pictures(tmp_path, {"valid/ant": 2})
    with pytest.raises(DataError, match=rf"has {val}/ and valid/, which are both for val|valid/ and {val}/"):
        find_dataset(root)


def test_nothing_beside_the_folder_of_training_is_left_out_silently(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"train/ant": 5, "train/bee": 5, "test": 3})
    (root / "docs").mkdir()
    assert len(find_dataset(root).train) == 8, "pictures without labels may lie in test/"
    write_pictures(tmp_path, {"val": 2})
    with pytest.raises(DataError, match=r"val has pictures, but no class folders as train/ has(?s:.*)validates then"):
        find_dataset(root)
    shutil.rmtree(root / "val")
    write_pictures(tmp_path, {"cow": 2})
    with pytest.raises(DataError, match=r"has pictures in cow/, beside the class folders of train/"):
        find_dataset(root)
    assert len(labels_below(root, ["ant", "bee"])) == 10, "a run that was begun before goes on"


def test_what_is_left_out_or_may_be_meant_otherwise_is_said(tmp_path: Path) -> None:
    def notes(name: str, counts: dict[str, int]) -> str:
        return "; ".join(find_dataset(write_pictures(tmp_path / name, counts)).notes)

    assert notes("loose", {"ant": 5, "bee": 5, "": 2}) == "2 pictures in no folder of loose/ left out: 0.png, 1.png"
    assert (
        notes("halves", {"train/ant": 5, "train/bee": 5, "": 1}) == "1 picture in no folder of halves/ left out: 0.png"
    )
    assert notes("test", {"ant": 5, "bee": 5, "Test": 3}) == "Test/ has no class folders, so it is taken for a class"
    inner = {f"{half}_set/{name}": 4 for half in ("test", "train") for name in ("ant", "bee")}
    assert (
        notes("sets", inner)
        == "each class has the folders ant, bee in it, whose pictures count for test_set, train_set"
    )
    assert notes("nested", {"ant/old": 3, "ant/new": 3, "bee/old": 3}) == ""


def test_which_folder_was_split_is_said(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"Train/ant": 10, "Train/bee": 10, "Test/ant": 3})
    assert find_dataset(root).how == "Train/ split 16 / 4, stratified, seed 0"


def test_a_folder_too_high_is_pointed_down(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"data/train/ant": 3, "data/train/bee": 3})
    with pytest.raises(
        DataError, match=rf"has one class, 'data'(?s:.*)give that: --data {re.escape(str(root / 'data'))}"
    ):
        find_dataset(root)


def test_a_link_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"ant": 5, "bee": 5})
    (root / "cow").symlink_to(tmp_path / "away")
    (root / ".#lock").symlink_to("nobody@nowhere")
    with pytest.raises(DataError, match="has links that lead nowhere: cow"):
        find_dataset(root)


def test_links_to_folders_are_followed_and_never_in_a_circle(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "imgs", {"ant": 5, "bee": 5})
    more = write_pictures(tmp_path / "more", {"": 4})
    (root / "ant" / "more").symlink_to(more)
    (root / "bee" / "up").symlink_to(root)
    (root / "bee" / "again").symlink_to(root / "bee")
    assert find_dataset(root).counts() == {"ant": 9, "bee": 5}


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_pictures(tmp_path, {"ant": 5, "ant/two": 3, "bee": 5})
    scandir = os.scandir

    def refusing(path: str) -> object:
        if Path(path).name == "two":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    # Who runs the tests as root may read everything.
    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match=r"two cannot be read: Permission denied"):
        find_dataset(root)


def test_names_that_are_no_text_are_told_or_shown_by_their_codes(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"ant": 5, "bee": 5})
    (root / "ant" / os.fsdecode(b"\xff.txt")).touch()
    (note,) = find_dataset(root).notes
    assert r"\udcff.txt" in note
    note.encode()
    (root / os.fsdecode(b"b\xe9e")).mkdir()
    with pytest.raises(DataError, match=r"has folders whose names are no UTF-8: (?s:.*)rename them") as told:
        find_dataset(root)
    str(told.value).encode()


def test_train_without_val_is_split(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"train/ant": 10, "train/bee": 10, "test/ant": 3})
    found = find_dataset(root)
    assert (len(found.train), len(found.val)) == (16, 4)
    assert all("train" in each.path.parts for each in found.val)


def test_a_class_in_val_that_train_lacks_is_an_error(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"train/ant": 2, "train/bee": 2, "val/ant": 1, "val/cow": 1})
    with pytest.raises(DataError, match=r"val has classes that .*train lacks: cow"):
        find_dataset(root)


def test_classes_are_chosen_ordered_and_counted(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "imgs", {"ant": 2, "bee": 3, "cow": 4})
    chosen = find_dataset(root, classes=["cow", "ant"])
    assert chosen.classes == ("cow", "ant")
    assert chosen.counts() == {"cow": 4, "ant": 2}
    assert find_dataset(root, classes=3).classes == ("ant", "bee", "cow")
    with pytest.raises(UsageError, match=r"classes is 2, and .* has 3 classes: ant, bee, cow"):
        find_dataset(root, classes=2)
    write_pictures(
        tmp_path / "split", {f"{split}/{name}": 2 for split in ("train", "val") for name in ("ant", "bee", "cow")}
    )
    assert len(find_dataset(tmp_path / "split", classes=["cow", "ant"]).val) == 4
    with pytest.raises(UsageError, match="classes names dog"):
        find_dataset(root, classes=["ant", "dog"])
    with pytest.raises(UsageError, match="twice"):
        find_dataset(root, classes=["ant", "bee", "ant"])


def test_an_empty_class_folder_is_an_error_unless_other_classes_are_chosen(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"ant": 2, "bee": 2, "cow": 0})
    with pytest.raises(DataError, match="no picture in cow"):
        find_dataset(root)
    assert find_dataset(root, classes=["ant", "bee"]).classes == ("ant", "bee")


@pytest.mark.parametrize(
    ("counts", "message"),
    [({}, "nothing that could be a class"), ({"ant": 4}, "one class, 'ant'"), ({".": 4}, "no class folders")],
)
def test_a_folder_without_two_classes_is_an_error(tmp_path: Path, counts: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_dataset(write_pictures(tmp_path, counts))


def test_a_folder_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "imgs").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"there is no folder .*img(?s:.)*near: imgs"):
        find_dataset(tmp_path / "img")
    with pytest.raises(DataError, match="is a file, not a folder"):
        find_dataset(tmp_path / "file")


def test_a_dataset_survives_being_written_down(tmp_path: Path) -> None:
    found = find_dataset(write_pictures(tmp_path, {"ant": 5, "bee": 5}))
    values = json.loads(json.dumps(to_json(found, seed=0)))
    again = from_json(values, "data.json")
    assert (again.train, again.val, again.classes) == (found.train, found.val, found.classes)


@pytest.mark.parametrize("row", [["../x.png", 0], ["/etc/passwd", 0], ["ant/0.png", 2], ["ant/0.png", -1]])
def test_a_list_that_leads_out_of_its_root_is_refused(tmp_path: Path, row: list[object]) -> None:
    values = to_json(find_dataset(write_pictures(tmp_path, {"ant": 5, "bee": 5})), seed=0)
    with pytest.raises(CheckpointError, match="no list of data"):
        from_json({**values, "train": [row]}, "data.json")


def test_pictures_that_are_gone_are_told(tmp_path: Path) -> None:
    found = find_dataset(write_pictures(tmp_path, {"ant": 5, "bee": 5}))
    found.train[0].path.unlink()
    with pytest.raises(DataError, match=re.escape(str(found.train[0].path))):
        from_json(to_json(found, seed=0), "data.json")


def test_a_split_to_evaluate_is_found(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {"train/ant": 4, "val/ant": 3, "val/bee": 3, "test/bee": 2})

    def found(split: str | None = None) -> tuple[Dataset, str]:
        return find_labelled(root, ["ant", "bee"], split)

    assert Counter(each.label for each in found()[0].val) == {1: 2}
    assert found()[1] == str(root / "test")
    assert len(found("val")[0].val) == 6
    with pytest.raises(DataError, match="no folder extra/"):
        found("extra")
    with pytest.raises(DataError, match=r"the checkpoint does not know.*: bee"):
        find_labelled(root, ["ant", "cow"])


@pytest.mark.parametrize("name", ["val", "valid", "validation", "test"])
def test_a_class_may_be_called_as_a_half_is(tmp_path: Path, name: str) -> None:
    root = write_pictures(tmp_path, {"ant": 5, name: 5})
    trained = find_dataset(root)
    dataset, read_from = find_labelled(root, trained.classes)
    assert (len(dataset.val), read_from) == (10, str(root))
    with pytest.raises(DataError, match=rf"no folder {name}/ with class folders"):
        find_labelled(root, trained.classes, name)


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_the_half_val_is_evaluated_on_by_any_of_its_names(tmp_path: Path, name: str) -> None:
    root = write_pictures(tmp_path, {"train/ant": 2, "train/bee": 2, f"{name}/ant": 3})
    for split in ("val", name, None):
        assert find_labelled(root, ["ant", "bee"], split)[1] == str(root / name)


def test_pictures_are_named_by_files_folders_and_globs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_pictures(tmp_path, {"ant": 11, "bee": 1})
    monkeypatch.chdir(root)
    ants = pictures_of([str(root / "ant")])
    assert [each.stem for each in ants] == [str(number) for number in range(11)]
    assert pictures_of(["bee/0.png", "./b*/*.png", "bee"]) == [Path("bee/0.png")]
    assert len(pictures_of([str(root / "*" / "?.png")])) == 11


def test_names_that_mean_no_picture_are_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty has no picture"):
        pictures_of([str(tmp_path / "empty")])
    for absent in ("none.jpg", "*.png"):
        with pytest.raises(DataError, match="there is no such"):
            pictures_of([os.fspath(tmp_path / absent)])


@pytest.mark.parametrize("bad", ["v/**.jpg", "~nobody-of-this-name/1.jpg"])
def test_what_is_no_glob_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"{re.escape(bad)} is no .*\n  give files, folders, or globs"):
        pictures_of([bad])


def test_paths_that_are_empty_or_too_long_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_pictures(tmp_path, {"ant": 2, "bee": 2}))
    with pytest.raises(UsageError, match="a picture's path is empty"):
        pictures_of([""])
    for ask in (
        lambda: pictures_of(["a" * 5000]),
        lambda: find_dataset(Path("a" * 5000)),
        lambda: find_dataset(Path("a" * 5000 + ".csv")),
        lambda: find_labelled(Path("a" * 5000 + ".csv"), ["ant", "bee"]),
        lambda: find_dataset(Path("a" * 5000), task="regression"),
        lambda: find_labelled(Path(), ["ant", "bee"], "a" * 5000),
    ):
        with pytest.raises(UsageError, match=r"'a{40}'… is longer than a path can be"):
            ask()
