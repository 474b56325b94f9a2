"""How long the commands take that answer without loading a model: whole processes, in turn, medians.

python benchmarks/startup.py [ROUNDS]
"""

import statistics
import sys

from processes import ZOO, machine, measure

COMMANDS = {
    "zoo --help": ["--help"],
    "zoo list": ["list"],
    "zoo list 'resnet*' --source timm --pretrained": ["list", "resnet*", "--source", "timm", "--pretrained"],
    "zoo info vgg16": ["info", "vgg16"],
    "zoo recipes": ["recipes"],
    "zoo finetune --help": ["finetune", "--help"],
    "zoo predict --help": ["predict", "--help"],
}


def main(rounds: int) -> None:
    """Measure every command in each round and print the medians."""
    seconds: dict[str, list[float]] = {name: [] for name in ("python -c pass", *COMMANDS)}
    for _ in range(rounds):
        seconds["python -c pass"].append(measure([sys.executable, "-c", "pass"]).seconds)
        for name, arguments in COMMANDS.items():
            seconds[name].append(measure([*ZOO, *arguments]).seconds)
    print(f"{machine()}; median of {rounds}")
    for name, each in seconds.items():
        print(f"{statistics.median(each):6.3f} s  {name}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
