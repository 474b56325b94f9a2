"""A process in which zoo cannot be imported: libraries' own models take the files that zoo saved."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from . import drawing

SERVER = """
import json, sys, warnings
sys.modules["zoo"] = None
warnings.simplefilter("ignore")
import runpy
import torch
from safetensors.torch import load_file
torch.set_num_threads(1)
OneBlock = runpy.run_path(sys.argv[1])["OneBlock"]

def outcome(job):
    values = {}
    try:
        try:
            import zoo
        except ImportError:
            pass
        else:
            return "zoo was there"
        with OneBlock():
            exec(job["lines"], values)
        model = values["model"].eval()
        state = load_file(job["folder"] + "/model.safetensors")
        if type(model).__name__ == "MNASNet":
            # Its loader reads a version from the state dict's own metadata, which safetensors does not keep.
            own = model.state_dict()
            assert own.keys() == state.keys()
            own.update(state)
            state = own
        model.load_state_dict(state, strict=True)
        seen = load_file(job["folder"] + "/seen.safetensors")
        with torch.no_grad():
            out = model(seen["pictures"])
        out = getattr(out, "logits", getattr(out, "last_hidden_state", out))
        torch.testing.assert_close(out, seen["scores"], rtol=1e-3, atol=1e-4)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:600]
    return "same"

for line in sys.stdin:
    print("answer " + json.dumps(outcome(json.loads(line))), flush=True)
"""

LONGEST = 300
"""Seconds until a process is taken for one that hangs; the largest models take a tenth of it."""


class Plain:
    """The process, which answers one job after another; one that died or did not answer is begun anew."""

    process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Plain":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def outcome(self, lines: str, folder: Path) -> str:
        """`same`, or what went wrong when a library's own model took the files of a folder."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVER, str(Path(drawing.__file__))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                cwd="/",
            )
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"lines": lines, "folder": str(folder)}) + "\n")
        self.process.stdin.flush()
        watch = threading.Timer(LONGEST, self.process.kill)
        watch.start()
        try:
            for line in self.process.stdout:
                if line.startswith("answer "):
                    answer: Any = json.loads(line.removeprefix("answer "))
                    return str(answer)
        finally:
            watch.cancel()
        code = self._end()
        return f"the process without zoo ended with {code}, or had no answer for {LONGEST} seconds"

    def _end(self) -> int:
        """Close the process, whose input ends; its exit code."""
        if self.process is None:
            return 0
        process, self.process = self.process, None
        with process:
            assert process.stdin
            process.stdin.close()
        return process.returncode
