"""Make the picture in the README again: a real run's output, drawn as a terminal.

python tools/make_picture.py FOLDER-OF-PICTURES WEIGHTS-OF-MOBILENET_V2

"""

import io
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parents[1] / "docs" / "finetune.svg"
COMMAND = "zoo finetune mobilenet_v2 --weights mobilenet_v2.pth --freeze backbone --epochs 4 --data ./flowers"


def main(data: str, weights: str) -> None:
    """Run the command and draw what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "flowers").symlink_to(Path(data).resolve())
        (Path(folder) / "mobilenet_v2.pth").symlink_to(Path(weights).resolve())
        command = [sys.executable, "-m", *COMMAND.split()]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    console = Console(record=True, width=118, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {COMMAND}", style="bold"))
    for line in done.stdout.splitlines():
        console.print(Text(line.rstrip(), style="green" if "best" in line and "kept" not in line else ""))
    PICTURE.parent.mkdir(exist_ok=True)
    # The drawing folds blanks at the start of a line unless it is told to keep them.
    drawn = console.export_svg(title="zoo").replace("<svg ", '<svg xml:space="preserve" ', 1)
    PICTURE.write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
