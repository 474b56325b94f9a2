"""Whole models as pickles, `model.pt`: loading one runs what it says, so it takes a word of trust in that very file."""

import hashlib
import io
import re
import warnings
from pathlib import Path

import torch
from torch import nn

from zoo.checkpoint.foreign.archives import Forged
from zoo.checkpoint.foreign.pickled import Examined, examine, opened, unreadable
from zoo.checkpoint.foreign.pickles import Malformed
from zoo.errors import CheckpointError
from zoo.names import listed

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def read_module(path: Path, trust: str | None) -> nn.Module:
    """The model of a pickle, on the CPU, if `trust` is the sha256 of exactly this file.

    The file is read once: the bytes that are hashed are the bytes that are loaded.

    Raises CheckpointError without that word, and for what is damaged or holds no model.
    """
    with opened(path) as file:
        content = file.read()
    try:
        found = examine(io.BytesIO(content), len(content))
    except (Forged, Malformed) as error:
        raise unreadable(path, str(error)) from error
    if trust is None or trust.lower() != hashlib.sha256(content).hexdigest():
        raise _untrusted(path, found, trust)
    return _loaded(path, content)


def _loaded(path: Path, content: bytes) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The only place where a pickle is run: whoever gave its hash knows who made it.
            model = torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
    # Running somebody's code fails in as many ways as there is code, absent modules first.
    except Exception as error:
        reason = str(error).partition("\n")[0][:160] or type(error).__name__
        raise CheckpointError(
            f"{path} cannot be loaded here: {reason}.", "it needs the libraries, in the versions, that wrote it"
        ) from error
    if not isinstance(model, nn.Module):
        raise CheckpointError(
            f"{path} holds a {type(model).__name__}, not a model.", "weights need no trust: --weights"
        )
    return model


def _untrusted(path: Path, found: Examined, trust: str | None) -> CheckpointError:
    """What is wrong; the file's own sha256 is not told, as it would be copied instead of compared."""
    if not found.foreign:
        return CheckpointError(
            f"{path} holds weights alone, which do not say what their classes are.",
            f"zoo finetune MODEL --weights {path} --data FOLDER makes a model of them",
        )
    names = f", which names {listed(found.foreign, 30)}" if found.foreign else ""
    wrong = ""
    if trust is not None:
        known = _SHA256.fullmatch(trust) is not None
        wrong = ", and its sha256 is not the one given" if known else ", and a sha256 has 64 hexadecimal digits"
    return CheckpointError(
        f"{path} is a pickle that can run code{names}{wrong}.",
        "where you know who made it, and have its sha256 from them: --trust-pickle SHA256",
        "weights alone need no trust; zoo inspect shows what is in it",
    )
