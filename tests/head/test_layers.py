"""The layers of heads that torch does not have: against torch's own where it has something like them."""

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo import layers
from zoo.head.building import build, definitions_of, source_of, trace_own
from zoo.head.known import OWN

FORMS: list[dict[str, Any]] = [
    {"channels_last": last, "places": places, "flatten": flatten}
    for last in (False, True)
    for places in (1, 2)
    for flatten in (False, True)
]


def features(channels_last: bool, places: int, **_: bool) -> tuple[Tensor, Tensor]:
    """Features of 8 channels in a form, and the same as (batch, channels, places)."""
    plain = torch.randn(3, 8, *[5, 7][:places], generator=torch.Generator().manual_seed(0))
    return (plain.movedim(1, -1) if channels_last else plain), plain.flatten(2)


def as_vectors(pooled: Tensor, form: dict[str, Any]) -> Tensor:
    """What was pooled as (batch, channels), after looking at its shape."""
    if not form["flatten"]:
        ones = [1] * form["places"]
        shape = (3, *ones, pooled.numel() // 3) if form["channels_last"] else (3, pooled.numel() // 3, *ones)
        assert pooled.shape == shape
    else:
        assert pooled.dim() == 2
    return pooled.flatten(1)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_concat_pool_is_the_maximum_and_the_mean(form: dict[str, Any]) -> None:
    given, plain = features(**form)
    found = as_vectors(layers.ConcatPool(**form)(given), form)
    expected = [nn.AdaptiveMaxPool1d(1)(plain), nn.AdaptiveAvgPool1d(1)(plain)]
    torch.testing.assert_close(found, torch.cat(expected, 1).flatten(1))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_attention_pool_begins_as_the_mean_and_becomes_attention(form: dict[str, Any]) -> None:
    given, plain = features(**form)
    pool = layers.AttentionPool(8, heads=2, **form)
    torch.testing.assert_close(as_vectors(pool(given), form), plain.mean(2))
    nn.init.normal_(pool.query)
    tokens = plain.unflatten(1, (2, 4)).transpose(2, 3)
    expected = nn.functional.scaled_dot_product_attention(
        pool.query[None, :, None].expand(3, -1, -1, -1), tokens, tokens
    )
    torch.testing.assert_close(as_vectors(pool(given), form), expected.flatten(1))
    assert not torch.allclose(expected.flatten(1), plain.mean(2), atol=1e-2)


def test_the_queries_learn_although_they_begin_as_zeros() -> None:
    pool = layers.AttentionPool(8, flatten=True)
    pool(torch.randn(2, 8, 5, 5)).square().sum().backward()
    assert pool.query.grad is not None
    assert pool.query.grad.abs().min() > 0


def test_cosine_scores_know_directions_alone() -> None:
    layer = layers.CosineLinear(6, 3, scale=5.0)
    rows = torch.randn(4, 6)
    expected = 5 * nn.functional.cosine_similarity(rows[:, None], layer.weight[None], dim=2)
    torch.testing.assert_close(layer(rows), expected)
    torch.testing.assert_close(layer(rows * 100), expected)
    assert {name for name, _ in layer.named_parameters()} == {"weight", "scale"}


MADE: dict[str, dict[str, Any]] = {
    "AttentionPool": {"features": 8, "heads": 2},
    "ConcatPool": {},
    "CosineLinear": {"in_features": 8, "out_features": 3},
}


@pytest.mark.parametrize("name", OWN)
def test_a_layer_runs_from_its_own_lines_with_torch_alone(name: str) -> None:
    values = [{"layer": name, **MADE[name]}]
    names: dict[str, Any] = {"nn": nn}
    exec("\n".join([*definitions_of(values), f"made = {source_of(values)}"]), names)
    mine = build(values)
    names["made"].load_state_dict(mine.state_dict())
    given = torch.randn(2, 8, 5, 5)
    assert torch.equal(names["made"](given), mine(given))


@pytest.mark.parametrize("name", OWN)
def test_a_traced_layer_keeps_keys_numbers_and_gradients(name: str) -> None:
    mine = build([{"layer": name, **MADE[name]}])
    model = nn.Sequential(mine)
    given = torch.randn(2, 8, 5, 5, requires_grad=True)
    before, keys = model(given), list(model.state_dict())
    trace_own(model)
    assert type(model[0]).__module__.startswith("torch.fx")
    assert list(model.state_dict()) == keys
    assert torch.equal(model(given), before)
    model(given).sum().backward()
    assert given.grad is not None
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_every_layer_of_the_module_is_known() -> None:
    classes = {name for name, each in inspect.getmembers(layers, inspect.isclass) if each.__module__ == "zoo.layers"}
    assert classes == set(OWN)
