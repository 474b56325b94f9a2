"""The laws of blocks on many small architectures, whose blocks nobody wrote down."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.freezing.dividing import Block, norm_parameters
from zoo.freezing.words import bias_parameters

FAST = [
    *("timm:test_resnet", "timm:test_vit", "timm:test_vit2", "timm:test_vit4", "timm:test_convnext"),
    *("timm:test_convnext3", "timm:test_efficientnet", "timm:test_efficientnet_gn", "timm:test_efficientnet_evos"),
    *("timm:test_byobnet", "timm:test_nfnet", "timm:test_mambaout", "timm:resnet10t", "timm:mobilenetv3_small_050"),
    *("timm:lcnet_035", "timm:regnetx_002", "squeezenet1_1", "mnasnet0_5", "mobilenet_v3_small"),
]
SLOW = [
    *("timm:levit_128s", "timm:deit_tiny_distilled_patch16_224", "shufflenet_v2_x0_5", "efficientnet_b0"),
    *("googlenet", "inception_v3", "densenet121", "swin_t", "maxvit_t", "regnet_y_400mf", "convnext_tiny"),
    *("timm:hrnet_w18_small", "timm:dla34", "timm:mixer_s32_224", "timm:swin_tiny_patch4_window7_224"),
    *("timm:ghostnet_050", "timm:pit_ti_224", "timm:cait_xxs24_224", "timm:xcit_nano_12_p16_224", "timm:coat_tiny"),
    *("timm:edgenext_xx_small", "timm:repvgg_a0", "timm:resmlp_12_224", "timm:gmlp_ti16_224", "timm:crossvit_tiny_240"),
]
MODELS = [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> nn.Module:
    return zoo.load(request.param, classes=3, weights=None)


def backbone_of(model: nn.Module) -> set[str]:
    spec = zoo.spec_of(model)
    return {name for name, _ in model.named_parameters() if not spec.in_head(name)}


def union(blocks: list[Block]) -> set[str]:
    return {name for block in blocks for name in block.parameters}


def test_blocks_divide_the_backbone(model: nn.Module) -> None:
    blocks, backbone = zoo.blocks(model), backbone_of(model)
    assert 4 <= len(blocks) <= 130
    assert union(blocks) == backbone
    assert sum(len(block.parameters) for block in blocks) == len(backbone)
    assert len({block.name for block in blocks}) == len(blocks)
    modules = dict(model.named_modules())
    assert all(place in modules for block in blocks for place in block.places)


def test_first_and_last_are_two_sides_of_each_boundary(model: nn.Module) -> None:
    blocks = zoo.blocks(model)
    most = len(blocks)
    for count in sorted({1, most // 2, most - 1}):
        first = set(zoo.freeze(model, f"first:{count}").parameters)
        last = set(zoo.freeze(model, f"last:{most - count}").parameters)
        assert first == union(blocks[:count])
        assert last == union(blocks[count:])
        assert set(zoo.freeze(model, "backbone", unfreeze=f"last:{most - count}").parameters) == first
    everything = backbone_of(model)
    assert set(zoo.freeze(model, f"first:{most}").parameters) == everything
    assert set(zoo.freeze(model, f"last:{most}").parameters) == everything


def test_what_the_first_blocks_give_does_not_depend_on_what_is_trained(model: nn.Module) -> None:
    blocks = zoo.blocks(model)
    for count in sorted({1, len(blocks) // 2, len(blocks) - 1}):
        zoo.freeze(model, f"first:{count}")
        place = blocks[count - 1].places[-1]
        before = result_of(model, place)
        # What a later block shares, as CoaT's positions, counts there and is trained, so it may have a say here.
        shared = {id(each) for block in blocks[:count] for at in block.places for each in parameters_at(model, at)}
        later = [each for each in model.parameters() if each.requires_grad and id(each) not in shared]
        with disturbed(model, later):
            assert torch.equal(result_of(model, place), before), f"first:{count}, at {place}"
        inside = [dict(model.named_parameters())[name] for name in blocks[count - 1].parameters]
        with disturbed(model, inside):
            assert not torch.equal(result_of(model, place), before), "a control: the block itself has a say"


def test_norm_and_bias_keep_one_kind_of_parameter_in_training(model: nn.Module) -> None:
    spec = zoo.spec_of(model)
    vectors = {name for name, parameter in model.named_parameters() if parameter.dim() < 2}
    for word in ("norm", "bias"):
        kind = {"norm": norm_parameters, "bias": bias_parameters}[word](model)
        if not kind & backbone_of(model):
            with pytest.raises(zoo.UsageError, match=f"freeze {word!r} has no meaning for"):
                zoo.freeze(model, word)
            continue
        zoo.freeze(model, word)
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert {name for name in trained if not spec.in_head(name)} <= vectors
        assert any(spec.in_head(name) for name in trained)


def parameters_at(model: nn.Module, place: str) -> list[nn.Parameter]:
    return list(model.get_submodule(place).parameters())


def result_of(model: nn.Module, place: str) -> Tensor:
    """What a module gives for one picture, in eval mode."""
    spec, seen = zoo.spec_of(model), []
    handle = model.get_submodule(place).register_forward_hook(lambda _, args, out: seen.append(out))
    chance = torch.Generator().manual_seed(0)
    picture = torch.randn(1, len(spec.preprocessing.mean), *spec.preprocessing.size, generator=chance)
    flags = [(module, module.training) for module in model.modules()]
    for module, _ in flags:
        module.training = False
    with torch.no_grad():
        model(picture)
    for module, flag in flags:
        module.training = flag
    handle.remove()
    parts = [seen[-1]] if isinstance(seen[-1], Tensor) else [each for each in seen[-1] if isinstance(each, Tensor)]
    return torch.cat([part.flatten() for part in parts])


@contextmanager
def disturbed(model: nn.Module, parameters: list[nn.Parameter]) -> Iterator[None]:
    """Other values in some parameters for a while."""
    kept = [parameter.detach().clone() for parameter in parameters]
    chance = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(torch.rand(parameter.shape, generator=chance) * 0.1 + 0.05)
    yield
    with torch.no_grad():
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)


@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_vit", "mnasnet0_5", "timm:test_convnext"])
def test_from_a_block_on_is_what_the_blocks_before_it_leave(name: str) -> None:
    model = zoo.load(name, classes=3, weights=None)
    blocks = zoo.blocks(model)
    for count, (_, after) in enumerate(itertools.pairwise(blocks), start=1):
        frozen = set(zoo.freeze(model, f"from:{after.places[0]}").parameters)
        assert frozen == union(blocks[count:]), after.name
