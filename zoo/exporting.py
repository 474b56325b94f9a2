"""Making one form of a checkpoint from another: whole, a delta, or with the whole model beside it."""

import dataclasses
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, get_args

from zoo import files
from zoo.checkpoint import full, reading
from zoo.checkpoint.writing import CONFIG, TENSORS, TRAINING, add_weights
from zoo.errors import CheckpointError, UsageError
from zoo.recipe import Save
from zoo.sources.checkpoints import load_checkpoint, stripped
from zoo.sources.loading import base_again


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    files: dict[str, int]
    """The size of each file in bytes."""
    notes: tuple[str, ...] = ()

    def to_values(self) -> dict[str, Any]:
        """The export as plain values."""
        return {"folder": str(self.folder), "files": self.files, "notes": list(self.notes)}


def export(
    checkpoint: str | PathLike[str], to: str | Path, *, save: Save = "state", base: str | Path | None = None
) -> Exported:
    """Write a checkpoint anew in another form, its training state included.

        zoo.export("checkpoints/vgg16-imgs", "vgg16-whole")
        zoo.export("checkpoints/vgg16-imgs", "vgg16-small", save="delta")

    `save` is `state` for all weights, `delta` for what differs from the pretrained ones, `full` for the whole
    model too, as `model.pt` and `model.pt2`. A run stands for its best checkpoint. `base` is where the weights
    of a delta are, if they have moved.

    Raises CheckpointError for a checkpoint that cannot be used, or a base that is missing, UsageError when the folder
    exists, StorageError when it cannot be written.
    """
    if save not in get_args(Save):
        raise UsageError(f"save is {save!r}.", f"it takes {', '.join(get_args(Save))}")
    target = Path(to).expanduser()
    if target.exists():
        raise UsageError(f"{target} exists already.", "give a folder that does not")
    if Path(checkpoint).is_file():
        raise CheckpointError(f"{checkpoint} is a file, not a checkpoint's folder.", "give the folder that it lies in")
    place = reading.checkpoint_at(checkpoint)
    model = load_checkpoint(place, base=base)
    spec = reading.read_config(place).spec
    if spec is None and save == "delta":
        raise CheckpointError(f"{place} holds a model that zoo knows nothing about, so there is no base.")
    if spec and base is not None:
        spec = dataclasses.replace(spec, weights=str(Path(base).expanduser().resolve()))
    left_out = base_again(spec) if spec and save == "delta" else None
    notes: tuple[str, ...] = ()
    with files.new_folder(target) as new:
        add_weights(new, model.state_dict(), left_out)
        for name in (CONFIG, TRAINING, TENSORS):
            if (place / name).is_file():
                new.add(name, [(place / name).read_bytes()])
        if save == "full":
            notes = full.write(new.path, stripped(model), spec)
    sizes = {name: facts["size"] for name, facts in files.read_manifest(target)["files"].items()}
    return Exported(target, sizes, notes)
