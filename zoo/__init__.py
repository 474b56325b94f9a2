"""A transfer-learning model zoo for PyTorch: load a backbone, give it your classes, fine-tune it, keep it.

>>> import zoo
>>> model = zoo.load("vgg16", classes=["ant", "bee"], weights=None)
>>> zoo.freeze(model, "backbone")
Frozen('backbone': all 15 blocks, 30 parameters, 39 modules in eval mode)

Each name is imported when it is first used, so that `import zoo` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.errors import CheckpointError as CheckpointError
    from zoo.errors import DataError as DataError
    from zoo.errors import NumericsError as NumericsError
    from zoo.errors import OutOfMemoryError as OutOfMemoryError
    from zoo.errors import Stopped as Stopped
    from zoo.errors import StorageError as StorageError
    from zoo.errors import UsageError as UsageError
    from zoo.errors import ZooError as ZooError
    from zoo.evaluating import evaluate as evaluate
    from zoo.exporting import export as export
    from zoo.finetuning import finetune as finetune
    from zoo.finetuning.plan import Run as Run
    from zoo.finetuning.rates import lr_find as lr_find
    from zoo.finetuning.resuming import resume as resume
    from zoo.freezing import blocks as blocks
    from zoo.freezing import freeze as freeze
    from zoo.freezing import unfreeze as unfreeze
    from zoo.predicting import predict as predict
    from zoo.registry.finding import list_models as list_models
    from zoo.registry.own import OwnModel as OwnModel
    from zoo.registry.own import register as register
    from zoo.registry.specs import ModelSpec as ModelSpec
    from zoo.registry.specs import spec_of as spec_of
    from zoo.sources.checkpoints import load_checkpoint as load_checkpoint
    from zoo.sources.checkpoints import save_checkpoint as save_checkpoint
    from zoo.sources.classes import class_names as class_names
    from zoo.sources.heads import append_head as append_head
    from zoo.sources.heads import swap_head as swap_head
    from zoo.sources.loading import load as load
    from zoo.summarizing import summary as summary
    from zoo.surgery.cutting import cut_at as cut_at
    from zoo.surgery.places import find_modules as find_modules
    from zoo.surgery.places import get_module as get_module
    from zoo.surgery.places import insert_after as insert_after
    from zoo.surgery.places import replace_module as replace_module

__version__ = "0.1.0"

_HOMES = {
    "CheckpointError": "zoo.errors",
    "DataError": "zoo.errors",
    "ModelSpec": "zoo.registry.specs",
    "NumericsError": "zoo.errors",
    "OutOfMemoryError": "zoo.errors",
    "OwnModel": "zoo.registry.own",
    "Run": "zoo.finetuning.plan",
    "Stopped": "zoo.errors",
    "StorageError": "zoo.errors",
    "UsageError": "zoo.errors",
    "ZooError": "zoo.errors",
    "append_head": "zoo.sources.heads",
    "blocks": "zoo.freezing",
    "class_names": "zoo.sources.classes",
    "cut_at": "zoo.surgery.cutting",
    "evaluate": "zoo.evaluating",
    "export": "zoo.exporting",
    "find_modules": "zoo.surgery.places",
    "finetune": "zoo.finetuning",
    "freeze": "zoo.freezing",
    "get_module": "zoo.surgery.places",
    "insert_after": "zoo.surgery.places",
    "list_models": "zoo.registry.finding",
    "load": "zoo.sources.loading",
    "load_checkpoint": "zoo.sources.checkpoints",
    "lr_find": "zoo.finetuning.rates",
    "predict": "zoo.predicting",
    "register": "zoo.registry.own",
    "replace_module": "zoo.surgery.places",
    "resume": "zoo.finetuning.resuming",
    "save_checkpoint": "zoo.sources.checkpoints",
    "spec_of": "zoo.registry.specs",
    "summary": "zoo.summarizing",
    "swap_head": "zoo.sources.heads",
    "unfreeze": "zoo.freezing",
}

__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
