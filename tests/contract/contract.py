"""The contract of every model, from loading to a library's own model that takes the saved file."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import zoo
from zoo import freezing
from zoo.freezing.order import RunningOrder
from zoo.registry import entry

from . import keeping
from .drawing import OneBlock
from .plain import Plain
from .subjects import CLASSES, Subject, pictures


@dataclass(frozen=True)
class Outcome:
    """What was looked at in a model that keeps the contract."""

    policies: int
    control: bool
    """Whether the control could fail, because something in the backbone goes by the mode."""
    appended: bool
    size: tuple[int, int]


def check(subject: Subject, folder: Path, plain: Plain, *, places: int | None = None) -> Outcome:
    """Put a model through the contract; raises AssertionError for the first point that it breaks."""
    torch.manual_seed(0)
    model, given, order = loaded(subject)
    tried = keeping.policies(model, order, places)
    keeping.check_other_head(model)
    for policy in tried:
        keeping.check_policy(model, policy, given, order)
    control = keeping.check_control(model, given, order)
    zoo.freeze(model, "none", order=order)
    _check_saved(subject, model, given, folder, plain)
    appended = _check_append(subject, given)
    return Outcome(len(tried), control, appended, (given.shape[2], given.shape[3]))


def loaded(subject: Subject) -> tuple[nn.Module, Tensor, RunningOrder]:
    """The model with a head, pictures as small as it takes and can train on, and its running order."""
    reason = ""
    for size in (*subject.sizes, None):
        try:
            with OneBlock():
                model = subject.load(CLASSES, size=size)
        except zoo.UsageError as error:
            reason = str(error)
            continue
        usual = zoo.spec_of(model).preprocessing.size
        given = pictures((size, size) if size else usual)
        try:
            # Norms over a batch need more than one value, and windows more than one place.
            with torch.no_grad():
                assert keeping.scores(model.train(), given).shape == (2, CLASSES)
            return model, given, freezing.observe(model, given[:1])
        # Models refuse sizes in their own ways.
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            reason = f"{type(error).__name__}: {error}"
            if size is None:
                raise
    raise AssertionError(reason)


def _check_saved(subject: Subject, model: nn.Module, given: Tensor, folder: Path, plain: Plain) -> None:
    """The file of the trained model loads strictly in its library's own model, which gives the same scores."""
    target = folder / "checkpoint"
    zoo.save_checkpoint(target, model)
    with torch.no_grad():
        seen = {"pictures": given, "scores": keeping.scores(model.eval(), given).contiguous()}
    assert seen["scores"].shape == (2, CLASSES)
    safetensors.torch.save_file(seen, target / "seen.safetensors")
    lines = subject.lines.format(classes=CLASSES, more=subject.keywords(model))
    outcome = plain.outcome(lines, target)
    shutil.rmtree(target)
    assert outcome == "same", f"without zoo: {outcome}"


def _check_append(subject: Subject, given: Tensor) -> bool:
    size = given.shape[2] if given.shape[2] in subject.sizes else None
    known = entry(subject.source, subject.name)
    if known is None or not known.lacks_classifier:
        with OneBlock():
            original = subject.load(None, size=size)
        keeping.check_append(original, given)
        return True
    for classes, mode in ((None, "replace"), (CLASSES, "append")):
        with pytest.raises(zoo.UsageError, match="comes without a classifier, so there is none to"):
            subject.load(classes, size=size, mode=mode)
    return False
