"""Recipes: a head, how data and training go, and a list of stages; all as plain values.

A recipe is a TOML file that a person reads, copies and edits. Every key stands in one table here with what
it takes; the same table checks recipes, `--set` and the flags, and reports all mistakes at once.
"""

import dataclasses
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import tomli_w

from zoo import catalog
from zoo.errors import UsageError
from zoo.names import near
from zoo.registry import Mode

Opt = Literal["adamw", "sgd"]
Sched = Literal["cosine", "constant"]
Augment = Literal["none", "light", "standard"]
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

    def mistake(self, value: Any) -> str | None:
        """What is wrong with a value, in words that follow 'KEY is VALUE'."""
        fits = isinstance(value, self.kind) or (self.kind is float and isinstance(value, int))
        if not fits or (isinstance(value, bool) and self.kind is not bool):
            return f"it takes {_KINDS[self.kind]}"
        if self.kind is list and not all(isinstance(each, str) for each in value):
            return f"it takes {_KINDS[list]}"
        if self.choices and value not in self.choices:
            return f"it takes {', '.join(self.choices)}"
        if self.kind in (int, float):
            return self._out_of_range(value)
        return None

    def _out_of_range(self, value: float) -> str | None:
        if not abs(value) < float("inf"):
            return "it takes a finite number"
        if self.minimum is not None and value < self.minimum:
            return f"it must be {self.minimum:g} or more"
        if self.above is not None and value <= self.above:
            return f"it must be above {self.above:g}"
        if self.maximum is not None and value > self.maximum:
            return f"it must be {self.maximum:g} or less"
        return None


_KINDS = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    list: "a list of names",
}

STAGE_KEYS: Mapping[str, Key] = {
    "freeze": Key(str, "what is frozen: none, backbone, until:PATH, or globs"),
    "unfreeze": Key(str, "globs taken out of what is frozen"),
    "epochs": Key(int, "how often the data is seen", minimum=1),
    "lr": Key(float, "the peak learning rate", above=0),
    "backbone-lr": Key(float, "the peak learning rate of the backbone, where it differs", above=0),
    "sched": Key(str, "how the learning rate goes on after the warm-up", choices=get_args(Sched)),
    "warmup-epochs": Key(float, "epochs, or a part of one, in which the learning rate rises", minimum=0),
}
RECIPE_KEYS: Mapping[str, Key] = {
    "summary": Key(str, "what the recipe is good for, in a line"),
    "head": Key(str, "a head preset; zoo/head.py describes them"),
    "mode": Key(str, "replace the last layer, or append behind it", choices=get_args(Mode)),
    "opt": Key(str, "the optimizer", choices=get_args(Opt)),
    "wd": Key(float, "weight decay, on weights alone", minimum=0),
    "momentum": Key(float, "the momentum of sgd", minimum=0, maximum=1),
    "batch-size": Key(int, "pictures a step", minimum=1),
    "label-smoothing": Key(float, "share of the target given to all classes", minimum=0, maximum=1),
    "dropout": Key(float, "what every dropout layer of the model is set to", minimum=0, maximum=1),
    "augment": Key(str, "how training pictures are varied", choices=get_args(Augment)),
    "img-size": Key(int, "height and width of the input in pixels", minimum=1),
}
RUN_KEYS: Mapping[str, Key] = {
    "model": Key(str, "the model's name"),
    "data": Key(str, "the folder of pictures"),
    "weights": Key(str, "default, the name of a set, a file, a checkpoint, or none"),
    "classes": Key(list, "the class names in order"),
    "seed": Key(int, "the seed of everything random", minimum=0),
    "workers": Key(int, "processes that read pictures", minimum=0),
    "device": Key(str, "auto, cpu, cuda, cuda:N or mps"),
    "amp": Key(str, "mixed precision", choices=get_args(Amp)),
    "save": Key(str, "what a checkpoint holds", choices=get_args(Save)),
    "keep": Key(str, "which checkpoints stay: best, last, every:N, separated by commas"),
    "save-every": Key(str, "how often a checkpoint is saved within an epoch: 200steps, 10min, 2h, or never"),
    "allow-partial": Key(bool, "load weights that fit in part"),
}
KEYS: Mapping[str, Key] = {**RECIPE_KEYS, **RUN_KEYS}


@dataclass(frozen=True)
class Stage:
    """A policy, learning rates and a number of epochs."""

    freeze: str = "none"
    unfreeze: str | None = None
    epochs: int = 10
    lr: float = 1e-3
    backbone_lr: float | None = None
    sched: Sched = "cosine"
    warmup_epochs: float = 0.0


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
    batch_size: int = 32
    label_smoothing: float = 0.0
    dropout: float | None = None
    augment: Augment = "light"
    img_size: int | None = None
    model: str | None = None
    data: str | None = None
    weights: str = "default"
    classes: tuple[str, ...] | None = None
    seed: int = 0
    workers: int | None = None
    device: str = "auto"
    amp: Amp = "auto"
    save: Save = "state"
    keep: str = "best,last"
    save_every: str = "10min"
    allow_partial: bool = False
    flags: tuple[str, ...] = field(default=(), compare=False)
    """The keys that were set beside the recipe's file."""

    @property
    def epochs(self) -> int:
        """The epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)


def find(text: str) -> Recipe:
    """The recipe that a name or a path of a TOML file means.

    >>> find("linear-probe").stages[0].freeze
    'backbone'

    Raises UsageError for one that does not exist, or that has mistakes, which are all told.
    """
    path = Path(text).expanduser()
    if path.suffix == ".toml" or path.is_file():
        if not path.is_file():
            raise UsageError(f"there is no recipe {path}.", f"recipes: {', '.join(catalog.names('recipes'))}")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"the recipe {path} is no text: {error.reason}.") from error
        return parse(text, str(path), path.stem)
    return parse(catalog.text("recipes", text), text, text)


def resolve(recipe: "str | Path | Recipe | None", given: Mapping[str, Any]) -> Recipe:
    """The recipe with what was given on top, or the one that the policy suggests where none is named.

    `given` maps keys to values; None means not given.

    >>> resolve(None, {"freeze": "backbone", "epochs": 3}).name
    'linear-probe'

    Raises UsageError that tells all mistakes.
    """
    chosen = {key: value for key, value in given.items() if value is not None}
    if recipe is None:
        recipe = "linear-probe" if chosen.get("freeze") == "backbone" else "fine-tune"
    return override(recipe if isinstance(recipe, Recipe) else find(str(recipe)), chosen)


def parse(text: str, where: str, name: str) -> Recipe:
    """The recipe that a TOML text describes; raises UsageError that tells all its mistakes."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the recipe {where} is no TOML: {error}.") from error
    return _made(values, where, name)


def from_values(values: Mapping[str, Any], where: str) -> Recipe:
    """The recipe that `to_values` gave these for; raises UsageError when they are none."""
    return _made(values, where, "")


def _made(values: Mapping[str, Any], where: str, name: str) -> Recipe:
    stages = values.get("stages")
    general = {key: value for key, value in values.items() if key not in ("stages", "name")}
    mistakes = _mistakes(general, KEYS, "")
    if not isinstance(stages, list) or not stages or not all(isinstance(each, dict) for each in stages):
        mistakes.append("it needs at least one [[stages]]")
        stages = []
    for place, stage in enumerate(stages):
        mistakes += _mistakes(stage, STAGE_KEYS, f"stages.{place}.")
        mistakes += [f"stages.{place} needs {key!r}" for key in ("freeze", "epochs", "lr") if key not in stage]
    if mistakes:
        count = f"{len(mistakes)} mistakes" if len(mistakes) > 1 else "a mistake"
        raise UsageError(f"the recipe {where} has {count}:", *mistakes)
    known = {_field(key): value for key, value in general.items()}
    if "classes" in known:
        known["classes"] = tuple(known["classes"])
    made = tuple(Stage(**{_field(key): value for key, value in stage.items()}) for stage in stages)
    return Recipe(stages=made, name=str(values.get("name", name)), **known)


def _mistakes(values: Mapping[str, Any], keys: Mapping[str, Key], prefix: str) -> list[str]:
    found = []
    for key, value in values.items():
        if key not in keys:
            found.append(f"{prefix}{key} {_unknown(key, keys)}")
        elif mistake := keys[key].mistake(value) or _OWN_CHECKS.get(key, lambda _: None)(value):
            found.append(f"{prefix}{key} is {value!r}; {mistake}")
    return found


def _unknown(key: str, keys: Mapping[str, Key]) -> str:
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


_EVERY = re.compile(r"([1-9]\d*) ?(steps?|s|min|h)")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_OWN_CHECKS = {"keep": _keep_mistake, "save-every": _every_mistake}


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


def most_kept(recipe: Recipe) -> int:
    """How many checkpoints of a run stay at most: the newest, those of `every:N`, and the best.

    >>> most_kept(find("linear-probe"))
    2
    """
    best, every = kept(recipe.keep)
    regular = (recipe.epochs - 1) // every if every else 0
    return min(recipe.epochs, regular + 1 + best)


def override(recipe: Recipe, given: Mapping[str, Any]) -> Recipe:
    """A recipe with some of its keys set anew, as flags and `--set` do.

    A stage's key is set in every stage, or with `stages.0.lr` in one. `lr` takes a `backbone-lr` along in
    proportion. `epochs` becomes the total of all stages, each keeping its share. `freeze` and `unfreeze` need
    `stages.N.` where there are several.

    >>> [stage.epochs for stage in override(find("probe-then-fine-tune"), {"epochs": 20}).stages]
    [8, 12]

    Raises UsageError that tells all mistakes.
    """
    values = to_values(recipe)
    mistakes: list[str] = []
    for key, value in given.items():
        mistakes += _override_one(values, key, value)
    if mistakes:
        raise UsageError(
            mistakes[0] if len(mistakes) == 1 else f"{len(mistakes)} mistakes:",
            *mistakes[1:] if len(mistakes) == 1 else mistakes,
        )
    changed = _made(values, recipe.name or "given", recipe.name)
    flags = tuple(dict.fromkeys((*recipe.flags, *given)))
    return dataclasses.replace(changed, flags=flags)


def _override_one(values: dict[str, Any], key: str, value: Any) -> list[str]:
    stages = values["stages"]
    if key.startswith("stages."):
        _, number, rest = [*key.split(".", 2), "", ""][:3]
        if not number.isdecimal() or int(number) >= len(stages) or rest not in STAGE_KEYS:
            return [f"{key} is unknown; stages go from 0 to {len(stages) - 1}, keys: {', '.join(STAGE_KEYS)}"]
        stages[int(number)][rest] = value
        return _mistakes({rest: value}, STAGE_KEYS, f"stages.{number}.")
    if key in STAGE_KEYS:
        wrong = _mistakes({key: value}, STAGE_KEYS, "")
        if wrong:
            return wrong
        if key in ("freeze", "unfreeze") and len(stages) > 1:
            return [f"{key} differs between the {len(stages)} stages of this recipe; set stages.0.{key} or another"]
        if key == "epochs":
            if value < len(stages):
                return [f"epochs is {value}; the recipe has {len(stages)} stages of at least one epoch"]
            shares = _shared(value, [stage["epochs"] for stage in stages])
            for stage, share in zip(stages, shares, strict=True):
                stage["epochs"] = share
        else:
            for stage in stages:
                if key == "lr" and "backbone-lr" in stage:
                    stage["backbone-lr"] *= value / stage["lr"]
                stage[key] = value
        return []
    if key not in KEYS:
        return [f"{key} {_unknown(key, {**STAGE_KEYS, **KEYS})}"]
    values[key] = value
    return _mistakes({key: value}, KEYS, "")


def _shared(total: int, parts: Sequence[int]) -> list[int]:
    """A whole number in the proportion of these parts, at least one each."""
    shares = [max(1, round(total * part / sum(parts))) for part in parts]
    while sum(shares) != total:
        step = 1 if sum(shares) < total else -1
        largest = max(range(len(parts)), key=lambda place: (shares[place] > 1, parts[place]))
        shares[largest] += step
    return shares


def to_values(recipe: Recipe) -> dict[str, Any]:
    """A recipe as the values of a TOML file; what is not set is left out."""
    values: dict[str, Any] = {}
    for each in dataclasses.fields(Recipe):
        value = getattr(recipe, each.name)
        if each.name in ("stages", "flags") or value is None or (value == "" and each.name in ("name", "summary")):
            continue
        values[_key(each.name)] = list(value) if isinstance(value, tuple) else value
    values["stages"] = [
        {_key(key): value for key, value in dataclasses.asdict(stage).items() if value is not None}
        for stage in recipe.stages
    ]
    return values


def to_toml(recipe: Recipe, comment: str) -> str:
    """A recipe as a file whose first line is a comment, by habit the command that runs it."""
    return f"# {comment}\n{tomli_w.dumps(to_values(recipe))}"


def value_of(text: str) -> Any:
    """What a value on the command line means: a TOML value where it is one, else the text itself.

    >>> value_of("0.5"), value_of("cosine")
    (0.5, 'cosine')
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _field(key: str) -> str:
    return key.replace("-", "_")


def _key(name: str) -> str:
    return name.replace("_", "-")
