"""Each word of a policy against lists made by hand, the laws of combining them, and what is refused."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from transformers import AlbertConfig, AlbertModel

import zoo

RESNET18 = [
    ("conv1", "bn1"),
    *((f"layer{stage}.{place}",) for stage in (1, 2, 3, 4) for place in (0, 1)),
]
"""The blocks of resnet18, written down from its paper: the stem, then two residual blocks a stage."""
VIT_B = [
    ("conv_proj", "class_token", "encoder.pos_embedding"),
    *((f"encoder.layers.encoder_layer_{place}",) for place in range(11)),
    ("encoder.layers.encoder_layer_11", "encoder.ln"),
]
TIMM_VIT = [
    ("patch_embed", "cls_token", "pos_embed"),
    *((f"blocks.{place}",) for place in range(11)),
    ("blocks.11", "norm"),
]
BY_HAND = {
    "resnet18": RESNET18,
    "vit_b_32": VIT_B,
    "timm:vit_tiny_patch16_224": TIMM_VIT,
}
BATCH_NORMS = ("bn1.", "bn2.", "downsample.1.")
"""How parameters of norm layers are called in resnet18, and of no other layer."""


def under(model: nn.Module, *paths: str) -> set[str]:
    """The parameters at or below these paths."""
    names = [name for name, _ in model.named_parameters()]
    return {name for name in names for path in paths if name == path or name.startswith(f"{path}.")}


def frozen(model: nn.Module, policy: str, unfreeze: str | None = None) -> set[str]:
    kept = set(zoo.freeze(model, policy, unfreeze=unfreeze).parameters)
    assert kept == {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return kept


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    return zoo.load("resnet18", classes=3, weights=None)


@pytest.mark.parametrize(("wide", "narrow"), [("norm", "bias"), ("last:1", "layer4.1")])
def test_words_of_unfreeze_may_name_the_same_in_any_order(wide: str, narrow: str, resnet: nn.Module) -> None:
    alone = frozen(resnet, "backbone", wide)
    assert frozen(resnet, "backbone", f"{wide},{narrow}") == frozen(resnet, "backbone", f"{narrow},{wide}") == alone


@pytest.mark.parametrize("name", BY_HAND)
def test_first_and_last_count_the_blocks_as_written_by_hand(name: str) -> None:
    model, blocks = zoo.load(name, classes=3, weights=None), BY_HAND[name]
    assert [set(block.parameters) for block in zoo.blocks(model)] == [under(model, *each) for each in blocks]
    for count in (1, 2, len(blocks)):
        assert frozen(model, f"first:{count}") == under(model, *itertools.chain(*blocks[:count]))
        assert frozen(model, f"last:{count}") == under(model, *itertools.chain(*blocks[-count:]))


def test_from_freezes_what_until_leaves_but_for_the_head(resnet: nn.Module) -> None:
    assert frozen(resnet, "from:layer3") == under(resnet, "layer3", "layer4")
    assert frozen(resnet, "from:layer4.1.conv2") == under(resnet, "layer4.1.conv2", "layer4.1.bn2")
    assert frozen(resnet, "until:layer2") | frozen(resnet, "from:layer3") == frozen(resnet, "backbone")


def test_norm_trains_the_norm_layers_and_the_head(resnet: nn.Module) -> None:
    norms = {name for name, _ in resnet.named_parameters() if any(part in f"{name}." for part in BATCH_NORMS)}
    trained = {name for name, _ in resnet.named_parameters()} - frozen(resnet, "norm")
    assert len(norms) == 40
    assert trained == norms | under(resnet, "fc")
    assert frozen(resnet, "norm") == frozen(resnet, "backbone", "norm")
    resnet.train()
    assert resnet.layer1[0].bn1.training  # type: ignore[index, union-attr]
    assert not resnet.layer1[0].conv1.training  # type: ignore[index, union-attr]


def test_bias_trains_the_bias_terms_and_the_head() -> None:
    model = zoo.load("vit_b_32", classes=3, weights=None)
    trained = {name for name, _ in model.named_parameters()} - frozen(model, "bias")
    biases = {name for name, _ in model.named_parameters() if name.endswith("bias")}
    assert "encoder.layers.encoder_layer_0.self_attention.in_proj_bias" in trained
    assert trained == biases | under(model, "heads")
    assert frozen(model, "bias") == frozen(model, "backbone", "bias")


def test_a_table_of_position_biases_is_no_bias_term() -> None:
    model = zoo.load("timm:swin_tiny_patch4_window7_224", classes=3, weights=None)
    assert any("relative_position_bias_table" in name for name in frozen(model, "bias"))


WORDS = ["first:3", "last:2", "norm", "bias", "until:layer2", "from:layer3.1", "layer1.*", "backbone"]


def test_words_together_freeze_what_any_of_them_freezes_in_any_order(resnet: nn.Module) -> None:
    alone = {word: frozen(resnet, word) for word in WORDS}
    for one, other in itertools.combinations(WORDS, 2):
        assert frozen(resnet, f"{one},{other}") == frozen(resnet, f"{other}, {one}") == alone[one] | alone[other]
    assert frozen(resnet, ",".join(WORDS)) == frozen(resnet, ",".join(reversed(WORDS))) == alone["backbone"]


def test_unfreeze_takes_the_same_words(resnet: nn.Module) -> None:
    assert frozen(resnet, "backbone", "last:1") == frozen(resnet, "first:8")
    assert frozen(resnet, "backbone", "from:layer3") == frozen(resnet, "until:layer2")
    assert frozen(resnet, "backbone", "until:layer2") == frozen(resnet, "from:layer3")
    assert frozen(resnet, "backbone", "last:1, first:1") == under(resnet, *itertools.chain(*RESNET18[1:-1]))
    zoo.freeze(resnet, "backbone")
    assert set(zoo.unfreeze(resnet, "last:1").parameters) == frozen(resnet, "first:8")


@pytest.mark.parametrize(
    ("policy", "unfreeze", "message"),
    [
        ("first:10", None, r"^freeze 'first:10' cannot be meant: torchvision:resnet18 has 9 blocks, .* from 1 to 9"),
        ("backbone", "last:0", r"^unfreeze is 'last:0'; last:N takes a number of blocks, 1 or more"),
        ("first:-1", None, "first:N takes a number of blocks"),
        ("first:", None, "first:N takes a number of blocks"),
        ("first:two", None, "first:N takes a number of blocks"),
        ("frist:2", None, "there is no word frist:…; near: first:N"),
        ("norms", None, "matches no parameter.*near: norm"),
        ("from:layer5", None, "names no module.*near: .*layer4"),
        ("from:fc", None, "from there on .* has nothing but its head"),
        ("none, first:2", None, "contradicts itself"),
        ("backbone", "none", "unfreeze is 'none'; it takes nothing out"),
        ("first:2", "last:2", "takes nothing out: freeze 'first:2' does not freeze it"),
        ("first:2", "first:3", "leaves nothing frozen"),
        ("backbone, fc", None, "freezes every parameter"),
    ],
)
def test_what_cannot_be_meant_is_refused(resnet: nn.Module, policy: str, unfreeze: str | None, message: str) -> None:
    with pytest.raises(zoo.UsageError, match=f"(?s){message}") as caught:
        zoo.freeze(resnet, policy, unfreeze=unfreeze)
    assert len(str(caught.value).splitlines()) <= 3


def test_a_model_without_norm_layers_says_so() -> None:
    with pytest.raises(
        zoo.UsageError, match="freeze 'norm' has no meaning for torchvision:vgg11: its backbone has no norm"
    ):
        zoo.freeze(zoo.load("vgg11", classes=3, weights=None), "norm")


def albert(**changes: int) -> nn.Module:
    sizes = {"embedding_size": 8, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    return AlbertModel(AlbertConfig(vocab_size=30, num_hidden_layers=4, **sizes, **changes))


IDS = torch.arange(10).reshape(2, 5)
GROUP = "encoder.albert_layer_groups.0"


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("first:6", f"has 3 blocks.*{GROUP} runs 4 times with one set of parameters and counts once"),
        (f"until:{GROUP}.albert_layers.0.ffn", f"no meaning for this AlbertModel: {GROUP} runs 4 times"),
        (f"from:{GROUP}.albert_layers.0.attention", f"no meaning.*from:{GROUP} takes it as a whole"),
    ],
)
def test_layers_that_share_their_parameters_have_no_inside(policy: str, message: str) -> None:
    with pytest.raises(zoo.UsageError, match=f"(?s){message}"):
        zoo.freeze(albert(), policy, sample=IDS)


def test_layers_that_share_their_parameters_are_frozen_as_a_whole() -> None:
    model = albert(inner_group_num=2)
    assert [block.name for block in zoo.blocks(model, sample=IDS)] == [
        "embeddings", "encoder.embedding_hidden_mapping_in", GROUP, "pooler",
    ]  # fmt: skip
    kept = set(zoo.freeze(model, f"until:{GROUP}", sample=IDS).parameters)
    assert kept == set(zoo.freeze(model, "first:3", sample=IDS).parameters) == under(model, "embeddings", "encoder")


class Twice(nn.Module):
    """One part sees two pictures, each for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        self.head = nn.Linear(8, 2)

    def forward(self, rows: Tensor) -> Tensor:
        scores: Tensor = self.head(torch.cat([self.seen(rows), self.seen(rows + 1)], dim=1))
        return scores


def test_a_part_that_runs_again_on_other_data_has_an_inside() -> None:
    model = Twice()
    kept = zoo.freeze(model, "until:seen.0", sample=torch.zeros(1, 4)).parameters
    assert kept == ("seen.0.weight", "seen.0.bias")


def test_of_a_model_without_a_known_head_every_part_is_a_block() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    pictures = torch.zeros(1, 3, 8, 8)
    assert [block.places for block in zoo.blocks(model, sample=pictures)] == [("0", "1"), ("3",)]
    assert zoo.freeze(model, "last:1", sample=pictures).parameters == ("3.weight", "3.bias")
    assert zoo.freeze(model, "norm", sample=pictures).parameters == ("0.weight", "0.bias", "3.weight", "3.bias")


def test_what_was_frozen_says_which_blocks_it_is(resnet: nn.Module) -> None:
    def said(policy: str, unfreeze: str | None = None) -> str:
        return zoo.freeze(resnet, policy, unfreeze=unfreeze).meaning

    assert said("first:3") == "blocks 1-3 of 9 (conv1 … layer1.1)"
    assert said("last:1") == "block 9 of 9 (layer4.1)"
    assert said("backbone") == "all 9 blocks"
    assert said("backbone", "layer2.*") == "blocks 1-3, 6-9 of 9"
    assert said("norm") == "parts of all 9 blocks"
    assert said("conv1") == "parts of block 1 of 9 (conv1)"
    assert said("none") == ""
    assert repr(zoo.freeze(resnet, "first:3")) == (
        "Frozen('first:3': blocks 1-3 of 9 (conv1 … layer1.1), 15 parameters, 17 modules in eval mode)"
    )
