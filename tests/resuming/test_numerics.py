"""Numbers that are none, and errors in the middle of a step: what was good stays, and the run can go on from there."""

import json
import math
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from tests.conftest import Command, write_pictures
from tests.finetuning.conftest import Listener, press_ctrl_c, weights_of
from tests.resuming.conftest import contents, finetune_arguments, stopped, tiny, unlike
from zoo.checkpoint import reading
from zoo.data import loading
from zoo.errors import NumericsError, Stopped, UsageError
from zoo.finetuning.reporting import Reporter
from zoo.seeding import derive
from zoo.training import loop

NAN, INF = float("nan"), float("inf")


@dataclass
class Spoiler(Listener):
    """Acts on the model when training begins, and notes the weights after every step."""

    spoil: Callable[[nn.Module], object] = lambda _: None
    weights: list[dict[str, Tensor]] = field(default_factory=list)

    def planned(self, plan: Any) -> None:
        super().planned(plan)
        self.spoil(plan.model)
        inner = self.at_step
        self.at_step = {step: lambda step=step: self._note(inner.get(step, lambda: None)) for step in range(1, 10)}

    def _note(self, then: Callable[[], object]) -> None:
        assert self.plan is not None
        self.weights.append({name: value.clone() for name, value in self.plan.model.state_dict().items()})
        then()


def at_training_call(number: int, act: Callable[[Any], Any]) -> Callable[[nn.Module], object]:
    """Change what the model returns in its training pass of this number, counted from 0."""

    def spoil(model: nn.Module) -> object:
        calls = iter(range(10_000))

        def hook(module: nn.Module, given: Any, output: Tensor) -> Any:
            return act(output) if module.training and next(calls) == number else output

        return model.register_forward_hook(hook)

    return spoil


def loss(value: float) -> Callable[[nn.Module], object]:
    return at_training_call(4, lambda output: output * value)


def gradient(value: float) -> Callable[[nn.Module], object]:
    def act(output: Tensor) -> Tensor:
        output.register_hook(lambda gradient: torch.full_like(gradient, value))
        return output

    return at_training_call(4, act)


def batch_of(run: Path, step: int) -> list[str]:
    """The pictures of a step of the tiny run, worked out anew from the seed and `data.json`."""
    listing = json.loads((run / "data.json").read_text(encoding="utf-8"))
    generator = torch.Generator().manual_seed(derive(0, "order", step // 3))
    order = torch.randperm(len(listing["train"]), generator=generator).tolist()[step % 3 * 4 : step % 3 * 4 + 4]
    return [str(Path(listing["root"]) / listing["train"][place][0]) for place in order]


@pytest.mark.parametrize("amp", ["off", "bf16"])
@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (loss(NAN), "the loss is nan"),
        (loss(INF), "the loss is (nan|inf)"),
        (gradient(NAN), "a gradient is nan"),
        (gradient(INF), "a gradient is (nan|inf)"),
    ],
    ids=["loss-nan", "loss-inf", "gradient-nan", "gradient-inf"],
)
def test_a_number_that_is_none_is_found_before_the_optimizer_steps(
    imgs: Path, tmp_path: Path, spoil: Callable[[nn.Module], object], what: str, amp: str
) -> None:
    heard = Spoiler(spoil=spoil)
    with pytest.raises(NumericsError, match=rf"{what} at step 5, (?s:.)*try a smaller --lr") as raised:
        zoo.finetune(**tiny(imgs, tmp_path, amp=amp), reporter=heard)
    assert raised.value.exit_code == 6
    run = tmp_path / "run"
    assert heard.plan is not None
    assert len(heard.weights) == 4
    for name, value in heard.plan.model.state_dict().items():
        assert torch.equal(value, heard.weights[-1][name]), f"{name} is not as after the last good step"
    (left,) = reading.checkpoints_of(run)
    assert left.folder.name == "epoch-0001"
    assert all(value.isfinite().all() for value in weights_of(left.folder).values())
    told = json.loads((run / "numerics.json").read_text(encoding="utf-8"))
    assert told["pictures"] == batch_of(run, 4)
    assert (told["epoch"], told["step"]) == (2, 5)
    assert str(run / "numerics.json") in str(raised.value)
    zoo.resume(run)
    assert unlike(run, zoo.finetune(**tiny(imgs, tmp_path, "unbroken", amp=amp)).folder) == []


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("value", [NAN, INF])
def test_a_picture_whose_tensor_is_no_number_is_among_those_that_are_named(
    imgs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zoo_command: Command, value: float, workers: int
) -> None:
    get = loading.Pictures.__getitem__

    def bad(self: loading.Pictures, key: tuple[int, int]) -> tuple[Tensor, int]:
        picture, label = get(self, key)
        return (picture * value if key == (1, 5) else picture), label

    monkeypatch.setattr(loading.Pictures, "__getitem__", bad)
    result = zoo_command(*finetune_arguments(imgs, tmp_path, "run", "-j", workers))
    assert result.code == 6
    assert "Traceback" not in result.err
    run = tmp_path / "run"
    told = json.loads((run / "numerics.json").read_text(encoding="utf-8"))
    name = json.loads((run / "data.json").read_text(encoding="utf-8"))["train"][5][0]
    assert str(imgs.resolve() / name) in told["pictures"]
    assert told["pictures"] == batch_of(run, told["step"] - 1)
    monkeypatch.setattr(loading.Pictures, "__getitem__", get)
    zoo.resume(run)
    assert unlike(run, zoo.finetune(**tiny(imgs, tmp_path, "unbroken")).folder) == []


def spoil_a_weight(heard: Listener, value: float = NAN) -> None:
    assert heard.plan is not None
    with torch.no_grad():
        heard.plan.model.fc.weight[0, 0] = value


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("step", [4, 5, 6, 9])
def test_a_weight_that_is_no_number_after_a_step_never_comes_into_a_checkpoint(
    imgs: Path, tmp_path: Path, step: int, value: float
) -> None:
    """Within an epoch the next step finds it, at its end the validation."""
    heard = Listener()
    heard.at_step = {step: lambda: spoil_a_weight(heard, value)}
    with pytest.raises(NumericsError) as raised:
        zoo.finetune(**tiny(imgs, tmp_path, keep="every:1"), reporter=heard)
    assert raised.value.exit_code == 6
    run = tmp_path / "run"
    found = reading.checkpoints_of(run)
    assert [each.folder.name for each in found] == [f"epoch-{number + 1:04d}" for number in range((step - 1) // 3)]
    assert all(value.isfinite().all() for each in found for value in weights_of(each.folder).values())
    zoo.resume(run)
    assert unlike(run, zoo.finetune(**tiny(imgs, tmp_path, "unbroken", keep="every:1")).folder) == []


@pytest.mark.parametrize("how", ["signal", "every-step"])
def test_a_spoilt_weight_is_not_saved_even_when_a_checkpoint_is_asked_for_at_once(
    imgs: Path, tmp_path: Path, how: str
) -> None:
    heard = Listener()
    more = {"save_every": "1steps"} if how == "every-step" else {}
    heard.at_step = {5: lambda: (spoil_a_weight(heard), press_ctrl_c() if how == "signal" else None)}
    with pytest.raises(NumericsError, match=r"fc\.weight holds nan at step 5"):
        zoo.finetune(**tiny(imgs, tmp_path, **more), reporter=heard)
    run = tmp_path / "run"
    newest = reading.checkpoints_of(run)[-1].folder
    assert newest.name == ("epoch-0001" if how == "signal" else "epoch-0002-step-0001")
    told = json.loads((run / "numerics.json").read_text(encoding="utf-8"))
    assert told["pictures"] == batch_of(run, 4), "the pictures of the step that spoilt it"
    assert (told["epoch"], told["step"], told["step_in_epoch"]) == (2, 5, 2)
    zoo.resume(run)
    assert zoo.load_checkpoint(run)


@pytest.mark.parametrize(("every", "within"), [("never", ""), ("1steps", "epoch-0002-step-0002")])
def test_a_validation_loss_that_is_no_number_ends_the_run_before_it_is_saved(
    imgs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: str, within: str
) -> None:
    evaluate, calls = loop.evaluate, iter(range(10))

    def bad(model: nn.Module, batches: Any, objective: Any, tally: Any, *given: Any) -> bool:
        whole = evaluate(model, batches, objective, tally, *given)
        tally.loss = NAN if next(calls) == 1 else tally.loss
        return whole

    monkeypatch.setattr(loop, "evaluate", bad)
    with pytest.raises(NumericsError, match="the loss on the validation pictures is nan after epoch 2") as raised:
        zoo.finetune(**tiny(imgs, tmp_path, save_every=every))
    run = tmp_path / "run"
    (newest,) = [each.folder.name for each in reading.checkpoints_of(run) if each.folder.name != "epoch-0001"] or [""]
    assert newest == within
    assert (f"{within} was saved within it" in str(raised.value)) is bool(within)
    assert "numerics.json" not in str(raised.value), "no step of the training is to blame"
    assert zoo.resume(run).epochs == 3


@pytest.mark.parametrize("opt", ["sgd", "adamw"])
@pytest.mark.parametrize("lr", [1e6, 1e30])
def test_a_rate_that_is_far_too_high_leaves_no_weight_on_the_disk_that_is_no_number(
    imgs: Path, tmp_path: Path, opt: str, lr: float
) -> None:
    with pytest.raises(NumericsError, match=r"rate was 1e\+"):
        zoo.finetune(**tiny(imgs, tmp_path, lr=lr, opt=opt, epochs=6, sched="constant", save_every="1steps"))
    for found in reading.checkpoints_of(tmp_path / "run"):
        for value in weights_of(found.folder).values():
            assert value.isfinite().all()


def test_a_weight_decay_that_is_far_too_high_is_named_beside_the_rate(imgs: Path, tmp_path: Path) -> None:
    with pytest.raises(NumericsError) as raised:
        zoo.finetune(**tiny(imgs, tmp_path, wd=1e10, epochs=6, sched="constant"))
    assert "and the weight decay 1e+10: try a smaller --wd or --lr" in raised.value.hints[0]
    with pytest.raises(NumericsError) as raised:
        zoo.finetune(**tiny(imgs, tmp_path, "other", lr=1e30, wd=0.05, epochs=6, sched="constant"))
    assert "weight decay" not in raised.value.hints[0]


def test_a_loss_that_never_changes_is_no_error(imgs: Path, tmp_path: Path) -> None:
    heard = Spoiler(spoil=lambda model: model.register_forward_hook(lambda _, __, output: output * 0))
    run = zoo.finetune(**tiny(imgs, tmp_path), reporter=heard)
    assert [row["train_loss"] for row in heard.rows] == [pytest.approx(math.log(2))] * 3
    assert run.epochs == 3


@pytest.mark.parametrize("policy", ["*", "conv.*,norm.*,fc.*"])
def test_nothing_to_train_is_told_before_anything_is_written(imgs: Path, tmp_path: Path, policy: str) -> None:
    with pytest.raises(UsageError):
        zoo.finetune(**tiny(imgs, tmp_path / "runs", freeze=policy))
    assert not (tmp_path / "runs").exists()


def test_one_picture_a_step_and_a_last_step_of_one_are_told_or_left_out(tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "odd", {"ant": 7, "bee": 6})
    assert zoo.finetune(**tiny(data, tmp_path, batch_size=3, img_size=16)).epochs == 3


# What follows is about errors that have nothing to do with numbers.


class BrokenError(RuntimeError):
    pass


def once(number: int, call: Callable[..., Any], after: bool = False) -> Callable[..., Any]:
    """The same function, whose call of this number, counted from 0, fails before or after its work."""
    calls = iter(range(10_000))

    def failing(*given: Any, **more: Any) -> Any:
        fails = next(calls) == number
        if fails and not after:
            raise BrokenError("the machine went down")
        result = call(*given, **more)
        if fails:
            raise BrokenError("the machine went down")
        return result

    return failing


@dataclass
class FailingReporter(Reporter):
    """Fails in one of the things that it is told."""

    at: str
    number: int

    def __post_init__(self) -> None:
        if self.at in ("epoch", "saved", "finished"):
            setattr(self, self.at, once(self.number, getattr(self, self.at)))

    @contextmanager
    def progress(self, what: str, total: int) -> Any:
        fails = what.startswith("epoch 2") if self.at == "step" else what == self.at and self.number == 0
        self.number -= what == self.at
        yield once(1 if self.at == "step" else 0, lambda _: None) if fails else lambda _: None


def in_the_forward_pass(heard: Any, patch: pytest.MonkeyPatch) -> None:
    """After the batch norm has taken the batch into its statistics."""
    patch.setattr(loop, "logits_of", once(5, loop.logits_of))


def in_the_backward_pass(heard: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(loop, "_check_gradients", once(4, loop._check_gradients))


def in_the_data_loader(heard: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(loading.Pictures, "__getitem__", once(25, loading.Pictures.__getitem__))


def in_a_reporter(at: str, number: int) -> Callable[[Any, pytest.MonkeyPatch], None]:
    def break_it(heard: Any, patch: pytest.MonkeyPatch) -> None:
        heard.append(FailingReporter(at, number))

    return break_it


ERRORS: dict[str, tuple[Callable[[Any, pytest.MonkeyPatch], None], str]] = {
    "forward": (in_the_forward_pass, "epoch-0002-step-0001"),
    "backward": (in_the_backward_pass, "epoch-0002-step-0001"),
    "loader": (in_the_data_loader, "epoch-0002-step-0002"),
    "reporter of a step": (in_a_reporter("step", 0), "epoch-0002-step-0002"),
    "reporter of validation": (in_a_reporter("validating", 1), "epoch-0002-step-0003"),
    "reporter of an epoch": (in_a_reporter("epoch", 1), "epoch-0002"),
    "reporter of a checkpoint": (in_a_reporter("saved", 1), "epoch-0002"),
}


@pytest.mark.parametrize("place", ERRORS)
@pytest.mark.parametrize("stages", [False, True], ids=["one-stage", "two-stages"])
def test_an_error_saves_the_last_complete_step_and_the_run_that_goes_on_is_the_same_run(
    imgs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, stages: bool
) -> None:
    break_it, name = ERRORS[place]
    more = {"recipe": "probe-then-fine-tune"} if stages else {}
    given = {**more, "keep": "best,every:2"}
    reporters: list[Reporter] = []
    with monkeypatch.context() as patch:
        break_it(reporters, patch)
        with pytest.raises(BrokenError):
            zoo.finetune(**tiny(imgs, tmp_path, **given), reporter=next(iter(reporters), None))
    run = tmp_path / "run"
    assert reading.checkpoints_of(run)[-1].folder.name == name
    heard = Listener()
    zoo.resume(run, reporter=heard)
    assert f"going on from {name}" in heard.notes
    assert unlike(run, zoo.finetune(**tiny(imgs, tmp_path, "unbroken", **given)).folder) == []


def test_an_error_while_the_optimizer_steps_saves_nothing_that_is_half_done(
    imgs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", once(4, torch.optim.AdamW.step, after=True))
        with pytest.raises(BrokenError):
            zoo.finetune(**tiny(imgs, tmp_path))
    run = tmp_path / "run"
    assert [each.folder.name for each in reading.checkpoints_of(run)] == ["epoch-0001"]
    zoo.resume(run)
    assert unlike(run, zoo.finetune(**tiny(imgs, tmp_path, "unbroken")).folder) == []


def test_an_error_in_the_first_step_leaves_a_run_that_can_begin_again(
    imgs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_check_gradients", once(0, loop._check_gradients))
        with pytest.raises(BrokenError):
            zoo.finetune(**tiny(imgs, tmp_path))
    assert reading.checkpoints_of(tmp_path / "run") == []
    zoo.finetune(**tiny(imgs, tmp_path), resume=True)
    assert unlike(tmp_path / "run", zoo.finetune(**tiny(imgs, tmp_path, "unbroken")).folder) == []


def test_an_error_before_the_first_step_of_a_run_that_goes_on_leaves_its_checkpoint_alone(
    imgs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = zoo.finetune(**tiny(imgs, tmp_path, epochs=1))
    before = contents(run.last)
    monkeypatch.setattr(loop, "logits_of", once(0, loop.logits_of))
    with pytest.raises(BrokenError):
        zoo.resume(run.folder, epochs=3)
    assert contents(run.last) == before
    assert reading.read_training(run.last)["metrics"] == run.metrics


def test_an_error_in_a_run_that_goes_on_is_saved_just_so(
    imgs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Stopped):
        zoo.finetune(**tiny(imgs, tmp_path), reporter=stopped(at_step=2))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "logits_of", once(4, loop.logits_of))
        with pytest.raises(BrokenError):
            zoo.resume(tmp_path / "run")
    before = contents(tmp_path / "run")
    assert any(name.startswith("epoch-0002-step-0002/") for name in before)
    zoo.resume(tmp_path / "run")
    assert unlike(tmp_path / "run", zoo.finetune(**tiny(imgs, tmp_path, "unbroken")).folder) == []
