"""A `data.json` is somebody's file: what cannot be one is refused, and none leads out of its root."""

from pathlib import Path
from typing import Any

import pytest

from zoo.data.datasets import from_json
from zoo.data.fingerprint import Changes, changes, fingerprint, remaining
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


LABELS: list[Any] = [[0, 0], [1, 0], [2], [-1], ["0"], [True], [0.0], 0, None, "0"]
NUMBERS: list[Any] = [[1.0], [1.0, 2.0, 3.0], [1, 2], ["1.0", 2.0], [True, 1.0], [float("nan"), 1.0], 1.0, None]


@pytest.mark.parametrize(
    "hostile",
    [{"task": value} for value in ("multilabel", None, 5, [])]
    + [{"table": value} for value in (5, [], True)]
    + [{"classes": ["", "bee"]}, {"table": None}]
    + [{"train": [["1.png", label, 9, 9, SHA]]} for label in LABELS]
    + [{"task": "regression", "train": [["1.png", numbers, 9, 9, SHA]]} for numbers in NUMBERS],
)
def test_a_list_of_a_table_that_cannot_be_one_is_refused(tmp_path: Path, hostile: dict[str, Any]) -> None:
    shared = {
        "format": 3,
        "root": str(tmp_path),
        "table": str(tmp_path / "l.csv"),
        "classes": ["n/a", "bee"],
        "how": "",
    }
    values = {**shared, "task": "multi-label", "train": [["1.png", [0, 1], 9, 9, SHA]], "val": []}
    assert fingerprint(values)
    assert fingerprint({**values, "task": "regression", "train": [["1.png", [0.5, 1.0], 9, 9, SHA]]})
    with pytest.raises(CheckpointError, match=r"^data\.json is no list of data"):
        fingerprint({**values, **hostile})


def test_a_list_of_before_there_were_tasks_is_read(tmp_path: Path) -> None:
    values = {"root": str(tmp_path), "classes": ["ant", "bee"], "how": "", "train": [ROW], "val": []}
    now = {**values, "format": 3, "task": "single-label", "table": None}
    assert fingerprint({**values, "format": 2}) == fingerprint(now)
