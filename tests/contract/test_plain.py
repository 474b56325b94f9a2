"""The process without zoo: what goes wrong in it costs one model, not those after it."""

from pathlib import Path

import pytest

from . import plain

BUILT = "import torch; model = torch.nn.Linear(2, 2)"


@pytest.mark.parametrize("lines", ["while True: pass", "import os; os._exit(3)"])
def test_a_process_that_hangs_or_dies_is_told_and_begun_anew(
    lines: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with plain.Plain() as process:
        assert "FileNotFoundError" in process.outcome(BUILT, tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(plain, "LONGEST", 1)
            assert process.outcome(lines, tmp_path).startswith("the process without zoo ended with")
        assert "FileNotFoundError" in process.outcome(BUILT, tmp_path)
