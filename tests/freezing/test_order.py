"""The running order decides what lies before a place, not the order in which modules were written down."""

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.freezing.order import places, record


class Backwards(nn.Module):
    """Written down from the last module to the first."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.second = nn.Linear(4, 4)
        self.first = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, rows: Tensor) -> Tensor:
        scores: Tensor = self.head(self.second(self.first(rows) * self.scale))
        return scores


class Shared(nn.Module):
    """`both` runs at the start and again at the end; `normed` is read, not called."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.middle, self.normed = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, rows: Tensor) -> Tensor:
        middle = self.middle(self.both(nn.functional.linear(rows, self.normed.weight)))
        scores: Tensor = self.both(middle)
        return scores


ROWS = torch.zeros(1, 4)


def test_until_follows_the_running_order() -> None:
    model = Backwards()
    assert zoo.freeze(model, "until:first", sample=ROWS).parameters == ("first.weight", "first.bias")
    assert set(zoo.freeze(model, "until:second", sample=ROWS).parameters) == {
        "scale", "first.weight", "first.bias", "second.weight", "second.bias",
    }  # fmt: skip


def test_places_are_listed_as_they_run() -> None:
    model = Backwards()
    assert places(model, record(model, ROWS)) == ["first", "second", "head"]


def test_what_is_used_on_both_sides_counts_as_after() -> None:
    frozen = zoo.freeze(Shared(), "until:middle", sample=ROWS)
    assert frozen.parameters == ("middle.weight", "middle.bias", "normed.weight")


def test_a_module_that_runs_twice_returns_with_its_last_call() -> None:
    order = record(Shared(), ROWS)
    assert order.before("both") == {"both.weight", "both.bias", "middle.weight", "middle.bias", "normed.weight"}


def test_a_list_of_modules_returns_with_the_last_of_them() -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
            self.head = nn.Linear(4, 2)

        def forward(self, rows: Tensor) -> Tensor:
            for layer in self.layers:
                rows = layer(rows)
            scores: Tensor = self.head(rows)
            return scores

    frozen = zoo.freeze(Listed(), "until:layers", sample=ROWS).parameters
    assert frozen == ("layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias")


TOKENS = {
    "timm:vit_tiny_patch16_224": ("blocks.0", "blocks.1", ("cls_token", "pos_embed", "patch_embed")),
    "vit_b_32": (
        "encoder.layers.encoder_layer_0",
        "encoder.layers.encoder_layer_1",
        ("class_token", "encoder.pos_embedding", "conv_proj"),
    ),
}


@pytest.mark.parametrize("name", TOKENS)
def test_tokens_and_positions_lie_before_the_first_block(name: str) -> None:
    first, second, before = TOKENS[name]
    model = zoo.load(name, classes=2, weights=None)
    names = [each for each, _ in model.named_parameters()]
    expected = [each for each in names if each.startswith((*before, f"{first}."))]
    assert zoo.freeze(model, f"until:{first}").parameters == tuple(expected)
    assert set(before[:2]) < set(expected)
    assert not any(each.startswith(second) for each in expected)


def test_what_depends_on_trained_parameters_is_followed_through_writes_in_place() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.live, self.still = nn.Linear(4, 4), nn.Linear(4, 4)
            self.on_live, self.on_still = nn.Identity(), nn.Identity()

        def forward(self, rows: Tensor) -> Tensor:
            still, canvas = self.still(rows), torch.zeros(len(rows), 8)
            self.on_still(canvas + still.repeat(1, 2))
            canvas[:, :4] = self.live(rows)
            changed: Tensor = self.on_live(canvas)
            return changed

    order = record(InPlace(), ROWS)
    unaffected = order.with_frozen_inputs({"live.weight"})
    assert "on_still" in unaffected
    assert "on_live" not in unaffected


class Noise(nn.Module):
    """Random in eval mode too."""

    def forward(self, rows: Tensor) -> Tensor:
        return rows + torch.rand_like(rows)


def test_recording_leaves_no_trace() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), Noise()).train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    chance = torch.random.get_rng_state()
    record(model, torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.random.get_rng_state(), chance)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_of_unknown_input_asks_for_a_sample() -> None:
    with pytest.raises(zoo.UsageError, match=r"give one: zoo\.freeze\(model, policy, sample="):
        zoo.freeze(Backwards(), "first.*")
