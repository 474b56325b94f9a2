"""What is in a file of weights that anybody wrote, as plain values; nothing in it is run, and no tensor is read."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from zoo import registry
from zoo.checkpoint.foreign import folders
from zoo.checkpoint.foreign.claims import Claim
from zoo.checkpoint.foreign.headers import read_header
from zoo.checkpoint.foreign.pickled import WHAT, Examined, examine_path, opened
from zoo.checkpoint.foreign.pickles import Dict, Global, Made
from zoo.checkpoint.foreign.wrappings import unwrap
from zoo.checkpoint.weights import is_safetensors
from zoo.errors import CheckpointError
from zoo.names import near_folders

_DEEPEST = 4
_LARGEST = 2**60
_CONFIGURED = ("model_type", "architecture", "num_classes", "image_size", "dtype", "torch_dtype")
_TRUST = "load it only where you know who made it and have its sha256 from them: --trust-pickle SHA256"
_ASK = "ask its author for a .safetensors file or a plain state dict"


@dataclass(frozen=True)
class Shaped:
    """A tensor by its type and shape alone."""

    dtype: str
    shape: tuple[int, ...]


def of_file(path: Path) -> dict[str, Any]:
    """A file's facts; raises CheckpointError when it is damaged or of no known kind."""
    if not path.is_file():
        raise CheckpointError(
            f"there is no checkpoint {path}.",
            *near_folders(path),
            "give a checkpoint's folder, a run's, or a file of weights",
        )
    facts: dict[str, Any] = {"file": str(path), "size": path.stat().st_size}
    if is_safetensors(path):
        return facts | _of_safetensors(path)
    with opened(path) as file:
        found = examine_path(path, file)
        return facts | (_of_program(found, file) if found.kind == "program" else _of_pickle(path, found))


def of_folder(folder: Path) -> dict[str, Any]:
    """The facts of a folder of transformers or timm; raises CheckpointError when it is damaged."""
    values = folders.read_config(folder)
    files = folders.weight_files(folder)
    state: dict[str, Shaped] = {}
    for path in files:
        state.update(_shapes_of(path))
    hf = "model_type" in values
    command = f"zoo finetune hf:{folder}" if hf else f"zoo finetune {_model_of(values)} --weights {folder}"
    return {
        "file": str(folder),
        "size": sum(path.stat().st_size for path in files),
        "kind": "folder",
        "what": f"a folder of {'transformers' if hf else 'timm'}",
        "files": [path.name for path in files],
        "metadata": {key: values[key] for key in _CONFIGURED if isinstance(values.get(key), str | int)},
        **_of_state(state),
        "use": [f"{command} --data IMAGES"],
    }


def _of_safetensors(path: Path) -> dict[str, Any]:
    header = read_header(path)
    state = {name: Shaped(_type_name(entry.dtype), entry.shape) for name, entry in header.tensors.items()}
    return {
        "kind": "safetensors",
        "what": "a safetensors file",
        "metadata": dict(header.metadata),
        **_of_state(state),
        "use": _usage(path),
    }


def _of_pickle(path: Path, found: Examined) -> dict[str, Any]:
    plain = _plain(found.value)
    top = plain if isinstance(plain, dict) else {}
    inside = unwrap(plain, lambda value: isinstance(value, Claim))
    made = _maker(found.value)
    tensors = inside.state or {f"{place}": each for place, each in enumerate(found.claims.tensors)}
    scalars = {key: value for key, value in top.items() if _is_short(value)}
    reason = _reason(found)
    return {
        "kind": "module" if made and found.foreign and found.kind in ("archive", "stream") else found.kind,
        "what": f"{WHAT[found.kind]}, {_contents(top, made, bool(inside.state))}",
        "class": made,
        "keys": [] if inside.state and not inside.key else list(top),
        "taken_from": inside.key,
        "metadata": scalars,
        **_of_state({name: _shaped(claim) for name, claim in tensors.items()}, named=bool(inside.state)),
        "globals": found.foreign,
        "refused": reason,
        "use": _usage(path, top) if reason is None and inside.state else [_advice(found, made)],
    }


def _of_program(found: Examined, file: BinaryIO) -> dict[str, Any]:
    """An exported program: its weights are described by JSON in its archive."""
    names = (name for name in found.members if name.startswith("data/weights/") and name.endswith(".json"))
    described = found.members.get(next(names, ""))
    file.seek(described.start if described else 0)
    text = file.read(described.size) if described else b"{}"
    try:
        state = {
            key: Shaped(_PROGRAM_TYPES[each["tensor_meta"]["dtype"]], _edges(each["tensor_meta"]["sizes"]))
            for key, each in json.loads(text).get("config", {}).items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        state = {}
    return {
        "kind": "program",
        "what": WHAT["program"],
        **_of_state(state),
        "refused": "it is a program, not weights",
        "use": ["where you trust it: torch.export.load(FILE).module() runs it, .state_dict are its weights"],
    }


_PROGRAM_TYPES = (
    "unknown", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64",
    "complex32", "complex64", "complex128", "bool", "bfloat16",
)  # fmt: skip


def _edges(sizes: Iterable[Mapping[str, Any]]) -> tuple[int, ...]:
    edges = tuple(int(each["as_int"]) for each in sizes)
    if any(edge < 0 for edge in edges) or math.prod(edges) >= _LARGEST:
        raise ValueError("no sizes")
    return edges


def _is_short(value: Any) -> bool:
    """Whether a value is a text or a number that JSON can say."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str) or (isinstance(value, int) and abs(value) < _LARGEST)


def _shapes_of(path: Path) -> dict[str, Shaped]:
    if is_safetensors(path):
        return {name: Shaped(_type_name(each.dtype), each.shape) for name, each in read_header(path).tensors.items()}
    with opened(path) as file:
        found = examine_path(path, file)
    state = unwrap(_plain(found.value), lambda value: isinstance(value, Claim)).state
    return {name: _shaped(claim) for name, claim in state.items()}


def _shaped(claim: Claim) -> Shaped:
    return Shaped(str(claim.dtype).removeprefix("torch."), claim.shape)


def _of_state(state: Mapping[str, Shaped], *, named: bool = True) -> dict[str, Any]:
    """Counts, types and the prefix that all names share."""
    return {
        "tensors": len(state),
        "numbers": sum(math.prod(each.shape) for each in state.values()),
        "dtypes": dict(Counter(each.dtype for each in state.values()).most_common()),
        "prefix": _shared_prefix(list(state)) if named else "",
    }


def _shared_prefix(names: list[str]) -> str:
    """The dotted beginning of all names; a single tensor has none."""
    if len(names) < 2:
        return ""
    first, last = min(names), max(names)
    same = next((place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return first[: first.rfind(".", 0, same) + 1]


def _plain(value: Any, depth: int = _DEEPEST) -> Any:
    """Dictionaries by their texts, a few levels down; everything else as it is."""
    if isinstance(value, Dict) and depth:
        return {key: _plain(each, depth - 1) for key, each in value.texts().items()}
    return value


def _maker(value: Any) -> str | None:
    """The class of a whole object."""
    return str(value.by) if isinstance(value, Made) and isinstance(value.by, Global) else None


def _contents(top: Mapping[str, Any], made: str | None, state: bool) -> str:
    if made:
        return f"a whole object of the class {made.removeprefix('__torch__.')}"
    if "pytorch-lightning_version" in top:
        return "a checkpoint of Lightning"
    if "arch" in top and "saver" in top:
        return "a checkpoint of timm"
    if not state:
        return "without a state dict"
    return "a checkpoint" if any(isinstance(each, dict) for each in top.values()) else "a state dict"


def _reason(found: Examined) -> str | None:
    """Why zoo does not read it as weights."""
    if found.foreign:
        return "reading it would run code"
    if found.kind not in ("archive", "stream"):
        return f"it is {WHAT[found.kind]}"
    return found.claims.faults[0] if found.claims.faults else None


def _advice(found: Examined, made: str | None) -> str:
    if found.kind == "torchscript":
        return "where you trust it: torch.jit.load(FILE) runs it, .state_dict() are its weights"
    return _TRUST if made and found.foreign else _ASK


def _usage(path: Path, top: Mapping[str, Any] | None = None) -> list[str]:
    return [f"zoo finetune {_model_of(top or {})} --weights {path} --data IMAGES"]


def _model_of(values: Mapping[str, Any]) -> str:
    """The model of timm's that a file names, where there is one of that name."""
    stated = values.get("architecture", values.get("arch"))
    known = isinstance(stated, str) and registry.entry("timm", stated) is not None
    return f"timm:{stated}" if known else "MODEL"


def _type_name(code: str) -> str:
    """What torch calls a type of safetensors; those of eight bits in a float keep their name.

    >>> _type_name("BF16"), _type_name("I64"), _type_name("F8_E4M3")
    ('bfloat16', 'int64', 'f8_e4m3')
    """
    known = re.fullmatch(r"(BF|F|I|U|C)(\d+)", code)
    words = {"BF": "bfloat", "F": "float", "I": "int", "U": "uint", "C": "complex"}
    return f"{words[known[1]]}{known[2]}" if known else code.lower()
