"""Make the picture in the README again: a real run's output, drawn as a terminal.

    python tools/make_picture.py FOLDER-OF-PICTURES [FLAG …]

The flags go to `zoo finetune mobilenet_v2 --freeze backbone`.
"""

import io
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parents[1] / "docs" / "finetune.svg"


def main(data: str, *flags: str) -> None:
    """Run the command and draw what it prints."""
    shown = ["zoo", "finetune", "mobilenet_v2", "--freeze", "backbone", "--data", "./flowers"]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "flowers").symlink_to(Path(data).resolve())
        command = [sys.executable, "-m", *shown, *flags]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    console = Console(record=True, width=112, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {' '.join(shown)}", style="bold"))
    for line in done.stdout.replace(f"{Path(data).resolve()}", "./flowers").splitlines():
        console.print(Text(line, style="green" if "best" in line else ""))
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(console.export_svg(title="zoo"), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
