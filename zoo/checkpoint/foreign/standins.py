"""What pickles of weights may name: torch's own forms, and harmless things that others leave beside the weights.

The latter are read as stand-ins that do nothing and keep nothing, so that the module which a file names is never
imported: an `argparse.Namespace` of timm's, the hyperparameters of a Lightning checkpoint, a number of numpy's.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

DTYPES: Mapping[str, torch.dtype] = {str(each): each for each in vars(torch).values() if isinstance(each, torch.dtype)}
_STORED = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexDouble": torch.complex128,
    "ComplexFloat": torch.complex64,
}
STORAGES: Mapping[str, torch.dtype] = {
    **{f"{module}.{name}Storage": dtype for module in ("torch", "torch.cuda") for name, dtype in _STORED.items()},
    "torch.storage.UntypedStorage": torch.uint8,
}
REBUILDERS = {f"torch._utils._rebuild_tensor{version}" for version in ("", "_v2", "_v3")} | {
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
}
FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
CONTAINERS = {"collections.OrderedDict", "collections.Counter"}
CLASSES = {"torch.Tensor", "torch.nn.parameter.Parameter"}
VALUES: Mapping[str, tuple[type, ...]] = {
    "builtins.complex": (float, float),
    "torch.device": (str, int),
    "torch.serialization._get_layout": (str,),
}
"""Functions that make one small value, and what they take at most."""
BYTES = {"_codecs.encode", "builtins.bytearray"}
"""How pickles of this age write bytes: as a text in latin-1."""
UNREAD = {
    "torch._utils._rebuild_qtensor",
    "torch._utils._rebuild_sparse_tensor",
    "torch._utils._rebuild_nested_tensor",
    "torch._utils._rebuild_meta_tensor_no_storage",
    "torch._utils._rebuild_device_tensor_from_numpy",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor",
    "torch._utils._rebuild_wrapper_subclass",
    *(f"torch.{name}Storage" for name in ("QInt8", "QUInt8", "QInt32")),
}
"""Torch's own forms of other tensors, which it makes as large as the pickle says; no weights of a zoo need them."""


class Inert:
    """Stands for an object whose class is not needed; it takes anything and keeps nothing."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


def _empty(*_: Any) -> dict[Any, Any]:
    return {}


_LIGHTNING = ("lightning.pytorch", "pytorch_lightning")
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
INERT = {
    "argparse.Namespace",
    "types.SimpleNamespace",
    "typing.Any",
    *(f"builtins.{name}" for name in ("bool", "dict", "float", "int", "list", "object", "slice", "str", "tuple")),
    *(f"datetime.{name}" for name in ("date", "datetime", "timedelta", "timezone")),
    *(
        f"{module}.{name}"
        for module in ("pathlib", "pathlib._local")
        for name in ("Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath")
    ),
    *(f"{module}.{name}" for module in _NUMPY for name in ("_reconstruct", "scalar")),
    "numpy.dtype",
    "numpy.ndarray",
    # Callbacks were once the keys of their own state.
    *(f"{module}.callbacks.model_checkpoint.ModelCheckpoint" for module in _LIGHTNING),
    *(f"{module}.callbacks.early_stopping.EarlyStopping" for module in _LIGHTNING),
    *(
        f"omegaconf.{name}"
        for name in (
            *(f"base.{each}" for each in ("ContainerMetadata", "Metadata", "SCMode")),
            *(f"nodes.{each}Node" for each in ("Any", "Boolean", "Float", "Integer", "Path", "String")),
            "dictconfig.DictConfig",
            "listconfig.ListConfig",
        )
    ),
}
EMPTIES = {"collections.defaultdict"}
"""What is made by a call and then filled as a dictionary."""
DICTS = {
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
}
"""Dictionaries of a class of their own, which torch fills only where it sees a plain one."""
STAND_INS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    *((Inert, name) for name in sorted(INERT)),
    *((_empty, name) for name in sorted(EMPTIES)),
    *((dict, name) for name in sorted(DICTS)),
]
ACTIVE = frozenset(
    {*DTYPES, *STORAGES, *REBUILDERS, FROM_TYPE, *CONTAINERS, *CLASSES, *VALUES, *BYTES, *UNREAD, *EMPTIES, *DICTS}
    | {"torch.Size", "builtins.set"}
)
"""What comes to something of its own when it is called."""
KNOWN = ACTIVE | INERT
"""All that a file of weights may name; anything else makes it one that runs code."""
