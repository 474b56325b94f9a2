"""What a run writes down as it goes: `metrics.csv` for a spreadsheet, `log.jsonl` for programs."""

import csv
import io
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo import files


def prefixed(half: str, figures: Mapping[str, float], names: Sequence[str]) -> dict[str, float | None]:
    """The loss and these figures of one half of the data, as columns; a figure that there is none of stays empty.

    >>> prefixed("val", {"loss": 0.5, "accuracy": 0.9}, ["accuracy", "top5"])
    {'val_loss': 0.5, 'val_accuracy': 0.9, 'val_top5': None}
    """
    return {f"{half}_{name}": figures.get(name) for name in ("loss", *names)}


def write_metrics(run: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `metrics.csv` anew, one line an epoch; its columns are those of the rows."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in rows)
    files.write_text(run / "metrics.csv", text.getvalue())


def log(folder: Path, event: str, **values: Any) -> None:
    """Add a line to `log.jsonl`: the time, what happened, and its figures."""
    line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **values}
    files.append_text(folder / "log.jsonl", json.dumps(line, ensure_ascii=False) + "\n")
