"""The blocks of a model in running order: what `first:N` and `last:N` count, and what layer decay goes by.

A block is one of the places that `zoo info` lists, with two corrections: a norm layer on its own goes with its
neighbour, and parts that run again on their own results (ALBERT's shared layers) are one block. It reaches to the
start of the next one, so that tokens and positions, which are added between blocks, belong to the block before.
Every backbone parameter is in exactly one block: the one in which it is used for the last time, and the last one
for what the batch did not use. The head is none, nor is what loading had to initialise.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import nn

from zoo.freezing.order import RunningOrder, places
from zoo.names import is_under, join
from zoo.registry import find_spec

NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


@dataclass(frozen=True)
class Block:
    """Neighbours in running order that are frozen or trained together."""

    name: str
    """The place that it is known by, a dotted module name."""
    places: tuple[str, ...]
    """All modules that it is made of, in running order; most have one."""
    parameters: tuple[str, ...]
    """Its parameters; those of one place in definition order."""


def blocks_of(model: nn.Module, order: RunningOrder) -> list[Block]:
    """The blocks of a model in running order, without its head; `zoo.blocks` gives an example."""
    names = backbone_parameters(model)
    listed = [place for place in _whole(places(model, order), model, order) if not _in_head(model, place)]
    ends = _ends(listed, order)
    members: dict[str, list[str]] = {place: [] for place in listed}
    for name in names if listed else ():
        members[_place_of(name, listed, ends, order)].append(name)
    found = [Block(place, (place,), tuple(own)) for place, own in members.items() if own]
    return _joined(found, norm_parameters(model))


def backbone_parameters(model: nn.Module) -> list[str]:
    """The parameters outside the head that loading did not initialise; all of them where no head is known."""
    spec = find_spec(model)
    fresh = spec.fresh if spec else ()
    return [name for name, _ in model.named_parameters() if name not in fresh and not _in_head(model, name)]


def norm_parameters(model: nn.Module) -> set[str]:
    """The parameters of norm layers: torch's own, and modules named so that hold vectors alone."""
    found: set[str] = set()
    for path, module in model.named_modules():
        own = list(module.named_parameters(recurse=False))
        named = "norm" in type(module).__name__.lower() and all(each.dim() < 2 for _, each in own)
        if isinstance(module, NORMS) or named:
            found.update(join(path, name) for name, _ in own)
    return found


def repeated(model: nn.Module, order: RunningOrder) -> dict[str, int]:
    """The outermost modules that run again on their own results with the same parameters, with how often."""
    found: dict[str, int] = {}
    for path, module in model.named_modules():
        times = order.calls.get(path, 0)
        if not path or times < 2 or any(is_under(path, outer) for outer in found):
            continue
        own = {join(path, name) for name, _ in module.named_parameters()}
        if own and path not in order.with_frozen_inputs(own):
            found[path] = times
    return found


def _in_head(model: nn.Module, name: str) -> bool:
    spec = find_spec(model)
    return spec is not None and spec.in_head(name)


def _whole(listed: Sequence[str], model: nn.Module, order: RunningOrder) -> list[str]:
    """The places, those in one repeated module as that module, by their last returns."""
    outer = repeated(model, order)
    whole = {next((path for path in outer if is_under(place, path)), place) for place in listed}
    moments = {name: moment for moment, name in enumerate(order.returned)}
    return sorted(whole, key=moments.__getitem__)


def _ends(listed: Sequence[str], order: RunningOrder) -> list[int]:
    """For each place the number of operations done when the next one starts."""
    starts = [order.restarted[place] for place in listed[1:]]
    return [max(order.returned[place], start) for place, start in zip(listed, starts, strict=False)]


def _place_of(name: str, listed: Sequence[str], ends: Sequence[int], order: RunningOrder) -> str:
    last = order.used.get(name)
    if last is None:
        return next((place for place in listed if is_under(name, place)), listed[-1])
    return next((place for place, end in zip(listed, ends, strict=False) if last <= end), listed[-1])


def _joined(found: Sequence[Block], norms: Collection[str]) -> list[Block]:
    """The blocks with lone norm layers put to the block before, or to the next if only that lies beside it."""
    joined: list[Block] = []
    waiting: Block | None = None
    for number, block in enumerate(found):
        after = found[number + 1] if number + 1 < len(found) else None
        if not set(block.parameters) <= set(norms):
            joined.append(_one(waiting, block, block.name) if waiting else block)
            waiting = None
        elif waiting:
            waiting = _one(waiting, block, waiting.name)
        elif after and (not joined or (_beside(block, after) and not _beside(joined[-1], block))):
            waiting = block
        elif joined:
            joined[-1] = _one(joined[-1], block, joined[-1].name)
        else:
            joined.append(block)
    return [*joined, waiting] if waiting else joined


def _beside(one: Block, other: Block) -> bool:
    """Whether two blocks lie in the same module."""
    return one.places[-1].rpartition(".")[0] == other.places[0].rpartition(".")[0]


def _one(before: Block, after: Block, name: str) -> Block:
    return Block(name, (*before.places, *after.places), (*before.parameters, *after.parameters))


def states_of(found: Sequence[Block], frozen: Collection[str]) -> list[str]:
    """For each block `frozen`, `trained` or `part`."""
    counts = [sum(name in frozen for name in block.parameters) for block in found]
    return [
        "frozen" if count == len(block.parameters) else "part" if count else "trained"
        for block, count in zip(found, counts, strict=True)
    ]


@dataclass(frozen=True)
class BlockRow:
    """One block as a person sees it."""

    number: int
    name: str
    parameters: int
    trained: int
    state: str
    """`frozen`, `trained` or `part`."""


def rows_of(model: nn.Module, found: Sequence[Block]) -> list[BlockRow]:
    """The blocks with their sizes and what is trained of them now."""
    sizes = {name: (each.numel(), each.requires_grad) for name, each in model.named_parameters()}
    states = states_of(found, {name for name, (_, trained) in sizes.items() if not trained})
    rows = []
    for number, (block, state) in enumerate(zip(found, states, strict=True), start=1):
        own = [sizes[name] for name in block.parameters]
        trained = sum(size for size, is_trained in own if is_trained)
        rows.append(BlockRow(number, block.name, sum(size for size, _ in own), trained, state))
    return rows


def folded(rows: Sequence[BlockRow]) -> list[tuple[str, str, int, str]]:
    """Numbers, names, parameters and state, where neighbours in one module and one state are one row.

    >>> folded([BlockRow(1, "stem", 4, 0, "frozen"), BlockRow(2, "a.0", 2, 2, "trained"),
    ...         BlockRow(3, "a.1", 2, 2, "trained")])
    [('1', 'stem', 4, 'frozen'), ('2-3', 'a.0 … a.1', 4, 'trained')]
    """
    groups: list[list[BlockRow]] = []
    for row in rows:
        last = groups[-1][-1] if groups else None
        if last and last.state == row.state and last.name.rpartition(".")[0] == row.name.rpartition(".")[0]:
            groups[-1].append(row)
        else:
            groups.append([row])
    return [
        (
            f"{group[0].number}-{group[-1].number}" if len(group) > 1 else f"{group[0].number}",
            f"{group[0].name} … {group[-1].name}" if len(group) > 1 else group[0].name,
            sum(row.parameters for row in group),
            group[0].state,
        )
        for group in groups
    ]


def spans(states: Sequence[str]) -> list[tuple[int, int, str]]:
    """Neighbours in the same state as first and last number, counted from 1, and the state.

    >>> spans(["frozen", "frozen", "trained"])
    [(1, 2, 'frozen'), (3, 3, 'trained')]
    """
    found: list[tuple[int, int, str]] = []
    for number, state in enumerate(states, start=1):
        if found and found[-1][2] == state:
            found[-1] = (found[-1][0], number, state)
        else:
            found.append((number, number, state))
    return found


def in_words(found: Sequence[Block], frozen: Collection[str]) -> str:
    """What is frozen, by the numbers of the blocks.

    >>> two = [Block("stem", ("stem",), ("stem.weight",)), Block("body", ("body",), ("body.weight",))]
    >>> in_words(two, {"stem.weight"})
    'block 1 of 2 (stem)'
    """
    parts = {"frozen": "", "part": "parts of "}
    said = []
    for state, start in parts.items():
        runs = [(first, last) for first, last, each in spans(states_of(found, frozen)) if each == state]
        if not runs:
            continue
        count = sum(last - first + 1 for first, last in runs)
        if count == len(found):
            said.append(f"{start}all {count} blocks")
            continue
        numbers = ", ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in runs)
        names = dict.fromkeys(found[number - 1].name for number in runs[0])
        named = f" ({' … '.join(names)})" if len(runs) == 1 else ""
        said.append(f"{start}block{'s' if count > 1 else ''} {numbers} of {len(found)}{named}")
    return " and ".join(said) or "nothing of the backbone"
