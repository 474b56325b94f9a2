"""What is in a checkpoint or a run, as plain values."""

import math
from pathlib import Path
from typing import Any

from zoo import files
from zoo.checkpoint import reading
from zoo.checkpoint.foreign.headers import read_header
from zoo.checkpoint.writing import DELTA, WEIGHTS


def of_run(folder: Path) -> dict[str, Any] | None:
    """The complete checkpoints of a run, or None when the folder is no run."""
    if not (folder / files.RECIPE).is_file():
        return None
    best = reading.best_of(folder)
    return {
        "run": str(folder),
        "damaged": [str(each) for each in reading.damaged_of(folder)],
        "best": str(best) if best else None,
        "checkpoints": [
            {
                "name": each.folder.name,
                "folder": str(each.folder),
                "epoch": each.age[1],
                "metrics": each.training["metrics"],
            }
            for each in reading.checkpoints_of(folder)
        ],
    }


def of_checkpoint(folder: Path) -> dict[str, Any]:
    """A checkpoint's facts; raises CheckpointError when it is damaged or is none."""
    reading.verify(folder)
    config = reading.read_config(folder)
    training = reading.read_facts(folder)
    manifest = files.read_manifest(folder)
    spec = config.spec
    head = spec.head if spec else None
    base = manifest.get("base")
    tensors = read_header(folder / (DELTA if base else WEIGHTS)).tensors
    return {
        "folder": str(folder),
        "model": spec.full_name if spec else "unknown to zoo",
        "model_class": config.model_class,
        "weights": spec.weights if spec else None,
        "head": f"{head.preset}, {head.mode}, at {head.path}" if head else "the library's own",
        "task": head.task if head else None,
        "classes": list(config.classes),
        "input": list(spec.preprocessing.size) if spec else None,
        "numbers": sum(math.prod(each.shape) for each in tensors.values()),
        "base": base,
        "frozen": len(training["frozen"]["parameters"]),
        "epoch": training["epoch"],
        "metrics": training["metrics"],
        "optimizer": training["optimizer"]["class"] if training["optimizer"] else None,
        "versions": training["versions"],
        "files": {name: facts["size"] for name, facts in manifest["files"].items()},
        "rebuild": list(config.rebuild),
    }
