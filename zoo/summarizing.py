"""A model as a tree: shapes, parameters, what is trained and what is frozen."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.markup import table
from zoo.names import join
from zoo.registry import find_spec, taking, unwrapped


@dataclass(frozen=True)
class Line:
    """One module of the tree."""

    path: str
    type: str
    shape: tuple[int, ...] | None
    """Of its output for one picture, the batch left out; None where it gives no single tensor or did not run."""
    parameters: int
    trained: int
    mode: str
    """`train`, or `eval` where it is kept in eval mode."""
    depth: int
    repeats: int = 1
    """How many neighbours of the same structure this line stands for."""
    last: str = ""
    """The path of the last of them."""

    @property
    def state(self) -> str:
        """`trained`, `frozen`, `part` or, without parameters, nothing."""
        if not self.parameters:
            return ""
        return "frozen" if not self.trained else "trained" if self.trained == self.parameters else "part"


@dataclass(frozen=True)
class Summary:
    """The tree of a model, repeated blocks folded into one line."""

    name: str
    lines: tuple[Line, ...]
    parameters: int
    trained: int

    def to_values(self) -> dict[str, Any]:
        """The summary as plain values."""
        return {
            "name": self.name,
            "parameters": self.parameters,
            "trained": self.trained,
            "modules": [{**vars(line), "state": line.state} for line in self.lines],
        }

    def __str__(self) -> str:
        rows = []
        for line in self.lines:
            label = _label(line, self.name)
            shape = " × ".join(map(str, line.shape)) if line.shape else ""
            start = f"{'  ' * line.depth + label:<34} {line.type:<24} {shape:<14}"
            rows.append(f"{start} {line.parameters:>12,}  {line.state}".rstrip())
        share = 100 * self.trained / max(1, self.parameters)
        return "\n".join([*rows, f"trained {self.trained:,} of {self.parameters:,} ({share:.3g} %)"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [
            (
                "\u2003" * line.depth + _label(line, self.name),
                line.type,
                " × ".join(map(str, line.shape or ())),
                line.parameters or None,
                line.state,
            )
            for line in self.lines
        ]
        caption = f"{self.name}: {self.trained:,} of {self.parameters:,} parameters are trained"
        return table(caption, rows, ("module", "type", "gives", "parameters", "state"))


def _label(line: Line, name: str) -> str:
    label = line.path.rpartition(".")[2] or name
    return label + (f" … {line.last.rpartition('.')[2]} ({line.repeats} alike)" if line.repeats > 1 else "")


def summary(model: nn.Module, *, sample: Tensor | None = None, depth: int = 3) -> Summary:
    """The tree of a model's modules with output shapes, parameters, and what is trained or frozen.

    >>> import zoo
    >>> model = zoo.load("resnet18", classes=5, weights=None)
    >>> _ = zoo.freeze(model, "until:layer3")
    >>> zoo.summary(model).trained
    8396293

    Shapes are seen on one batch: `sample`, or the input size that zoo knows; without either they are left
    out. `depth` is how far the tree is opened.
    """
    model = unwrapped(model)
    spec = find_spec(model)
    shapes = _shapes(model, sample)
    lines = tuple(_lines(model, "", 0, depth, shapes))
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return Summary(spec.full_name if spec else type(model).__name__, lines, total, trained)


def _shapes(model: nn.Module, sample: Tensor | None) -> Mapping[str, tuple[int, ...]]:
    spec = find_spec(model)
    if sample is None:
        if spec is None:
            return {}
        parameter = next(model.parameters())
        sample = torch.zeros(spec.shape(1), device=parameter.device, dtype=parameter.dtype)
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:
        def hook(_: nn.Module, args: Any, out: Any) -> None:
            if isinstance(out, Tensor):
                shapes[name] = tuple(out.shape[1:])

        return hook

    flags = [(module, module.training) for module in model.modules()]
    handles = [module.register_forward_hook(note(name)) for name, module in model.named_modules()]
    try:
        for module, _ in flags:
            module.training = False
        with torch.no_grad(), torch.random.fork_rng(devices=[]), taking(model, sample.shape):
            model(sample)
    finally:
        for handle in handles:
            handle.remove()
        for module, flag in flags:
            module.training = flag
    return shapes


def _lines(
    module: nn.Module, path: str, level: int, depth: int, shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[Line]:
    parameters = list(module.parameters())
    yield Line(
        path=path,
        type=type(module).__name__,
        shape=shapes.get(path),
        parameters=sum(each.numel() for each in parameters),
        trained=sum(each.numel() for each in parameters if each.requires_grad),
        mode="train" if module.training else "eval",
        depth=level,
    )
    if level >= depth:
        return
    children = [(join(path, name), child) for name, child in module.named_children()]
    for group in _alike(children):
        first, child = group[0]
        below = list(_lines(child, first, level + 1, depth, shapes))
        if len(group) > 1:
            yield Line(**{**vars(below[0]), "repeats": len(group), "last": group[-1][0]})
            yield from below[1:]
        else:
            yield from below


def _alike(children: Sequence[tuple[str, nn.Module]]) -> Iterator[list[tuple[str, nn.Module]]]:
    """Neighbours with children of their own that have the same structure, sizes and state, together."""
    group: list[tuple[str, nn.Module]] = []
    for path, child in children:
        if group and any(True for _ in child.children()) and _form(child) == _form(group[0][1]):
            group.append((path, child))
        else:
            if group:
                yield group
            group = [(path, child)]
    if group:
        yield group


def _form(module: nn.Module) -> list[Any]:
    parts = [(name, type(part).__name__) for name, part in module.named_modules()]
    sizes = [(name, tuple(each.shape), each.requires_grad) for name, each in module.named_parameters()]
    return [*parts, *sizes]
