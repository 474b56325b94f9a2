"""Every recipe on five kinds of flowers with both real backbones: accuracy over seeds, processor time, what is trained.

    python benchmarks/recipes.py --train ../shared/data/flowers5/train --test ../shared/data/flowers5/val \\
        --weights ../shared/weights [--seeds 0 1 2] [--results build/recipes.jsonl] [--table]

Each cell is one process of `zoo finetune MODEL --recipe NAME --data TRAIN --seed S`, which draws a fifth of the
pictures for validation, and one of `zoo evaluate` of its best checkpoint on pictures that it has never seen. A cell
is written to the results when it is done and not measured again, unless its recipe has changed since; `--table`
measures nothing and prints what there is.
"""

import argparse
import datetime
import hashlib
import json
import statistics
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from processes import ZOO, machine, measure
from safetensors import safe_open

from zoo import catalog

MODELS = {
    "mobilenet_v2": "mobilenet_v2/mobilenet_v2.pth",
    "squeezenet1_1": "squeezenet1_1/squeezenet1_1.pth",
}
Cell = tuple[str, str, int]
"""A recipe, a model and a seed."""


def main() -> None:
    """Measure what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, help="a folder with one folder a class")
    parser.add_argument("--test", type=Path, required=True, help="the same classes, other pictures")
    parser.add_argument("--weights", type=Path, required=True, help=f"the folder of {', '.join(MODELS.values())}")
    parser.add_argument("--recipes", nargs="+", default=catalog.names("recipes"))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=Path("build/recipes.jsonl"))
    parser.add_argument("--table", action="store_true", help="measure nothing")
    given = parser.parse_args()
    if not given.table:
        for cell in missing(given.recipes, given.models, given.seeds, given.results):
            row = measured(cell, given.train, given.test, given.weights)
            given.results.parent.mkdir(parents=True, exist_ok=True)
            with given.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(*cell, f"{row['test_accuracy']:.3f}", f"{row['cpu_seconds']:.0f} s", flush=True)
    print("\n".join(table(latest(given.results), given.recipes, given.models)))


def latest(results: Path) -> dict[Cell, dict[str, Any]]:
    """The newest measurement of each cell whose recipe is still as it was."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.is_file() else []
    rows = [json.loads(line) for line in lines]
    return {(row["recipe"], row["model"], row["seed"]): row for row in rows if row["of"] == settings_of(row["recipe"])}


def missing(names: Sequence[str], models: Sequence[str], seeds: Sequence[int], results: Path) -> Iterator[Cell]:
    """The cells to measure, looked up anew before each: all recipes with one model and seed, then the next."""
    for seed in seeds:
        for model in models:
            for name in names:
                if (name, model, seed) not in latest(results):
                    yield name, model, seed


def settings_of(name: str) -> str:
    """A short hash of what a recipe says, but for its words; what it leaves to defaults is not in it."""
    if name not in catalog.names("recipes"):
        return ""
    values = {key: value for key, value in tomllib.loads(catalog.text("recipes", name)).items() if key != "summary"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def measured(cell: Cell, train: Path, test: Path, weights: Path) -> dict[str, Any]:
    """One run and its evaluation, each a process of its own."""
    name, model, seed = cell
    with tempfile.TemporaryDirectory() as folder:
        command = [*ZOO, "finetune", model, "--recipe", name, "--weights", str((weights / MODELS[model]).resolve())]
        command += ["--data", str(train.resolve()), "--seed", str(seed), "--out", folder, "--json"]
        command += ["--device", "cpu", "--workers", "0", "--save-every", "never"]
        trained = measure(command)
        run = json.loads(trained.out.splitlines()[-1])
        command = [*ZOO, "evaluate", run["run"], "--data", str(test.resolve()), "--workers", "0", "--json"]
        evaluated = json.loads(measure(command).out.splitlines()[-1])
        return {
            "recipe": name,
            "model": model,
            "seed": seed,
            "of": settings_of(name),
            "epochs": run["epochs"],
            "val_accuracy": run["metrics"]["accuracy"],
            "test_accuracy": evaluated["metrics"]["accuracy"],
            "cpu_seconds": round(trained.cpu, 1),
            "seconds": round(trained.seconds, 1),
            "trained": trained_parameters(Path(run["last"])),
            "date": datetime.date.today().isoformat(),
            "machine": machine(),
        }


def trained_parameters(checkpoint: Path) -> int:
    """How many numbers the last stage trained: those of the optimizer's groups."""
    state = json.loads((checkpoint / "training.json").read_text(encoding="utf-8"))
    names = [name for group in state["optimizer"]["groups"] for name in group["params"]]
    with safe_open(checkpoint / "model.safetensors", "pt") as file:
        return sum(_product(file.get_slice(name).get_shape()) for name in names)


def _product(shape: Sequence[int]) -> int:
    product = 1
    for edge in shape:
        product *= edge
    return product


def table(rows: dict[Cell, dict[str, Any]], names: Sequence[str], models: Sequence[str]) -> Iterator[str]:
    """A Markdown row for each model and recipe that was measured."""
    yield "| model | recipe | epochs | trained | validation | test | processor s | seeds |"
    yield "|---|---|---|---|---|---|---|---|"
    for model in models:
        for name in names:
            own = [row for (recipe_name, of, _), row in sorted(rows.items()) if (recipe_name, of) == (name, model)]
            if own:
                yield (
                    f"| {model} | {name} | {own[0]['epochs']} | {own[0]['trained']:,}"
                    f" | {_spread([row['val_accuracy'] for row in own])}"
                    f" | {_spread([row['test_accuracy'] for row in own])}"
                    f" | {statistics.median(row['cpu_seconds'] for row in own):.0f}"
                    f" | {', '.join(str(row['seed']) for row in own)} |"
                )


def _spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation, which two values at least have."""
    mean = f"{statistics.mean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


if __name__ == "__main__":
    main()
