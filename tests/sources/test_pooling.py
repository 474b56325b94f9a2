"""Heads that pool stand in the place of the model's own pool, and leave it when they go."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo import catalog
from zoo.finetuning.reaching import dropouts_of
from zoo.sources.rebuilding import rebuild
from zoo.training.optimizers import groups_of

POOLS = ["attention-pool", "concat-pool"]
SIZE = 64
PLACES = {"resnet18": "avgpool", "timm:vit_tiny_patch16_224": "attn_pool"}
CHANNELS_LAST = {"timm:swin_tiny_patch4_window7_224": "head.global_pool"}


def load(name: str = "resnet18", head: Any = "attention-pool", classes: Any = 3) -> nn.Module:
    return zoo.load(name, classes, weights=None, head=head)


def pictures_for(model: nn.Module) -> Tensor:
    size = (SIZE, SIZE) if zoo.spec_of(model).name == "resnet18" else zoo.spec_of(model).preprocessing.size
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


def scores(model: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.eval()(pictures_for(model))
    return found


@pytest.mark.parametrize("name", PLACES | CHANNELS_LAST)
def test_a_pool_of_equal_weights_gives_what_the_models_own_gave(name: str) -> None:
    model = load(name, "linear")
    before = scores(model)
    weights = model.get_submodule(zoo.spec_of(model).head_path).state_dict()
    zoo.swap_head(model, "attention-pool")
    spec = zoo.spec_of(model)
    assert spec.head is not None
    assert spec.head.pool_path == (PLACES | CHANNELS_LAST)[name]
    head = model.get_submodule(spec.head_path)
    head.load_state_dict(weights)
    if name.startswith("timm:vit"):
        assert not torch.allclose(scores(model), before), "its own takes the class token"
    else:
        torch.testing.assert_close(scores(model), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", PLACES)
def test_swapping_away_puts_the_models_own_pool_back(name: str) -> None:
    model = load(name, "linear")
    modules, keys, before = [n for n, _ in model.named_modules()], list(model.state_dict()), scores(model)
    saved = copy.deepcopy(model.state_dict())
    for head in POOLS:
        zoo.swap_head(model, head)
        assert type(model.get_submodule(PLACES[name])).__name__.lower() == head.replace("-", "")
    zoo.swap_head(model, "linear")
    assert [n for n, _ in model.named_modules()] == modules, "in the order that they were defined in"
    assert list(model.state_dict()) == keys
    model.load_state_dict(saved)
    assert torch.equal(scores(model), before)


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("head", POOLS)
def test_a_frozen_backbone_leaves_pool_and_head_to_train(name: str, head: str) -> None:
    model = load(name, head)
    spec = zoo.spec_of(model)
    assert spec.head is not None
    zoo.freeze(model, "backbone")
    trained = {n for n, parameter in model.named_parameters() if parameter.requires_grad}
    below = (spec.head_path, str(spec.head.pool_path))
    assert trained == {n for n, _ in model.named_parameters() if any(n.startswith(path + ".") for path in below)}
    assert any(n.endswith("query") for n in trained) == (head == "attention-pool")
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    nn.functional.cross_entropy(model.train()(pictures_for(model)), torch.tensor([0, 1])).backward()
    optimizer.step()
    moved = {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert moved == trained


def test_the_pool_trains_with_the_rate_of_the_head_and_keeps_its_own_dropout() -> None:
    model = load("timm:vit_tiny_patch16_224")
    spec = zoo.spec_of(model)
    groups = groups_of(model, head=(*spec.head_prefixes, *spec.fresh), lr=1.0, backbone_lr=0.1, wd=0.0)
    rates = {name: group.lr for group in groups for name in group.names}
    assert {name for name, rate in rates.items() if rate == 1.0} == {"attn_pool.query", "head.weight", "head.bias"}
    assert not spec.in_head("attn_drop.weight")
    wrapped = nn.Sequential(nn.Dropout(0.5), model.attn_pool)  # type: ignore[arg-type]
    model.attn_pool = wrapped
    assert wrapped[0] not in dropouts_of(model)


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("head", POOLS)
def test_a_checkpoint_brings_the_pool_back(name: str, head: str, tmp_path: Path) -> None:
    model = load(name, head, ["ant", "bee"])
    for parameter in model.parameters():
        parameter.data.normal_(std=0.1)
    saved = zoo.save_checkpoint(tmp_path / "epoch-0001", model)
    again = zoo.load_checkpoint(saved.folder)
    assert zoo.spec_of(again) == zoo.spec_of(model)
    assert torch.equal(scores(again), scores(model))
    zoo.swap_head(again, "linear")
    assert list(again.state_dict()) == list(zoo.load(name, 2, weights=None).state_dict())


def test_a_copy_has_its_own_pool_put_back_alone() -> None:
    model = load()
    twin = copy.deepcopy(model)
    zoo.swap_head(twin, "linear")
    assert isinstance(twin.avgpool, nn.AdaptiveAvgPool2d)
    assert type(model.avgpool).__name__ == "AttentionPool"
    assert scores(model).shape == (2, 3)


class Two(nn.Module):
    """What the head receives comes by two ways, of which one is pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Linear(8, 4)

    def forward(self, pictures: Tensor) -> Tensor:
        features = self.conv(pictures)
        scores: Tensor = self.fc(self.pool(features).flatten(1) + features.amax((2, 3)))
        return scores


class One(Two):
    """A model as users write them, with more features than places."""

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.pool(self.conv(pictures)).flatten(1))
        return scores


class Learned(One):
    """Its pool has parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1))  # type: ignore[assignment]


@pytest.mark.parametrize("head", POOLS)
def test_a_users_own_model_is_pooled_where_it_pools(head: str) -> None:
    if head == POOLS[0]:
        zoo.register("pool-one", One, head_path="fc", input_size=(16, 16))
    model = load("own:pool-one", head)
    assert scores(model).shape == (2, 3)
    zoo.swap_head(model)
    assert isinstance(model.pool, nn.AdaptiveAvgPool2d)


def test_a_pool_that_is_passed_by_is_no_place() -> None:
    zoo.register("pool-two", Two, head_path="fc", input_size=(16, 16))
    model = load("own:pool-two", "linear")
    with pytest.raises(zoo.UsageError, match="its head receives more than what pool pools"):
        zoo.swap_head(model, "attention-pool")
    assert isinstance(model.pool, nn.AdaptiveAvgPool2d), "a refused head leaves the model as it was"
    assert scores(model).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "head", "message"),
    [
        ("vit_b_32", "attention-pool", "no module of it pools"),
        ("vgg11", "attention-pool", "pool at avgpool keeps places, 512 × 7 × 7"),
        ("squeezenet1_1", "attention-pool", r"no module of it pools what its head receives"),
        ("densenet121", "attention-pool", "no module of it pools"),
        ("timm:deit_tiny_distilled_patch16_224", "attention-pool", "several heads"),
        ("timm:convnext_atto", "concat-pool", r"head\.norm \(LayerNorm2d\) fails behind it(?s:.*)fit: attention-pool"),
        ("timm:regnetx_002", "attention-pool", None),
    ],
)
def test_a_head_that_pools_says_why_it_does_not_fit(name: str, head: str, message: str | None) -> None:
    if message is None:
        assert scores(load(name, head)).shape == (2, 3)
        return
    with pytest.raises(zoo.UsageError, match=message):
        load(name, head)


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v2",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("densenet121", "mnasnet1_0", "mnasnet0_5", "vit_b_16", "vit_b_32", "vgg11", "squeezenet1_1")
        ),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("alexnet", "vgg19_bn", "densenet161", "densenet201")),
    ],
)
def test_where_no_module_pools_a_model_is_named_that_does(name: str) -> None:
    with pytest.raises(zoo.UsageError) as caught:
        load(name, "concat-pool")
    told, heads, other = str(caught.value).splitlines()
    assert "takes the place of a pool, which" in told
    assert "concat-pool" not in heads
    for head in ("concat-pool", "attention-pool"):
        assert scores(load(other.rpartition(" ")[2], head)).shape == (2, 3)


def test_a_refused_head_leaves_a_pool_where_it_stands() -> None:
    model = load()
    pool, before = model.avgpool, scores(model)
    with pytest.raises(zoo.UsageError, match="gives 5 scores"):
        zoo.swap_head(model, nn.Linear(512, 5))
    assert model.avgpool is pool
    assert torch.equal(scores(model), before)
    zoo.swap_head(model, nn.Linear(512, 3))
    assert isinstance(model.avgpool, nn.AdaptiveAvgPool2d)


def test_an_appended_head_cannot_pool() -> None:
    with pytest.raises(zoo.UsageError, match="an appended head takes what the original classifier gives"):
        zoo.load("resnet18", 3, weights=None, head="attention-pool", mode="append")


def test_a_model_whose_own_pool_is_unknown_keeps_its_head() -> None:
    model = load()
    del vars(model)["zoo_pool"]
    with pytest.raises(zoo.UsageError, match="is not known, so no other head fits"):
        zoo.swap_head(model)


def test_a_number_of_heads_that_does_not_divide_the_features_is_told(tmp_path: Path) -> None:
    text = catalog.text("heads", "attention-pool")
    (tmp_path / "mine.toml").write_text(text.replace("heads = 4", "heads = 7"))
    with pytest.raises(zoo.UsageError, match="heads is 7, which does not divide 512"):
        load(head=str(tmp_path / "mine.toml"))


@pytest.mark.parametrize("place", ["fc", "layer1", "nowhere.pool", "zoo_spec", ""])
def test_a_checkpoint_names_no_place_that_is_no_pool(place: str) -> None:
    spec = zoo.spec_of(load())
    assert spec.head is not None
    forged = dataclasses.replace(spec, head=dataclasses.replace(spec.head, pool_path=place))
    with pytest.raises(zoo.ZooError):
        rebuild(forged, 10**8)
