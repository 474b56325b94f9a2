"""A cut model gives what a module of the whole model gives, and has nothing that only follows it."""

import copy
import importlib
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo

# Chains, blocks called twice, tokens, branches, auxiliary parts, modules that return several things.
CUTS = [
    ("resnet18", "layer3"),
    ("resnet18", "layer1.0.relu"),
    ("squeezenet1_1", "features.7.expand1x1"),
    ("googlenet", "inception4a"),
    ("densenet121", "features.denseblock2"),
    ("timm:vit_tiny_patch16_224", "blocks.5.attn"),
    ("timm:convnext_atto", "stages.1"),
    ("timm:mobilenetv3_small_050", "blocks.2.0.se"),
]


def load(name: str) -> nn.Module:
    return zoo.load(name, 3, weights=None)


def pictures_for(name: str) -> Tensor:
    size = 224 if "vit" in name else 64
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def given_by(model: nn.Module, path: str, pictures: Tensor) -> Any:
    """What the module at a path gives within the whole model, before anything changes it in place."""
    seen: list[Tensor] = []
    handle = model.get_submodule(path).register_forward_hook(lambda *given: seen.append(given[2].clone()))
    torch.manual_seed(0)
    model(pictures)
    handle.remove()
    return seen[-1]


def given_by_cut(cut: nn.Module, pictures: Tensor) -> Tensor:
    torch.manual_seed(0)
    found: Tensor = cut(pictures)
    return found


@pytest.mark.parametrize(("name", "path"), CUTS)
def test_it_gives_what_the_module_gives_in_both_modes(name: str, path: str) -> None:
    model, pictures = load(name), pictures_for(name)
    before = copy.deepcopy(model.state_dict())
    cut = zoo.cut_at(model, path)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items()), "the model is left alone"
    assert type(cut) is type(model)
    for training in (False, True):
        whole = copy.deepcopy(model).train(training)
        expected = given_by(whole, path, pictures)
        assert torch.equal(given_by_cut(cut.train(training), pictures), expected)
        after = whole.state_dict()
        assert all(torch.equal(value, after[key]) for key, value in cut.state_dict().items()), "norms count alike"


@pytest.mark.parametrize(("name", "path"), CUTS)
def test_what_remains_keeps_its_keys_and_is_all_used(name: str, path: str) -> None:
    model = load(name)
    cut = zoo.cut_at(model, path)
    keys = [key for key in model.state_dict() if key in cut.state_dict()]
    assert list(cut.state_dict()) == keys
    assert len(keys) < len(model.state_dict())
    cut.train()(pictures_for(name)).sum().backward()
    assert [key for key, parameter in cut.named_parameters() if parameter.grad is None] == []
    shared = {id(each) for each in model.parameters()} & {id(each) for each in cut.parameters()}
    assert not shared
    model.load_state_dict(cut.state_dict(), strict=False)


def test_nothing_behind_the_cut_runs() -> None:
    model = load("resnet18")
    ran: list[str] = []
    cut = zoo.cut_at(model, "layer2")
    for path, module in cut.named_modules():
        if path:
            module.register_forward_hook(lambda *_, path=path: ran.append(path))
    cut(pictures_for("resnet18"))
    assert {path.partition(".")[0] for path in ran} == {"conv1", "bn1", "relu", "maxpool", "layer1", "layer2"}
    assert cut.layer3 is None
    assert cut.fc is None


def test_copies_and_pickles_run_by_themselves() -> None:
    cut, pictures = zoo.cut_at(load("resnet18"), "layer2"), pictures_for("resnet18")
    expected = cut(pictures)
    for twin in (copy.deepcopy(cut), pickle.loads(pickle.dumps(cut))):
        assert torch.equal(twin(pictures), expected)
        with torch.no_grad():
            twin.conv1.weight.zero_()
        assert not torch.equal(twin(pictures), expected)
        assert torch.equal(cut(pictures), expected)


def test_what_is_frozen_stays_frozen_and_in_eval_mode() -> None:
    model = load("resnet18")
    zoo.freeze(model, "until:layer1")
    cut = zoo.cut_at(model, "layer2").train()
    assert not cut.layer1.training  # type: ignore[union-attr]
    assert cut.layer2.training  # type: ignore[union-attr]
    statistics = {key: value.clone() for key, value in cut.state_dict().items() if "running" in key}
    cut(pictures_for("resnet18")).sum().backward()
    moved = {key.partition(".")[0] for key, value in cut.state_dict().items() if "running" in key
             and not torch.equal(value, statistics[key])}  # fmt: skip
    assert moved == {"layer2"}
    learned = {key.partition(".")[0] for key, each in cut.named_parameters() if each.grad is not None}
    assert learned == {"layer2"}
    zoo.unfreeze(cut)
    assert cut.train().layer1.training  # type: ignore[union-attr]


class Own(nn.Module):
    """Branches, a parameter of its own, a part for training alone, and a module called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.ones(4))
        self.late = nn.Parameter(torch.ones(2))
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.helper, self.twice, self.last = nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)

    def forward(self, rows: Tensor) -> Tensor:
        try:
            rows = self.twice(self.first(rows + self.shift))
            if self.training:
                rows = rows + self.helper(rows)
            both = self.twice(self.second(rows)) + rows
            scores: Tensor = self.last(both) * self.late
        except Exception:
            return rows
        return scores


def test_a_users_own_model_is_cut_with_a_sample() -> None:
    model, rows = Own(), torch.randn(3, 4)
    with pytest.raises(zoo.UsageError, match="its shape is unknown"):
        zoo.cut_at(model, "second")
    cut = zoo.cut_at(model, "twice", sample=rows)
    assert set(cut.state_dict()) == {key for key in model.state_dict() if not key.startswith("la")}
    for training in (False, True):
        assert torch.equal(cut.train(training)(rows), given_by(model.train(training), "twice", rows))
    again = zoo.cut_at(cut, "first", sample=rows)
    assert set(again.state_dict()) == {"shift", "first.weight", "first.bias"}
    assert torch.equal(again(rows), model.first(rows + model.shift))


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("layr3", "no module at 'layr3'(?s:.*)near: layer3"),
        ("", "cannot be cut behind itself"),
        ("spare", "cannot be cut at 'spare': it does not run"),
    ],
)
def test_a_place_that_cannot_be_cut_is_told(path: str, told: str) -> None:
    model = load("resnet18")
    model.spare = nn.Identity()
    with pytest.raises(zoo.UsageError, match=told):
        zoo.cut_at(model, path)


def test_a_module_that_runs_more_often_in_training_is_told() -> None:
    class Repeats(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Linear(2, 2)

        def forward(self, rows: Tensor) -> Tensor:
            found: Tensor = self.part(self.part(rows) if self.training else rows)
            return found

    with pytest.raises(zoo.UsageError, match="another number of times in training"):
        zoo.cut_at(Repeats(), "part", sample=torch.zeros(2, 2))


class Wrapped(nn.Module):
    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features, self.fc = features, nn.Linear(128, 2)

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.features(pictures).mean((2, 3)))
        return scores


def test_it_is_saved_whole_and_wrapped() -> None:
    cut, pictures = zoo.cut_at(load("resnet18"), "layer2"), pictures_for("resnet18")
    file = io.BytesIO()
    torch.save(cut, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(pictures), cut(pictures))
    assert torch.equal(nn.DataParallel(cut)(pictures), cut(pictures))
    model = Wrapped(cut)
    assert torch.equal(copy.deepcopy(model)(pictures), model(pictures))


def test_on_each_device_dataparallel_runs_that_devices_own_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replicas are shallow copies: with the forward of the first one, all would run on its device."""
    # The module, of whose name its package makes the function.
    replicating = importlib.import_module("torch.nn.parallel.replicate")

    def doubled(tensors: list[Tensor], devices: list[Any], detach: bool = False) -> list[list[Tensor]]:
        return [[each * scale for each in tensors] for scale in (1.0, 2.0)]

    monkeypatch.setattr(replicating, "_broadcast_coalesced_reshape", doubled)
    monkeypatch.setattr(replicating, "_get_device_index", lambda device, *_: device)
    model = zoo.cut_at(load("timm:vit_tiny_patch16_224"), "patch_embed")
    same, other = replicating.replicate(model, [0, 1])
    pictures = pictures_for("vit")
    with torch.no_grad():
        assert torch.equal(same(pictures), model(pictures))
        torch.testing.assert_close(other(pictures), 2 * model(pictures))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch looks at it itself
def test_it_compiles() -> None:
    cut, pictures = zoo.cut_at(load("resnet18"), "layer1"), pictures_for("resnet18")
    assert torch.equal(torch.compile(cut, backend="eager")(pictures), cut(pictures))


@pytest.mark.parametrize("within", [False, True])
def test_what_cannot_follow_it_says_so(within: bool, tmp_path: Path) -> None:
    cut, pictures = zoo.cut_at(load("resnet18"), "layer2"), pictures_for("resnet18")
    model = Wrapped(cut) if within else cut
    with pytest.raises(zoo.UsageError, match="cannot follow a ResNet that is cut: it leaves its forward at layer2"):
        torch.export.export(model, (pictures,), strict=False)
    with pytest.raises(zoo.UsageError, match="was cut by zoo, and torch alone cannot build it again"):
        zoo.save_checkpoint(tmp_path / "whole", model, whole=True)
    assert not (tmp_path / "whole").exists()
    saved = zoo.save_checkpoint(tmp_path / "state", model)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        [each.zero_() for each in twin.parameters()]
    expected = model.eval()(pictures)
    assert torch.equal(zoo.load_checkpoint(saved.folder, twin)(pictures), expected)


def test_where_a_graph_is_needed_torchvision_gives_the_same_features() -> None:
    from torchvision.models.feature_extraction import create_feature_extractor

    model, pictures = load("resnet18"), pictures_for("resnet18")
    graph = create_feature_extractor(model, {"layer2": "features"}).eval()
    exported = torch.export.export(graph, (pictures,)).module()
    torch.testing.assert_close(exported(pictures)["features"], zoo.cut_at(model, "layer2")(pictures))
