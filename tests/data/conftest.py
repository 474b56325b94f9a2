"""What the tests of a run's pictures share: the list of them, and a hand that changes one."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import write_pictures
from zoo.data.datasets import to_json
from zoo.data.finding import find_dataset
from zoo.data.pictures import require_readable


def record(root: Path, classes: Sequence[str] | None = None) -> dict[str, Any]:
    """What `data.json` says of a folder as it is now."""
    dataset = find_dataset(root, classes=classes)
    facts = require_readable([each.path for each in (*dataset.train, *dataset.val)])
    values: dict[str, Any] = json.loads(json.dumps(to_json(dataset, 0, facts)))
    return values


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "imgs", {"ant": 5, "bee": 5}, size=8)


def edit(path: Path, *, same_size: bool = False, same_time: bool = False) -> None:
    before, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if same_size else content + b"more")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + (0 if same_time else 10**9)))


def names(found: Sequence[Any], root: Path) -> list[str]:
    return [each.path.relative_to(root).as_posix() for each in found]
