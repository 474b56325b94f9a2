"""What must hold of a run after anything happened to it; each check says what does not, which a control can see."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zoo
from tests.faults.rig import Unbroken, contents, hidden
from tests.finetuning.conftest import Listener, rows_of
from zoo import files
from zoo.checkpoint import reading
from zoo.errors import CheckpointError, ZooError


def told(run: Path) -> list[str]:
    """The checkpoints that the run's log calls complete."""
    if not (run / "log.jsonl").exists():
        return []
    lines = (run / "log.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.partition('"name": "')[2].partition('"')[0] for line in lines if '"event": "checkpoint"' in line]


def survey(run: Path, control: Unbroken, promised: Sequence[str] = ()) -> list[str]:
    """What is wrong with the checkpoints of a run that was broken off; `promised` are those known to be complete."""
    found = reading.checkpoints_of(run)
    wrong = []
    for folder in sorted(run.glob("epoch-*")):
        try:
            damaged = files.damaged(folder)
        except (OSError, ValueError) as error:
            wrong.append(f"{folder.name} lies there without a manifest: {error}")
            continue
        if damaged:
            wrong.append(f"{folder.name} is not what its manifest says: {damaged}")
        elif contents(folder) != control.legal.get(folder.name):
            wrong.append(f"{folder.name} is none of the states that the run was in")
    places = [control.names.index(each.folder.name) for each in found if each.folder.name in control.names]
    if places != sorted(places):
        wrong.append("the newest checkpoint is not the last one")
    due = max((control.names.index(name) for name in (*promised, *told(run))), default=-1)
    if max(places, default=-1) < due:
        wrong.append(f"{control.names[due]} was complete, and nothing as new is left")
    if found:
        wrong += loads(found[-1].folder)
    return wrong


def loads(checkpoint: Path) -> list[str]:
    """What is wrong with a checkpoint when somebody wants its model."""
    try:
        zoo.load_checkpoint(checkpoint)
    except ZooError as error:
        return [f"{checkpoint.name} does not load: {error.message}"]
    return []


def goes_on(run: Path, control: Unbroken, **given: Any) -> list[str]:
    """What is wrong when a run is resumed: it must end as the unbroken one did, bit for bit, with nothing left over."""
    if not reading.checkpoints_of(run):
        return starts_again(run, control)
    try:
        resumed = zoo.resume(run, **given)
    except ZooError as error:
        return [f"resuming fails: {error.message}"]
    wrong = []
    if hidden(run):
        wrong.append(f"left over: {[path.name for path in hidden(run)]}")
    for one, other in ((resumed.last, control.run.last), (resumed.best, control.run.best)):
        if one.name != other.name or contents(one) != contents(other) or files.damaged(one):
            wrong.append(f"{one.name} of the resumed run is not {other.name} of the unbroken one")
    if rows_of(run) != control.rows:
        wrong.append("the rows of metrics.csv are others")
    ours, theirs = ({path.name for path in place.iterdir()} for place in (run, control.run.folder))
    # A kill after the last save may leave the checkpoint that was to go, which is as good as any.
    if theirs - ours or ours - theirs - control.legal.keys():
        wrong.append(f"the run's folder holds other things: {sorted(ours ^ theirs)}")
    return wrong


def starts_again(run: Path, control: Unbroken) -> list[str]:
    """A run that was killed before it had a checkpoint says so, and the same command begins it anew."""
    if run.exists():
        try:
            zoo.resume(run)
            return ["a run without a checkpoint goes on from somewhere"]
        except CheckpointError as error:
            if not any(word in error.message for word in ("no complete checkpoint", "is no run")):
                return [f"a run without a checkpoint says: {error.message}"]
    try:
        control.start(run.parent, name=run.name, overwrite=True)
    except ZooError as error:
        return [f"a run without a checkpoint cannot be begun again: {error.message}"]
    if left := hidden(run.parent):
        return [f"left over: {[path.name for path in left]}"]
    return survey(run, control)


def passed_over(run: Path, newest: str) -> list[str]:
    """What is wrong when a run whose newest checkpoint is damaged goes on: it must say so and take one before."""

    class Enough(Exception):  # noqa: N818 - ends the run where it would train
        """Nothing needs to be trained."""

    class Asking(Listener):
        def planned(self, plan: Any) -> None:
            raise Enough

    listener = Asking()
    try:
        zoo.resume(run, reporter=listener)
    except Enough:
        pass
    except ZooError as error:
        return [f"resuming fails: {error.message}"]
    said = [note for note in listener.notes if newest in note and "passed over" in note]
    came = [note for note in listener.notes if note.startswith("going on from")]
    if any(note == f"going on from {newest}" for note in came) or not came:
        return [f"the damaged {newest} is gone on from"]
    return [] if said else [f"nobody is told that {newest} is damaged"]
