"""What is in a checkpoint or a run, as plain values."""

import math
from pathlib import Path
from typing import Any

from zoo import files
from zoo.checkpoint import reading
from zoo.checkpoint.foreign.headers import read_header
from zoo.checkpoint.writing import DELTA, WEIGHTS
from zoo.errors import CheckpointError


def of_run(folder: Path) -> dict[str, Any] | None:
    """The checkpoints of a run, every file compared with its manifest, or None when the folder is no run.

    Which one is the best is not known where one has no manifest any more: it may have been that one.
    """
    if not (folder / files.RECIPE).is_file():
        return None
    incomplete = reading.damaged_of(folder)
    best = None if incomplete else reading.best_of(folder)
    damaged = {str(each): "it has no manifest" for each in incomplete}
    for found in reading.checkpoints_of(folder):
        try:
            reading.verify(found.folder)
        except CheckpointError as error:
            damaged[str(found.folder)] = error.message.partition("is damaged: ")[2] or error.message
    return {
        "run": str(folder),
        "damaged": list(damaged),
        "reasons": damaged,
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
