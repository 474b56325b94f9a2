"""Finding a model by what a user typed, and listing those that match."""

from fnmatch import fnmatchcase
from pathlib import Path

from zoo.errors import UsageError, ZooError
from zoo.names import near
from zoo.registry import others, own
from zoo.registry.own import Registration
from zoo.registry.shipped import SOURCES, Entry, entry, entry_from, index
from zoo.registry.specs import Preprocessing


def registration(name: str) -> Registration:
    """The registration of an own model; raises UsageError when there is none."""
    found = own.registered(name)
    if found is None:
        raise _unknown("own:" + name)
    return found


def known(source: str | None = None) -> list[str]:
    """The full names of all models, of one source or of every one."""
    names = []
    for each in (source,) if source else SOURCES:
        models = own.names() if each == "own" else index(each)["models"]
        names += [f"{each}:{name}" for name in models]
    return names


def find(text: str) -> tuple[str, str]:
    """Source and name of what a user typed; bare names are looked up in torchvision, timm, then own.

    >>> find("vgg16")
    ('torchvision', 'vgg16')
    >>> find("timm:resnet50.a1_in1k")
    ('timm', 'resnet50.a1_in1k')

    Raises UsageError with the nearest names for one that no source has.
    """
    source, colon, name = text.partition(":")
    if colon:
        if source not in SOURCES:
            raise UsageError(
                f"no source is called {source!r} (in {text!r}).",
                f"sources: {', '.join(SOURCES)}; a name is written like torchvision:vgg16",
            )
        if source == "hf":
            # A type of transformers' is no name of a model, but who types one of another task means its kind.
            refused = None if Path(name).is_dir() else others.refusal("hf", name)
            if refused:
                raise refused
            return source, name
        found = name in own.names() if source == "own" else entry(source, name) is not None
        if found:
            return source, name
        raise _unknown(text)
    for candidate in ("torchvision", "timm"):
        if entry(candidate, text) is not None:
            return candidate, text
    if text in own.names():
        return "own", text
    raise _unknown(text)


def require_usable(source: str, name: str) -> None:
    """Raise UsageError for a model that cannot be fine-tuned, with the reason that the index gives."""
    found = entry(source, name)
    if found is not None and found.refused:
        raise UsageError(f"{source}:{name} cannot be fine-tuned: {found.refused}.")


def _unknown(text: str) -> ZooError:
    source, _, name = text.rpartition(":")
    if source in ("timm", "") and "." in name and entry("timm", name.partition(".")[0]):
        tags = index("timm")["models"][name.partition(".")[0]]["weights"]
        return UsageError(
            f"timm:{name.partition('.')[0]} has no weights called {name.partition('.')[2]!r}.",
            f"it has: {', '.join(tags) or 'none'}",
        )
    if source in ("torchvision", "") and (refused := others.refusal("torchvision", name)):
        return refused
    places = (source,) if source in SOURCES else SOURCES
    found = [
        f"{place}:{match}"
        for match in near(name, (full.partition(":")[2] for each in places for full in known(each)))
        for place in places
        if f"{place}:{match}" in set(known(place))
    ]
    if not found and Path(text).expanduser().exists():
        return UsageError(
            f"no model is called {text!r}, which is a file or a folder.",
            f"give its weights to the model that they are for: MODEL --weights {text}",
        )
    if source == "own":
        return UsageError(
            f"no model is called {text!r}.",
            *([f"near: {', '.join(found[:5])}"] if found else []),
            f"register it first, zoo.register({name!r}, …), or install the package that brings it",
        )
    stem = name.rstrip("0123456789_.") or name
    version = index("timm")["version"]
    hints = [f"near: {', '.join(found[:5])}"] if found else []
    return UsageError(
        f"no model is called {text!r}.",
        *hints,
        f"zoo list '{stem}*' shows what there is (timm names as of timm {version}).",
    )


def list_models(
    pattern: str = "*",
    *,
    source: str | None = None,
    pretrained: bool = False,
    max_parameters: float | None = None,
) -> list[Entry]:
    """The models whose name matches a glob, in the order of the index.

    With `pretrained` only those with weights, timm's one entry per set of weights. Own models come last; of those
    that a package brings only the name is known, and none is among the `pretrained` or below `max_parameters`.

    >>> [entry.full_name for entry in list_models("vgg1?", source="torchvision")][:2]
    ['torchvision:vgg11', 'torchvision:vgg13']

    Raises UsageError for an unknown source.
    """
    if source is not None and source not in SOURCES:
        raise UsageError(f"no source is called {source!r}.", f"sources: {', '.join(SOURCES)}")
    rows: list[Entry] = []
    for each in (source,) if source else SOURCES:
        if each == "own":
            if not pretrained and max_parameters is None:
                matching = (name for name in own.names() if _matches(each, name, pattern))
                rows += [entry for entry in map(own_entry, matching) if entry is not None]
            continue
        for name, facts in index(each)["models"].items():
            if max_parameters is not None and facts["parameters"] > max_parameters:
                continue
            if pretrained and each == "timm":
                names = [(f"{name}.{tag}", tag) for tag in facts["weights"]]
            elif pretrained and not facts["weights"]:
                continue
            else:
                names = [(name, facts["default"])]
            rows += [entry_from(each, full, facts, tag) for full, tag in names if _matches(each, full, pattern)]
    return rows


def own_entry(name: str) -> Entry | None:
    """What is known of an own model before it is built, or None when there is none of this name."""
    known, several = own.REGISTERED.get(name), own.brought().get(name, ())
    if known is None and not several:
        return None
    return Entry(
        source="own",
        name=name,
        parameters=None,
        head_path=known.head_path if known else None,
        features=None,
        kind=None,
        pool_path=None,
        places=(),
        weights={},
        default=None,
        preprocessing=known.preprocessing if known else Preprocessing((224, 224), (224, 224)),
        fixed_size=False,
        packages=tuple(each.package for each in several) if known is None else (),
    )


def _matches(source: str, name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(f"{source}:{name}", pattern)
