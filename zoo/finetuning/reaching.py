"""What was asked for and would reach nothing of the model, which shows once it is there."""

from torch import nn

from zoo.errors import UsageError
from zoo.finetuning.stages import apply_stage, head_paths
from zoo.freezing.held import held_modules
from zoo.freezing.order import RunningOrder
from zoo.names import is_under
from zoo.recipe import Recipe, Stage, stages_of
from zoo.registry import spec_of
from zoo.training.optimizers import matrices_of


def check_reach(model: nn.Module, recipe: Recipe, order: RunningOrder) -> None:
    """Raise UsageError for a key that was set beside the recipe and that nothing of the model goes by.

    A recipe is made for many models, so what it says itself may reach nothing.
    """
    if "dropout" in recipe.flags and recipe.dropout:
        name = spec_of(model).full_name
        if not dropouts_of(model):
            raise UsageError(
                f"dropout is {recipe.dropout:g}, and the backbone of {name} has no dropout layer.",
                "leave it out; zoo heads shows which heads have one of their own",
            )
        if not any(_drops(model, stage, order) for stage in recipe.stages):
            raise UsageError(
                f"dropout is {recipe.dropout:g}, and every dropout layer of {name} is in what stays frozen, where"
                " nothing is dropped.",
                "freeze less, or leave it out; zoo heads shows which heads have one of their own",
            )
    for key in recipe.flags:
        if key.rpartition(".")[2] not in ("backbone-lr", "layer-decay"):
            continue
        stages = stages_of(recipe, key)
        if not any(_trains_backbone(model, stage, order) for stage in stages):
            which = "that stage" if key.startswith("stages.") else "the run"
            raise UsageError(
                f"{key} is for the backbone, and {which} trains nothing of it.", "freeze less, or leave it out"
            )


def dropouts_of(model: nn.Module) -> list[nn.modules.dropout._DropoutNd]:
    """The dropout layers of the backbone; a head keeps what its preset says."""
    spec = spec_of(model)
    return [
        module
        for path, module in model.named_modules()
        if isinstance(module, nn.modules.dropout._DropoutNd) and not spec.in_head(path)
    ]


def _drops(model: nn.Module, stage: Stage, order: RunningOrder) -> bool:
    """Whether any dropout layer of the backbone follows the train mode in a stage."""
    apply_stage(model, stage, order)
    held = {model.get_submodule(path) for path in held_modules(model)}
    return not held.issuperset(dropouts_of(model))


def check_muon(model: nn.Module, recipe: Recipe, order: RunningOrder) -> None:
    """Raise UsageError where muon would train nothing: then all is AdamW's, under another name."""
    if recipe.opt != "muon":
        return
    for stage in recipe.stages:
        apply_stage(model, stage, order)
        if matrices_of(model, head_paths(model)):
            return
    raise UsageError(
        f"opt muon is for matrices within a network, and no trained part of {spec_of(model).full_name} is one.",
        "take adamw: convolutions are no matrices, and the head is AdamW's with muon too",
    )


def _trains_backbone(model: nn.Module, stage: Stage, order: RunningOrder) -> bool:
    """Whether anything trains in a stage but what has the head's learning rate."""
    apply_stage(model, stage, order)
    head = head_paths(model)
    return any(
        parameter.requires_grad and not any(is_under(name, path) for path in head)
        for name, parameter in model.named_parameters()
    )
