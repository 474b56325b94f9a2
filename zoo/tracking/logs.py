"""What a run writes down as it goes: `metrics.csv` for a spreadsheet, `log.jsonl` for programs."""

import csv
import io
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo import files

COLUMNS = (
    "epoch",
    "stage",
    "step",
    "lr",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "val_f1",
    "val_top5",
    "seconds",
)


def row_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """An epoch's figures in the columns of `metrics.csv`; a figure that there is none of stays empty."""
    return {column: values.get(column) for column in COLUMNS}


def write_metrics(run: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `metrics.csv` anew, one line an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None else value for key, value in row_of(row).items()} for row in rows)
    files.write_text(run / "metrics.csv", text.getvalue())


def log(folder: Path, event: str, **values: Any) -> None:
    """Add a line to `log.jsonl`: the time, what happened, and its figures."""
    line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **values}
    files.append_text(folder / "log.jsonl", json.dumps(line, ensure_ascii=False) + "\n")
