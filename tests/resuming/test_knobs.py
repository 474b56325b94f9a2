"""Every knob of training, stopped within an epoch: the run that went on is the run that never stopped."""

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

import zoo
from tests.checkpoint.conftest import forge
from tests.finetuning.conftest import Listener, weights_of
from tests.resuming.conftest import Child, run_stopped, tiny, unlike
from zoo.data import loading
from zoo.finetuning import plan, resuming, running
from zoo.recipe import Opt
from zoo.training import loop, mixing

DEEP = "own:resuming-deep"


class Deep(nn.Module):
    """The tiny model with a layer that is a matrix within it, which muon is for."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout2d(0.2)
        self.inner = nn.Linear(8, 12)
        self.fc = nn.Linear(12, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.fc(self.inner(self.drop(self.norm(self.conv(pictures)).relu()).mean(dim=(2, 3))).relu())


@pytest.fixture(scope="module", autouse=True)
def _deep() -> None:
    zoo.register(DEEP.partition(":")[2], Deep, head_path="fc", input_size=(16, 16))


Unbroken = Callable[..., Path]


@pytest.fixture(scope="module")
def unbroken(imgs: Path, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """The folder of a run that was never stopped, made once for each of its settings."""
    made: dict[str, Path] = {}

    def run(**given: Any) -> Path:
        key = repr(sorted(given.items()))
        if key not in made:
            made[key] = zoo.finetune(**tiny(imgs, tmp_path_factory.mktemp("unbroken"), model=DEEP, **given)).folder
        return made[key]

    return run


@pytest.mark.parametrize("opt", get_args(Opt))
def test_each_optimizer_goes_on_as_if_it_had_never_stopped(
    imgs: Path, tmp_path: Path, unbroken: Unbroken, opt: str
) -> None:
    folder = run_stopped(tiny(imgs, tmp_path, model=DEEP, opt=opt), at_step=5)
    assert (folder / "epoch-0002-step-0002").is_dir()
    zoo.resume(folder)
    assert unlike(folder, unbroken(opt=opt)) == []


@pytest.mark.parametrize("opt", get_args(Opt))
def test_an_optimizer_that_lost_its_state_makes_another_run(
    imgs: Path, tmp_path: Path, unbroken: Unbroken, opt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_stopped(tiny(imgs, tmp_path, model=DEEP, opt=opt), at_step=5)
    monkeypatch.setattr(running, "restore_optimizer", lambda *_, **__: None)
    zoo.resume(folder)
    assert unlike(folder, unbroken(opt=opt)) != []


KNOBS: dict[str, dict[str, Any]] = {
    "linear": {"sched": "linear"},
    "one-cycle": {"sched": "one-cycle"},
    "step": {"sched": "step", "settings": {"step-every": 1, "gamma": 0.5}},
    "nesterov": {"opt": "sgd", "settings": {"nesterov": True}},
    "clip-grad": {"clip_grad": 0.05},
    "accumulate": {"batch_size": 2, "accumulate": 2},
    "ema": {"ema": 0.9},
    "mixup": {"mixup": 0.4},
    "cutmix": {"cutmix": 1.0},
    "both": {"mixup": 0.4, "cutmix": 1.0},
    "randaugment": {"augment": "randaugment", "settings": {"erasing": 0.5}},
    "trivial": {"augment": "trivial"},
    "img-size": {"img_size": (16, 24)},
}


@pytest.mark.parametrize("knob", KNOBS)
def test_each_knob_goes_on_as_if_it_had_never_stopped(
    imgs: Path, tmp_path: Path, unbroken: Unbroken, knob: str
) -> None:
    folder = run_stopped(tiny(imgs, tmp_path, model=DEEP, **KNOBS[knob]), at_step=5)
    zoo.resume(folder)
    assert unlike(folder, unbroken(**KNOBS[knob])) == []


@pytest.mark.parametrize("knob", KNOBS)
def test_each_knob_makes_another_run(unbroken: Unbroken, knob: str) -> None:
    """One that does nothing would pass every other test here."""
    plain = {"opt": KNOBS[knob]["opt"]} if "opt" in KNOBS[knob] else {}
    one, other = unbroken(**KNOBS[knob]), unbroken(**plain)
    assert "epoch-0003/model.safetensors" in unlike(one, other)


@pytest.mark.parametrize("knob", [each for each in KNOBS if each not in ("step", "nesterov")])
def test_a_knob_that_was_turned_meanwhile_is_shown_and_refused_unless_allowed(
    imgs: Path, tmp_path: Path, knob: str
) -> None:
    run_stopped(tiny(imgs, tmp_path, model=DEEP), at_step=5)
    given, settings = dict(KNOBS[knob]), KNOBS[knob].get("settings", {})
    given.pop("settings", None)
    turned = {**tiny(imgs, tmp_path, model=DEEP, settings=settings, **given), "resume": True}
    keys = [each.replace("_", "-") for each in (*given, *settings)]
    with pytest.raises(zoo.CheckpointError, match=rf"{keys[0]} .*→") as raised:
        zoo.finetune(**turned)
    assert f"--allow {','.join(keys)}" in str(raised.value).replace("erasing,augment", "augment,erasing")
    heard = Listener()
    assert zoo.finetune(**turned, allow=keys, reporter=heard).epochs == 3
    assert {note.split()[1] for note in heard.notes if note.startswith("changed: ")} == set(keys)


def test_an_average_that_is_forgotten_makes_another_run(
    imgs: Path, tmp_path: Path, unbroken: Unbroken, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_stopped(tiny(imgs, tmp_path, model=DEEP, ema=0.9), at_step=5)
    monkeypatch.setattr(running, "_put_back", lambda *_: None)
    zoo.resume(folder)
    assert unlike(folder, unbroken(ema=0.9)) != []


@pytest.mark.parametrize("at", [{"at_step": 4}, {"at_step": 5}, {"at_epoch": 1}, {"at_epoch": 2}])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_an_average_over_two_stages_goes_on_as_if_it_had_never_stopped(
    imgs: Path, tmp_path: Path, unbroken: Unbroken, at: dict[str, int], ema: float
) -> None:
    given: dict[str, Any] = {"recipe": "probe-then-fine-tune", "epochs": 4, "ema": ema}
    folder = run_stopped(tiny(imgs, tmp_path, model=DEEP, **given), **at)
    zoo.resume(folder)
    assert unlike(folder, unbroken(**given)) == []


@pytest.mark.parametrize(("step", "goes_on_from"), [(4, "epoch-0002-step-0001"), (5, "epoch-0002-step-0002")])
def test_a_kill_between_the_batches_of_a_step_falls_back_to_the_last_complete_one(
    imgs: Path, tmp_path: Path, unbroken: Unbroken, monkeypatch: pytest.MonkeyPatch, step: int, goes_on_from: str
) -> None:
    """Killed in the middle of a step of two batches, with a checkpoint after every step."""
    given: dict[str, Any] = {"batch_size": 2, "accumulate": 2, "ema": 0.9, "save_every": "1steps"}
    passes = iter(range(1000))
    scores = loop.logits_of

    def killed(output: Any) -> Tensor:
        # Two passes a step, and in each epoch two more to validate: this is the second pass of the step after `step`.
        if plan_training(output) and next(passes) == 2 * step + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return scores(output)

    def plan_training(output: Any) -> bool:
        return bool(output.requires_grad)

    def work() -> None:
        monkeypatch.setattr(loop, "logits_of", killed)
        zoo.finetune(**tiny(imgs, tmp_path, model=DEEP, **given))

    assert Child(tmp_path / "child").start(work).wait().code == -signal.SIGKILL
    heard = Listener()
    zoo.resume(tmp_path / "run", reporter=heard)
    assert f"going on from {goes_on_from}" in heard.notes
    assert unlike(tmp_path / "run", unbroken(**given)) == []


def mixes_otherwise(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(running, "Mixer", lambda mixup, cutmix: mixing.Mixer(cutmix, mixup))


def skips_batches_for_steps(patch: pytest.MonkeyPatch) -> None:
    epoch = loading.Loader.epoch
    patch.setattr(loading.Loader, "epoch", lambda self, number, skip=0: epoch(self, number, skip // 2))


def cuts_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(nn.utils, "clip_grads_with_norm_", lambda *_: None)


def begins_its_cycle_again(patch: pytest.MonkeyPatch) -> None:
    schedule_of = running.schedule_of
    patch.setattr(
        running, "schedule_of", lambda *given, **more: lambda step: schedule_of(*given, **more)(max(0, step - 5))
    )


def erases_nothing(patch: pytest.MonkeyPatch) -> None:
    made = plan.training_transform
    patch.setattr(plan, "training_transform", lambda preprocessing, augment, _: made(preprocessing, augment, 0.0))


LOST: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "both": mixes_otherwise,
    "accumulate": skips_batches_for_steps,
    "clip-grad": cuts_nothing,
    "one-cycle": begins_its_cycle_again,
    "randaugment": erases_nothing,
}


@pytest.mark.parametrize("knob", LOST)
def test_a_run_that_lost_a_knob_on_the_way_is_another_run(
    imgs: Path, tmp_path: Path, unbroken: Unbroken, knob: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_stopped(tiny(imgs, tmp_path, model=DEEP, **KNOBS[knob]), at_step=5)
    LOST[knob](monkeypatch)
    zoo.resume(folder)
    assert unlike(folder, unbroken(**KNOBS[knob])) != []


STUCK: dict[str, Any] = {"lr": 1e-12, "epochs": 9, "patience": 2}


@pytest.mark.parametrize("lost", [{}, {"waited": 0}, {"stage_score": None}])
def test_patience_goes_on_where_it_was_unless_it_is_forgotten(
    imgs: Path, tmp_path: Path, unbroken: Unbroken, monkeypatch: pytest.MonkeyPatch, lost: dict[str, Any]
) -> None:
    folder = run_stopped(tiny(imgs, tmp_path, model=DEEP, **STUCK), at_epoch=2)
    position_of = resuming.position_of
    monkeypatch.setattr(resuming, "position_of", lambda *given: dataclasses.replace(position_of(*given), **lost))
    zoo.resume(folder)
    assert bool(unlike(folder, unbroken(**STUCK))) is bool(lost)


@pytest.mark.parametrize("knob", ["ema", "accumulate", "both"])
def test_a_run_with_a_knob_can_be_repeated_from_a_checkpoint(imgs: Path, tmp_path: Path, knob: str) -> None:
    folder = zoo.finetune(**tiny(imgs, tmp_path, model=DEEP, keep="every:1", **KNOBS[knob])).folder
    heard = Listener()
    zoo.resume(folder, verify=True, reporter=heard)
    assert any("epoch-0003 came out the same, bit for bit" in note for note in heard.notes)


def test_a_weight_that_is_spoilt_beside_its_average_is_not_saved(imgs: Path, tmp_path: Path) -> None:
    """The average does not show it before the next step."""
    heard = Listener()

    def spoil() -> None:
        assert heard.plan is not None
        with torch.no_grad():
            heard.plan.model.fc.weight[0, 0] = float("nan")  # type: ignore[union-attr]
        signal.raise_signal(signal.SIGTERM)

    heard.at_step = {5: spoil}
    with pytest.raises(zoo.NumericsError, match=r"fc\.weight holds nan at step 5"):
        zoo.finetune(**tiny(imgs, tmp_path, model=DEEP, ema=0.9), reporter=heard)


@pytest.mark.parametrize(
    "raw",
    [
        "x",
        {"absent": {"$tensor": "training.raw.fc.bias"}},
        {"fc.weight": {"$tensor": "training.raw.fc.bias"}},
        {"fc.bias": 3},
    ],
)
def test_weights_beside_an_average_that_are_none_are_refused(imgs: Path, tmp_path: Path, raw: Any) -> None:
    folder = run_stopped(tiny(imgs, tmp_path, model=DEEP, ema=0.9), at_step=5)
    newest = folder / "epoch-0002-step-0002"
    values = json.loads((newest / "training.json").read_text(encoding="utf-8"))
    forge(newest, "training.json", json.dumps({**values, "raw": raw}))
    with pytest.raises(zoo.CheckpointError, match="cannot be put back"):
        zoo.resume(folder)


def test_a_checkpoint_from_before_there_were_these_knobs_goes_on(
    imgs: Path, tmp_path: Path, unbroken: Unbroken
) -> None:
    folder = run_stopped(tiny(imgs, tmp_path, model=DEEP), at_step=5)
    newest = folder / "epoch-0002-step-0002"
    values = json.loads((newest / "training.json").read_text(encoding="utf-8"))
    later = {"accumulate", "clip-grad", "ema", "mixup", "cutmix", "nesterov"}
    assert later <= values["settings"]["recipe"].keys()
    for key in later:
        del values["settings"]["recipe"][key]
    del values["settings"]["recipe"]["stages"][0]["patience"]
    del values["progress"]["waited"], values["progress"]["stage_score"], values["raw"]
    forge(newest, "training.json", json.dumps(values))
    zoo.resume(folder)
    ours, theirs = weights_of(folder / "epoch-0003"), weights_of(unbroken() / "epoch-0003")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
