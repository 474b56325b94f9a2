"""Plots as files, through matplotlib, which is an extra of the package."""

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path

from zoo import files
from zoo.errors import UsageError
from zoo.names import near_folders

KINDS = (".png", ".svg", ".pdf")


def require_plots(path: Path) -> None:
    """Raise UsageError unless a plot can be drawn into a file of this name."""
    if path.suffix.lower() not in KINDS:
        raise UsageError(f"{path} cannot be a plot.", f"give a name that ends in {', '.join(KINDS)}")
    if not path.parent.is_dir():
        raise UsageError(
            f"there is no folder {path.parent} to draw {path.name} into.", *near_folders(path.parent), "make it first"
        )
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError(
            "matplotlib is not installed, which draws plots.",
            "pip install 'zoo-finetune[plot]', or pip install matplotlib",
        )


def plot_rates(
    path: Path,
    rates: Sequence[float],
    losses: Sequence[float],
    raw: Sequence[float],
    *,
    suggestion: float,
    valley: float,
    title: str,
) -> None:
    """Draw the course of a learning-rate test: the loss by the rate, and what is suggested."""
    from matplotlib.figure import Figure

    # No pyplot: it keeps every figure, and looks for a screen.
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(rates, raw, color="0.8", linewidth=1, label="loss of each step")
    axes.plot(rates, losses, color="tab:blue", linewidth=2, label="smoothed")
    axes.axvline(suggestion, color="tab:orange", linewidth=1, linestyle="--")
    for rate, mark, colour, name in ((suggestion, "o", "orange", "suggestion"), (valley, "^", "green", "valley")):
        height = losses[min(range(len(rates)), key=[abs(each - rate) for each in rates].__getitem__)]
        axes.plot([rate], [height], mark, color=f"tab:{colour}", label=f"{name} {rate:g}")
    # A loss that diverged would press all else flat.
    low, high = min(*losses, *raw), max(losses[: losses.index(min(losses)) + 1])
    axes.set_ylim(low - 0.05 * (high - low), high + 0.5 * (high - low))
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.set_title(title)
    axes.legend(frameon=False)
    drawn = io.BytesIO()
    # Without a date the same test gives the same file.
    figure.savefig(drawn, format=path.suffix.lower()[1:], dpi=150, metadata=_UNDATED.get(path.suffix.lower()))
    files.write_bytes(path, drawn.getvalue())


_UNDATED = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
