"""The demonstration: a bundled backbone learns new digits, beside the same network from random weights.

The pictures are handwritten digits 5 to 9 of the UCI set 'Optical Recognition of Handwritten Digits' (CC BY
4.0, see ATTRIBUTION.md beside this file), one sheet of 8 × 8 tiles a class. The backbone has seen 0 to 4 only.
"""

import shlex
from pathlib import Path

from PIL import Image

from zoo import catalog, files, finetuning
from zoo.finetuning import Run
from zoo.finetuning.reporting import Reporter

TILE = 8
TRAIN_PICTURES = 40
"""A class; few, since that is where pretraining helps."""
MODEL = "shufflenet_v2_x0_5"
SETTINGS = {"img-size": 64, "augment": "none", "backbone-lr": 0.003}


def backbone() -> Path:
    """The bundled checkpoint, pretrained on the digits 0 to 4."""
    return catalog.folder("checkpoints") / "digits-backbone"


def unpack(folder: Path) -> Path:
    """Cut the sheets into a data set with `train/` and `val/`, a folder a class; returns its folder."""
    root = folder / "digits"
    with files.explained(root):
        for sheet in sorted(Path(__file__).parent.glob("digits-*.png")):
            name = sheet.stem.rpartition("-")[2]
            for number, tile in enumerate(_tiles(Image.open(sheet))):
                place = root / ("train" if number < TRAIN_PICTURES else "val") / name
                place.mkdir(parents=True, exist_ok=True)
                tile.save(place / f"{number:03d}.png")
    return root


def _tiles(sheet: Image.Image) -> list[Image.Image]:
    columns, rows = sheet.width // TILE, sheet.height // TILE
    corners = [(column * TILE, row * TILE) for row in range(rows) for column in range(columns)]
    return [sheet.crop((left, top, left + TILE, top + TILE)) for left, top in corners]


def command(data: Path, out: Path, weights: str) -> str:
    """The ordinary command that does the same as one half of the demonstration."""
    flags = " ".join(
        f"--set {key}={value}" if key == "backbone-lr" else f"--{key} {value}" for key, value in SETTINGS.items()
    )
    places = f"--data {shlex.quote(str(data))} --out {shlex.quote(str(out))}"
    return f"zoo finetune {MODEL} --weights {weights} {flags} {places}"


def fine_tune(data: Path, out: Path, weights: str, reporter: Reporter) -> Run:
    """Run that command."""
    given = {**SETTINGS, "model": MODEL, "weights": weights, "data": str(data)}
    plan = finetuning.plan_for(None, given, out=out, reporter=reporter)
    return finetuning.carry_out(plan, reporter=reporter)
