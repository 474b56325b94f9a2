"""What will be trained, block by block: the table that a person sees before training."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from torch import nn

from zoo import freezing
from zoo.names import join
from zoo.registry import spec_of
from zoo.training.optimizers import Group


@dataclass(frozen=True)
class Row:
    """One block, or neighbours that are alike."""

    block: str
    parameters: int
    trained: int
    """How many of them are trained: all, none, or some where a policy cuts through many blocks."""
    norm: str
    """`train` or `eval` where the block has norm layers with running statistics, `–` where it has none."""
    lr: float | None
    note: str = ""

    @property
    def state(self) -> str:
        """`trained`, `frozen` or `part`."""
        return "frozen" if not self.trained else "trained" if self.trained == self.parameters else "part"


MOST_ROWS = 40
"""A table that would be longer shows blocks that are trained in part as one row."""


@dataclass(frozen=True)
class _State:
    state: str
    norm: str
    lr: float | None
    is_head: bool


def rows_of(model: nn.Module, groups: Sequence[Group], blocks: Sequence[str] = ()) -> list[Row]:
    """The model's parts in definition order, opened where their own parts differ.

    `blocks` are not opened when that would make a long table.
    """
    rows = _rows(model, groups, ())
    return _rows(model, groups, blocks) if len(rows) > MOST_ROWS else rows


def _rows(model: nn.Module, groups: Sequence[Group], closed: Collection[str]) -> list[Row]:
    rates = {name: group.lr for group in groups for name in group.names}
    held = set(freezing.held_modules(model))
    spec = spec_of(model)

    def state_of(path: str, module: nn.Module) -> _State | None:
        """What all parameters below a path have in common, or None where they differ."""
        names = [join(path, name) for name, _ in module.named_parameters()]
        found = {(name in rates, rates.get(name), spec.in_head(name)) for name in names}
        norm = _norm_mode(path, module, held)
        if len(found) == 1:
            trained, lr, is_head = found.pop()
            return _State("trained" if trained else "frozen", norm, lr, is_head)
        if path not in closed or any(is_head for _, _, is_head in found):
            return None
        given = {lr for _, lr, _ in found} - {None}
        return _State("part", norm, given.pop() if len(given) == 1 else None, False)

    rows = _merged(list(_collected(model, "", state_of)))
    return [
        Row(row.block, row.parameters, row.trained, row.norm, row.lr, _head_note(model) if is_head else "")
        for row, is_head in rows
    ]


_Entry = tuple[str, int, int, _State]
"""A path, its parameters, those of them that are trained, and their state."""


def _collected(module: nn.Module, path: str, state_of: Callable[[str, nn.Module], _State | None]) -> Sequence[_Entry]:
    entries: list[_Entry] = []
    own = list(module.named_parameters(recurse=False))
    for name, parameter in own:
        state = _State("frozen", "–", None, False)
        if parameter.requires_grad:
            holder = nn.Module()
            holder.register_parameter(name, parameter)
            state = state_of(path, holder) or state
        entries.append((join(path, name), parameter.numel(), parameter.numel() * parameter.requires_grad, state))
    for name, child in module.named_children():
        full = join(path, name)
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in child.parameters()]
        if not sizes:
            continue
        state_or_none = state_of(full, child)
        if state_or_none is None:
            entries += _collected(child, full, state_of)
        else:
            trained = sum(size for size, is_trained in sizes if is_trained)
            entries.append((full, sum(size for size, _ in sizes), trained, state_or_none))
    return entries


def _merged(entries: Sequence[_Entry]) -> list[tuple[Row, bool]]:
    """Neighbours with one parent and one state become one row: classifier.0, classifier.3 → classifier.0-3."""
    merged: list[tuple[list[str], int, int, _State]] = []
    for path, count, trained, state in entries:
        parent = path.rpartition(".")[0]
        if (
            merged
            and merged[-1][3] == state
            and merged[-1][0][0].rpartition(".")[0] == parent
            and (parent or not state.is_head)
        ):
            names, total, so_far, _ = merged[-1]
            merged[-1] = ([*names, path], total + count, so_far + trained, state)
        else:
            merged.append(([path], count, trained, state))
    return [
        (Row(_span(names), count, trained, state.norm, state.lr), state.is_head)
        for names, count, trained, state in merged
    ]


def _span(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    last = names[-1].rpartition(".")[2]
    return f"{names[0]}-{last}" if names[0].rpartition(".")[2].isdigit() else f"{names[0]} … {last}"


def _norm_mode(path: str, module: nn.Module, held: Collection[str]) -> str:
    modes = {
        "eval" if join(path, name) in held else "train"
        for name, part in module.named_modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm)
    }
    return " and ".join(sorted(modes)) or "–"


def _head_note(model: nn.Module) -> str:
    spec = spec_of(model)
    if spec.head is None:
        return "the library's own head"
    features = spec.features
    if spec.head.layers:
        first = spec.head.layers[0]
        features = int(first.get("in_features", first.get("in_channels", features)))
    word = "appended" if spec.head.mode == "append" else "new"
    return f"{word} {spec.head.called} head, {features} → {spec.head.outputs}"
