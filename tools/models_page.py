"""Make `docs/models.md` again from the shipped index: which models there are, and why some cannot be fine-tuned.

python -m tools.models_page
"""

from collections import Counter, defaultdict
from pathlib import Path

from tests.contract.counting import recorded
from zoo.registry import LARGEST_TRIED, index, list_models
from zoo.registry.others import other_names, what_it_is

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
OUTCOMES = Path(__file__).parents[1] / "tests" / "contract" / "outcomes"
LIBRARIES = {"torchvision": "torchvision", "timm": "timm", "hf": "transformers"}

START = """# Models

A model that is taken goes through one contract: it loads with your classes, what a policy freezes does not
move, neither parameters nor buffers nor results, its keys outside the head are the library's own, and its saved file
loads strictly in the library itself. `python -m tests.contract.counting --source timm` puts every model of a source
through it and counts; the fast tests take one architecture of each model file that has a small one.

`zoo info NAME` says the same of one model, `zoo list` shows them all.
"""
CONTRACT = """## The contract in figures

| source | models | passed | refused, for reasons below | too slow here | policies tried |
|---|---|---|---|---|---|
{rows}

With {versions}, on 2 cores and 24 GB. Beside `backbone`, `first:N` and `last:N`,
{each:,} of those that passed were frozen `until:` each of their places, {some:,} `until:` {places} of them. Too slow
here are models above {largest} M parameters, and smaller ones with large inputs, which take more time or memory than
there was; nothing else is known against them: {slow}.
"""


def page() -> str:
    """The page's text."""
    return "\n".join([START, _contract(), *_torchvision(), *_timm(), *_hf()])


def _contract() -> str:
    """What became of the models in the contract, as its logs have it."""
    rows, versions, slow, places, each_place = [], {}, [], [], 0
    for source, library in LIBRARIES.items():
        about, found = recorded(OUTCOMES / f"{source}.jsonl")
        versions |= about
        states = Counter(each["state"] for each in found.values())
        slow += [name for name, each in found.items() if each["state"] == "too slow here"]
        passed = [each for each in found.values() if each["state"] == "passed"]
        places += [each["places"] for each in passed if each["places"] != "each"]
        each_place += sum(each["places"] == "each" for each in passed)
        cells = (len(found), *(states[each] for each in ("passed", "refused", "too slow here")))
        policies = sum(each["policies"] for each in passed)
        rows.append(f"| {library} | {' | '.join(f'{each:,}' for each in (*cells, policies))} |")
    return CONTRACT.format(
        rows="\n".join(rows),
        versions=", ".join(f"{name} {version}" for name, version in versions.items()),
        each=each_place,
        some=len(places),
        largest=LARGEST_TRIED // 10**6,
        places=f"{min(places)} to {max(places)}" if places else "none",
        slow=", ".join(f"`{name.removeprefix('timm:')}`" for name in slow) or "none",
    )


def _head(source: str, taken: int, refused: int) -> list[str]:
    found = index(source)
    return [
        f"## {LIBRARIES[source]} {found['version']}",
        "",
        f"{taken:,} taken, {refused:,} that cannot be fine-tuned.",
        "",
    ]


def _reasons(source: str) -> dict[str, list[str]]:
    """The refused models of a source by their reason."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for name, facts in index(source)["models"].items():
        if "refused" in facts:
            reasons[facts["refused"]].append(f"`{name}`")
    return reasons


def _table(reasons: dict[str, list[str]]) -> list[str]:
    if not reasons:
        return []
    rows = [f"| {', '.join(names)} | {reason} |" for reason, names in reasons.items()]
    return ["| cannot be fine-tuned | why |", "|---|---|", *rows, ""]


def _torchvision() -> list[str]:
    models, reasons = index("torchvision")["models"], _reasons("torchvision")
    refused = sum(map(len, reasons.values()))
    noted = [f"- `{name}`: {facts['note']}." for name, facts in models.items() if facts.get("note")]
    kinds: dict[str, int] = defaultdict(int)
    for name in other_names("torchvision"):
        kinds[str(what_it_is("torchvision", name))] += 1
    others = ", ".join(f"{count} {kind.removeprefix('a ').removeprefix('an ')}s" for kind, count in kinds.items())
    return [
        *_head("torchvision", len(models) - refused, refused),
        *_table(reasons),
        f"Models of other tasks are answered by name: {others}.",
        "",
        *noted,
        "",
    ]


def _timm() -> list[str]:
    models, reasons = index("timm")["models"], _reasons("timm")
    refused = sum(map(len, reasons.values()))
    several = sum("more_heads" in facts for facts in models.values())
    bare = sum(each.lacks_classifier and not each.refused for each in list_models(source="timm"))
    return [
        *_head("timm", len(models) - refused, refused),
        *_table(reasons),
        f"{several} have several classifiers (distilled ones and others): each gets the new head, as in timm's own"
        " `create_model(num_classes=N)`.",
        f"The weights of {bare} come without a classifier (DINOv2 and others): a head takes its place, and there is"
        " none to append to.",
        "",
        "GhostNet, RepGhostNet and the `legacy_senet` family drop features on their way into the head by a function"
        " within their own `forward`, which no module stands for: it goes by the mode of the whole model, not of the"
        " frozen part.",
        "",
    ]


def _hf() -> list[str]:
    found = index("hf")
    types = {facts["type"] for facts in found["models"].values()}
    rows = {reason: [f"`{kind}`"] for kind, reason in found["refused"].items()}
    return [
        *_head("hf", len(types), len(rows)),
        *_table(rows),
        f"The {len(types)} types in the index are those whose documented model has the type's default shape. Any other"
        " type with a picture classifier in transformers loads by its hub name or folder just as well.",
        "",
    ]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
