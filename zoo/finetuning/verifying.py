"""Whether a run can be repeated: the steps before its newest checkpoint, trained again and compared bit for bit."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo import freezing
from zoo import recipe as recipes
from zoo.checkpoint import reading
from zoo.checkpoint.weights import read_tensors
from zoo.checkpoint.writing import TENSORS, Snapshot
from zoo.data.datasets import from_json
from zoo.data.finding import root_at
from zoo.errors import CheckpointError, Stopped
from zoo.files import DATA, RECIPE
from zoo.finetuning.comparing import machine_differences
from zoo.finetuning.explaining import explained
from zoo.finetuning.journal import NUMERICS, Journal
from zoo.finetuning.plan import Plan
from zoo.finetuning.position import Position, Told, machine_of, position_of, told
from zoo.finetuning.preparing import adjust, with_head
from zoo.finetuning.reporting import Reporter
from zoo.finetuning.running import Runner
from zoo.foreseeing import columns_of
from zoo.names import listed
from zoo.sources.checkpoints import load_checkpoint
from zoo.sources.loading import state_of
from zoo.training.devices import default_workers, machine, pick
from zoo.training.tasks import AnyMetrics
from zoo.units import some


class _Reached(Stopped):
    """The run stands where the checkpoint was saved."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__("reached")
        self.snapshot = snapshot


class _Rehearsal(Journal):
    """Writes nothing, and ends the run where a checkpoint of this name would be saved."""

    rescues = False

    def __init__(self, plan: Plan, name: str) -> None:
        super().__init__(plan, Reporter())
        self.name = name

    def log(self, event: str, **values: Any) -> None:
        """Nothing."""

    def epoch(self, at: Position, figures: AnyMetrics, better: bool) -> None:
        """Nothing."""

    def wants_epoch(self, at: Position, better: bool) -> bool:
        """Whether this is the place."""
        return at.name == self.name

    def wants_step(self, at: Position, *, last: bool) -> bool:
        """Whether this is the place."""
        return at.name == self.name

    def save(self, name: str, snapshot: Snapshot) -> None:
        """End the run with what it would have saved."""
        if name != self.name:
            raise Stopped("stopped; the run is as it was.")
        raise _Reached(snapshot)

    def numerics(self, at: Position, message: str, pictures: list[Path]) -> Path:
        """Nothing; the run itself wrote its list if it came to this."""
        return self.plan.folder / NUMERICS


def verify_newest(
    folder: Path, newest: Path, model: nn.Module | None, data: Path | None, base: Path | None, reporter: Reporter
) -> None:
    """Train from the checkpoint before the newest one, or from the start, up to it; tell that all is the same.

    `data` is where the pictures lie now, `base` where the weights of a delta.

    Raises CheckpointError that names what differs.
    """
    target = reading.read_training(newest)
    goal = position_of(target, newest)
    earlier = _before(folder, goal)
    if earlier is None and goal.since > 0:
        raise CheckpointError(
            f"{newest} cannot be verified: the run's settings were changed at step {goal.since}, and no checkpoint"
            " from then on is left to start from.",
            "--keep every:1 keeps them",
        )
    plan = _plan(folder, told(target, newest), earlier, model, data, base)
    state = reading.read_training(earlier) if earlier else None
    position = position_of(state, earlier) if state and earlier else Position()
    steps = goal.step - position.step
    start = earlier.name if earlier else "the start"
    reporter.note(f"verifying: {some(steps, 'step')} from {start} to {newest.name}, trained again")
    runner = Runner(plan, Reporter(), _Rehearsal(plan, goal.name), position, state)
    try:
        with explained(plan):
            runner.run()
    except Stopped as ended:
        if runner.stop or not isinstance(ended, _Reached):
            what = "stopped while it was verified; the run is as it was."
            raise Stopped(what, exit_code=runner.stop.exit_code) from None
        _compare(ended.snapshot, newest, target, machine(plan.device, plan.spec.source), base)
    else:
        raise CheckpointError(f"{newest} is not what its run gives: the run never comes to {goal.name}.")
    reporter.note(f"verified: {some(steps, 'step')} from {start} to {newest.name} came out the same, bit for bit")


def _before(folder: Path, goal: Position) -> Path | None:
    """The newest good checkpoint from before a position, since the run has had its present settings."""
    for found in reversed(reading.checkpoints_of(folder)):
        if goal.since <= position_of(found.training, found.folder).step < goal.step:
            try:
                reading.verify(found.folder)
            except CheckpointError:
                # A damaged one is no place to start from; resuming tells of it when it is the newest.
                continue
            return found.folder
    return None


def _plan(
    folder: Path, before: Told, checkpoint: Path | None, model: nn.Module | None, data: Path | None, base: Path | None
) -> Plan:
    # By what the checkpoint was told: the run's own recipe may have been edited since.
    kept = before.recipe
    recipe = recipes.from_values(kept, RECIPE) if kept else recipes.find(str(folder / RECIPE))
    listing = reading.read_json(folder / DATA)
    root = root_at(data, columns_of(recipe)) if data else None
    dataset = from_json(listing, str(folder / DATA), root)
    built = (
        load_checkpoint(checkpoint, model, base=base)
        if checkpoint
        else with_head(recipe, dataset, model, offline=False)
    )
    adjust(built, recipe)
    device = pick(recipe.device, recipe.amp, deterministic=recipe.deterministic)
    workers = recipe.workers if recipe.workers is not None else default_workers(device)
    return Plan(recipe, built, dataset, device, freezing.observe(built), folder, [], 0, workers, listing)


def _compare(
    snapshot: Snapshot, checkpoint: Path, training: dict[str, Any], here: dict[str, Any], base: Path | None
) -> None:
    spec = reading.read_config(checkpoint).spec
    weights = _differing(dict(snapshot.state), state_of(checkpoint, spec, base))
    place = checkpoint / TENSORS
    optimizer = _differing(snapshot.training.tensors, read_tensors(place) if place.is_file() else {})
    rows = _rows(snapshot.training.values["progress"]) != _rows(training["progress"])
    if not (weights or optimizer or rows):
        return
    what = [
        *([f"{len(weights)} weights ({listed(weights, 2)})"] if weights else []),
        *([f"{len(optimizer)} tensors of the optimizer"] if optimizer else []),
        *(["the rows of metrics.csv"] if rows else []),
    ]
    other = machine_differences(machine_of(training), here)
    raise CheckpointError(
        f"{checkpoint} is not what its run gives when it is repeated: {' and '.join(what)} differ.",
        f"the machine is another one: {'; '.join(other)}"
        if other
        else "something was changed since it was saved, or this device does not repeat its operations",
    )


def _differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    return [
        name
        for name in (one | other)
        if name not in one or name not in other or not torch.equal(one[name], other[name])
    ]


def _rows(progress: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows without the one figure that no two runs share."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in progress["rows"]]
