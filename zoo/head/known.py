"""The layers that heads can have, with what each argument takes; presets, files and checkpoints are checked by it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from zoo.names import near
from zoo.recipe import Key

Role = Literal["setting", "in", "out", "place"]


@dataclass(frozen=True)
class Argument:
    """What one argument of a layer takes."""

    key: Key
    role: Role = "setting"
    """`in` is how many numbers come in, `out` how many go out; `place` is filled in where a pool is put."""
    required: bool = False


@dataclass(frozen=True)
class Layer:
    """What is known of one kind of layer."""

    arguments: Mapping[str, Argument]
    on_map: str | None = None
    """The layer that computes the same at every place of a map, this one itself for most; None if none does."""
    on_vector: str | None = None
    """For a layer that takes a map alone: the one that does the same to a vector."""
    pools: bool = False
    widens: int = 1
    """How many numbers go out for each that comes in, where no argument says it."""


_COUNT = Key(int, "how many", minimum=1, maximum=2**24)
_IN = Argument(_COUNT, "in", required=True)
_OUT = Argument(_COUNT, "out", required=True)
_SWITCH = Argument(Key(bool, "whether"))
_SHARE = Argument(Key(float, "the share", minimum=0, maximum=1))
_SMALL = Argument(Key(float, "a small number", minimum=0, maximum=1))
_FORM = {
    "channels_last": Argument(Key(bool, "whether channels come last"), "place"),
    "places": Argument(Key(int, "dimensions of the places", minimum=1, maximum=3), "place"),
    "flatten": Argument(Key(bool, "whether the places go"), "place"),
}
_BATCH_NORM = {"num_features": _IN, "eps": _SMALL, "momentum": _SHARE, "affine": _SWITCH}

LAYERS: Mapping[str, Layer] = {
    "Linear": Layer({"in_features": _IN, "out_features": _OUT, "bias": _SWITCH}, on_map="Conv2d"),
    "CosineLinear": Layer(
        {
            "in_features": _IN,
            "out_features": _OUT,
            "scale": Argument(Key(float, "the first scale", above=0)),
            "channels_last": _FORM["channels_last"],
        },
        on_map="CosineLinear",
    ),
    "Conv2d": Layer(
        {
            "in_channels": _IN,
            "out_channels": _OUT,
            "kernel_size": Argument(Key(int, "pixels", minimum=1, maximum=31), required=True),
            "padding": Argument(Key(int, "pixels", minimum=0, maximum=31)),
            "bias": _SWITCH,
        },
        on_map="Conv2d",
        on_vector="Linear",
    ),
    "BatchNorm1d": Layer(_BATCH_NORM, on_map="BatchNorm2d"),
    "BatchNorm2d": Layer(_BATCH_NORM, on_map="BatchNorm2d", on_vector="BatchNorm1d"),
    "LayerNorm": Layer({"normalized_shape": _IN, "eps": _SMALL, "elementwise_affine": _SWITCH, "bias": _SWITCH}),
    "RMSNorm": Layer({"normalized_shape": _IN, "eps": _SMALL, "elementwise_affine": _SWITCH}),
    "Dropout": Layer({"p": _SHARE}, on_map="Dropout"),
    "ELU": Layer({}, on_map="ELU"),
    "GELU": Layer({}, on_map="GELU"),
    "Hardswish": Layer({}, on_map="Hardswish"),
    "LeakyReLU": Layer({"negative_slope": _SMALL}, on_map="LeakyReLU"),
    "Mish": Layer({}, on_map="Mish"),
    "ReLU": Layer({}, on_map="ReLU"),
    "SiLU": Layer({}, on_map="SiLU"),
    "Tanh": Layer({}, on_map="Tanh"),
    "AttentionPool": Layer(
        {"features": _IN, "heads": Argument(Key(int, "how many questions", minimum=1, maximum=2**16)), **_FORM},
        pools=True,
    ),
    "ConcatPool": Layer(_FORM, pools=True, widens=2),
}
OWN = ("AttentionPool", "ConcatPool", "CosineLinear")
"""Those of `zoo.layers`; all others are torch's."""
WORDS = ("features", "classes")
MOST = 2**30
"""The most weights of a head: 4 GB, ten times those of the largest classifiers that there are."""

Width = int | str | None
"""How many numbers: a count, a word that stands for one, or None where a mistake leaves it open."""


def mistakes_in(values: Any, called: str, *, words: bool, pools: bool) -> list[str]:
    """What is wrong with one layer by itself.

    `words` may stand for numbers in a preset, never in a checkpoint; `pools` is whether the layer stands in the
    place of a pool.

    >>> mistakes_in({"layer": "Dropout", "p": 2}, "layer 1", words=True, pools=False)
    ['layer 1 (Dropout): p is 2; it must be 1 or less']
    """
    name = values.get("layer") if isinstance(values, Mapping) else None
    if not isinstance(name, str):
        return [f'{called}: it needs a name, layer = "{"ConcatPool" if pools else "Linear"}"']
    known = LAYERS.get(name)
    if known is None:
        fitting = [each for each, layer in LAYERS.items() if layer.pools == pools]
        found = near(name, fitting)
        return [f"{called}: a head cannot have a layer {name!r}; {_hint(found, fitting, 'layers')}"]
    called = f"{called} ({name})"
    if pools != known.pools:
        where = "below [pool], the others below [[layers]]" if known.pools else "below [[layers]], pools below [pool]"
        return [f"{called}: it stands {where}"]
    mistakes = []
    for key, value in values.items():
        argument = known.arguments.get(key)
        if key == "layer":
            continue
        if argument is None or (words and argument.role == "place"):
            own = [each for each, other in known.arguments.items() if not words or other.role != "place"]
            mistakes.append(f"{called}: it has no argument {key!r}; {_hint(near(key, own), own, 'arguments')}")
        elif words and argument.role in ("in", "out") and value in WORDS:
            continue
        elif mistake := argument.key.mistake(value):
            more = f', "{WORDS[0]}" or "{WORDS[1]}"' if words and argument.role in ("in", "out") else ""
            mistakes.append(f"{called}: {key} is {value!r}; {mistake}{more}")
    lacking = [key for key, argument in known.arguments.items() if argument.required and key not in values]
    return mistakes + [f"{called}: it needs {key}" for key in lacking]


def _hint(found: Sequence[str], allowed: Sequence[str], word: str) -> str:
    return f"near: {', '.join(found)}" if found else f"{word}: {', '.join(allowed) or 'none'}"


def mistakes_between(layers: Sequence[Any], width: Width, numbers: Mapping[str, int]) -> tuple[list[str], Width]:
    """Where a layer takes another count of numbers than it gets, and how many come out of the last one.

    What is wrong with a layer by itself is passed over; words of which `numbers` has no count fit anything.

    >>> mistakes_between([{"layer": "Linear", "in_features": 4, "out_features": 2}], 8, {})
    (['layer 1 (Linear): in_features is 4, and 8 features come in'], 2)
    """
    mistakes = []
    for place, values in enumerate(layers, 1):
        known = LAYERS.get(str(values.get("layer"))) if isinstance(values, Mapping) else None
        if known is None or known.pools:
            width = None
            continue
        came_in = width
        for key, argument in known.arguments.items():
            count = _count(values.get(key), argument.key, numbers)
            if argument.role == "in" and isinstance(count, int) and isinstance(came_in, int) and count != came_in:
                source = f"layer {place - 1} gives it {came_in}" if place > 1 else f"{came_in} features come in"
                mistakes.append(f"layer {place} ({values['layer']}): {key} is {count}, and {source}")
            if argument.role == "out":
                width = count
    return mistakes, width


def mistake_of_size(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    """The first layer with which a head has more weights than `MOST`; words count as one.

    >>> mistake_of_size([{"layer": "Linear", "in_features": 2**20, "out_features": 2**20}])
    ['layer 1 (Linear): 1,099,511,627,776 weights are more than a head can have, 1,073,741,824']
    """
    total = 0
    for place, values in enumerate(layers, 1):
        counts = [
            _number(values, key) for key, each in LAYERS[values["layer"]].arguments.items() if each.role != "setting"
        ]
        total += math.prod(counts) * _number(values, "kernel_size") ** 2
        if total > MOST:
            return [f"layer {place} ({values['layer']}): {total:,} weights are more than a head can have, {MOST:,}"]
    return []


def _number(values: Mapping[str, Any], key: str) -> int:
    value = values.get(key, 1)
    return value if isinstance(value, int) else 1


def _count(value: Any, key: Key, numbers: Mapping[str, int]) -> Width:
    if isinstance(value, str):
        return numbers.get(value, value if value in WORDS else None)
    return None if key.mistake(value) else value
