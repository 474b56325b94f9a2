"""Every model of a source through the contract, counted: `python -m tests.contract.counting --source timm`.

Small models come first. With `--minutes` it stops there; with `--log` it writes each outcome, and goes on from it. The
logs in `tests/contract/outcomes` are those that `docs/models.md` counts.
"""

import argparse
import json
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from zoo.registry import LARGEST_TRIED

from .contract import check
from .plain import Plain
from .subjects import Subject, hf_names, hf_subject, indexed_subjects

SOURCES: Mapping[str, Callable[[Path], list[Subject]]] = {
    "torchvision": lambda folder: indexed_subjects("torchvision"),
    "timm": lambda folder: indexed_subjects("timm"),
    "hf": lambda folder: [hf_subject(*each, folder) for each in hf_names(refused=True)],
}


def outcome(subject: Subject, folder: Path, plain: Plain, places: int | None, largest: float) -> dict[str, Any]:
    """What became of one model, as values."""
    if subject.refused:
        return {"state": "refused", "reason": subject.refused}
    if subject.parameters > largest:
        return {"state": "too slow here", "reason": f"more than {largest / 1e6:.0f} M parameters"}
    begin = time.process_time()
    try:
        found = vars(check(subject, folder, plain, places=places))
    except Exception as error:  # one model of a thousand must not cost the others
        return {"state": "failed", "reason": f"{type(error).__name__}: {error}"[:400]}
    return {"state": "passed", **found, "places": places or "each", "seconds": round(time.process_time() - begin, 1)}


def main() -> None:
    """Read the command line, go through the models, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", choices=SOURCES, required=True)
    parser.add_argument("--only", default="*", help="a glob over the models' names")
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--places", type=int, help="`until:` at so many places, spread; without it at each")
    parser.add_argument("--smallest", type=float, default=0, help="millions of parameters")
    parser.add_argument("--largest", type=float, default=LARGEST_TRIED / 1e6, help="those above it are too slow here")
    parser.add_argument("--log", type=Path, default=None)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    done: dict[str, dict[str, Any]] = {}
    if asked.log is not None and asked.log.exists():
        versions, told = recorded(asked.log)
        if versions != about(asked.source):
            parser.error(f"{asked.log} was made with {versions}, and here is {about(asked.source)}: take another --log")
        done = {name: found for name, found in told.items() if found["state"] in ("passed", "refused")}
    elif asked.log is not None:
        asked.log.write_text(json.dumps({"about": about(asked.source)}) + "\n", encoding="utf-8")
    end = time.monotonic() + 60 * asked.minutes
    with Plain() as plain, TemporaryDirectory() as folder:
        named = [
            each
            for each in SOURCES[asked.source](Path(folder))
            if fnmatchcase(each.name, asked.only) and each.parameters >= 1e6 * asked.smallest
        ]
        subjects = sorted(named, key=lambda each: each.parameters)
        for subject in subjects:
            if str(subject) in done:
                continue
            if time.monotonic() > end:
                done[str(subject)] = {"state": "not reached in time"}
                continue
            found = outcome(subject, Path(folder), plain, asked.places, 1e6 * asked.largest)
            done[str(subject)] = found
            tell(f"{subject}: {found['state']} {found.get('reason', '')}")
            if asked.log is not None:
                with asked.log.open("a") as log:
                    log.write(json.dumps({str(subject): found}) + "\n")
    print_counts(asked.source, [done[str(subject)] for subject in subjects])


def about(source: str) -> dict[str, str]:
    """The versions that an outcome holds for."""
    library = {"hf": "transformers"}.get(source, source)
    return {each: metadata.version(each) for each in (library, "torch")}


def recorded(log: Path) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """The versions of a log, and the last outcome of each model."""
    text = log.read_text(encoding="utf-8")
    lines = {name: found for line in text.splitlines() for name, found in json.loads(line).items()}
    return lines.pop("about"), lines


def print_counts(source: str, found: list[dict[str, Any]]) -> None:
    """So many models of each state, and in how many of those that passed the control could fail."""
    counts = Counter(each["state"] for each in found)
    controls = sum(each.get("control", False) for each in found)
    tell(f"{source}: {len(found)} models · " + " · ".join(f"{state} {count}" for state, count in counts.items()))
    tell(f"  the control moved in {controls}, in the others nothing goes by the mode")
    tell(f"  {sum(each.get('seconds', 0) for each in found):.0f} processor seconds")
    for reason, count in Counter(each["reason"] for each in found if each["state"] == "refused").items():
        tell(f"  refused {count}: {reason}")


def tell(line: str) -> None:
    """Show a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
