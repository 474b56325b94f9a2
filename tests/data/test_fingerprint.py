"""A run notices when its pictures changed, whatever happened to them, and knows them again at another place."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import write_pictures
from tests.data.conftest import edit, names, record
from zoo.data.datasets import Dataset, from_json, to_json
from zoo.data.finding import find_dataset
from zoo.data.fingerprint import Changes, changes, fingerprint, remaining
from zoo.errors import DataError

LAYOUTS = {"flat": [""], "train only": ["train/"], "train and val": ["train/", "val/"]}


@pytest.fixture(params=LAYOUTS)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    halves = LAYOUTS[request.param]
    return write_pictures(tmp_path / "imgs", {f"{half}{name}": 5 for half in halves for name in ("ant", "bee")}, size=8)


def ants(root: Path) -> Path:
    """Where the ants of training lie."""
    return root / "train" / "ant" if (root / "train").is_dir() else root / "ant"


def touch(path: Path) -> None:
    """Another time of change, as a copy or a tool leaves it."""
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 10**9))


def remove(ants: Path) -> None:
    (ants / "3.png").unlink()


def add(ants: Path) -> None:
    shutil.copy2(ants / "3.png", ants / "new.png")


def add_in_a_folder(ants: Path) -> None:
    (ants / "more").mkdir()
    shutil.copy2(ants / "3.png", ants / "more" / "a.png")


def edit_the_same_size(ants: Path) -> None:
    edit(ants / "3.png", same_size=True)


def edit_at_the_same_time(ants: Path) -> None:
    edit(ants / "3.png", same_time=True)


def replace_by_a_copy(ants: Path) -> None:
    shutil.copy2(ants / "1.png", ants / "3.png")


def replace_by_a_folder(ants: Path) -> None:
    remove(ants)
    (ants / "3.png").mkdir()


def rename(ants: Path) -> None:
    (ants / "3.png").rename(ants / "new.png")


def rename_and_touch(ants: Path) -> None:
    rename(ants)
    touch(ants / "new.png")


def relabel(ants: Path) -> None:
    (ants / "3.png").rename(ants.parent / "bee" / "new.png")


def overwrite_by_renaming(ants: Path) -> None:
    (ants / "3.png").rename(ants / "4.png")


@pytest.mark.parametrize(
    ("harm", "lines"),
    [
        (remove, ["removed   {}/3.png"]),
        (replace_by_a_folder, ["removed   {}/3.png"]),
        (add, ["added   {}/new.png"]),
        (add_in_a_folder, ["added   {}/more/a.png"]),
        (edit_the_same_size, ["edited   {}/3.png"]),
        (edit_at_the_same_time, ["edited   {}/3.png"]),
        (replace_by_a_copy, ["edited   {}/3.png"]),
        (rename, ["renamed   {}/3.png → {}/new.png"]),
        (rename_and_touch, ["renamed   {}/3.png → {}/new.png"]),
        (relabel, ["relabelled   {}/3.png → {}/new.png"]),
        (overwrite_by_renaming, ["removed   {}/4.png", "renamed   {}/3.png → {}/4.png"]),
    ],
)
def test_every_change_is_told(root: Path, harm: Callable[[Path], None], lines: list[str]) -> None:
    values = record(root)
    harm(ants(root))
    place = ants(root).relative_to(root).as_posix()
    new = place.replace("ant", "bee") if harm is relabel else place
    for thorough in (False, True):
        found = changes(values, root, thorough=thorough)
        assert found
        assert found.lines() == [line.replace("{}", place, 1).replace("{}", new) for line in lines]
    assert fingerprint(record(root) if harm is not replace_by_a_folder else {**values, "val": []}) != fingerprint(
        values
    )


def test_what_did_not_change_is_no_change(root: Path) -> None:
    values = record(root)
    seen: list[None] = []
    for thorough in (False, True):
        found = changes(values, root, seen=lambda: seen.append(None), thorough=thorough)
        assert not found
        assert (found, found.lines(), str(found)) == (Changes(), [], "no change")
    assert len(seen) == 2 * (len(values["train"]) + len(values["val"]))
    assert fingerprint(record(root)) == fingerprint(values)


def test_the_same_pictures_at_another_place_are_the_same(root: Path, tmp_path: Path) -> None:
    values = record(root)
    copy = Path(shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile))
    for path in (each for each in copy.rglob("*") if each.is_file()):
        touch(path)
    moved = root.rename(tmp_path / "moved")
    for place in (copy, moved):
        assert not changes(values, place)
        assert not changes(values, place, thorough=True)
        assert fingerprint(record(place)) == fingerprint(values)
        again = from_json(values, "data.json", place)
        assert (again.root, again) == (place, remaining(values, place, Changes()))
        assert again.train == find_dataset(place).train
    edit(ants(copy) / "3.png", same_size=True)
    assert changes(values, copy).lines() == [f"edited   {ants(copy).relative_to(copy).as_posix()}/3.png"]


def test_touched_pictures_are_the_same(root: Path) -> None:
    values = record(root)
    for path in root.rglob("*.png"):
        touch(path)
    assert not changes(values, root)


def test_size_and_time_as_recorded_are_believed_unless_thorough(flat: Path) -> None:
    values = record(flat)
    edit(flat / "ant" / "3.png", same_size=True, same_time=True)
    assert not changes(values, flat)
    assert changes(values, flat, thorough=True).lines() == ["edited   ant/3.png"]


def test_what_is_no_picture_of_the_run_is_no_change(flat: Path) -> None:
    values = record(flat)
    write_pictures(flat, {"cow": 2, ".git": 2, "ant/.cache": 1})
    (flat / "ant" / "notes.txt").write_text("hello")
    assert not changes(values, flat)
    assert not changes(record(flat, classes=["cow", "ant"]), flat)


def test_pictures_that_change_places_are_known_by_their_content(flat: Path) -> None:
    values = record(flat)
    (flat / "ant" / "0.png").rename(flat / "spare.png")
    (flat / "bee" / "0.png").rename(flat / "ant" / "0.png")
    (flat / "spare.png").rename(flat / "bee" / "0.png")
    for number in (4, 3, 2, 1):
        (flat / "ant" / f"{number}.png").rename(flat / "ant" / f"{number + 1}.png")
    for path in flat.rglob("*.png"):
        touch(path)
    found = changes(values, flat)
    assert found.counts() == {"removed": 0, "edited": 0, "relabelled": 2, "renamed": 4, "added": 0, "resplit": 0}
    assert {str(each) for each in found.relabelled} == {"ant/0.png → bee/0.png", "bee/0.png → ant/0.png"}
    assert "ant/4.png → ant/5.png" in map(str, found.renamed)


def test_one_of_two_alike_is_no_more_than_one(flat: Path) -> None:
    for name in ("ant/5.png", "bee/5.png"):
        shutil.copy(flat / "ant" / "0.png", flat / name)
    values = record(flat)
    for name in ("ant/0.png", "ant/5.png", "bee/5.png"):
        (flat / name).rename(flat / "bee" / "new.png")
    found = changes(values, flat)
    assert (len(found.removed), str(found)) == (2, "2 removed, 1 renamed")
    assert found.lines()[-1] == "renamed   bee/5.png → bee/new.png"


def test_a_picture_that_changed_its_half_is_renamed_and_stays_in_its_old_half(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, {f"{half}/{name}": 3 for half in ("train", "val") for name in ("ant", "bee")})
    values = record(root)
    (root / "train" / "ant" / "2.png").rename(root / "val" / "ant" / "9.png")
    found = changes(values, root)
    assert found.lines() == ["renamed   train/ant/2.png → val/ant/9.png"]
    left = remaining(values, root, found)
    assert "val/ant/9.png" in names(left.train, root)
    assert "val/ant/9.png" not in names(left.val, root)
    assert fingerprint(record(root)) != fingerprint(values)


def test_a_class_that_is_gone_is_removed_pictures(root: Path) -> None:
    values = record(root)
    shutil.rmtree(ants(root))
    count = sum("ant" in name for name, *_ in values["train"] + values["val"] if (root / name).parent == ants(root))
    found = changes(values, root)
    assert (count, found.counts()) == (
        5,
        {"removed": 5, "edited": 0, "relabelled": 0, "renamed": 0, "added": 0, "resplit": 0},
    )
    with pytest.raises(DataError, match=r"no picture of ant to train on(?s:.)*put them back"):
        remaining(values, root, found)


def test_a_root_that_is_gone_is_an_error(flat: Path) -> None:
    values = record(flat)
    shutil.rmtree(flat)
    with pytest.raises(DataError, match="there is no folder"):
        changes(values, flat)


def test_the_first_changes_are_listed_and_the_rest_counted() -> None:
    found = Changes(removed=tuple(f"ant/{number}.png" for number in range(1200)), added=("bee/1.png",))
    assert found.lines() == [*(f"removed   ant/{number}.png" for number in range(5)), "… and 1,196 more"]
    assert found.lines(most=2)[-1] == "… and 1,199 more"
    assert str(found) == "1,200 removed, 1 added"


def with_value(values: dict[str, Any], half: str, place: int, value: Any) -> dict[str, Any]:
    """The list with one value of a half's first picture replaced."""
    first, *others = values[half]
    return {**values, half: [[*first[:place], value, *first[place + 1 :]], *others]}


def test_the_fingerprint_is_of_what_is_learned_from_and_of_nothing_else(flat: Path) -> None:
    values = record(flat)
    other = [
        with_value(values, "train", 0, "ant/new.png"),
        with_value(values, "train", 1, 1),
        with_value(values, "val", 4, "0" * 64),
        {**values, "classes": ["bee", "ant"]},
        {**values, "train": values["train"][1:]},
        {**values, "train": values["val"], "val": values["train"]},
    ]
    prints = [fingerprint(each) for each in (values, *other)]
    assert len(set(prints)) == len(prints)
    shuffled = random.Random(0).sample(values["train"], len(values["train"]))
    for same in (
        with_value(values, "train", 3, 5),
        {**values, "root": "/elsewhere", "how": "?", "seed": 9},
        {**values, "train": shuffled},
    ):
        assert fingerprint(same) == prints[0]


def test_a_list_without_facts_tells_what_is_gone_or_new(flat: Path) -> None:
    """As runs of the first version wrote it."""
    values: dict[str, Any] = json.loads(json.dumps(to_json(find_dataset(flat), 0)))
    for given in (values, {key: value for key, value in values.items() if key != "format"}):
        assert isinstance(from_json(given, "data.json"), Dataset)
        assert not changes(given, flat)
        assert len(fingerprint(given)) == 64
    edit(flat / "ant" / "1.png")
    rename(flat / "ant")
    assert changes(values, flat, thorough=True).lines() == ["removed   ant/3.png", "added     ant/new.png"]


def test_a_name_that_no_disk_takes_is_an_error(flat: Path) -> None:
    values = with_value(record(flat), "train", 0, "ant/" + "x" * 5000)
    for ask in (lambda: changes(values, flat), lambda: from_json(values, "data.json")):
        with pytest.raises(DataError, match="too long"):
            ask()
