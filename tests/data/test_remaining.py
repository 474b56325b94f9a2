"""A run that goes on without what it lost keeps the rest as it was."""

import shutil
from pathlib import Path

import pytest

from tests.data.conftest import edit, names, record
from zoo.data.datasets import from_json, to_json
from zoo.data.fingerprint import changes, remaining
from zoo.data.pictures import require_readable
from zoo.errors import DataError


def test_what_remains_keeps_its_half_and_its_order(flat: Path) -> None:
    values = record(flat)
    before = from_json(values, "data.json")
    order = names(before.train, flat)
    gone, edited, renamed, relabelled = (order[place] for place in (0, 1, 2, 5))
    (flat / gone).unlink()
    edit(flat / edited)
    (flat / renamed).rename(flat / "ant" / "new.png")
    (flat / relabelled).rename(flat / "ant" / "bee.png")
    shutil.copy(flat / edited, flat / "bee" / "added.png")
    found = changes(values, flat)
    assert str(found) == "1 removed, 1 edited, 1 relabelled, 1 renamed, 1 added"
    left = remaining(values, flat, found)
    now = {renamed: "ant/new.png", relabelled: "ant/bee.png"}
    assert names(left.train, flat) == [now.get(name, name) for name in order if name != gone]
    assert [each.label for each in left.train] == [int(name.startswith("bee")) for name in names(left.train, flat)]
    assert (left.val, left.classes, left.root) == (before.val, before.classes, flat)
    assert left.how == "7 / 2 left of 8 / 2"


def test_what_remains_is_the_new_list_of_the_run(flat: Path) -> None:
    """Once a person allowed the changes, they are none any more; but what was not taken stays an addition."""
    values = record(flat)
    edit(flat / "ant" / "1.png")
    (flat / "bee" / "2.png").rename(flat / "bee" / "new.png")
    shutil.copy(flat / "ant" / "2.png", flat / "ant" / "added.png")
    left = remaining(values, flat, changes(values, flat))
    again = to_json(left, 0, require_readable([each.path for each in (*left.train, *left.val)]))
    assert changes(again, flat).lines() == ["added   ant/added.png"]


def test_no_half_may_be_left_empty(flat: Path) -> None:
    values = record(flat)
    for name, *_ in values["val"]:
        (flat / name).unlink()
    with pytest.raises(DataError, match="no picture to validate on"):
        remaining(values, flat, changes(values, flat))
