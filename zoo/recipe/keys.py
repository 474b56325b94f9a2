"""Every key of a recipe in one table, with what it takes; recipes, `--set` and the flags are checked by it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from zoo.names import near, one_of
from zoo.recipe.optimizers import opt_mistake
from zoo.recipe.policies import freeze_mistake, joint_mistake, unfreeze_mistake
from zoo.registry import LARGEST, Mode, Task

Sched = Literal["cosine", "constant", "linear", "one-cycle", "step"]
RISE = 0.3
"""The share of its steps over which one-cycle rises at least."""
Augment = Literal["none", "light", "standard", "randaugment", "trivial"]
Amp = Literal["auto", "off", "fp16", "bf16"]
Save = Literal["state", "full", "delta"]


@dataclass(frozen=True)
class Key:
    """What one key of a recipe takes."""

    kind: type
    help: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    below: float | None = None
    pair: bool = False
    """Whether two may stand in the place of one."""

    def mistake(self, value: Any) -> str | None:
        """What is wrong with a value, in words that follow 'KEY is VALUE'."""
        if self.pair and isinstance(value, list | tuple) and len(value) == 2:
            alone = replace(self, pair=False)
            return next((wrong for each in value if (wrong := alone.mistake(each))), None)
        fits = isinstance(value, self.kind) or (self.kind is float and isinstance(value, int))
        if not fits or (isinstance(value, bool) and self.kind is not bool):
            return f"it takes {_KINDS[self.kind]}{', or two: height and width' if self.pair else ''}"
        if self.kind is list and not all(isinstance(each, str) for each in value):
            return f"it takes {_KINDS[list]}"
        if self.choices and value not in self.choices:
            return one_of(str(value), self.choices)
        if self.kind in (int, float):
            return self._out_of_range(value)
        return None

    def _out_of_range(self, value: float) -> str | None:
        if not abs(value) < float("inf"):
            return "it takes a finite number"
        if self.minimum is not None and value < self.minimum:
            return f"it must be {_limit(self.minimum)} or more"
        if self.above is not None and value <= self.above:
            return f"it must be above {_limit(self.above)}"
        if self.maximum is not None and value > self.maximum:
            return f"it must be {_limit(self.maximum)} or less"
        if self.below is not None and value >= self.below:
            return f"it must be below {_limit(self.below)}"
        return None


def _limit(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


_KINDS = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    list: "a list of names",
}

STAGE_KEYS: Mapping[str, Key] = {
    "freeze": Key(str, "what is frozen: none, backbone, until:PATH, from:PATH, first:N, last:N, norm, bias, or globs"),
    "unfreeze": Key(str, "what is taken out of it, in the same words"),
    "epochs": Key(int, "how often the data is seen", minimum=1),
    "lr": Key(float, "the peak learning rate", above=0),
    "backbone-lr": Key(float, "the peak learning rate of the backbone, where it differs", above=0),
    "layer-decay": Key(float, "what each block further from the head keeps of the learning rate", above=0, maximum=1),
    "sched": Key(str, "how the learning rate goes on after the warm-up", choices=get_args(Sched)),
    "warmup-epochs": Key(float, "epochs, or a part of one, in which the learning rate rises", minimum=0),
    "step-every": Key(int, "with sched step: epochs from one drop of the learning rate to the next", minimum=1),
    "patience": Key(int, "epochs without a better score after which the stage ends, 0 for never", minimum=0),
    "gamma": Key(float, "with sched step: what each drop leaves of the learning rate", above=0, maximum=1),
}
RECIPE_KEYS: Mapping[str, Key] = {
    "summary": Key(str, "what the recipe is good for, in a line"),
    "head": Key(str, "a head (zoo heads lists them), or a TOML file of one's own"),
    "mode": Key(str, "replace the last layer, or append behind it", choices=get_args(Mode)),
    "opt": Key(str, "the optimizer, by its name in torch.optim"),
    "wd": Key(float, "weight decay, on weights alone", minimum=0),
    "momentum": Key(float, "the momentum of sgd, rmsprop and muon", minimum=0, maximum=1),
    "nesterov": Key(bool, "whether sgd looks ahead along its momentum"),
    "clip-grad": Key(float, "the norm to which all gradients together are cut, 0 for none", minimum=0),
    "batch-size": Key(int, "pictures at a time", minimum=1),
    "accumulate": Key(int, "batches whose gradients are added up for a step", minimum=1),
    "ema": Key(float, "the decay of a moving average of the weights, 0 for none", minimum=0, below=1),
    "label-smoothing": Key(float, "share of the target given to all classes", minimum=0, below=1),
    "dropout": Key(float, "what every dropout layer of the backbone is set to", minimum=0, maximum=1),
    "augment": Key(str, "how training pictures are varied", choices=get_args(Augment)),
    "erasing": Key(float, "share of the training pictures from which a rectangle is taken", minimum=0, maximum=1),
    "mixup": Key(float, "alpha of mixing pairs of pictures, 0 for none; 0.2 is usual", minimum=0),
    "cutmix": Key(float, "alpha of putting a piece of one picture into another, 0 for none; 1 is usual", minimum=0),
    "img-size": Key(
        int, "pixels of the input: a number, or height and width, [224, 160]", minimum=8, maximum=LARGEST, pair=True
    ),
    "channels": Key(int, "channels of the pictures: 1 grey, 3 colour, 4 with transparency", minimum=1),
}
RUN_KEYS: Mapping[str, Key] = {
    "model": Key(str, "the model's name"),
    "data": Key(str, "the folder of pictures, or the table that names them"),
    "task": Key(str, "what is told of a picture", choices=get_args(Task)),
    "image-column": Key(str, "the column of a table with the pictures' paths, image unless set"),
    "label-column": Key(list, "the column of a table with the labels, label unless set, or several"),
    "label-separator": Key(str, "what stands between several labels in one cell", choices=("|", ";", ",", " ")),
    "image-root": Key(str, "the folder that a table's paths are relative to, the table's own unless set"),
    "weights": Key(str, "default, the name of a set, a file, a checkpoint, or none"),
    "classes": Key(list, "the class names in order"),
    "seed": Key(int, "the seed of everything random", minimum=0, maximum=2**63 - 1),
    "workers": Key(int, "processes that read pictures", minimum=0),
    "device": Key(str, "auto, cpu, cuda, cuda:N or mps"),
    "amp": Key(str, "mixed precision", choices=get_args(Amp)),
    "deterministic": Key(bool, "whether a GPU takes only algorithms that repeat themselves bit for bit"),
    "save": Key(str, "what a checkpoint holds", choices=get_args(Save)),
    "keep": Key(str, "which checkpoints stay: best, last, every:N, separated by commas"),
    "save-every": Key(str, "how often a checkpoint is saved within an epoch: 200steps, 10min, 2h, or never"),
    "allow-partial": Key(bool, "load weights that fit in part"),
}
KEYS: Mapping[str, Key] = {**RECIPE_KEYS, **RUN_KEYS}


def mistakes_in(values: Mapping[str, Any], keys: Mapping[str, Key], prefix: str) -> list[str]:
    """All that is wrong with some values by one table of keys."""
    found = []
    for key, value in values.items():
        if key not in keys:
            found.append(f"{prefix}{key} {unknown(key, keys)}")
        elif mistake := keys[key].mistake(value) or _OWN_CHECKS.get(key, lambda _: None)(value):
            found.append(f"{prefix}{key} is {value!r}; {mistake}")
    return found


def joint_mistakes(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with the keys of a whole recipe together, each of which may be right alone."""
    found = []
    if values.get("nesterov") is True and (values.get("opt") != "sgd" or values.get("momentum") == 0):
        found.append("nesterov is a way of sgd with momentum; leave it out, or set opt to sgd and momentum above 0")
    cutmix = values.get("cutmix")
    if values.get("task") == "regression" and isinstance(cutmix, int | float) and cutmix > 0:
        found.append("cutmix says which part of a picture is of which class, and regression has none; take mixup")
    return found


def joint_stage_mistakes(values: Mapping[str, Any], prefix: str) -> list[str]:
    """What is wrong with the keys of one stage together."""
    freeze, unfreeze = values.get("freeze"), values.get("unfreeze")
    mistake = joint_mistake(freeze) if isinstance(freeze, str) and isinstance(unfreeze, str) else None
    return [f"{prefix}unfreeze is {unfreeze!r}; {mistake}"] if mistake else []


def unknown(key: str, keys: Mapping[str, Key]) -> str:
    """What is wrong with a key that is not in the table, in words that follow it."""
    if key in STAGE_KEYS:
        return "belongs to a stage; write it below [[stages]]"
    if key in KEYS:
        return "belongs to the whole recipe; write it above [[stages]]"
    matches = near(key, (*KEYS, *STAGE_KEYS))
    return f"is unknown; near: {', '.join(matches)}" if matches else f"is unknown; keys: {', '.join(keys)}"


def _keep_mistake(text: str) -> str | None:
    for part in text.split(","):
        word, colon, number = part.strip().partition(":")
        if word == "every" and colon and number.isdecimal() and int(number) > 0:
            continue
        if word not in ("best", "last") or colon:
            return "it takes best, last and every:N, separated by commas"
    return None


def _every_mistake(text: str) -> str | None:
    return None if text == "never" or _EVERY.fullmatch(text) else "it takes a number of steps, s, min or h, or never"


def _device_mistake(text: str) -> str | None:
    return None if _DEVICE.fullmatch(text) else "it takes auto, cpu, cuda, cuda:N or mps"


_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?|mps")
_EVERY = re.compile(r"([1-9]\d*) ?(steps?|s|min|h)")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_OWN_CHECKS: Mapping[str, Callable[[Any], str | None]] = {
    "keep": _keep_mistake,
    "save-every": _every_mistake,
    "opt": opt_mistake,
    "device": _device_mistake,
    "freeze": freeze_mistake,
    "unfreeze": unfreeze_mistake,
}


def interval(every: str) -> tuple[int | None, float | None]:
    """After how many steps, or after how many seconds, a checkpoint is saved within an epoch.

    >>> interval("200steps"), interval("10min"), interval("never")
    ((200, None), (None, 600.0), (None, None))
    """
    found = _EVERY.fullmatch(every)
    if not found:
        return None, None
    number, unit = int(found[1]), found[2]
    return (number, None) if unit.startswith("step") else (None, number * _SECONDS[unit])


def kept(keep: str) -> tuple[bool, int | None]:
    """Whether the best checkpoint stays, and every how many epochs one does; the newest always stays.

    >>> kept("best,every:5")
    (True, 5)
    """
    parts = [part.strip() for part in keep.split(",")]
    every = [int(part.partition(":")[2]) for part in parts if part.startswith("every:")]
    return "best" in parts, min(every) if every else None
