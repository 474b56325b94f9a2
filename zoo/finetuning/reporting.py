"""Who listens to a run: by default nobody, since from Python nothing is printed unless asked."""

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from zoo.finetuning.plan import Plan, Run

Advance = Callable[[str], None]


class Reporter:
    """Hears what a run does; this one keeps silent, and a printing one overrides what it wants to tell."""

    def note(self, text: str) -> None:
        """Something a person should know."""

    def progress(self, what: str, total: int) -> AbstractContextManager[Advance]:
        """A piece of work of so many parts; the body calls what it gets once a part, with a word on it."""
        return contextlib.nullcontext(_ignore)

    def planned(self, plan: Plan) -> None:
        """All is known and training begins."""

    def epoch(self, row: Mapping[str, Any], best: bool) -> None:
        """An epoch ended with these figures."""

    def saved(self, checkpoint: Path) -> None:
        """A checkpoint is complete; what listens may copy it elsewhere."""

    def finished(self, run: Run) -> None:
        """The run is done."""


def _ignore(_: str) -> None:
    return None
