"""A process in which zoo cannot be imported: libraries' own models take the files that zoo saved."""

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

SERVER = """
import json, sys, traceback, warnings
sys.modules["zoo"] = None
warnings.simplefilter("ignore")
import torch
from safetensors.torch import load_file
from torch.overrides import TorchFunctionMode
torch.set_num_threads(1)

class Undrawn(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        drawing = func in (
            torch.Tensor.uniform_, torch.Tensor.normal_, torch.Tensor.erfinv_, torch.nn.init.kaiming_uniform_
        )
        if drawing and (given := args[0] if args else kwargs["tensor"]).numel() > 1 << 18:
            return given
        return func(*args, **(kwargs or {}))

def outcome(job):
    values = {}
    try:
        try:
            import zoo
        except ImportError:
            pass
        else:
            return "zoo was there"
        with Undrawn():
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


class Plain:
    """The process, which answers one job after another."""

    def __enter__(self) -> "Plain":
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd="/",
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()

    def outcome(self, lines: str, folder: Path) -> str:
        """`same`, or what went wrong when a library's own model took the files of a folder."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"lines": lines, "folder": str(folder)}) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("answer "):
                answer: Any = json.loads(line.removeprefix("answer "))
                return str(answer)
        return "the process without zoo died"
