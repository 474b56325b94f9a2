"""Finding checkpoints, checking them, and reading what is in one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from zoo import files
from zoo.checkpoint.config import Config, from_json
from zoo.checkpoint.state import Stateful, restore_optimizer, unpack
from zoo.checkpoint.weights import load_state, read_tensors
from zoo.checkpoint.writing import CONFIG, DELTA, TENSORS, TRAINING, WEIGHTS
from zoo.errors import CheckpointError
from zoo.names import near_folders

PATTERN = "epoch-*"
CORE = {CONFIG, TRAINING}


@dataclass(frozen=True)
class Found:
    """A complete checkpoint of a run."""

    folder: Path
    training: Mapping[str, Any]

    @property
    def age(self) -> tuple[int, int, int]:
        """What grows while a run goes on: its steps, its complete epochs, the steps of the epoch at hand."""
        progress = self.training["progress"]
        return progress.get("step", 0), self.training.get("epoch") or 0, progress.get("step_in_epoch", 0)

    @property
    def score(self) -> float | None:
        """The metric by which the best one is chosen; None within an epoch."""
        score: float | None = self.training["progress"].get("score")
        return score


def checkpoints_of(run: Path) -> list[Found]:
    """The complete checkpoints of a run, oldest first; found by looking, damaged ones left out.

    Their small files are compared with the manifest, since they say which is the newest and which the best; the
    weights are by their size alone.
    """
    found = [_found(folder) for folder in run.glob(PATTERN)]
    return sorted((each for each in found if each), key=lambda each: each.age)


def _found(folder: Path) -> Found | None:
    if not files.is_complete(folder):
        return None
    # A run that goes on may remove it between any two of these looks.
    try:
        names = files.read_manifest(folder)["files"].keys()
        if not (names >= CORE and names & {WEIGHTS, DELTA}) or files.damaged(folder, CORE):
            return None
        facts = read_facts(folder)
    except (CheckpointError, OSError, ValueError):
        return None
    return Found(folder, facts) if _is_sound(facts) else None


def _is_sound(facts: Any) -> bool:
    """Whether the facts that put checkpoints into order are numbers."""
    progress = facts.get("progress") if isinstance(facts, dict) else None
    if not isinstance(progress, dict) or not isinstance(facts.get("metrics"), dict):
        return False
    counts = (facts.get("epoch") or 0, progress.get("step", 0), progress.get("step_in_epoch", 0))
    whole = all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in counts)
    return whole and isinstance(progress.get("score"), float | int | None)


def damaged_of(run: Path) -> list[Path]:
    """The checkpoints of a run that are not what their manifest says, or have none any more."""
    folders = [place for place in run.glob(PATTERN) if place.is_dir()]
    # One that a run removes meanwhile is not damaged.
    return sorted(folder for folder in folders if _found(folder) is None and folder.exists())


def best_of(run: Path) -> Path | None:
    """The checkpoint with the best metric of a run; the newest of equals is not better than the first."""
    found = checkpoints_of(run)
    scored = [(each.score, -each.age[1], each.folder) for each in found if each.score is not None]
    if not scored:
        return found[-1].folder if found else None
    return max(scored, key=lambda each: each[:2])[2]


def checkpoint_at(path: str | PathLike[str]) -> Path:
    """The checkpoint that a path means: itself, or the best one of a run's folder.

    Raises CheckpointError when there is none.
    """
    path = Path(path).expanduser()
    if (path / files.MANIFEST).is_file():
        return path
    if not path.exists():
        raise CheckpointError(
            f"there is no checkpoint {path}.",
            *near_folders(path),
            "give a run's folder, or a folder in it like epoch-0003",
        )
    broken = damaged_of(path) if path.is_dir() else []
    if broken:
        # Which one is the best cannot be known, and another one in its place would be a silent change.
        raise CheckpointError(
            f"{broken[0]} is damaged, so the best checkpoint of {path} cannot be told.",
            "name the checkpoint to use; zoo inspect shows them",
        )
    best = best_of(path) if path.is_dir() else None
    if best is None:
        what = "no folder" if not path.is_dir() else "a folder without a complete checkpoint"
        raise CheckpointError(f"{path} is {what}.", "give a run's folder, or a folder in it like epoch-0003")
    return best


def verify(folder: Path) -> None:
    """Compare every file with the manifest; raises CheckpointError that names what is damaged."""
    try:
        damaged = files.damaged(folder)
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        reason = f"it has no {files.MANIFEST}" if missing else error
        raise CheckpointError(
            f"{folder} is no complete checkpoint: {reason}.", "give a run's folder, or a folder in it like epoch-0003"
        ) from error
    if damaged:
        raise CheckpointError(
            f"the checkpoint {folder} is damaged: {', '.join(damaged)} is not what its manifest says.",
            "use another checkpoint of the run; zoo inspect RUN lists them",
        )


def read_config(folder: Path) -> Config:
    """What a checkpoint says about its model; raises CheckpointError when it is no config."""
    return from_json(read_json(folder / CONFIG), str(folder / CONFIG))


def read_facts(folder: Path) -> dict[str, Any]:
    """The training state without its tensors: epoch, metrics, position."""
    values: dict[str, Any] = unpack(read_json(folder / TRAINING), None)
    return values


def read_training(folder: Path) -> dict[str, Any]:
    """The training state of a checkpoint with its tensors in their places."""
    tensors: dict[str, Tensor] = {}
    if (folder / TENSORS).is_file():
        tensors = read_tensors(folder / TENSORS)
    try:
        values = unpack(read_json(folder / TRAINING), tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / 'training.json'} is no training state: {error}.") from error
    if not isinstance(values, dict) or not isinstance(values.get("frozen"), dict):
        raise CheckpointError(f"{folder / 'training.json'} is no training state: it does not say what is frozen.")
    return values


def restore_weights(folder: Path, model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put a checkpoint's weights into a model, every tensor of it; raises CheckpointError when they do not fit."""
    try:
        load_state(model, state)
    except RuntimeError as error:
        detail = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise CheckpointError(
            f"the weights of {folder} are not of this {type(model).__name__}: {detail[:200]}",
            "give a checkpoint of the same architecture and head",
        ) from error


def restore_training(
    folder: Path,
    training: Mapping[str, Any],
    model: nn.Module,
    *,
    optimizer: Optimizer | None = None,
    scheduler: Stateful | None = None,
    scaler: Stateful | None = None,
) -> None:
    """Put a checkpoint's training state into these objects.

    Raises CheckpointError when something asked for is not in the checkpoint or does not fit.
    """
    for name, wanted in (("optimizer", optimizer), ("scheduler", scheduler), ("scaler", scaler)):
        if wanted is not None and training.get(name) is None:
            raise CheckpointError(f"{folder} was saved without a {name}.", f"load it without {name}=")
    if optimizer is not None:
        restore_optimizer(optimizer, model, training["optimizer"])
    if scheduler is not None:
        scheduler.load_state_dict(training["scheduler"])
    if scaler is not None:
        scaler.load_state_dict(training["scaler"])


def read_json(path: Path) -> Any:
    """The values of a JSON file; raises CheckpointError when it is absent or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from error
