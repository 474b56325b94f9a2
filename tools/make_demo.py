"""Make the demonstration again: the sheets of digits, and the backbone that `zoo finetune` pretrains.

    python tools/make_demo.py

It takes about a minute and needs scikit-learn, which carries the digits.
"""

import math
import tempfile
from pathlib import Path

import numpy
from PIL import Image
from sklearn.datasets import load_digits

import zoo

ROOT = Path(__file__).parents[1]
TILE = 8


def main() -> None:
    """Write the sheets, pretrain, and put the backbone in its place."""
    digits = load_digits()
    pictures = (digits.images * (255 / 16)).round().astype(numpy.uint8)
    for digit in range(5, 10):
        write_sheet(pictures[digits.target == digit], ROOT / "zoo" / "demo" / f"digits-{digit}.png")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "digits"
        for number, (picture, digit) in enumerate(zip(pictures, digits.target, strict=True)):
            if digit < 5:
                place = data / str(digit)
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(place / f"{number:04d}.png")
        run = zoo.finetune(data=data, recipe=ROOT / "tools" / "digits-backbone.toml", out=Path(folder) / "runs")
        saved = zoo.save_checkpoint(
            ROOT / "checkpoints" / "digits-backbone",
            zoo.load_checkpoint(run.best),
            epoch=run.best_epoch,
            metrics=run.metrics,
        )
    size = sum(file.stat().st_size for file in saved.folder.iterdir())
    print(f"{saved.folder}: accuracy {run.metrics['accuracy']:.3f} on held-out digits 0 to 4, {size / 1e6:.2f} MB")


def write_sheet(pictures: numpy.ndarray, path: Path) -> None:
    """Lay equal pictures out as tiles; what is left of the last row is cut off."""
    columns = 20
    rows = math.floor(len(pictures) / columns)
    sheet = Image.new("L", (columns * TILE, rows * TILE))
    for place in range(rows * columns):
        sheet.paste(Image.fromarray(pictures[place]), (place % columns * TILE, place // columns * TILE))
    sheet.save(path, optimize=True)


if __name__ == "__main__":
    main()
