"""Recipes: read, checked all at once, overridden, and written so that they repeat a run."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from zoo import catalog, recipe
from zoo.errors import UsageError
from zoo.recipe import Recipe, Stage

TWO_STAGES = Recipe(stages=(Stage(freeze="backbone", epochs=4), Stage(epochs=6, lr=2e-4)), name="two")


def complaint(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        recipe.parse(text, "mine.toml", "mine")
    return str(caught.value)


def refusal(given: dict[str, Any], base: Recipe = TWO_STAGES) -> str:
    with pytest.raises(UsageError) as caught:
        recipe.override(base, given)
    return str(caught.value)


def test_all_mistakes_are_told_at_once_with_near_matches() -> None:
    text = 'bacth-size = 8\nopt = "adem"\nwd = -1\nkeep = "worst"\n[[stages]]\nfreze = "none"\nepochs = 1.5\n'
    assert complaint(text).split("\n  ") == [
        "the recipe mine.toml has 8 mistakes:",
        "bacth-size is unknown; near: batch-size",
        "opt is 'adem'; it takes adamw, adam, sgd, nadam, radam, rmsprop, adagrad, adadelta, adamax, asgd, adafactor, "
        "rprop, muon; near: adam, radam, nadam",
        "wd is -1; it must be 0 or more",
        "keep is 'worst'; it takes best, last and every:N, separated by commas",
        "stages.0.freze is unknown; near: freeze, unfreeze",
        "stages.0.epochs is 1.5; it takes a whole number",
        "stages.0 needs 'freeze'",
        "stages.0 needs 'lr'",
    ]


@pytest.mark.parametrize("text", ["", "stages = 3", "stages = []", "stages = [1]"])
def test_a_recipe_needs_a_stage(text: str) -> None:
    assert "it needs at least one [[stages]]" in complaint(text)


def test_a_key_at_the_wrong_level_is_told_where_it_belongs() -> None:
    text = complaint('lr = 1.0\n[[stages]]\nfreeze = "none"\nepochs = 1\nlr = 1.0\nopt = "sgd"\n')
    assert "lr belongs to a stage" in text
    assert "stages.0.opt belongs to the whole recipe" in text


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("epochs", 0, "it must be 1 or more"),
        ("epochs", True, "it takes a whole number"),
        ("lr", 0, "it must be above 0"),
        ("lr", float("nan"), "it takes a finite number"),
        ("lr", float("inf"), "it takes a finite number"),
        ("lr", "fast", "it takes a number"),
        ("label-smoothing", 1, "it must be below 1"),
        ("seed", 2**63, "it must be 9223372036854775807 or less"),
        ("img-size", 4, "it must be 8 or more"),
        ("img-size", 20_000, "it must be 16384 or less"),
        ("device", "gpu", "it takes auto, cpu, cuda, cuda:N or mps"),
        ("sched", "stairs", "it takes cosine, constant, linear, one-cycle, step"),
        ("sched", "cosin", "; near: cosine"),
        ("opt", "adm", "; near: adam"),
        ("opt", "lbfgs", "it calls the model many times within a step"),
        ("opt", "SparseAdam", "it takes sparse gradients alone"),
        ("clip-grad", -1, "it must be 0 or more"),
        ("erasing", 1.5, "it must be 1 or less"),
        ("gamma", 0, "it must be above 0"),
        ("classes", "ant,bee", "it takes a list of names"),
        ("classes", [1, 2], "it takes a list of names"),
        ("allow-partial", 1, "it takes true or false"),
        ("img-size", [224], "it takes a whole number, or two: height and width"),
        ("img-size", [224, 160, 3], "or two: height and width"),
        ("img-size", [224, 0], "it must be 8 or more"),
        ("img-size", [224, [160, 1]], "it takes a whole number"),
        ("img-size", "224y160", "or two: height and width"),
        ("epoch", 3, "near: epochs"),
        ("zzz", 3, "keys: "),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(key: str, value: object, words: str) -> None:
    text = refusal({key: value})
    assert text.startswith(key)
    assert words in text


def test_all_mistakes_of_flags_are_told_at_once() -> None:
    text = refusal({"lr": -1, "keep": "worst", "augment": "heavy"})
    assert text.startswith("3 mistakes:")
    assert all(f"\n  {key} is " in text for key in ("lr", "keep", "augment"))


@pytest.mark.parametrize("given", [{"nesterov": True}, {"nesterov": True, "opt": "sgd", "momentum": 0}])
def test_keys_that_do_not_go_together_are_told(given: dict[str, Any]) -> None:
    assert "nesterov is a way of sgd with momentum" in refusal(given)
    assert recipe.override(TWO_STAGES, {"nesterov": True, "opt": "sgd"}).nesterov


@pytest.mark.parametrize("key", ["gamma", "step-every", "stages.0.gamma"])
def test_what_no_schedule_uses_is_refused_where_it_was_asked_for(key: str) -> None:
    with pytest.raises(UsageError, match="is for sched step"):
        recipe.resolve("fine-tune", {key: 1})
    assert recipe.resolve("fine-tune", {key: 1, "sched": "step"}).stages[0].sched == "step"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"stages.0.gamma": 0.5, "stages.1.sched": "step"}, "gamma is for sched step, and that stage has another"),
        (
            {"step-every": 6, "sched": "step"},
            "step-every is 6, and no stage has more than 6 epochs, so no drop comes",
        ),
        (
            {"stages.0.step-every": 4, "sched": "step"},
            "stages.0.step-every is 4, and that stage has 4 epochs, so no drop comes",
        ),
        ({"stages.0.patience": 5}, "stages.0.patience is 5, and that stage has 4 epochs, so it could never end it"),
        ({"mixup": 0.4, "batch-size": 1}, "mixup is 0.4, and a batch of one picture has no two to mix"),
        ({"cutmix": 1, "batch-size": 1}, "cutmix is 1, and a batch of one picture has no two to mix"),
    ],
)
def test_what_no_step_or_stage_would_use_is_refused_where_it_was_asked_for(given: dict[str, Any], words: str) -> None:
    assert words in refusal(given)


def test_what_some_step_or_stage_uses_is_taken_and_a_recipe_keeps_what_it_has() -> None:
    assert recipe.override(TWO_STAGES, {"step-every": 5, "sched": "step"}).stages[1].step_every == 5
    assert recipe.override(TWO_STAGES, {"stages.0.gamma": 0.5, "stages.0.sched": "step"}).stages[0].gamma == 0.5
    assert recipe.override(TWO_STAGES, {"stages.1.patience": 5}).stages[1].patience == 5
    assert recipe.override(TWO_STAGES, {"mixup": 0.0, "batch-size": 1}).batch_size == 1
    stages = (Stage(sched="step", step_every=3, patience=3),)
    kept = recipe.override(Recipe(stages, mixup=0.4), {"epochs": 2, "batch-size": 1})
    assert (kept.stages[0].step_every, kept.stages[0].patience, kept.mixup) == (3, 3, 0.4)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"momentum": 0.5},
            "momentum is 0.5, and opt adamw takes none.\n  optimizers that take it: sgd, rmsprop, muon",
        ),
        ({"momentum": 0.5, "opt": "rprop"}, "opt rprop takes none"),
        ({"wd": 0.1, "opt": "rprop"}, "wd is 0.1, and opt rprop knows no weight decay"),
    ],
)
def test_what_the_optimizer_does_not_take_is_refused_where_it_was_asked_for(given: dict[str, Any], words: str) -> None:
    assert words in refusal(given)
    assert recipe.override(TWO_STAGES, {"momentum": 0.5, "opt": "rmsprop"}).momentum == 0.5
    assert recipe.override(TWO_STAGES, {"wd": 0.0, "opt": "rprop"}).opt == "rprop"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"opt": "sgd"}, True),
        ({"opt": "sgd", "lr": 0.1}, False),
        ({"opt": "sgd", "stages.1.lr": 0.1}, False),
        ({"opt": "radam"}, False),
        ({"opt": "adamw"}, False),
        ({"epochs": 4}, False),
    ],
)
def test_rates_that_were_chosen_for_another_optimizer_are_told(given: dict[str, Any], told: bool) -> None:
    said = "lr 0.001, 0.0002 was chosen for adamw, and sgd mostly wants another: zoo lr-find suggests one"
    resolved = recipe.resolve(TWO_STAGES, given)
    assert resolved.notes == ((said,) if told else ())
    assert "notes" not in recipe.to_values(resolved)
    assert recipe.resolve(dataclasses.replace(TWO_STAGES, opt="sgd"), given | {"opt": "sgd"}).notes == ()


def test_a_warm_up_or_a_patience_that_never_ends_is_refused() -> None:
    with pytest.raises(UsageError, match="warmup-epochs is 5, and stage 1 has 4 epochs"):
        recipe.resolve(TWO_STAGES, {"warmup-epochs": 5})
    with pytest.raises(UsageError, match="warmup-epochs is 2, and the run has 1 epoch"):
        recipe.resolve("quick", {"epochs": 1, "warmup-epochs": 2})
    assert recipe.resolve(TWO_STAGES, {"warmup-epochs": 4}).stages[0].warmup_epochs == 4
    with pytest.raises(UsageError, match="patience is 7, and no stage has more than 6 epochs, so it could end none"):
        recipe.resolve(TWO_STAGES, {"patience": 7})
    patient = recipe.resolve(TWO_STAGES, {"patience": 6})
    assert recipe.resolve(patient, {"epochs": 2}).stages[0].patience == 6, "a recipe keeps what it has"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"stages.0.freeze": ""}, "stages.0.freeze is ''; it is empty; policies: none, backbone, until:PATH"),
        ({"stages.0.freeze": "frist:2"}, "there is no word frist:…; near: first:N"),
        ({"stages.0.freeze": f"first:{'9' * 5000}"}, "first:N takes a number of blocks"),
        ({"stages.0.freeze": "first:0"}, "first:N takes a number of blocks, 1 or more"),
        ({"stages.0.freeze": "first:two"}, "first:N takes a number of blocks"),
        ({"stages.0.freeze": "until: "}, "until:PATH takes the name of a module"),
        ({"stages.0.freeze": "none, first:2"}, "it contradicts itself"),
        ({"stages.0.unfreeze": "none"}, "stages.0.unfreeze is 'none'; it takes nothing out"),
        ({"stages.1.unfreeze": "last:1"}, "stages.1.unfreeze is 'last:1'; it takes nothing out, as freeze is none"),
    ],
)
def test_a_policy_that_is_wrong_for_every_model_is_told_by_the_recipe(given: dict[str, Any], words: str) -> None:
    assert words in refusal(given)
    text = f'[[stages]]\nfreeze = "{given.get("stages.0.freeze", "none")}"\nepochs = 1\nlr = 1\nunfreeze = "none"\n'
    assert "unfreeze is 'none'; it takes nothing out" in complaint(text)


@pytest.mark.parametrize("policy", ["backbone", "until:layer3, norm", "first:2,from:layer4", "features.*", "a:b.*"])
def test_a_policy_that_a_model_may_know_is_left_to_it(policy: str) -> None:
    assert recipe.override(TWO_STAGES, {"stages.0.freeze": policy}).stages[0].freeze == policy


def test_pieces_of_pictures_are_of_a_class_and_numbers_are_not() -> None:
    assert "regression has none; take mixup" in refusal({"task": "regression", "cutmix": 1})
    assert recipe.override(TWO_STAGES, {"task": "regression", "mixup": 1}).mixup == 1
    assert recipe.override(TWO_STAGES, {"task": "multi-label", "cutmix": 1}).cutmix == 1


def test_a_stage_key_is_set_in_every_stage_or_in_one() -> None:
    assert [stage.lr for stage in recipe.override(TWO_STAGES, {"lr": 0.5}).stages] == [0.5, 0.5]
    assert [stage.lr for stage in recipe.override(TWO_STAGES, {"stages.1.lr": 0.5}).stages] == [1e-3, 0.5]


@pytest.mark.parametrize("key", ["freeze", "unfreeze"])
def test_what_differs_between_stages_needs_the_stage(key: str) -> None:
    assert f"set stages.0.{key} or another" in refusal({key: "features.*"})
    assert getattr(recipe.override(TWO_STAGES, {f"stages.0.{key}": "a.*"}).stages[0], key) == "a.*"


@pytest.mark.parametrize("key", ["stages.2.lr", "stages.x.lr", "stages.0.opt", "stages.0", "stages.².lr"])
def test_a_stage_that_is_not_there_is_told(key: str) -> None:
    assert "stages go from 0 to 1" in refusal({key: 1})


@pytest.mark.parametrize(
    ("total", "parts", "expected"),
    [(20, (4, 6), [8, 12]), (2, (1, 100), [1, 1]), (7, (1, 1, 1), [3, 2, 2]), (3, (50, 1, 1), [1, 1, 1])],
)
def test_epochs_are_shared_out_in_proportion(total: int, parts: tuple[int, ...], expected: list[int]) -> None:
    base = Recipe(stages=tuple(Stage(epochs=part) for part in parts))
    shared = recipe.override(base, {"epochs": total})
    assert [stage.epochs for stage in shared.stages] == expected
    assert shared.epochs == total


@pytest.mark.parametrize("name", catalog.names("recipes"))
def test_fewer_epochs_than_stages_are_refused_with_how_many_are_needed(name: str) -> None:
    base = recipe.find(name)
    needed = len(base.stages)
    assert recipe.override(base, {"epochs": needed}).epochs == needed
    if needed > 1:
        text = refusal({"epochs": needed - 1}, base)
        assert f"epochs is {needed - 1}; the recipe has {needed} stages" in text
        assert f"give {needed} or more" in text


def test_overriding_changes_nothing_else_and_remembers_what_was_given() -> None:
    changed = recipe.override(TWO_STAGES, {"batch-size": 8})
    assert changed == dataclasses.replace(TWO_STAGES, batch_size=8)
    assert recipe.override(changed, {"lr": 1.0}).flags == ("batch-size", "lr")
    assert TWO_STAGES.batch_size == 32


@pytest.mark.parametrize("keep", ["best", "last", "best,last", "every:5", "best, every:2"])
def test_keep_takes_best_last_and_every_so_many(keep: str) -> None:
    assert recipe.override(TWO_STAGES, {"keep": keep}).keep == keep


@pytest.mark.parametrize("keep", ["", "all", "every", "every:0", "every:-1", "every:x", "best:2", "best,,last"])
def test_keep_takes_nothing_else(keep: str) -> None:
    assert "best, last and every:N" in refusal({"keep": keep})


FINE = recipe.find("fine-tune")


def test_what_goes_wrong_with_a_right_recipe_was_given() -> None:
    assert refusal({"unfreeze": "layer4"}, FINE).startswith(
        "unfreeze is 'layer4'; it takes nothing out, as freeze is none"
    )
    assert refusal({"nesterov": True}, FINE).startswith("nesterov is a way of sgd")
    several = refusal({"unfreeze": "layer4", "nesterov": True}, FINE)
    assert several.startswith("2 mistakes:")
    assert "recipe" not in several


def test_a_warm_up_that_one_cycle_exceeds_anyway_is_refused() -> None:
    for epochs in (0.5, 3.0):
        said = refusal({"sched": "one-cycle", "warmup-epochs": epochs}, FINE)
        assert said.startswith(f"warmup-epochs is {epochs:g}, and sched one-cycle rises over 30 % of its steps")
    assert recipe.resolve("fine-tune", {"sched": "one-cycle", "warmup-epochs": 3.5}).stages[0].warmup_epochs == 3.5
    assert recipe.resolve("fine-tune", {"sched": "one-cycle"}).stages[0].warmup_epochs == 0.5
    assert recipe.resolve("fine-tune", {"sched": "one-cycle", "warmup-epochs": 0.0}).stages[0].sched == "one-cycle"


def test_the_policy_suggests_the_recipe() -> None:
    assert recipe.resolve(None, {"freeze": "backbone"}).name == "linear-probe"
    assert recipe.resolve(None, {"freeze": " backbone,norm"}).name == "linear-probe"
    assert recipe.resolve(None, {"freeze": "until:layer3", "lr": None}).name == "fine-tune"
    # What is taken out of the backbone has a rate of its own.
    reopened = recipe.resolve(None, {"freeze": "backbone", "unfreeze": "layer4.*"})
    assert (reopened.name, reopened.stages[0].backbone_lr) == ("fine-tune", 2e-4)
    assert recipe.resolve("probe-then-fine-tune", {}).epochs == 10


@pytest.mark.parametrize("name", catalog.names("recipes"))
def test_a_preset_says_what_it_is_good_for_and_how_it_is_run(name: str) -> None:
    assert recipe.find(name).summary
    assert catalog.text("recipes", name).startswith(f"# zoo finetune resnet18 --recipe {name} ")


@pytest.mark.parametrize("name", catalog.names("recipes"))
def test_what_a_run_writes_down_gives_the_same_recipe_again(name: str, tmp_path: Path) -> None:
    given = {"model": "timm:resnet18", "classes": ["ant", "bee\n", 'c"d'], "dropout": 0.5, "seed": 3, "lr": 1e-30}
    resolved = recipe.resolve(name, given)
    (tmp_path / "run.toml").write_text(recipe.to_toml(resolved, "zoo finetune"), encoding="utf-8")
    again = recipe.find(str(tmp_path / "run.toml"))
    assert again == resolved
    assert again.name == name


def test_a_recipe_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"near: linear-probe(?s:.*)recipes: bitfit, fine-tune"):
        recipe.find("linear-prob")
    with pytest.raises(UsageError, match=r"there is no recipe .*mine\.toml(?s:.*)recipes: bitfit, fine-tune"):
        recipe.find(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize("content", [b"lr == 3", b"\x89PNG\r\n\x1a\n\xff"])
def test_a_file_that_is_no_recipe_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(UsageError, match=r"the recipe .*mine\.toml is no (TOML|text)"):
        recipe.find(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.5", 0.5), ("3", 3), ("true", True), ("cosine", "cosine"), ('["a", "b"]', ["a", "b"]), ("a = b", "a = b")],
)
def test_a_value_of_the_command_line_means_what_it_would_in_the_file(text: str, value: object) -> None:
    assert recipe.value_of(text) == value


def test_a_size_is_a_number_or_height_and_width() -> None:
    """A pair of one number is that number, so that a resumed run finds it unchanged."""
    text = '[[stages]]\nfreeze = "none"\nepochs = 1\nlr = 1.0\n'
    sizes = {"64": 64, "[64, 48]": (64, 48), "[64, 64]": 64}
    for written, size in sizes.items():
        read = recipe.parse(f"img-size = {written}\n{text}", "mine.toml", "mine")
        assert read.img_size == size
        assert recipe.parse(recipe.to_toml(read, "again"), "again.toml", "again").img_size == size
        assert recipe.override(TWO_STAGES, {"img-size": size}).img_size == size
    assert recipe.to_values(recipe.override(TWO_STAGES, {"img-size": (64, 48)}))["img-size"] == [64, 48]


def test_a_policy_replaces_what_a_recipe_takes_out_of_its_own() -> None:
    assert recipe.find("surgical").stages[0].unfreeze
    (stage,) = recipe.resolve("surgical", {"freeze": "backbone"}).stages
    assert (stage.freeze, stage.unfreeze) == ("backbone", None)
    for given in ({"freeze": "backbone", "unfreeze": "last:1"}, {"unfreeze": "last:1", "freeze": "backbone"}):
        (stage,) = recipe.resolve("surgical", given).stages
        assert (stage.freeze, stage.unfreeze) == ("backbone", "last:1")
