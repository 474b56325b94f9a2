"""What bad input gets: a message that says what to do, an exit code, nothing written and nothing lost."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from tests.cli.conftest import MODEL, Call, Tune, last, refused
from tests.conftest import Command, write_pictures


def only_one_class(imgs: Path) -> None:
    shutil.rmtree(imgs / "bee")


def empty(imgs: Path) -> None:
    shutil.rmtree(imgs)
    imgs.mkdir()


def loose(imgs: Path) -> None:
    for place, file in enumerate(sorted(imgs.rglob("*.png"))):
        file.rename(imgs / f"{place}.png")
    for name in ("ant", "bee"):
        (imgs / name).rmdir()


def foreign_class_in_val(imgs: Path) -> None:
    empty(imgs)
    write_pictures(imgs, {"train/ant": 3, "train/bee": 3, "val/ant": 2, "val/cow": 2})


def single_pictures(imgs: Path) -> None:
    empty(imgs)
    write_pictures(imgs, {"ant": 1, "bee": 1})


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (shutil.rmtree, ["there is no folder"]),
        (empty, ["nothing that could be a class", "make one folder a class"]),
        (loose, ["20 pictures but no class folders"]),
        (only_one_class, ["has one class, 'ant'"]),
        (foreign_class_in_val, ["has classes that", "train lacks: cow"]),
        (single_pictures, ["no picture for validation"]),
    ],
)
def test_folders_that_cannot_be_trained_on(
    call: Call, pictures: Path, tmp_path: Path, harm: Callable[[Path], None], words: list[str]
) -> None:
    harm(pictures)
    refused(call(), 3, *words)
    assert not (tmp_path / "runs").exists()


def test_every_file_that_cannot_be_read_is_listed(call: Call, pictures: Path, tmp_path: Path) -> None:
    (pictures / "ant" / "notes.jpg").write_text("buy milk")
    (pictures / "ant" / "none.jpg").touch()
    Image.effect_noise((90, 90), 50).save(pictures / "bee" / "short.jpg")
    cut = (pictures / "bee" / "short.jpg").read_bytes()[:1000]
    (pictures / "bee" / "short.jpg").write_bytes(cut)
    os.mkfifo(pictures / "bee" / "pipe.jpg")
    told = call()
    refused(told, 3, "4 of 24 pictures cannot be used", "mend them or move them away")
    for line in ("notes.jpg   a text file", "none.jpg   empty", "short.jpg   cut off after 1,000", "pipe.jpg   not an"):
        assert f"/{line}" in told.err
    assert not (tmp_path / "runs").exists()
    assert (pictures / "bee" / "short.jpg").read_bytes() == cut


def test_pictures_of_every_kind_are_fine(tune: Tune, pictures: Path, zoo_command: Command) -> None:
    kinds = pictures / "bee"
    Image.new("L", (50, 40), 90).save(kinds / "grey.jpg")
    Image.new("RGBA", (50, 40), (0, 0, 255, 90)).save(kinds / "alpha.png")
    Image.new("RGB", (50, 40), (0, 0, 255)).convert("P").save(kinds / "palette.gif")
    Image.fromarray(numpy.full((40, 50), 40000, dtype=numpy.uint16)).save(kinds / "deep.png")
    Image.new("CMYK", (1, 1)).save(kinds / "one pixel.jpg")
    run = tune()
    listed = json.loads((run / "data.json").read_text())
    assert len(listed["train"]) + len(listed["val"]) == 25
    assert len(json.loads(zoo_command("predict", run, kinds, "--json", "-j", 0).out)["predictions"]) == 15


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--epochs", 0], ["epochs is 0; it must be 1 or more"]),
        (["--lr", "abc"], ["--lr is 'abc'; it takes a number", "zoo finetune --help"]),
        (["--lr", -1], ["lr is -1.0; it must be above 0"]),
        (["--lr", "nan"], ["lr is nan; it takes a finite number"]),
        (["--lr", "inf"], ["lr is inf; it takes a finite number"]),
        (["--wd", -0.5], ["wd is -0.5; it must be 0 or more"]),
        (["--batch-size", 0], ["batch-size is 0; it must be 1 or more"]),
        (["--img-size", -5], ["img-size is -5"]),
        (["--img-size", "64x0"], ["img-size is [64, 0]; it must be 8 or more"]),
        (["--img-size", "64x48x3"], ["img-size is '64x48x3'; it takes a whole number, or two"]),
        (["-j", -1], ["-j is -1"]),
        (["--seed", -1], ["seed is -1"]),
        (["--warmup-epochs", -1], ["warmup-epochs is -1"]),
        (["--opt", "adm"], ["adm", "adamw"]),
        (["--keep", "bets"], ["keep is 'bets'; it takes best, last and every:N"]),
        (["--keep", "every:0"], ["keep is 'every:0'"]),
        (["--head", "lienar"], ["lienar", "near: linear"]),
        (["--recipe", "liner-probe"], ["liner-probe", "linear-probe"]),
        (["--recipe", "absent.toml"], ["there is no recipe absent.toml"]),
        (["--set", "label-smoothin=0.1"], ["label-smoothin is unknown; near: label-smoothing"]),
        (["--set", "label-smoothing"], ["is no KEY=VALUE"]),
        (["--set", "wd=a lot"], ["wd is 'a lot'; it takes a number"]),
        (["--set", "classes=[5, 6]"], ["classes is [5, 6]; it takes a list of names"]),
        (["--freeze", "layr4.*"], ["--freeze 'layr4.*' matches no parameter"]),
        (["--freeze", "featres.*"], ["near: 'features.*'"]),
        (["--freeze", "*"], ["freezes every parameter", "nothing would be trained"]),
        (["--freeze", "features.*", "--unfreeze", "features.*"], ["leaves nothing frozen"]),
        (["--freeze", ""], ["--freeze is ''; it is empty; policies: none, backbone"]),
        (["--unfreeze", "last:1"], ["it takes nothing out, as freeze is none"]),
        (["--patience", 11], ["--patience is 11, and no stage has more than"]),
        (["--warmup-epochs", 20], ["--warmup-epochs is 20, and the run has"]),
        (["--set", "momentum=0.9"], ["opt adamw takes none", "sgd, rmsprop, muon"]),
        (["--classes", "3"], ["--classes is 3, and", "has 2 classes: ant, bee"]),
        (["--classes", "ant,cow"], ["--classes names cow"]),
        (["--img-size", 8], ["cannot take pictures of 8 × 8"]),
        (["--name", "a/b"], ["--name 'a/b' is no name of a folder"]),
        (["--name", ".."], ["--name '..' is no name of a folder"]),
        (["--weights", "IMAGENET1K_V9"], ["IMAGENET1K_V9", "IMAGENET1K_V1"]),
        (["--colour", "red"], ["--colour", "--help"]),
    ],
)
def test_what_cannot_be_meant(call: Call, tmp_path: Path, flags: list[object], words: list[str]) -> None:
    refused(call(*flags), 2, *words)
    assert not (tmp_path / "runs").exists()


def test_a_model_with_a_typo(zoo_command: Command, pictures: Path) -> None:
    refused(
        zoo_command("finetune", "resnet81", "--data", pictures),
        2,
        "'resnet81'",
        "near: torchvision:resnet18",
        "zoo list",
    )
    refused(zoo_command("finetune", "timn:resnet18", "--data", pictures), 2, "no source is called 'timn'")
    refused(zoo_command("finetune", "--data", pictures), 2, "there is no model to train")
    refused(zoo_command("finetune", MODEL), 2, "there is no data to train on")


def test_a_size_that_a_vit_cannot_take(zoo_command: Command, pictures: Path, tmp_path: Path) -> None:
    flags = ["--weights", "none", "--img-size", 100, "--data", pictures, "--out", tmp_path / "runs"]
    told = zoo_command("finetune", "torchvision:vit_b_32", *flags)
    refused(told, 2, "torchvision:vit_b_32 cannot take pictures of 100 × 100", "--img-size")
    assert not (tmp_path / "runs").exists()


def test_all_mistakes_of_a_recipe_are_told(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'opt = "adm"\nbatchsize = 3\n[[stages]]\nfreeze = "none"\nepochs = 0\nlr = "fast"\n'
    )
    told = call("--recipe", tmp_path / "mine.toml")
    refused(told, 2, "mine.toml has 4 mistakes", "opt is 'adm'; it takes adamw, adam, sgd", "near: batch-size")
    refused(told, 2, "stages.0.epochs is 0", "stages.0.lr is 'fast'; it takes a number")
    (tmp_path / "mine.toml").write_text("opt = \n")
    refused(call("--recipe", tmp_path / "mine.toml"), 2, "is no TOML")


def test_a_checkpoint_of_another_architecture(call: Call, tune: Tune, zoo_command: Command, pictures: Path) -> None:
    run = tune()
    other = ["finetune", "shufflenet_v2_x0_5", "--data", pictures, "--out", run.parent, "--weights"]
    for weights in (last(run), last(run) / "model.safetensors"):
        refused(zoo_command(*other, weights), 4, "do not fit the model", "give weights of this architecture")
    assert [each.name for each in run.parent.iterdir()] == [run.name]
    torch.save({"weight": print}, run.parent / "evil.pth")
    refused(call("--weights", run.parent / "evil.pth"), 4, "is refused", "print")
    refused(call("--weights", "absent.pth"), 4, "does not exist")


def test_a_file_in_the_wrong_flag_is_told_as_what_it_is(zoo_command: Command, tmp_path: Path) -> None:
    head, recipe = tmp_path / "head.toml", tmp_path / "recipe.toml"
    assert zoo_command("heads", "copy", "mlp", head).code == 0
    assert zoo_command("recipes", "copy", "quick", recipe).code == 0
    for flag, file, told in (("--head", recipe, "is a recipe, not a head"), ("--recipe", head, "is a head, not a")):
        result = zoo_command("finetune", MODEL, "--data", tmp_path, flag, file)
        assert result.code == 2
        assert told in result.err


def test_a_policy_that_is_nearly_one_is_told_before_any_model_is_loaded(
    zoo_command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("zoo.sources.loading.build", lambda *_, **__: pytest.fail("a model was built"))
    for words in (["finetune", MODEL, "--data", tmp_path], ["summary", MODEL]):
        for policy, near in (("bakcbone", "near: backbone"), ("untl:features.3", "near: until:PATH")):
            result = zoo_command(*words, "--freeze", policy)
            assert result.code == 2
            assert near in result.err
