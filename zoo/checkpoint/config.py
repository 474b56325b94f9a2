"""`config.json`: what a model is, as data that a reader can check and nothing executes."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from zoo.errors import CheckpointError
from zoo.registry import SOURCES, HeadSpec, ModelSpec, Task, preprocessing_from

FORMAT = 1


@dataclass(frozen=True)
class Config:
    """What a checkpoint says about its model."""

    spec: ModelSpec | None
    """None for a model that zoo knew nothing about."""
    model_class: str
    """The class's name, for people; never imported."""
    rebuild: tuple[str, ...] = ()
    """Lines of Python that build the model without zoo, for people; never run."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in the order of the scores; empty where the head is the library's own."""
        return self.spec.head.classes if self.spec and self.spec.head else ()


def to_json(config: Config) -> dict[str, Any]:
    """The config as plain values."""
    return {
        "format": FORMAT,
        "model_class": config.model_class,
        "classes": list(config.classes),
        "spec": dataclasses.asdict(config.spec) if config.spec else None,
        "rebuild": list(config.rebuild),
    }


def from_json(values: Any, where: str) -> Config:
    """The config that plain values mean; raises CheckpointError when they are not one."""
    try:
        if values["format"] != FORMAT:
            raise ValueError(f"its format is {values['format']!r}; this zoo reads {FORMAT}")
        spec = values["spec"]
        return Config(
            spec=_spec(spec) if spec is not None else None,
            model_class=str(values["model_class"]),
            rebuild=tuple(str(line) for line in values.get("rebuild", ())),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{where} is not a config of zoo's: {error}.") from error


def _spec(values: Mapping[str, Any]) -> ModelSpec:
    given = dict(values)
    if given["source"] not in SOURCES:
        raise ValueError(f"no source is called {given['source']!r}")
    for key in ("name", "head_path"):
        if not isinstance(given[key], str):
            raise ValueError(f"its {key} is no text")
    given["preprocessing"] = preprocessing_from(given["preprocessing"])
    given["fresh"] = tuple(str(name) for name in given["fresh"])
    for key in ("adapted", "fixed", "changed"):
        given[key] = tuple(str(name) for name in given.get(key, ()))
    given["features"] = int(given["features"])
    given["more_heads"] = tuple(str(path) for path in given.get("more_heads", ()))
    given["more_features"] = tuple(int(count) for count in given.get("more_features", ()))
    if len(given["more_heads"]) != len(given["more_features"]):
        raise ValueError("its other heads and their features are not of one number")
    if given["head"] is not None:
        given["head"] = _head(given["head"])
        place = given["head_path"] + (".1" if given["head"].mode == "append" else "")
        if given["head"].path != place:
            raise ValueError(f"its head stands at {given['head'].path!r:.80}, and not at the model's own {place!r:.80}")
    if not isinstance(given["arguments"], Mapping):
        raise ValueError("its arguments are no mapping")
    return ModelSpec(**given)


def _head(values: Mapping[str, Any]) -> HeadSpec:
    given = dict(values)
    given["classes"] = tuple(str(name) for name in given["classes"])
    if given["mode"] not in ("replace", "append"):
        raise ValueError(f"its head has the mode {given['mode']!r}")
    if given["layers"] is not None:
        given["layers"] = tuple(dict(layer) for layer in given["layers"])
        if not given["layers"]:
            raise ValueError("its head has no layer")
    if (given.get("pool") is None) != (given.get("pool_path") is None):
        raise ValueError("its head has a pool without a place, or a place without a pool")
    if given.get("pool") is not None:
        given["pool"] = dict(given["pool"])
    texts = [given["preset"], given["path"], *([given["pool_path"]] if given.get("pool_path") is not None else [])]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("its head's preset or place is no text")
    given["more_layers"] = tuple(tuple(dict(layer) for layer in each) for each in given.get("more_layers", ()))
    # A head of before there were tasks names none: it is of the default one.
    task = given.get("task", "single-label")
    if task not in get_args(Task) or (task == "binary" and len(given["classes"]) != 2):
        raise ValueError(f"its head has the task {task!r} of {len(given['classes'])} classes")
    given["mean"], given["std"] = _numbers(given.get("mean", ())), _numbers(given.get("std", ()))
    counts = {len(given["mean"]), len(given["std"])}
    if (
        counts not in ({0}, {len(given["classes"])} if task == "regression" else {0})
        or min(given["std"], default=1) <= 0
    ):
        raise ValueError(f"its head has the mean {given['mean']} and the std {given['std']}")
    return HeadSpec(**given)


def _numbers(values: Any) -> tuple[float, ...]:
    found = tuple(float(value) for value in values)
    if not all(map(math.isfinite, found)):
        raise ValueError(f"{found} are not all numbers")
    return found
