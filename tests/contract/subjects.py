"""The models that go through the contract, how each is loaded, and how its own library builds it."""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import zoo
from zoo.registry import Entry, entry, index

from .tiny import CONFIGS

CLASSES = 7


@dataclass(frozen=True)
class Subject:
    """One model of one source."""

    source: str
    name: str
    load: Callable[..., nn.Module]
    """Takes the classes and the keywords of `zoo.load`; the weights are random."""
    lines: str
    """Lines of Python that make the library's own `model`, for `{classes}` and the arguments `{more}`."""
    sizes: Sequence[int] = (64, 96, 128)
    """Edges of small pictures to try, in pixels, before the size that the model is known for."""
    parameters: int = 0
    refused: str | None = None
    keywords: Callable[[nn.Module], str] = field(default=lambda model: "")
    """What its library's builder is given beside the class count, as text."""

    def __str__(self) -> str:
        return f"{self.source}:{self.name}"


def pictures(size: tuple[int, int], count: int = 2) -> Tensor:
    """A batch of noise, the same each time."""
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(0))


_TORCHVISION = """
from torchvision.models import get_model
model = get_model({name!r}, num_classes={{classes}}{{more}})
"""
_TIMM = """
from timm import create_model
model = create_model({name!r}, num_classes={{classes}}{{more}})
"""
LINES = {"torchvision": _TORCHVISION, "timm": _TIMM}


def names(source: str) -> list[str]:
    """The models of torchvision or timm that can be fine-tuned."""
    return [name for name, facts in index(source)["models"].items() if "refused" not in facts]


def indexed_subjects(source: str) -> list[Subject]:
    """All classification models of torchvision, or all architectures of timm, refused ones too."""
    return [indexed_subject(source, name) for name in index(source)["models"]]


def indexed_subject(source: str, name: str) -> Subject:
    """A model of torchvision or timm."""
    known = entry(source, name)
    assert known is not None
    return Subject(
        source,
        name,
        functools.partial(_load_indexed, known),
        LINES[source].format(name=name),
        parameters=known.parameters,
        refused=known.refused,
        keywords=_keywords,
    )


def _load_indexed(known: Entry, classes: int | None, *, size: int | None = None, **given: Any) -> nn.Module:
    """A model at a small size where it has to be built for one; a library takes some sizes and not others."""
    if size is not None and known.fixed_size:
        given["img_size"] = size
    return zoo.load(known.full_name, classes, weights=None, **given)


def _keywords(model: nn.Module) -> str:
    spec = zoo.spec_of(model)
    given = dict(spec.arguments)
    if spec.source == "torchvision" and "aux_logits" in given:
        given["init_weights"] = False
    return "".join(f", {key}={value!r}" for key, value in given.items())


def smallest_of_each(source: str) -> dict[str, int]:
    """For each model file of timm, or of torchvision, the model that is soonest through, and its parameters.

    That is the one with the smallest product of parameters and multiply-adds.
    """
    models = index(source)["models"]
    best: dict[str, tuple[int, str]] = {}
    for name in names(source):
        cost = int(models[name]["parameters"]) * int(models[name]["multiply_adds"])
        best[_file(source, name)] = min(best.get(_file(source, name), (cost, name)), (cost, name))
    return {name: int(models[name]["parameters"]) for _, name in best.values()}


def _file(source: str, name: str) -> str:
    from timm.models import model_entrypoint
    from torchvision.models import get_model_builder

    builder = model_entrypoint(name) if source == "timm" else get_model_builder(name)
    return str(builder.__module__)


HF = """
import json, transformers
values = json.load(open({file!r}))
config = transformers.AutoConfig.for_model(values.pop("model_type"), **{{{{**values, "num_labels": {{classes}}}}}})
model = transformers.{class_name}(config)
"""


def hf_names(*, refused: bool = False) -> list[tuple[str, str]]:
    """All image classifiers of transformers, every class of each type, and those that are refused where asked for."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as NAMES

    types = {kind: (found,) if isinstance(found, str) else found for kind, found in NAMES.items()}
    left = () if refused else index("hf")["refused"]
    return [(kind, class_name) for kind, found in types.items() if kind not in left for class_name in found]


def hf_subject(kind: str, class_name: str, root: Path) -> Subject:
    """A classifier of transformers at a tiny size; its configuration is written to a folder."""
    refused = index("hf")["refused"].get(kind)
    if refused:
        return Subject("hf", class_name, zoo.load, "", refused=refused)
    folder = root / class_name
    folder.mkdir(parents=True, exist_ok=True)
    values = {"model_type": kind, "architectures": [class_name], "num_labels": 3, **CONFIGS[kind]}
    (folder / "config.json").write_text(json.dumps(values))
    lines = HF.format(file=str(folder / "config.json"), class_name=class_name)
    return Subject("hf", class_name, functools.partial(_load_tiny, str(folder)), lines, sizes=())


def _load_tiny(folder: str, classes: int | None, *, size: int | None = None, **given: Any) -> nn.Module:
    assert size is None
    return zoo.load(f"hf:{folder}", classes, weights=None, **given)
