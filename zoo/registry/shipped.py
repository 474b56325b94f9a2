"""The shipped index: what is known of the models of torchvision, timm and transformers, one file a source."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from zoo.registry.specs import Kind, Preprocessing, Task, preprocessing_from

SOURCES = ("torchvision", "timm", "hf", "own")
LARGEST_TRIED = 640_000_000
"""Models of up to so many parameters went through the contract of `tests/contract`, all but NOT_TRIED."""
NOT_TRIED = frozenset(
    {"timm:deepseek_vit_412m", "timm:maxvit_xlarge_tf_384", "timm:maxvit_xlarge_tf_512", "torchvision:vit_h_14"}
)
"""Smaller ones that took more memory or time than there was."""


@dataclass(frozen=True)
class Entry:
    """What the index knows of one model."""

    source: str
    name: str
    parameters: int | None
    """With the library's own classifier; None for own models, which are not built to be listed."""
    head_path: str | None
    features: int | None
    kind: Kind | None
    pool_path: str | None
    places: tuple[str, ...]
    """Where one can freeze up to, in running order."""
    weights: Mapping[str, Mapping[str, Any]]
    """Each named set of weights and what the library states of it."""
    default: str | None
    """The set that is loaded when none is named."""
    preprocessing: Preprocessing
    fixed_size: bool
    refused: str | None = None
    """Why this model cannot be fine-tuned, where that is so."""
    pools: Kind | None = None
    """What the pool of a head would take: a map or tokens; None where there is no place for one."""
    fixed_features: bool = False
    """Whether a pool there may not give more features than it takes, since a norm of fixed size stands behind it."""
    above_zero: bool = False
    """Whether no output is below 0, so that only outputs that are compared with one another can be learned."""
    lacks_classifier: bool = False
    """Whether the weights come without a classifier, so that there is none to append to."""
    more_heads: tuple[str, ...] = ()
    """Other places of a classifier, which get the same head."""
    multiply_adds: int | None = None
    """Of one picture of the usual size."""
    note: str | None = None
    """What zoo does otherwise than the library, where that is so."""
    packages: tuple[str, ...] = ()
    """Who brings an own model: installed packages, none of which is imported before it is loaded.

    Until then nothing but its name is known, and `preprocessing` is only the usual one.
    """

    @property
    def full_name(self) -> str:
        """Source and name as one, `torchvision:vgg16`."""
        return f"{self.source}:{self.name}"

    @property
    def untried(self) -> bool:
        """Whether it is not among those that all went through the contract of the tests."""
        if self.refused or self.parameters is None:
            return False
        return self.parameters > LARGEST_TRIED or self.full_name in NOT_TRIED

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What can be learned with it."""
        return ("single-label",) if self.above_zero else get_args(Task)

    @property
    def accuracy(self) -> float | None:
        """The ImageNet top-1 accuracy of the default weights in percent, where the library states one."""
        stated = self.weights.get(self.default or "", {}).get("accuracy")
        return float(stated) if stated is not None else None


@functools.cache
def index(source: str) -> Mapping[str, Any]:
    """The shipped index of one source, as it stands in the file."""
    path = Path(__file__).parents[1] / "index" / f"{source}.json"
    loaded: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def entry(source: str, name: str) -> Entry | None:
    """What the index knows of a model, or None; a timm tag (`resnet50.a1_in1k`) selects its weights."""
    if source == "own" or source not in SOURCES:
        return None
    plain, _, tag = name.partition(".") if source == "timm" else (name, "", "")
    facts = index(source)["models"].get(plain)
    if facts is None or (tag and tag not in facts["weights"]):
        return None
    return entry_from(source, name, facts, tag or facts["default"])


def entry_of_type(kind: str | None) -> Entry | None:
    """What the index knows of a model type of transformers, under the checkpoint that it documents."""
    for name, facts in index("hf")["models"].items():
        if facts["type"] == kind:
            return entry_from("hf", name, facts, facts["default"])
    return None


def entry_from(source: str, name: str, facts: Mapping[str, Any], default: str | None) -> Entry:
    """The entry of some facts of the index, `default` being the set of weights that is meant."""
    usual = index(source)["preprocessing"]
    stated = facts["weights"].get(default, {}).get("preprocessing", facts.get("preprocessing", 0))
    return Entry(
        source=source,
        name=name,
        parameters=facts["parameters"],
        head_path=facts.get("head"),
        features=facts.get("features"),
        kind=facts.get("kind"),
        pool_path=facts.get("pool"),
        places=tuple(facts.get("places", ())),
        weights=facts["weights"],
        default=default,
        preprocessing=preprocessing_from(usual[stated]),
        fixed_size=facts.get("fixed_size", False),
        refused=facts.get("refused"),
        lacks_classifier=facts["weights"].get(default, facts).get("classes") == 0,
        more_heads=tuple(facts.get("more_heads", ())),
        multiply_adds=facts.get("multiply_adds"),
        note=facts.get("note"),
        pools=facts.get("pools"),
        fixed_features=facts.get("fixed_features", False),
        above_zero=facts.get("above_zero", False),
    )
