"""Accuracy, seconds and memory of the default recipes on five kinds of flowers, over three seeds.

    python benchmarks/flowers.py [--assets ../shared] [--epochs 4] [--seeds 0 1 2] [--jobs 1]

Each row is whole processes of `zoo finetune MODEL --weights FILE [--freeze backbone] --epochs N --seed S`; the
accuracy is that of the last epoch on the data's own validation folder.
"""

import argparse
import csv
import functools
import json
import os
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from processes import ZOO, machine, measure

MODELS = {
    "torchvision:mobilenet_v2": "mobilenet_v2/mobilenet_v2.pth",
    "timm:mobilenetv2_100": "mobilenet_v2/timm_mobilenetv2_100.safetensors",
    "torchvision:squeezenet1_1": "squeezenet1_1/squeezenet1_1.pth",
}


def main() -> None:
    """Run every model, policy and seed, and print a row for each model and policy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=Path, default=Path(__file__).parents[2] / "shared")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each on its share of the cores")
    given = parser.parse_args()
    threads = max(1, (os.cpu_count() or 1) // given.jobs)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    print(f"{machine()}; {given.epochs} epochs, seeds {given.seeds}, {given.jobs} at a time on {threads} threads each")
    print(f"{'model':<28} {'trained':<9} {'accuracy':<22} {'mean':>6} {'seconds':>8} {'peak GB':>8}")
    for name, file in MODELS.items():
        for trained, flags in (("head", ["--freeze", "backbone"]), ("all", [])):
            ready = [[*flags, "--epochs", str(given.epochs), "--seed", str(seed)] for seed in given.seeds]
            with ThreadPoolExecutor(given.jobs) as pool:
                rows = list(pool.map(functools.partial(run, name, given.assets, file), ready))
            accuracies = [accuracy for accuracy, _, _ in rows]
            print(
                f"{name:<28} {trained:<9} {' '.join(f'{each:.3f}' for each in accuracies):<22}"
                f" {statistics.mean(accuracies):>6.3f} {statistics.median(row[1] for row in rows):>8.1f}"
                f" {max(row[2] for row in rows) / 1e9:>8.2f}",
                flush=True,
            )


def run(name: str, assets: Path, file: str, flags: list[str]) -> tuple[float, float, int]:
    """One process: the accuracy of its last epoch, its seconds, its most memory."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*ZOO, "finetune", name, "--weights", str((assets / "weights" / file).resolve()), *flags]
        command += ["--data", str((assets / "data" / "flowers5").resolve()), "--out", folder, "--json"]
        measured = measure(command)
        result = json.loads(measured.out.splitlines()[-1])
        with (Path(result["run"]) / "metrics.csv").open(newline="") as lines:
            last = list(csv.DictReader(lines))[-1]
        return float(last["val_accuracy"]), measured.seconds, measured.peak


if __name__ == "__main__":
    main()
