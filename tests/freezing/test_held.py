"""What is frozen does not move: no parameter, no statistic, no dropout, whatever becomes of the model."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import zoo

SAMPLE = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Convolution, norm and dropout, then a classifier that begins with a dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3))

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.pool(self.features(pictures)).flatten(1))
        return scores


def frozen(policy: str = "features.*") -> Net:
    model = Net()
    zoo.freeze(model, policy, sample=SAMPLE)
    return model


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def train(model: nn.Module, steps: int = 3) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(steps):
        model.train()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(SAMPLE), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()


def moved(before: dict[str, Tensor], model: nn.Module) -> set[str]:
    after = model.state_dict()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


WAYS: dict[str, Callable[[Net], nn.Module]] = {
    "as it is": lambda model: model,
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "Sequential": lambda model: nn.Sequential(model, nn.Identity()),
    "DataParallel": nn.DataParallel,
    "torch.compile": lambda model: torch.compile(model, backend="eager"),  # type: ignore[return-value]
    "its part told to train": lambda model: (model.features.train(), model)[1],
    "eval and train again": lambda model: model.eval().train().eval(),
    "another precision and back": lambda model: model.double().float(),
}


@pytest.mark.parametrize("way", WAYS)
def test_frozen_parameters_and_buffers_stay_bit_equal(way: str) -> None:
    model = WAYS[way](frozen())
    before = state_of(model)
    train(model)
    changed = moved(before, model)
    assert not [name for name in changed if "features" in name]
    assert len([name for name in changed if "classifier" in name]) == 4


def test_gradients_switched_off_alone_let_the_statistics_move() -> None:
    model = Net()
    model.features.requires_grad_(False)
    before = state_of(model)
    train(model)
    assert {"features.1.running_mean", "features.1.running_var"} <= moved(before, model)


def test_an_exported_program_keeps_the_statistics() -> None:
    def change(model: nn.Module) -> set[str]:
        exported = torch.export.export(model.train(), (SAMPLE,)).module()
        before = state_of(exported)
        exported(SAMPLE)
        return {name for name in moved(before, exported) if "running" in name}

    assert change(frozen()) == set()
    assert change(Net()) == {"features.1.running_mean", "features.1.running_var"}


@pytest.mark.parametrize("part", ["features", "pool"])
def test_a_part_taken_out_of_the_model_stays_in_eval_mode(part: str) -> None:
    assert not any(module.training for module in frozen().get_submodule(part).train().modules())


class Positions(nn.Module):
    """Positions that vary in training, by a method: nothing calls the module itself."""

    def table(self, width: int) -> Tensor:
        return torch.arange(width) + (torch.rand(width) if self.training else torch.zeros(width))


class NetWithPositions(Net):
    def __init__(self) -> None:
        super().__init__()
        self.positions = Positions()

    def forward(self, pictures: Tensor) -> Tensor:
        return super().forward(pictures + self.positions.table(pictures.shape[-1]))


def test_what_the_frozen_part_uses_without_calling_it_does_not_vary() -> None:
    model = NetWithPositions()
    zoo.freeze(model, "features.*", sample=SAMPLE)
    seen: list[Tensor] = []
    model.features.register_forward_hook(lambda *given: seen.append(given[-1]))
    model.train()
    model(SAMPLE)
    model(SAMPLE)
    assert torch.equal(*seen)
    zoo.unfreeze(model)
    assert model.train().positions.training


def test_a_copy_and_its_original_have_modes_of_their_own() -> None:
    model = frozen()
    model.train()
    twin = copy.deepcopy(model)
    twin.eval()
    assert model.training
    assert model.classifier[1].training
    assert not twin.classifier[1].training
    twin.train()
    model.eval()
    assert twin.classifier[1].training
    zoo.unfreeze(twin)
    assert twin.train().features[1].training
    assert not model.train().features[1].training


def same_twice(model: nn.Module, pictures: Tensor) -> bool:
    model.train()
    return torch.equal(model(pictures), model(pictures))


def test_dropout_between_frozen_layers_of_vgg11_does_not_fire() -> None:
    model = zoo.load("vgg11", classes=3, weights=None)
    pictures = torch.randn(2, 3, 64, 64)
    zoo.freeze(model, "backbone")
    assert same_twice(model, pictures)
    zoo.freeze(model, "features.*")
    assert not same_twice(model, pictures)


class Late(nn.Module):
    """A frozen block between a trained stem and a trained head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 6)
        self.block = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))
        self.head = nn.Linear(6, 2)

    def forward(self, rows: Tensor) -> Tensor:
        scores: Tensor = self.head(self.block(self.stem(rows)))
        return scores


def test_a_dropout_in_a_frozen_block_fires_on_trained_results() -> None:
    model, rows = Late(), torch.randn(5, 6)
    kept = zoo.freeze(model, "block.*", sample=rows).held
    assert kept == ("block", "block.0", "block.1")
    assert not same_twice(model, rows)
    assert model.block[2].training
    assert not model.eval().block[2].training
    zoo.freeze(model, "stem.*, block.*", sample=rows)
    assert same_twice(model, rows)


def test_dropout_within_a_frozen_transformer_layer_does_not_fire() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5, batch_first=True)
    model, rows = nn.Sequential(layer, nn.Linear(8, 2)), torch.randn(2, 3, 8)
    zoo.freeze(model, "0.*", sample=rows)
    assert same_twice(model, rows)
    assert not any(module.training for module in layer.modules())


def test_a_module_that_is_put_in_later_follows_the_mode_of_the_model() -> None:
    model = frozen()
    zoo.replace_module(model, "features.3", nn.Dropout(0.5))
    model.train()
    assert [module.training for module in model.features] == [False, False, False, True]
    assert not same_twice(model.features, SAMPLE)


class Switching(nn.Module):
    """Calls its dropout in training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.drop = nn.Linear(6, 6), nn.Dropout(0.5)

    def forward(self, rows: Tensor) -> Tensor:
        scores: Tensor = self.linear(rows)
        return self.drop(scores) if self.training else scores


def test_a_dropout_that_runs_in_training_alone_goes_with_the_module_around_it() -> None:
    model, rows = nn.Sequential(Switching(), Switching()), torch.randn(5, 6)
    zoo.freeze(model, "0.*", sample=rows)
    model.train()
    assert [module.training for module in (model[0].drop, model[1].drop)] == [False, True]
    assert torch.equal(model[0](rows), model[0](rows))


def test_unfreezing_revives_gradients_statistics_and_dropout() -> None:
    model = frozen()
    assert zoo.unfreeze(model).parameters == ()
    before = state_of(model)
    train(model, steps=1)
    assert "features.1.running_mean" in moved(before, model)
    assert "features.0.weight" in moved(before, model)
    assert not same_twice(model, SAMPLE)
    assert "train" not in vars(model.features)
