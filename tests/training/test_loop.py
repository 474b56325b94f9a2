"""One epoch of training and one pass of evaluation, on a model small enough to follow."""

import contextlib
import random
from collections.abc import Callable

import numpy
import pytest
import torch
from torch import Tensor, nn

from zoo import seeding
from zoo.errors import NumericsError
from zoo.training import loop
from zoo.training.devices import Device
from zoo.training.metrics import Tally
from zoo.training.tasks import SingleLabel

CPU = Device(torch.device("cpu"), None)
SINGLE = SingleLabel(("ant", "bee"))


def batches(count: int = 3) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(4, 3, 2, 2, generator=generator), torch.randint(2, (4,), generator=generator))
        for _ in range(count)
    ]


def model_of(dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(12, 2))


def trainer_of(
    model: nn.Module,
    *,
    lr: float = 0.1,
    smoothing: float = 0.0,
    seed: int = 0,
    schedule: Callable[[int], float] = lambda _: 1.0,
) -> loop.Trainer:
    optimizer = torch.optim.SGD([{"params": list(model.parameters()), "lr": lr, "peak": lr}])
    return loop.Trainer(model, optimizer, CPU, None, schedule, SINGLE, smoothing, seed)


def train(trainer: loop.Trainer, given: list[tuple[Tensor, Tensor]], *, step: int = 0, stage_step: int = 0) -> Tally:
    tally = Tally(["ant", "bee"])
    losses = list(loop.train_steps(trainer, given, tally, step=step, stage_step=stage_step))
    assert len(losses) == len(given)
    return tally


def test_a_step_is_that_of_plain_pytorch() -> None:
    model, plain = model_of(), model_of()
    train(trainer_of(model, smoothing=0.2), batches())
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    for pictures, labels in batches():
        optimizer.zero_grad()
        nn.functional.cross_entropy(plain(pictures), labels, label_smoothing=0.2).backward()
        optimizer.step()
    for mine, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("sizes", [(4, 4, 4), (4, 4, 1), (3, 3)])
def test_batches_that_are_added_up_are_one_batch_of_all_their_pictures(sizes: tuple[int, ...]) -> None:
    """The last one may be smaller, and weighs as many pictures as it has."""
    many = batches(3)
    parts = [(pictures[:size], labels[:size]) for (pictures, labels), size in zip(many, sizes, strict=False)]
    whole = [(torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]))]
    one, other = model_of(), model_of()
    trainer, tallies = trainer_of(one, smoothing=0.1), [Tally(["ant", "bee"]), Tally(["ant", "bee"])]
    trainer.accumulate = len(sizes)
    (loss,) = loop.train_steps(trainer, parts, tallies[0], step=0, stage_step=0)
    (expected,) = loop.train_steps(trainer_of(other, smoothing=0.1), whole, tallies[1], step=0, stage_step=0)
    assert loss == pytest.approx(expected, rel=1e-6)
    assert tallies[0].count == tallies[1].count == sum(sizes)
    assert tallies[0].metrics().loss == pytest.approx(tallies[1].metrics().loss, rel=1e-6)
    assert not torch.equal(one[2].weight, model_of()[2].weight)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-7)


def test_a_step_is_so_many_batches_and_the_last_one_of_an_epoch_what_is_left() -> None:
    asked: list[int] = []
    trainer = trainer_of(model_of(), schedule=lambda step: asked.append(step) or 1.0)  # type: ignore[func-returns-value]
    trainer.accumulate = 2
    assert len([*loop.train_steps(trainer, batches(5), Tally(["ant", "bee"]), step=0, stage_step=3)]) == 3
    assert asked == [3, 4, 5]


def test_a_failure_within_a_step_of_several_batches_leaves_all_as_it_was_before_the_step() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    given = batches(3)
    given[2][0][0, 0] = float("nan")
    trainer, tally = trainer_of(model), Tally(["ant", "bee"])
    trainer.accumulate = 3
    with pytest.raises(NumericsError):
        list(loop.train_steps(trainer, given, tally, step=0, stage_step=0))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert tally.count == 0


@pytest.mark.parametrize(("limit", "cut"), [(1e-3, True), (1e3, False)])
def test_long_gradients_are_cut_to_the_norm_that_is_given(limit: float, cut: bool) -> None:
    model, plain = model_of(), model_of()
    trainer = trainer_of(model)
    trainer.clip_grad = limit
    train(trainer, batches(1))
    ((pictures, labels),) = batches(1)
    nn.functional.cross_entropy(plain(pictures), labels).backward()
    norm = nn.utils.clip_grad_norm_(plain.parameters(), limit)
    assert (float(norm) > limit) is cut
    for mine, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert theirs.grad is not None
        assert torch.equal(mine.detach(), theirs.detach().add(theirs.grad, alpha=-0.1))


def test_under_a_gradient_scaler_sums_are_cut_by_their_own_length() -> None:
    """Not by that of the scaled ones."""
    one, other = model_of(), model_of()
    for model, scaler in ((one, None), (other, torch.amp.GradScaler("cpu", init_scale=1024.0))):
        trainer = trainer_of(model)
        trainer.scaler, trainer.clip_grad, trainer.accumulate = scaler, 0.5, 2
        assert len([*loop.train_steps(trainer, batches(4), Tally(["ant", "bee"]), step=0, stage_step=0)]) == 2
    assert not torch.equal(one[2].weight, model_of()[2].weight)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_a_gradient_that_overflows_under_a_scaler_leaves_the_step_out() -> None:
    model = model_of()
    before = model[2].weight.detach().clone()
    model[2].weight.register_hook(lambda gradient: torch.full_like(gradient, float("inf")))
    trainer = trainer_of(model)
    trainer.scaler, trainer.clip_grad = torch.amp.GradScaler("cpu", init_scale=1024.0), 0.5
    train(trainer, batches(1))
    assert torch.equal(model[2].weight, before)
    assert trainer.scaler.get_scale() == 512.0


def test_a_gradient_that_is_no_number_is_found_before_it_is_cut_to_a_number() -> None:
    model = model_of()
    before = model[2].weight.detach().clone()
    model[2].weight.register_hook(lambda gradient: torch.full_like(gradient, 1e30))
    trainer = trainer_of(model)
    trainer.clip_grad = 1.0
    with pytest.raises(NumericsError, match="the norm of the gradients is inf"):
        train(trainer, batches())
    assert torch.equal(model[2].weight, before)


def test_the_rate_of_a_step_is_that_of_the_stage() -> None:
    asked: list[int] = []
    trainer = trainer_of(model_of(), schedule=lambda step: asked.append(step) or 0.5)  # type: ignore[func-returns-value]
    train(trainer, batches(), step=100, stage_step=7)
    assert asked == [7, 8, 9]
    assert trainer.optimizer.param_groups[0]["lr"] == 0.05


def test_a_step_is_seeded_by_its_number_in_the_run() -> None:
    def weights(step: int, seed: int = 0, noise: int = 0) -> Tensor:
        model = model_of(dropout=0.5)
        torch.manual_seed(noise)
        train(trainer_of(model, seed=seed), batches(1), step=step)
        return model[2].weight.detach()

    assert torch.equal(weights(5), weights(5, noise=1))
    assert not torch.equal(weights(5), weights(6))
    assert not torch.equal(weights(5), weights(5, seed=1))


def test_steps_done_apart_are_those_done_together() -> None:
    together, apart = model_of(dropout=0.5), model_of(dropout=0.5)
    train(trainer_of(together), batches())
    trainer = trainer_of(apart)
    train(trainer, batches()[:1], step=0)
    train(trainer, batches()[1:], step=1, stage_step=1)
    assert torch.equal(together[2].weight, apart[2].weight)


def test_a_loss_that_is_no_number_stops_before_the_weights_change() -> None:
    model = model_of()
    given = batches()
    given[1][0][0, 0] = float("nan")
    trainer, tally = trainer_of(model, lr=0.125), Tally(["ant", "bee"])
    good = model_of()
    train(trainer_of(good, lr=0.125), given[:1])
    steps = loop.train_steps(trainer, given, tally, step=10, stage_step=0)
    with pytest.raises(NumericsError, match=r"the loss is nan at step 12(?s:.)*learning rate was 0\.125") as raised:
        list(steps)
    assert raised.value.exit_code == 6
    assert tally.count == 4
    assert torch.equal(model[2].weight, good[2].weight)


def test_label_smoothing_changes_the_loss_as_its_definition_says() -> None:
    given = batches(1)
    plain, smooth = (train(trainer_of(model_of(), smoothing=share), given).metrics().loss for share in (0.0, 0.3))
    log_shares = model_of()(given[0][0]).log_softmax(dim=1)
    assert plain == pytest.approx(-log_shares[range(4), given[0][1]].mean().item())
    assert smooth == pytest.approx(0.7 * plain - 0.3 * log_shares.mean().item())


def test_an_evaluation_that_is_told_to_end_says_that_it_is_not_whole() -> None:
    tally = Tally(["ant", "bee"])
    assert not loop.evaluate(model_of(), batches(), SINGLE, tally, CPU, lambda: tally.count < 8)
    assert tally.count == 8
    assert loop.evaluate(model_of(), batches(), SINGLE, Tally(["ant", "bee"]), CPU)


def test_a_gradient_that_is_no_number_is_found_before_the_weights_change() -> None:
    model = model_of()
    before = model[2].weight.detach().clone()
    model[2].weight.register_hook(lambda gradient: gradient.clone().index_fill_(0, torch.tensor([1]), float("nan")))
    with pytest.raises(NumericsError, match="a gradient is nan at step 4"):
        train(trainer_of(model), batches(), step=3)
    assert torch.equal(model[2].weight, before)


def test_a_weight_that_is_no_number_is_found_even_where_no_loss_shows_it() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    model.unused = nn.Linear(1, 1)
    model.forward = lambda pictures: model[1](model[0](pictures))
    with torch.no_grad():
        model.unused.weight.fill_(float("inf"))
    with pytest.raises(NumericsError, match="a weight is inf at step 1"):
        train(trainer_of(model), batches())


def test_a_step_that_fails_leaves_the_statistics_as_they_were() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    given = batches()
    given[1][0][0, 0] = float("nan")
    whole = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    whole.load_state_dict(model.state_dict())
    train(trainer_of(whole), given[:1])
    with pytest.raises(NumericsError):
        train(trainer_of(model), given)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in model.state_dict().items())


def test_evaluation_changes_nothing_and_puts_the_mode_back() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Dropout(0.9), nn.Linear(12, 2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tallies = [Tally(["ant", "bee"]), Tally(["ant", "bee"])]
    for tally in tallies:
        loop.evaluate(model, batches(), SINGLE, tally, CPU)
    assert tallies[0].metrics() == tallies[1].metrics()
    assert tallies[0].count == 12
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    assert model[0].training
    model.eval()
    loop.evaluate(model, batches(), SINGLE, Tally(["ant", "bee"]), CPU)
    assert not model.training


def test_random_states_are_kept_around_what_seeds_them() -> None:
    def states() -> tuple[object, ...]:
        return torch.get_rng_state().tolist(), numpy.random.get_state()[1].tolist(), random.getstate()

    before = states()
    with contextlib.suppress(KeyError), loop.random_state_kept():
        loop.seed_everything(seeding.derive(3))
        assert states() != before
        raise KeyError
    assert states() == before


def test_a_gpu_that_a_run_started_goes_on_from_the_seed_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    with loop.random_state_kept():
        torch.manual_seed(4)
        with loop.random_state_kept():
            torch.manual_seed(5)
            monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
            monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
        monkeypatch.undo()
    assert seeds == [4]


def test_seeding_reaches_every_generator() -> None:
    with loop.random_state_kept():
        drawn = []
        for _ in range(2):
            loop.seed_everything(2**40 + 1)
            drawn.append((torch.rand(1).item(), numpy.random.rand(), random.random()))
    assert drawn[0] == drawn[1]
