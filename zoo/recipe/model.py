"""A recipe and its stages as values."""

from dataclasses import dataclass, field

from zoo.recipe.keys import Amp, Augment, Save, Sched, kept
from zoo.recipe.optimizers import Opt
from zoo.registry import Mode, Task


@dataclass(frozen=True)
class Stage:
    """A policy, learning rates and a number of epochs."""

    freeze: str = "none"
    unfreeze: str | None = None
    epochs: int = 10
    lr: float = 1e-3
    backbone_lr: float | None = None
    layer_decay: float | None = None
    sched: Sched = "cosine"
    warmup_epochs: float = 0.0
    step_every: int | None = None
    gamma: float | None = None
    patience: int = 0


@dataclass(frozen=True)
class Recipe:
    """A head, how data and training go, a list of stages, and in a run's own recipe what it ran on."""

    stages: tuple[Stage, ...]
    name: str = ""
    summary: str = ""
    head: str = "linear"
    mode: Mode = "replace"
    opt: Opt = "adamw"
    wd: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False
    clip_grad: float = 0.0
    batch_size: int = 32
    accumulate: int = 1
    ema: float = 0.0
    label_smoothing: float = 0.0
    dropout: float | None = None
    augment: Augment = "light"
    erasing: float | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    img_size: int | tuple[int, int] | None = None
    """A number for pictures that are square, else height and width."""
    channels: int | None = None
    model: str | None = None
    data: str | None = None
    task: Task = "single-label"
    image_column: str | None = None
    label_column: tuple[str, ...] | None = None
    label_separator: str | None = None
    image_root: str | None = None
    weights: str = "default"
    classes: tuple[str, ...] | None = None
    seed: int = 0
    workers: int | None = None
    device: str = "auto"
    amp: Amp = "auto"
    deterministic: bool = False
    save: Save = "state"
    keep: str = "best,last"
    save_every: str = "10min"
    allow_partial: bool = False
    flags: tuple[str, ...] = field(default=(), compare=False)
    """The keys that were set beside the recipe's file."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What a person should know of the recipe as it became by them."""

    @property
    def epochs(self) -> int:
        """The epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)


def most_kept(recipe: Recipe) -> int:
    """How many checkpoints of a run stay at most: the newest, those of `every:N`, and the best.

    >>> most_kept(Recipe(stages=(Stage(),)))
    2
    """
    best, every = kept(recipe.keep)
    regular = (recipe.epochs - 1) // every if every else 0
    return min(recipe.epochs, regular + 1 + best)
