"""A `data.json` is somebody's file: what cannot be one is refused, and none leads out of its root."""

from pathlib import Path
from typing import Any

import pytest

from zoo.data.fingerprint import Changes, changes, fingerprint, remaining
from zoo.data.folders import from_json
from zoo.errors import CheckpointError

SHA = "0" * 64
ROW = ["ant/0.png", 0, 9, 9, SHA]


@pytest.mark.parametrize(
    "hostile",
    [
        {"train": [[name, *ROW[1:]]]}
        for name in (
            "../x.png",
            "ant/../../x.png",
            "/etc/passwd",
            "",
            ".",
            "./ant/0.png",
            "a\0b",
            "\ud800",
            5,
            None,
            [],
        )
    ]
    + [
        {"train": [[*ROW[:place], value, *ROW[place + 1 :]]]}
        for place in (1, 2, 3, 4)
        for value in ("0", None, 1.5, True)
    ]
    + [
        {"train": [row]}
        for row in ([], ROW[:2], [*ROW, 1], "ant", 5, None, [ROW[0], 2, *ROW[2:]], [ROW[0], -1, *ROW[2:]])
    ]
    + [{"train": [[*ROW[:4], sha]]} for sha in ("", "0" * 63, "g" * 64, "../" + "0" * 61)]
    + [{"train": value} for value in ("ant", {}, 5, None, [ROW, ROW])]
    + [{"classes": value} for value in ("ab", {"ant": 0}, ["ant", "ant"], ["ant", 5], ["ant", ".."], ["ant", "../x"])]
    + [{"classes": ["ant", value]} for value in ("/etc", "", ".", "a/b", "a\0")]
    + [{"root": value} for value in (5, None, ["/"])]
    + [{"format": value} for value in (0, 3, "2", None, [])],
)
def test_a_list_that_cannot_be_one_is_refused(tmp_path: Path, hostile: dict[str, Any]) -> None:
    values = {"format": 2, "root": str(tmp_path), "classes": ["ant", "bee"], "how": "", "train": [], "val": []}
    assert fingerprint({**values, "train": [ROW]})
    for ask in (
        lambda given: from_json(given, "data.json"),
        lambda given: from_json(given, "data.json", tmp_path),
        lambda given: changes(given, tmp_path),
        lambda given: remaining(given, tmp_path, Changes()),
        fingerprint,
    ):
        with pytest.raises(CheckpointError, match=r"^data\.json is no list of data"):
            ask({**values, **hostile})


@pytest.mark.parametrize("values", [[], "", 5, None, {}])
def test_what_is_no_list_at_all_is_refused(tmp_path: Path, values: Any) -> None:
    with pytest.raises(CheckpointError, match=r"^run/data\.json is no list of data"):
        changes(values, tmp_path, where="run/data.json")
