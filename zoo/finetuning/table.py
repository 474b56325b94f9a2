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
    trained: bool
    norm: str
    """`train` or `eval` where the block has norm layers with running statistics, `–` where it has none."""
    lr: float | None
    note: str = ""


@dataclass(frozen=True)
class _State:
    trained: bool
    norm: str
    lr: float | None
    is_head: bool


def rows_of(model: nn.Module, groups: Sequence[Group]) -> list[Row]:
    """The model's blocks in definition order; a block is opened where its parts differ."""
    rates = {name: group.lr for group in groups for name in group.names}
    held = set(freezing.held_modules(model))
    spec = spec_of(model)

    def state_of(path: str, module: nn.Module) -> _State | None:
        """What all parameters below a path have in common, or None where they differ."""
        names = [join(path, name) for name, _ in module.named_parameters()]
        states = {(name in rates, rates.get(name), spec.in_head(name)) for name in names}
        if len(states) != 1:
            return None
        trained, lr, is_head = states.pop()
        return _State(trained, _norm_mode(path, module, held), lr, is_head)

    rows = _merged(list(_collected(model, "", state_of)), model)
    return [
        Row(row.block, row.parameters, row.trained, row.norm, row.lr, _head_note(model) if is_head else "")
        for row, is_head in rows
    ]


_Entry = tuple[str, int, _State]


def _collected(module: nn.Module, path: str, state_of: Callable[[str, nn.Module], _State | None]) -> Sequence[_Entry]:
    entries: list[_Entry] = []
    own = list(module.named_parameters(recurse=False))
    for name, parameter in own:
        state = _State(parameter.requires_grad, "–", None, False)
        if parameter.requires_grad:
            holder = nn.Module()
            holder.register_parameter(name, parameter)
            state = state_of(path, holder) or state
        entries.append((join(path, name), parameter.numel(), state))
    for name, child in module.named_children():
        full = join(path, name)
        count = sum(parameter.numel() for parameter in child.parameters())
        if not count:
            continue
        state_or_none = state_of(full, child)
        if state_or_none is None:
            entries += _collected(child, full, state_of)
        else:
            entries.append((full, count, state_or_none))
    return entries


def _merged(entries: Sequence[_Entry], model: nn.Module) -> list[tuple[Row, bool]]:
    """Neighbours with one parent and one state become one row: classifier.0, classifier.3 → classifier.0-3."""
    merged: list[tuple[list[str], int, _State]] = []
    for path, count, state in entries:
        parent = path.rpartition(".")[0]
        if (
            merged
            and merged[-1][2] == state
            and merged[-1][0][0].rpartition(".")[0] == parent
            and (parent or not state.is_head)
        ):
            names, total, _ = merged[-1]
            merged[-1] = ([*names, path], total + count, state)
        else:
            merged.append(([path], count, state))
    return [
        (Row(_span(names), count, state.trained, state.norm, state.lr), state.is_head) for names, count, state in merged
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
    return f"{word} {spec.head.preset} head, {features} → {spec.head.outputs}"
