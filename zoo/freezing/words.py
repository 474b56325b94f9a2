"""What each word of a policy means for one model, as the set of parameters that it names."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from zoo.errors import UsageError
from zoo.freezing.dividing import backbone_parameters, blocks_of, norm_parameters, repeated
from zoo.freezing.order import RunningOrder
from zoo.names import is_glob, is_under, listed, matching, near, near_hint
from zoo.recipe.policies import ALLOWED, WITH_VALUE, WORDS, is_count
from zoo.registry import find_spec, spec_of


@dataclass(frozen=True)
class _Word:
    """A word with a value, as it was given, and the model that it is meant for."""

    kind: str
    value: str
    key: str
    model: nn.Module
    order: RunningOrder

    def __str__(self) -> str:
        return f"{self.key} '{self.kind}:{self.value}'"


def meant(word: str, model: nn.Module, order: RunningOrder, key: str = "freeze") -> set[str]:
    """The parameters that one word freezes, or for the key `unfreeze` those that it takes out.

    `norm` and `bias` tell what trains: as a policy they freeze all of the backbone but that, taken out they are
    that. Raises UsageError when the word means nothing for the model.
    """
    kind, colon, value = word.partition(":")
    if colon and kind in WITH_VALUE:
        return _WITH_VALUE[kind](_Word(kind, value.strip(), key, model, order))
    if word == "backbone":
        spec_of(model)
        return set(backbone_parameters(model))
    if word in _KEPT:
        kept = _KEPT[word](model) & set(backbone_parameters(model))
        if not kept:
            what = "norm layers" if word == "norm" else "bias terms"
            raise UsageError(
                f"{key} {word!r} has no meaning for {called(model)}: its backbone has no {what}.", where_to_look(model)
            )
        return kept if key == "unfreeze" else set(backbone_parameters(model)) - kept
    return set(match(word, [name for name, _ in model.named_parameters()], model, key))


def explained(word: str, key: str = "freeze") -> str:
    """What a word says, for a person.

    >>> explained("first:3"), explained("norm")
    ('the first 3 blocks', 'all of the backbone but its norm layers')
    """
    kind, colon, value = word.partition(":")
    if colon and kind in WITH_VALUE:
        return {
            "until": f"all that has run when {value} returns",
            "from": f"all that runs from the start of {value} on, but the head",
            "first": "the first block" if value == "1" else f"the first {value} blocks",
            "last": "the last block" if value == "1" else f"the last {value} blocks",
        }[kind]
    if word in _KEPT:
        kept = "norm layers" if word == "norm" else "bias terms"
        return f"the {kept}" if key == "unfreeze" else f"all of the backbone but its {kept}"
    return {"none": "nothing", "backbone": "all but the head"}.get(word, f"what {word} names")


def bias_parameters(model: nn.Module) -> set[str]:
    """The bias terms, also those that attention keeps beside its weights; tables of position biases are none."""
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.dim() < 2 and (name.rpartition(".")[2] == "bias" or name.endswith("_bias"))
    }


def match(pattern: str, names: Sequence[str], model: nn.Module, key: str = "freeze") -> list[str]:
    """The parameters that one glob or path means.

    Raises UsageError with near patterns that do match, when this one does not.
    """
    found = matching(pattern, names)
    if not found:
        kind, colon, _ = pattern.partition(":")
        words = [f"{each}:…" for each in near(kind, WITH_VALUE)] if colon else near(pattern, WORDS)
        similar = words + _near_patterns(pattern, names)
        hints = [f"near: {listed(similar)}" if similar else ALLOWED]
        raise UsageError(f"{key} {pattern!r} matches no parameter of {called(model)}.", *hints, where_to_look(model))
    return found


def _until(word: _Word) -> set[str]:
    _require_module(word)
    before = word.order.before(word.value)
    if not before:
        raise UsageError(
            f"{word} freezes nothing: {called(word.model)} has no parameter that runs before"
            f" {word.value} returns, or never runs it.",
            where_to_look(word.model),
        )
    return before


def _from(word: _Word) -> set[str]:
    _require_module(word)
    after = word.order.since(word.value)
    if after is None:
        raise UsageError(f"{word} freezes nothing: {called(word.model)} never runs it.", where_to_look(word.model))
    found = {name for name in backbone_parameters(word.model) if name in after or name not in word.order.used}
    if not found:
        raise UsageError(
            f"{word} freezes nothing: from there on {called(word.model)} has nothing but its head.",
            where_to_look(word.model),
        )
    return found


def _first(word: _Word) -> set[str]:
    found = blocks_of(word.model, word.order)
    return {name for block in found[: _count(word, len(found))] for name in block.parameters}


def _last(word: _Word) -> set[str]:
    found = blocks_of(word.model, word.order)
    return {name for block in found[-_count(word, len(found)) :] for name in block.parameters}


def _count(word: _Word, most: int) -> int:
    """The number of blocks that a word says, checked against those that there are."""
    if is_count(word.value) and int(word.value) <= most:
        return int(word.value)
    if not most:
        raise UsageError(f"{word} cannot be meant: {called(word.model)} has no blocks, its head aside.")
    shared = [
        f"{path} runs {times} times with one set of parameters and counts once"
        for path, times in repeated(word.model, word.order).items()
    ]
    raise UsageError(
        f"{word} cannot be meant: {called(word.model)} has {most} blocks, so N in {word.kind}:N goes from 1 to {most}.",
        *shared[:1],
        where_to_look(word.model, "blocks"),
    )


def _require_module(word: _Word) -> None:
    modules = [name for name, _ in word.model.named_modules() if name]
    if word.value not in modules:
        raise UsageError(
            f"{word} names no module of {called(word.model)}.",
            *near_hint(word.value, modules),
            where_to_look(word.model),
        )
    for outer, times in repeated(word.model, word.order).items():
        if word.value != outer and is_under(word.value, outer):
            raise UsageError(
                f"{word} has no meaning for {called(word.model)}: {outer} runs {times} times with one set of"
                " parameters, so that each part of it runs before and after every other.",
                f"{word.kind}:{outer} takes it as a whole",
            )


def _near_patterns(pattern: str, names: Sequence[str]) -> list[str]:
    """Patterns of the same form that match something, with how much; a count tells them apart."""
    paths = {name.rsplit(".", depth)[0] for name in names for depth in range(1, name.count(".") + 1)}
    word = pattern.rstrip("*?.")
    suffix = ".*" if is_glob(pattern) else ""
    return [
        f"'{path}{suffix}' ({len(matching(path, names))} parameters)"
        for path in near(word, sorted(paths, key=lambda path: (path.count("."), path)))
    ]


def called(model: nn.Module) -> str:
    """How a message names the model."""
    spec = find_spec(model)
    return spec.full_name if spec else f"this {type(model).__name__}"


def where_to_look(model: nn.Module, what: str = "names") -> str:
    """The hint that leads to the names of a model's modules, or to its blocks."""
    spec = find_spec(model)
    if spec:
        return f"zoo summary {spec.full_name} shows the {what}."
    return "zoo.summary(model) shows the names." if what == "names" else "zoo.blocks(model, sample=…) lists them."


_KEPT: Mapping[str, Callable[[nn.Module], set[str]]] = {"norm": norm_parameters, "bias": bias_parameters}
_WITH_VALUE: Mapping[str, Callable[[_Word], set[str]]] = {
    "until": _until,
    "from": _from,
    "first": _first,
    "last": _last,
}
