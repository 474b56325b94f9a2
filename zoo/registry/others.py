"""Models of other tasks than zoo's, answered by name: what they are, and which classifiers come near.

The table ships with zoo, made by `tools/build_other_tasks.py`.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path

from zoo.errors import UsageError
from zoo.names import near
from zoo.registry.shipped import index


@functools.cache
def _table() -> Mapping[str, Mapping[str, str]]:
    path = Path(__file__).parents[1] / "index" / "other_tasks.json"
    loaded: Mapping[str, Mapping[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def what_it_is(source: str, name: str) -> str | None:
    """What a model of another task is, in words that follow 'is', or None.

    >>> what_it_is("torchvision", "fasterrcnn_resnet50_fpn")
    'a detection model'
    """
    return _table().get(source, {}).get(name)


def other_names(source: str) -> tuple[str, ...]:
    """The names of a source's models of other tasks."""
    return tuple(_table().get(source, {}))


def refusal(source: str, name: str) -> UsageError | None:
    """The error for a model of another task, with the classifiers that are most like it, or None for any other."""
    found = what_it_is(source, name)
    if found is None:
        return None
    called = f"torchvision:{name}" if source == "torchvision" else f"a transformers model of type {name!r}"
    matches = _classifiers_like(source, name)
    hints = [f"near: {', '.join(matches)}"] if matches else []
    return UsageError(
        f"{called} is {found}; zoo fine-tunes classifiers of pictures.",
        *hints,
        f"zoo list --source {source} shows them.",
    )


def _classifiers_like(source: str, name: str) -> list[str]:
    """Those whose name it contains, its backbone mostly, the longest first, else those that are written alike."""
    known = index(source)["models"]
    inside = sorted((each for each in known if each in name), key=len, reverse=True)[:1]
    return [f"{source}:{each}" for each in (inside or near(name, known))]
