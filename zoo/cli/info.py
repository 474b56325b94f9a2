"""`zoo info`: what is known about a model, without loading it."""

import dataclasses
from typing import Annotated, Any

import typer

from zoo import catalog, registry
from zoo.cli.completion import model_names
from zoo.cli.fitting import fitted
from zoo.cli.options import AsJson, Debug
from zoo.errors import UsageError
from zoo.names import is_under, near_hint
from zoo.units import count

app = typer.Typer(add_completion=False)
LIBRARIES = {"torchvision": "torchvision", "timm": "timm", "hf": "transformers"}


@app.command(epilog="zoo info vgg16 · zoo info timm:resnet50.a1_in1k")
def info(
    name: Annotated[str, typer.Argument(help="A model's name.", metavar="MODEL", autocompletion=model_names)],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Tell what is known about a model: size, input, head, places to freeze up to, weights."""
    source, plain = registry.find(name)
    entry = registry.own_entry(plain) if source == "own" else registry.entry(source, plain)
    if entry is None:
        raise UsageError(
            f"{source}:{plain} is not in the index, so nothing is known before it is loaded.",
            *near_hint(plain, registry.index(source)["models"]),
            f"zoo summary {source}:{plain} loads it and looks",
        )
    if as_json:
        from zoo.cli.output import print_json

        print_json(_values(entry))
        return
    for line in _own_lines(entry) if source == "own" else _lines(entry):
        typer.echo(fitted(line, 17))


def _own_lines(entry: registry.Entry) -> list[str]:
    """What is known of a model of one's own: it is not built, and no package is imported, to tell."""
    known = entry.preprocessing
    lines = [entry.full_name]
    if entry.packages:
        lines.append(f"  brought by     {' and '.join(entry.packages)}")
    else:
        lines += [f"  input          {known.size[0]} × {known.size[1]}", f"  head           {entry.head_path}"]
    if len(entry.packages) > 1:
        lines.append("  cannot be loaded before all but one of them are uninstalled")
    others = [each for each in ("torchvision", "timm") if registry.entry(each, entry.name)]
    if others:
        lines.append(f"  write it as {entry.full_name}: {entry.name} alone means {others[0]}'s")
    return [*lines, f"  zoo summary {entry.full_name} loads it and looks"]


def _edges(size: tuple[int, int]) -> str:
    """A size in one number where it is square."""
    height, width = size
    return str(height) if height == width else f"{height} × {width}"


def _lines(entry: registry.Entry) -> list[str]:
    known = entry.preprocessing
    assert entry.parameters is not None, "the index has them all"
    other = ", another with --img-size where its library carries the weights over" if entry.fixed_size else ""
    lines = [
        entry.full_name,
        f"  parameters     {count(entry.parameters)} ({entry.parameters:,})",
        *_multiply_adds(entry),
        f"  input          {known.size[0]} × {known.size[1]}{other}",
        f"  preprocessing  scale to {_edges(known.resize)} ({known.interpolation}, {known.fit}),"
        f" centre {_edges(known.size)}, mean {_numbers(known.mean)}, std {_numbers(known.std)}",
        f"  head           {entry.head_path or '–'}"
        + (f", {entry.features:,} features ({entry.kind})" if entry.features else "")
        + (f"; the same head also at {', '.join(entry.more_heads)}" if entry.more_heads else ""),
        *_fitting(entry),
        f"  freeze until   {_folded(_boundaries(entry))}",
    ]
    if entry.source == "hf":
        lines.append("  these are the defaults of its type; its own files on the hub are read when it is loaded")
    if entry.refused:
        lines.append(f"  cannot be fine-tuned: {entry.refused}")
    elif entry.lacks_classifier:
        lines.append("  the weights come without a classifier: a head takes its place, there is none to append to")
    if entry.note:
        lines.append(f"  {entry.note}")
    if entry.untried:
        lines.append("  not tried, for its size; nothing is known against it")
    if not entry.weights:
        lines.append("  weights        none; it starts from random values with --weights none")
    for number, (tag, facts) in enumerate(entry.weights.items()):
        label = "weights" if not number else ""
        chosen = " (default)" if tag == entry.default else ""
        lines.append(f"  {label:<14} {tag}{chosen}{_stated(facts)}")
    missing = [fact for fact in ("accuracy", "licence") if not any(fact in each for each in entry.weights.values())]
    if entry.weights and missing:
        lines.append(f"  {LIBRARIES[entry.source]} states no {' and no '.join(missing)} of these weights")
    return lines


def _fitting(entry: registry.Entry) -> list[str]:
    """Which heads of the catalog and which tasks it takes."""
    found = _heads(entry)
    if not found:
        return []
    heads = "every head" if found == catalog.names("heads") else f"the heads {', '.join(found)}"
    tasks = f"the task {entry.tasks[0]} alone" if len(entry.tasks) == 1 else "every task"
    return [f"  takes          {heads}; {tasks}"]


def _heads(entry: registry.Entry) -> list[str]:
    from zoo.head.presets import fitting

    if entry.refused or entry.kind is None:
        return []
    return fitting(entry.kind, entry.pools, widen=not entry.fixed_features)


def _multiply_adds(entry: registry.Entry) -> list[str]:
    if entry.multiply_adds is None:
        return []
    height, width = entry.preprocessing.size
    return [f"  multiply-adds  {count(entry.multiply_adds)} for a picture of {height} × {width}"]


def _stated(facts: Any) -> str:
    parts = []
    if "accuracy" in facts:
        parts.append(f"top-1 {facts['accuracy']:.1f} %")
    if "mb" in facts:
        parts.append(f"{facts['mb']:.0f} MB")
    if "licence" in facts:
        parts.append(str(facts["licence"]))
    return "".join(f" · {part}" for part in parts)


def _boundaries(entry: registry.Entry) -> tuple[str, ...]:
    """The places behind which there is something left to train: not those of the head."""
    heads = [head for head in (entry.head_path, *entry.more_heads) if head]
    return tuple(
        place for place in entry.places if not any(is_under(head, place) or is_under(place, head) for head in heads)
    )


def _folded(places: tuple[str, ...]) -> str:
    """Places in running order, neighbours that differ in their last number as one."""
    groups: list[list[str]] = []
    for place in places:
        stem, _, last = place.rpartition(".")
        if (
            groups
            and last.isdigit()
            and groups[-1][-1].rpartition(".")[0] == stem
            and groups[-1][-1].rpartition(".")[2].isdigit()
        ):
            groups[-1].append(place)
        else:
            groups.append([place])
    parts = [group[0] if len(group) == 1 else f"{group[0]} … {group[-1].rpartition('.')[2]}" for group in groups]
    return ", ".join(parts) or "–"


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _values(entry: registry.Entry) -> dict[str, Any]:
    return {
        **dataclasses.asdict(entry),
        "weights": {tag: dict(facts) for tag, facts in entry.weights.items()},
        "heads": _heads(entry),
        "tasks": [] if entry.refused else entry.tasks,
        "untried": entry.untried,
    }
