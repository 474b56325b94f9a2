"""Presets and files of heads: read with all mistakes told at once, and fitted to the numbers of a model."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from zoo import catalog
from zoo.errors import UsageError
from zoo.head.known import LAYERS, mistake_of_size, mistakes_between, mistakes_in
from zoo.names import near
from zoo.registry import Kind

KEYS = ("summary", "takes", "pool", "layers")


@dataclass(frozen=True)
class Preset:
    """A head as its file says it, with words where a model's numbers will stand."""

    name: str
    """The preset's name, or the absolute path of a file of the user's own."""
    takes: tuple[Kind, ...]
    """What it can be put on: a vector, a map, or tokens; with a pool, what that takes."""
    layers: tuple[Mapping[str, Any], ...]
    pool: Mapping[str, Any] | None = None
    summary: str = ""


def name_of(text: str) -> str:
    """The name of a head from any working directory: a preset's name, or the absolute path of a file.

    >>> name_of("linear")
    'linear'
    """
    return str(Path(text).expanduser().resolve()) if catalog.is_file(text) else text


def find(text: str) -> Preset:
    """The head that a preset's name or the path of a TOML file means.

    >>> find("linear").takes
    ('vector', 'map')

    Raises UsageError for one that does not exist, or that has mistakes, which are all told.
    """
    if not catalog.is_file(text):
        return _made_of(catalog.read("heads", text), text, text)
    path = Path(text).expanduser()
    try:
        values = tomllib.loads(catalog.find("heads", text))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the head {path} is no TOML: {error}.") from error
    return _made_of(values, str(path), name_of(text))


def _made_of(values: Mapping[str, Any], where: str, name: str) -> Preset:
    if "stages" in values:
        raise UsageError(f"{where} is a recipe, not a head.", "give it with --recipe")
    mistakes = []
    for key in values.keys() - set(KEYS):
        found = near(key, KEYS)
        mistakes.append(f"{key} is unknown; {'near: ' + ', '.join(found) if found else 'keys: ' + ', '.join(KEYS)}")
    pool, layers, summary = values.get("pool"), values.get("layers"), values.get("summary", "")
    if not isinstance(summary, str):
        mistakes.append(f"summary is {summary!r}; it takes a text")
    if isinstance(layers, Mapping) or isinstance(pool, list):
        word, brackets = ("layers", "[[layers]], in two brackets") if isinstance(layers, Mapping) else _POOL
        raise UsageError(f"the head {where} has a mistake:", f"{word} stands in the wrong brackets: write {brackets}")
    if not isinstance(layers, list) or not layers:
        mistakes.append("it needs at least one [[layers]]")
        layers = []
    if pool is not None:
        mistakes += mistakes_in(pool, "pool", words=True, pools=True)
    for place, layer in enumerate(layers, 1):
        mistakes += mistakes_in(layer, f"layer {place}", words=True, pools=False)
    mistakes += mistakes_between(layers, "features", {})[0]
    takes = values.get("takes", _usual(pool, layers))
    if not isinstance(takes, list | tuple) or not takes or not set(map(str, takes)) <= set(get_args(Kind)):
        mistakes.append(f"takes is {takes!r}; it takes a list of {', '.join(get_args(Kind))}")
    if mistakes:
        count = f"{len(mistakes)} mistakes" if len(mistakes) > 1 else "a mistake"
        raise UsageError(f"the head {where} has {count}:", *mistakes)
    return Preset(name, tuple(takes), tuple(layers), pool, summary)


_POOL = ("pool", "[pool], in one bracket")


def _usual(pool: Any, layers: list[Any]) -> tuple[Kind, ...]:
    """What a head can be put on that does not say it itself."""
    if pool is not None:
        return ("map", "tokens")
    known = [LAYERS.get(str(layer.get("layer"))) if isinstance(layer, Mapping) else None for layer in layers]
    return ("vector", "map") if all(layer is not None and layer.on_map for layer in known) else ("vector",)


def fitting(kind: Kind, pooled: Kind | None = None, *, widen: bool = True) -> list[str]:
    """The presets for a model that gives its head this kind of features, and its pool that.

    Without `widen` none whose pool gives more features than it takes.

    >>> "attention-pool" in fitting("vector"), "attention-pool" in fitting("vector", "map")
    (False, True)
    """

    def fits(preset: Preset) -> bool:
        if preset.pool is None:
            return kind in preset.takes
        return pooled in preset.takes and (widen or LAYERS[preset.pool["layer"]].widens == 1)

    return [name for name in catalog.names("heads") if fits(find(name))]


def refuse(preset: Preset, reason: str, kind: Kind, pooled: Kind | None = None, *, widen: bool = True) -> UsageError:
    """The error for a head that cannot stand on a model, with the presets that can."""
    names = fitting(kind, pooled, widen=widen)
    return UsageError(f"the head {preset.name!r} {reason}", f"heads that fit: {', '.join(names)}")


def require_takes(preset: Preset, kind: Kind, model: str) -> None:
    """Raise UsageError for a head without a pool that does not take what a model gives it."""
    if kind not in preset.takes:
        taken = " or ".join(map(_called, preset.takes))
        raise refuse(preset, f"takes {taken}, and {model} gives it {_called(kind)}.", kind)


def _called(kind: Kind) -> str:
    return kind if kind == "tokens" else f"a {kind}"


def require_scores(preset: Preset, classes: int) -> None:
    """Raise UsageError for a head that gives another number of scores, as far as its file alone tells."""
    _, width = mistakes_between(preset.layers, "features", {"classes": classes})
    if isinstance(width, int) and width != classes:
        raise UsageError(
            f"the head {preset.name!r} does not fit {classes} scores:", _other_scores(preset, width, classes)
        )


def _other_scores(preset: Preset, width: object, classes: int) -> str:
    return f"layer {len(preset.layers)}: {width} scores come out of it, and {classes} are wanted"


def layers_of(
    preset: Preset, features: int, classes: int, kind: Kind, *, bias: bool = True
) -> tuple[dict[str, Any], ...]:
    """The layers of a head behind its pool with every argument as a number; `bias` is that of the last one.

    >>> layers_of(find("linear"), features=512, classes=5, kind="vector")
    ({'layer': 'Linear', 'in_features': 512, 'out_features': 5},)

    Raises UsageError that tells every layer that does not fit these numbers.
    """
    numbers = {"features": features, "classes": classes}
    mistakes, width = mistakes_between(preset.layers, features, numbers)
    if width != classes:
        mistakes.append(_other_scores(preset, width, classes))
    if kind == "map":
        mistakes += [
            f"layer {place} ({layer['layer']}): no layer computes the same at every place of a map"
            for place, layer in enumerate(preset.layers, 1)
            if LAYERS[layer["layer"]].on_map is None
        ]
    if kind == "vector":
        mistakes += [
            f"layer {place} ({layer['layer']}): it takes a map, and a vector comes in; take {other}"
            for place, layer in enumerate(preset.layers, 1)
            if (other := LAYERS[layer["layer"]].on_vector)
        ]
    mistakes = mistakes or mistake_of_size([_with(layer, numbers) for layer in preset.layers])
    if mistakes:
        raise UsageError(f"the head {preset.name!r} does not fit {features} features and {classes} scores:", *mistakes)
    resolved = [_at_every_place(layer, numbers) if kind == "map" else _with(layer, numbers) for layer in preset.layers]
    for layer in resolved if kind != "map" else ():
        # A few models give their head tokens where others give it a vector.
        if layer["layer"] == "CosineLinear":
            layer["channels_last"] = True
    if not bias and resolved[-1]["layer"] in ("Linear", "Conv2d"):
        resolved[-1].setdefault("bias", False)
    return tuple(resolved)


def pool_of(preset: Preset, features: int, form: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """The pool of a head with every argument as a number and in the form of its place, and how many features it gives.

    >>> pool_of(find("concat-pool"), 512, {"places": 2})
    ({'layer': 'ConcatPool', 'places': 2}, 1024)

    Raises UsageError when it does not fit.
    """
    assert preset.pool is not None
    made = {**_with(preset.pool, {"features": features}), **form}
    mistakes = []
    if made.get("features", features) != features:
        mistakes.append(f"features is {made['features']}, and {features} come in")
    heads = made.setdefault("heads", 4) if made["layer"] == "AttentionPool" else 1
    if features % heads:
        mistakes.append(f"heads is {heads}, which does not divide {features}")
    if mistakes:
        raise UsageError(f"the pool of the head {preset.name!r} does not fit {features} features:", *mistakes)
    return made, features * LAYERS[made["layer"]].widens


def _with(layer: Mapping[str, Any], numbers: Mapping[str, int]) -> dict[str, Any]:
    return {key: numbers.get(value, value) if isinstance(value, str) else value for key, value in layer.items()}


def _at_every_place(layer: Mapping[str, Any], numbers: Mapping[str, int]) -> dict[str, Any]:
    values = _with(layer, numbers)
    if values["layer"] != "Linear":
        return {**values, "layer": LAYERS[values["layer"]].on_map}
    convolution = {"layer": "Conv2d", "in_channels": values["in_features"], "out_channels": values["out_features"]}
    return {**convolution, "kernel_size": 1, **({"bias": values["bias"]} if "bias" in values else {})}
