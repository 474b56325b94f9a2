"""What a stage means for one model: what it freezes, and which learning rate each parameter has."""

from collections.abc import Mapping

from torch import nn

from zoo import freezing
from zoo.freezing.order import RunningOrder
from zoo.freezing.policy import fitted, resolve
from zoo.recipe import Recipe, Stage
from zoo.registry import spec_of
from zoo.training.optimizers import Group, groups_of


def apply_stage(model: nn.Module, stage: Stage, order: RunningOrder) -> freezing.Frozen:
    """Freeze what a stage says, counts of blocks cut to those that the model has."""
    policy, unfreeze = fitted(model, stage.freeze, stage.unfreeze, order)
    return freezing.freeze(model, policy, unfreeze=unfreeze, order=order)


def check_policies(model: nn.Module, recipe: Recipe, order: RunningOrder) -> list[str]:
    """Say where a recipe's stages count more blocks than the model has.

    A recipe is made for many models, so its counts are cut; what was asked for beside it is taken at its word.
    Raises UsageError for a policy that cannot be meant.
    """
    said = []
    for number, stage in enumerate(recipe.stages):
        if {"freeze", "unfreeze", f"stages.{number}.freeze", f"stages.{number}.unfreeze"} & set(recipe.flags):
            resolve(model, stage.freeze, stage.unfreeze, order)
        now = Stage(*fitted(model, stage.freeze, stage.unfreeze, order))
        if (now.freeze, now.unfreeze) != (stage.freeze, stage.unfreeze):
            count = len(freezing.blocks(model, order=order))
            said.append(
                f"stage {number + 1} of the recipe says {policy_text(stage)}; with {count} block{'s' * (count != 1)}"
                f" that is {policy_text(now)}"
            )
    return said


def policy_text(stage: Stage) -> str:
    """What a stage freezes, as a person reads it.

    >>> policy_text(Stage(freeze="backbone", unfreeze="last:1"))
    'freeze backbone but last:1'
    """
    return f"freeze {stage.freeze}" + (f" but {stage.unfreeze}" if stage.unfreeze else "")


def head_paths(model: nn.Module) -> tuple[str, ...]:
    """What trains with the head's learning rate: the head, and what the weights did not have."""
    spec = spec_of(model)
    return (*spec.head_prefixes, *spec.fresh)


def groups_for(model: nn.Module, recipe: Recipe, stage: Stage, order: RunningOrder) -> list[Group]:
    """The optimizer's groups for a stage whose policy is applied."""
    return groups_of(
        model,
        head=head_paths(model),
        lr=stage.lr,
        backbone_lr=stage.backbone_lr,
        wd=recipe.wd,
        shares=shares_of(model, stage, order),
    )


def shares_of(model: nn.Module, stage: Stage, order: RunningOrder) -> Mapping[str, float]:
    """With layer decay, the part of the learning rate that each backbone parameter gets.

    The head has all of it, the last block the decay times that, the one before the decay twice, by running order
    (ELECTRA, arXiv 2003.10555; BEiT, arXiv 2106.08254; ULMFiT's discriminative rates, arXiv 1801.06146). Where the
    backbone has a rate of its own, that is the last block's.
    """
    if stage.layer_decay is None:
        return {}
    nearest = 1 if stage.backbone_lr is None else 0
    return {
        name: stage.layer_decay ** (distance + nearest)
        for distance, block in enumerate(reversed(freezing.blocks(model, order=order)))
        for name in block.parameters
    }
