"""Checkpoints as other libraries write them: each written by its own library, loaded as any file of weights."""

import argparse
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from tests.conftest import Command
from zoo.checkpoint.weights import read_weights
from zoo.registry import own

State = dict[str, Tensor]


class Block(nn.Module):
    """Two convolutions and a shortcut that drops every other pixel and pads with channels of zeros."""

    def __init__(self, before: int, channels: int) -> None:
        super().__init__()
        self.grown = channels - before
        self.conv1 = nn.Conv2d(before, channels, 3, stride=2 if self.grown else 1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        after = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.grown:
            x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.grown // 2, self.grown // 2))
        shown: Tensor = (after + x).relu()
        return shown


class ResNet20(nn.Module):
    """The residual network for pictures of 32 pixels, https://arxiv.org/abs/1512.03385, section 4.2."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        for number, (before, channels) in enumerate(((16, 16), (16, 32), (32, 64)), 1):
            setattr(
                self,
                f"layer{number}",
                nn.Sequential(Block(before, channels), *(Block(channels, channels) for _ in "ab")),
            )
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.bn1(self.conv1(x)).relu())))  # type: ignore[operator]
        scores: Tensor = self.linear(x.mean((2, 3)))
        return scores


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "REGISTERED", {})
    zoo.register("resnet20", ResNet20, head_path="linear", input_size=(32, 32))


def given(path: Path, **more: Any) -> nn.Module:
    """The model with the weights of a file and all of its own head."""
    return zoo.load("own:resnet20", weights=path, **more)


def report(model: nn.Module) -> str:
    return zoo.spec_of(model).report


def same(model: nn.Module, state: State) -> bool:
    loaded = model.state_dict()
    return loaded.keys() == state.keys() and all(torch.equal(loaded[name], each) for name, each in state.items())


def test_published_weights_of_a_network_of_ones_own_are_loaded_and_know_their_classes(assets: Path) -> None:
    path = assets / "weights" / "resnet20_cifar10" / "resnet20-12fca82f.th"
    model = given(path)
    # The file is from before torch counted batches.
    assert report(model).startswith("97 tensors matched, 19 missing")
    assert report(model).endswith("prefix module. taken off")
    with torch.no_grad():
        answers = model(torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert answers.std() > 1, "a trained classifier is decided, whatever it is shown"
    assert zoo.spec_of(given(path, classes=["ant", "bee"])).head.classes == ("ant", "bee")  # type: ignore[union-attr]


def parallel(model: nn.Module) -> State:
    return nn.DataParallel(model).state_dict()


def compiled(model: nn.Module) -> State:
    return torch.compile(model).state_dict()  # type: ignore[no-any-return, attr-defined]


def distributed(model: nn.Module) -> State:
    return nn.parallel.DistributedDataParallel(model).state_dict()


def compiled_and_distributed(model: nn.Module) -> State:
    return nn.parallel.DistributedDataParallel(torch.compile(model)).state_dict()  # type: ignore[arg-type]


def distributed_and_compiled(model: nn.Module) -> State:
    return torch.compile(nn.parallel.DistributedDataParallel(model)).state_dict()  # type: ignore[no-any-return, attr-defined]


def compiled_in_part(model: nn.Module) -> State:
    model.layer1 = torch.compile(model.layer1)  # type: ignore[assignment, arg-type]
    return model.state_dict()


def averaged(model: nn.Module) -> State:
    return torch.optim.swa_utils.AveragedModel(model).state_dict()


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize(
    ("wrap", "note"),
    [
        (parallel, "116 tensors matched, prefix module. taken off"),
        (compiled, "116 tensors matched"),
        (distributed, "116 tensors matched, prefix module. taken off"),
        (compiled_and_distributed, "116 tensors matched, prefix module. taken off"),
        (distributed_and_compiled, "116 tensors matched, prefix module. taken off"),
        (compiled_in_part, "116 tensors matched"),
        (averaged, "116 tensors matched, 1 unexpected (n_averaged), prefix module. taken off"),
    ],
)
def test_what_a_wrapper_puts_before_names_is_taken_off(
    wrap: Callable[[nn.Module], State], note: str, tmp_path: Path
) -> None:
    model = ResNet20()
    state = {name: each.clone() for name, each in model.state_dict().items()}
    torch.save(wrap(model), tmp_path / "w.pth")
    loaded = given(tmp_path / "w.pth")
    assert same(loaded, state)
    assert report(loaded) == note


def test_the_prefix_that_fits_most_is_chosen_and_the_rest_is_told(tmp_path: Path) -> None:
    small, other = ResNet20(), zoo.load("resnet18", weights=None)
    parts = {"teacher": other, "student.net": small}
    state = {f"{part}.{name}": each for part, model in parts.items() for name, each in model.state_dict().items()}
    torch.save({"state_dict": state | {"loss.weight": torch.ones(10)}}, tmp_path / "w.ckpt")
    loaded = given(tmp_path / "w.ckpt")
    assert same(loaded, small.state_dict())
    assert report(loaded).startswith("116 tensors matched, 123 unexpected (teacher.conv1.weight, ")
    assert report(loaded).endswith("prefix student.net. taken off")


def test_a_part_of_the_same_names_and_other_shapes_is_passed_over(tmp_path: Path) -> None:
    small = ResNet20()
    twice = {name: torch.cat([each, each]) if each.dim() else each for name, each in small.state_dict().items()}
    wide = {f"big.{name}": each for name, each in twice.items()}
    torch.save(wide | {f"net.{name}": each for name, each in small.state_dict().items()}, tmp_path / "w.pth")
    loaded = given(tmp_path / "w.pth")
    assert same(loaded, small.state_dict())
    assert report(loaded).endswith("prefix net. taken off")


def test_of_two_that_fit_alike_the_first_is_taken_and_the_other_told(tmp_path: Path) -> None:
    one, two = ResNet20(), ResNet20()
    torch.save({f"{part}.{name}": each for part, model in (("net", one), ("net_slow", two))
                for name, each in model.state_dict().items()}, tmp_path / "w.pth")  # fmt: skip
    loaded = given(tmp_path / "w.pth")
    assert same(loaded, one.state_dict())
    assert report(loaded).endswith("prefix net. taken off, as well fits net_slow.")


def test_a_model_whose_own_names_begin_with_module_keeps_them(tmp_path: Path) -> None:
    def own() -> nn.Module:
        return nn.Sequential()

    def named() -> nn.Module:
        model = own()
        model.add_module("module", nn.Flatten())
        model.add_module("fc", nn.Linear(12, 3))
        outer = nn.Sequential()
        outer.add_module("module", model)
        return outer

    zoo.register("outer", named, head_path="module.fc", input_size=(2, 2))
    torch.save(named().state_dict(), tmp_path / "w.pth")
    assert report(zoo.load("own:outer", weights=tmp_path / "w.pth")) == "2 tensors matched"


@pytest.fixture(scope="module")
def lightning_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State]:
    """A checkpoint of a Lightning trainer after two steps, with paths and settings among its hyperparameters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lightning
        from lightning.fabric.utilities.data import AttributeDict
        from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

        class Task(lightning.LightningModule):
            def __init__(self, root: Path, settings: Any) -> None:
                super().__init__()
                self.save_hyperparameters()
                self.backbone = ResNet20()
                self.loss = nn.CrossEntropyLoss(weight=torch.ones(10))

            def training_step(self, batch: Any, _: int) -> Tensor:
                loss: Tensor = self.loss(self.backbone(batch[0]), batch[1])
                self.log("loss", loss)
                return loss

            def configure_optimizers(self) -> torch.optim.Optimizer:
                return torch.optim.AdamW(self.parameters())

        folder = tmp_path_factory.mktemp("lightning")
        data = torch.utils.data.TensorDataset(torch.randn(4, 3, 32, 32), torch.arange(4))
        task = Task(Path("/data"), AttributeDict(lr=0.1, args=argparse.Namespace(seed=3)))
        trainer = lightning.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
            callbacks=[ModelCheckpoint(folder, monitor="loss", save_last=True), EarlyStopping("loss")],
        )  # fmt: skip
        trainer.fit(task, torch.utils.data.DataLoader(data, 2))
    return folder / "last.ckpt", {name: each.clone() for name, each in task.backbone.state_dict().items()}


def test_a_checkpoint_of_lightning_is_loaded_without_its_prefix(lightning_file: tuple[Path, State]) -> None:
    path, state = lightning_file
    loaded = given(path)
    assert same(loaded, state)
    assert report(loaded) == "116 tensors matched, 1 unexpected (loss.weight), prefix backbone. taken off"


def test_what_lightning_keeps_beside_the_weights_is_neither_imported_nor_kept(
    lightning_file: tuple[Path, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    def built(*_: object, **__: object) -> None:
        raise AssertionError("an object of a file was built")

    monkeypatch.setattr(argparse.Namespace, "__init__", built)
    assert len(read_weights(lightning_file[0])) == 117


@pytest.fixture(scope="module")
def timm_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State, State]:
    """What timm's own training writes, with the average of the weights beside them."""
    from timm import create_model
    from timm.utils import CheckpointSaver, ModelEmaV3

    folder = tmp_path_factory.mktemp("timm")
    model = create_model("mobilenetv2_035")
    average = ModelEmaV3(model, decay=0.5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    average.update(model)
    args = argparse.Namespace(model="mobilenetv2_035", lr=0.1, data_dir=Path("/data"))
    saver = CheckpointSaver(model, torch.optim.SGD(model.parameters(), 0.1), args=args, model_ema=average,
                            checkpoint_dir=str(folder), recovery_dir=str(folder))  # fmt: skip
    saver.save_checkpoint(3, metric=71.5)
    return folder / "last.pth.tar", average.module.state_dict(), model.state_dict()


def test_a_checkpoint_of_timm_gives_the_average_of_its_training_and_says_so(
    timm_file: tuple[Path, State, State],
) -> None:
    path, average, last = timm_file
    loaded = zoo.load("timm:mobilenetv2_035", weights=path)
    assert same(loaded, average)
    assert not same(loaded, last)
    assert report(loaded).endswith("tensors matched, from state_dict_ema, the average of its training")


def test_the_command_line_takes_it_as_any_weights(
    timm_file: tuple[Path, State, State], zoo_command: Command, pictures: Path, tmp_path: Path
) -> None:
    done = zoo_command(
        "finetune", "timm:mobilenetv2_035", "--weights", timm_file[0], "--data", pictures, "--epochs", 1,
        "--img-size", 32, "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "state_dict_ema" in done.out + done.err


def test_the_command_line_names_what_does_not_fit(
    timm_file: tuple[Path, State, State], zoo_command: Command, pictures: Path, tmp_path: Path
) -> None:
    done = zoo_command("finetune", "resnet18", "--weights", timm_file[0], "--data", pictures, "--out", tmp_path / "run")
    assert done.code == 4
    assert "do not fit the model: " in done.err
