"""A run on a model that the caller made: it is trained in place, and its head must suit the data."""

import tomllib
from pathlib import Path

import pytest
import torch
from torch import nn

import zoo
from tests.conftest import write_squares
from tests.finetuning.conftest import TINY, Listener, Train, same_weights, weights_of
from zoo.errors import UsageError


def tiny(classes: object = ("ant", "bee"), **given: object) -> nn.Module:
    torch.manual_seed(0)
    return zoo.load(TINY, classes, weights=None, **given)


def test_the_model_itself_is_trained(train: Train) -> None:
    model = tiny()
    before = model.fc.weight.detach().clone()
    run = train(model=model, augment="none")
    assert not torch.equal(model.fc.weight, before)
    saved = weights_of(run.last)
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())
    assert same_weights(train("again", model=tiny(), augment="none").last, run.last)


def test_a_wrapped_model_is_trained_inside_its_wrapper(train: Train) -> None:
    model = tiny()
    run = train(model=nn.DataParallel(model))
    assert torch.equal(model.fc.weight, weights_of(run.last)["fc.weight"])


def test_numbered_classes_get_the_names_of_the_folders(train: Train) -> None:
    model = tiny(2)
    train(model=model)
    assert zoo.spec_of(model).head.classes == ("ant", "bee")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (3, r"the model's head has 3 classes, and .*imgs has 2: ant, bee(?s:.)*zoo\.swap_head"),
        (None, "has the library's own classifier(?s:.)*classes="),
        (["bee", "ant"], "in another order than the data's: bee, ant"),
        (["cat", "dog"], r"the model's classes are cat, dog, and the data's are ant, bee(?s:.)*zoo\.swap_head"),
        (["cat", "bee"], r"the model's classes are cat, bee, and the data's are ant, bee"),
    ],
)
def test_a_head_that_does_not_suit_the_data_is_refused(
    train: Train, tmp_path: Path, classes: object, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        train(model=tiny(classes))
    assert not (tmp_path / "runs").exists()


def test_what_the_task_of_the_model_has_no_use_for_is_refused(train: Train, tmp_path: Path) -> None:
    given = {"data": write_squares(tmp_path / "squares", 20), "label_column": ["grey"]}
    with pytest.raises(UsageError, match="cutmix says which part of a picture is of which class"):
        train(model=tiny(["grey"], task="regression"), cutmix=1.0, **given)
    assert not (tmp_path / "runs").exists()
    assert train(model=tiny(["grey"], task="regression"), mixup=0.2, **given).metrics["loss"] > 0


def test_the_order_of_the_model_can_be_given(train: Train) -> None:
    run = train(model=tiny(["bee", "ant"]), classes=["bee", "ant"])
    assert tomllib.loads((run.folder / "run.toml").read_text())["classes"] == ["bee", "ant"]


def test_a_model_that_zoo_does_not_know_is_refused(train: Train) -> None:
    with pytest.raises(UsageError, match="zoo knows nothing about this Linear"):
        train(model=nn.Linear(3, 2))


@pytest.mark.parametrize("given", [{"head": "mlp"}, {"mode": "append"}, {"weights": "none"}])
def test_what_only_loading_can_do_is_refused(train: Train, given: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(given))} cannot be set here: the model is given as it is"):
        train(model=tiny(), **given)


def test_the_recipe_of_the_run_has_the_head_of_the_model(train: Train, tmp_path: Path) -> None:
    run = train(model=tiny(head="mlp", mode="append"))
    again = zoo.finetune(recipe=run.folder / "run.toml", out=tmp_path / "runs", name="again")
    assert weights_of(again.last).keys() == weights_of(run.last).keys()
    assert zoo.spec_of(zoo.load_checkpoint(again.last)).head == zoo.spec_of(zoo.load_checkpoint(run.last)).head


def test_a_head_put_in_by_hand_that_does_not_fit_is_told_before_anything_is_written(
    train: Train, tmp_path: Path
) -> None:
    model = tiny()
    zoo.replace_module(model, "fc", nn.Linear(8, 3))
    with pytest.raises(UsageError, match=r"gives scores of shape \(1, 3\), and its head is for 2 outputs"):
        train(model=model)
    assert not (tmp_path / "runs").exists()


def test_a_misfit_put_in_by_hand_is_not_blamed_on_the_size(train: Train) -> None:
    model = tiny()
    zoo.replace_module(model, "conv", nn.Conv2d(7, 7, 1))
    with pytest.raises(UsageError, match="it was changed at conv, which may be why"):
        train(model=model)


def test_a_changed_model_says_so_and_is_used_by_giving_one_that_is_changed_alike(train: Train, pictures: Path) -> None:
    def changed() -> nn.Module:
        model = tiny()
        zoo.insert_after(model, "conv", nn.Conv2d(8, 8, 1))
        return model

    heard = Listener()
    run = train(model=changed(), reporter=heard)
    assert any("the model was changed at conv: what its checkpoints are loaded into" in note for note in heard.notes)
    asked = {"workers": 0, "device": "cpu"}
    with pytest.raises(
        UsageError, match=r"which a checkpoint cannot build(?s:.*)zoo.resume, evaluate and predict take it"
    ):
        zoo.evaluate(run, pictures, **asked)
    whole = zoo.evaluate(run, pictures, changed(), **asked)
    alone = zoo.predict(run, pictures, changed(), **asked)
    hits = sum(each.best == each.path.parent.name for each in alone)
    assert whole.metrics["accuracy"] == pytest.approx(hits / len(alone))
