"""How people wrap a state dict: under a key of a larger dictionary, and each name behind a prefix.

Trainers save their own object with the model in it, and wrappers such as DataParallel put the model one level
down, so that the names of a file begin with `module.`, `model.` or `net._orig_mod.`.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from zoo.names import listed, printable

AVERAGES = ("state_dict_ema", "model_ema")
"""Averages over the training steps, which timm prefers, as they are what was evaluated."""
WRAPPERS = (*AVERAGES, "state_dict", "model_state_dict", "model", "net", "module", "model_state")
COMPILED = "_orig_mod"
_DEEPEST = 3
_MOST_PARTS = 10


@dataclass(frozen=True)
class Found:
    """A state dict out of what a file holds."""

    state: dict[str, Any]
    key: str = ""
    """Where in the file it lay, `state_dict_ema`; empty where the file is the state dict itself."""


def unwrap(loaded: Any, is_tensor: Callable[[Any], bool] = lambda value: isinstance(value, Tensor)) -> Found:
    """The state dict itself, without what is no tensor; empty where there is none."""
    keys: list[str] = []
    for _ in range(_DEEPEST):
        if not isinstance(loaded, Mapping):
            return Found({})
        key = next((key for key in WRAPPERS if isinstance(loaded.get(key), Mapping) and loaded[key]), None)
        if key is None:
            break
        keys.append(key)
        loaded = loaded[key]
    state = {name: value for name, value in loaded.items() if isinstance(name, str) and is_tensor(value)}
    return Found(state, ".".join(keys))


def without_wrappers(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict without the marks of torch.compile, DataParallel and DistributedDataParallel."""
    plain = _without_compiled(state)
    while plain and all(name.startswith("module.") for name in plain):
        plain = {name.removeprefix("module."): value for name, value in plain.items()}
    return plain


@dataclass(frozen=True)
class Fitted:
    """A state dict under a model's names."""

    state: dict[str, Any]
    prefix: str = ""
    """What was taken off its names."""
    rivals: tuple[str, ...] = ()
    """Prefixes that would have fitted as well, as in a file with a student and a teacher."""

    @property
    def note(self) -> str:
        """What to tell about it; empty where nothing was done."""
        text = f"prefix {printable(self.prefix)} taken off" if self.prefix else ""
        return f"{text}, as well fits {printable(listed(self.rivals, 3))}" if self.rivals else text


def without_prefix(state: Mapping[str, Any], wanted: Mapping[str, Any]) -> Fitted:
    """A state dict without the prefix whose removal lets most names meet a wanted tensor of their shape.

    What lies outside of the prefix keeps its whole name. Of prefixes that fit alike, the shortest is taken and
    then the first in the file.
    """
    plain = _without_compiled(state)
    hits = _hits(plain, wanted)
    if not any(hits.values()):
        return Fitted(without_wrappers(plain))
    best = max(hits, key=lambda prefix: (hits[prefix], -prefix.count(".")))
    renamed = {name.removeprefix(best): value for name, value in plain.items()}
    if hits[best] == hits[""] or len(renamed) < len(plain):
        return Fitted(plain)
    return Fitted(renamed, best, tuple(each for each in hits if hits[each] == hits[best] and each != best))


def _hits(state: Mapping[str, Any], wanted: Mapping[str, Any]) -> Counter[str]:
    """How many tensors the removal of each prefix would bring to their places."""
    hits: Counter[str] = Counter({"": 0})
    for name, tensor in state.items():
        parts = name.split(".", _MOST_PARTS)
        for place in range(len(parts)):
            target = wanted.get(".".join(parts[place:]))
            if target is not None and target.shape == tensor.shape:
                hits["".join(f"{part}." for part in parts[:place])] += 1
    return hits


def _without_compiled(state: Mapping[str, Any]) -> dict[str, Any]:
    renamed = {".".join(part for part in name.split(".") if part != COMPILED): value for name, value in state.items()}
    return renamed if len(renamed) == len(state) else dict(state)
