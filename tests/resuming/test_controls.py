"""The comparison of two runs can fail: one thing lost on the way makes another run. And what is frozen is not lost."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tests.finetuning.conftest import weights_of
from tests.resuming.conftest import TINY, run_stopped, stopped, tiny, unlike
from zoo import seeding
from zoo.checkpoint import reading
from zoo.data import loading
from zoo.errors import Stopped
from zoo.finetuning import reopening, resuming, running
from zoo.finetuning.position import Position
from zoo.training import loop

Patch = pytest.MonkeyPatch
OTHER_SEED = 1_000_003


def other_seed_for_one_step(patch: Patch) -> None:
    def derive(seed: int, *purpose: str | int) -> int:
        return seeding.derive(OTHER_SEED if purpose == ("step", 7) else seed, *purpose)

    patch.setattr(loop, "derive", derive)


def other_seed_for_one_picture(patch: Patch) -> None:
    def derive(seed: int, *purpose: str | int) -> int:
        return seeding.derive(OTHER_SEED if purpose[:2] == ("sample", 2) and purpose[2] == 3 else seed, *purpose)

    patch.setattr(loading, "derive", derive)


def other_order(patch: Patch) -> None:
    order = loading.Batches._order
    patch.setattr(loading.Batches, "_order", lambda self, epoch: order(self, epoch + 100 * (self.seed is not None)))


def a_batch_skipped_too_few(patch: Patch) -> None:
    start = loading.Batches.start
    patch.setattr(
        loading.Batches, "start", lambda self, epoch, skip=0: start(self, epoch, skip - 1 if skip == 2 else skip)
    )


def optimizer_state_lost(patch: Patch) -> None:
    patch.setattr(running, "restore_optimizer", lambda *_, **__: None)


def position_without(**lost: Any) -> Callable[[Patch], None]:
    position_of = resuming.position_of

    def harm(patch: Patch) -> None:
        patch.setattr(resuming, "position_of", lambda *given: dataclasses.replace(position_of(*given), **lost))

    return harm


def statistics_lost(patch: Patch) -> None:
    load = reopening.load_checkpoint

    def without(*given: Any, **named: Any) -> torch.nn.Module:
        model = load(*given, **named)
        model.norm.reset_running_stats()  # type: ignore[union-attr,operator]
        return model

    patch.setattr(reopening, "load_checkpoint", without)


def schedule_restarted(patch: Patch) -> None:
    schedule_of = running.schedule_of
    patch.setattr(
        running, "schedule_of", lambda *given, **more: lambda step: schedule_of(*given, **more)(max(0, step - 5))
    )


def dropout_lost(patch: Patch) -> None:
    patch.setattr(reopening, "adjust", lambda *_: None)


LOSSES: dict[str, Callable[[Patch], None]] = {
    "the seed of one step": other_seed_for_one_step,
    "the seed of one picture": other_seed_for_one_picture,
    "the order of the pictures": other_order,
    "one step of the epoch": a_batch_skipped_too_few,
    "the optimizer's state": optimizer_state_lost,
    "the count of steps": position_without(step=0),
    "the figures of the epoch so far": position_without(tally=None),
    "the best score": position_without(best_score=None, best_epoch=None),
    "the rows": position_without(rows=[]),
    "the batch norm's statistics": statistics_lost,
    "the course of the learning rate": schedule_restarted,
    "the share of dropout": dropout_lost,
}


@pytest.fixture(scope="module")
def unbroken(imgs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo.finetune(**tiny(imgs, tmp_path_factory.mktemp("unbroken"))).folder


@pytest.mark.parametrize("lost", LOSSES)
def test_a_run_that_lost_one_thing_is_not_the_same_run(
    imgs: Path, tmp_path: Path, monkeypatch: Patch, unbroken: Path, lost: str
) -> None:
    folder = run_stopped(tiny(imgs, tmp_path), at_step=5)
    LOSSES[lost](monkeypatch)
    zoo.resume(folder)
    assert unlike(folder, unbroken) != []


def test_a_run_that_lost_nothing_is_the_same_run(imgs: Path, tmp_path: Path, unbroken: Path) -> None:
    folder = run_stopped(tiny(imgs, tmp_path), at_step=5)
    zoo.resume(folder)
    assert unlike(folder, unbroken) == []


@pytest.mark.parametrize("opt", ["adamw", "sgd"])
def test_what_is_frozen_never_moves(imgs: Path, tmp_path: Path, opt: str) -> None:
    """Parameters, statistics and counters, over epochs, over a stop and over a resume; the rest does."""
    torch.manual_seed(0)
    frozen_part = {"freeze": "conv.*,norm.*", "settings": {"dropout": 0.0}}
    given = tiny(imgs, tmp_path, **frozen_part, opt=opt, wd=0.5, keep="every:1")
    before = zoo.load(TINY, ["ant", "bee"]).state_dict()
    folder = run_stopped(given, at_step=2)
    begun = weights_of(folder / "epoch-0001-step-0002")
    with pytest.raises(Stopped):
        zoo.resume(folder, reporter=stopped(at_step=3))
    zoo.resume(folder)
    ended = weights_of(folder / "epoch-0003")
    frozen = [name for name in before if name.startswith(("conv.", "norm."))]
    assert any("running_mean" in name for name in frozen)
    for name in frozen:
        assert torch.equal(begun[name], ended[name]), name
    assert not torch.equal(begun["fc.weight"], ended["fc.weight"])


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "policy"), [("mobilenet_v2", "until:features.10"), ("squeezenet1_1", "backbone")])
def test_what_is_frozen_of_a_real_model_never_moves(
    assets: Path, imgs: Path, tmp_path: Path, weights: str, policy: str
) -> None:
    given: dict[str, Any] = {"model": weights, "weights": assets / "weights" / weights / f"{weights}.pth"}
    folder = run_stopped(
        {**tiny(imgs, tmp_path, opt="sgd", wd=0.5, img_size=64, settings={"dropout": 0.0}), **given, "freeze": policy},
        at_step=5,
    )
    zoo.resume(folder)
    before = torch.load(given["weights"], weights_only=True)
    ended, frozen = weights_of(folder / "epoch-0003"), reading.read_facts(folder / "epoch-0003")["frozen"]
    held = [name for name in ended if name.rpartition(".")[0] in frozen["held"]]
    assert set(frozen["parameters"]) <= set(before)
    assert [name for name in {*held, *frozen["parameters"]} if not torch.equal(ended[name], before[name])] == []
    if weights == "mobilenet_v2":
        assert len([name for name in held if "running" in name]) > 50
        assert not torch.equal(ended["features.17.conv.1.1.running_mean"], before["features.17.conv.1.1.running_mean"])


def test_stopped_after_every_single_step(imgs: Path, tmp_path: Path, unbroken: Path) -> None:
    folder = run_stopped(tiny(imgs, tmp_path), at_step=1)
    for _ in range(8):
        with pytest.raises(Stopped):
            zoo.resume(folder, reporter=stopped(at_step=1))
    zoo.resume(folder)
    assert unlike(folder, unbroken) == []


def test_a_position_holds_all_that_it_is_made_of() -> None:
    """What a position forgets to write down would be lost on resume."""
    assert Position().to_values().keys() == {each.name for each in dataclasses.fields(Position)}
