"""What holds for every model: each function looks at one point, and raises AssertionError where it does not hold."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import zoo
from zoo.freezing.dividing import blocks_of
from zoo.freezing.order import RunningOrder, places
from zoo.names import is_under, upwards
from zoo.training.loop import logits_of

from .subjects import CLASSES

DROPS_BEFORE_ITS_HEAD = ("GhostNet", "RepGhostNet", "SENet")
"""Models of timm whose own `forward` drops features on their way into the head, by no module that could be held."""


def scores(model: nn.Module, given: Tensor) -> Tensor:
    """The class scores, also of models that return them within an object."""
    out = model(given)
    return logits_of(out)


@dataclass
class Part:
    """What a policy should leave as it is, found without asking zoo which modules it holds."""

    parameters: set[str]
    watched: tuple[str, ...]
    """Modules whose results depend on frozen parameters alone."""
    inputs: bool = False
    """Whether it is what these receive that counts, not what they give."""
    modules: set[str] = field(default_factory=set)
    """Modules whose buffers belong to the part."""
    shares: bool = False
    """Whether anything trained has several places, as what the blocks of CoaT share: one may be in the part."""


def part_of(model: nn.Module, policy: str, frozen: Sequence[str], order: RunningOrder) -> Part:
    """The frozen part of a policy as one reads the policy's own words."""
    spec, names = zoo.spec_of(model), set(frozen)
    every = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    owners = {_owner(name) for name in every} - {_owner(name) for name in every if name not in names}
    moments = {path: moment for moment, path in enumerate(order.returned)}
    kind, _, value = policy.partition(":")
    if kind == "backbone":
        # Norm layers without parameters of their own still count the pictures that they saw.
        filled = {path for name in every for path in upwards(name)}
        outside = {path for path in moments if path not in filled and not spec.in_head(path)}
        before = {path for path in outside if moments[path] < min(moments[head] for head in spec.head_paths)}
        watched = () if spec.fresh or type(model).__name__ in DROPS_BEFORE_ITS_HEAD else spec.head_paths
        return Part(names, watched, inputs=True, modules=owners | before)
    watched: tuple[str, ...] = ()
    if kind == "until":
        watched = (value,)
    elif kind == "first":
        # The one block of Perceiver has the head in it.
        places = blocks_of(model, order)[int(value) - 1].places
        watched = () if any(is_under(head, places[-1]) for head in spec.head_paths) else places[-1:]
    called = Counter(id(each) for _, each in model.named_parameters(remove_duplicate=False))
    shares = any(called[id(each)] > 1 for name, each in model.named_parameters() if name not in names)
    return Part(names, watched, modules=owners, shares=shares)


def _owner(name: str) -> str:
    """The module that a parameter or a buffer belongs to."""
    return name.rpartition(".")[0]


class _SeenAll(Exception):  # noqa: N818 - nothing is wrong
    """The rest of the model has nothing more to show."""


@contextmanager
def _seen(model: nn.Module, part: Part, most: int | None = None) -> Iterator[list[Tensor]]:
    """What the watched modules receive or give, copied at each call; the model runs no further than to so many.

    A copy requires a gradient where torch recorded that anything trained has a say in it.
    """
    found: list[Tensor] = []

    def note(_: nn.Module, given: tuple[object, ...], out: object = None) -> None:
        values = [each for each in tree_leaves(given if part.inputs else out) if isinstance(each, Tensor)]
        found.extend(each.detach().clone().requires_grad_(each.requires_grad) for each in values)
        if most is not None and len(found) >= most:
            raise _SeenAll

    handles = [
        module.register_forward_pre_hook(note) if part.inputs else module.register_forward_hook(note)
        for module in map(model.get_submodule, part.watched)
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def held(model: nn.Module, part: Part) -> dict[str, Tensor]:
    """The frozen parameters and the buffers of the part."""
    values = {name: value for name, value in model.named_parameters() if name in part.parameters}
    return values | {name: value for name, value in model.named_buffers() if _owner(name) in part.modules}


WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def bits(value: Tensor) -> int:
    """The sum of a tensor's bits, taken as whole numbers: a step changes it, and large models cost no copy."""
    flat = value.detach().contiguous().flatten()
    wide = flat.element_size() * flat.numel() % 8 == 0
    return int(flat.view(WHOLE[8 if wide else flat.element_size()]).sum())


def moved(model: nn.Module, part: Part, given: Tensor, *, step: bool) -> list[str]:
    """What of a part differs after a step in train mode, parameters, buffers and results; nothing where it is held."""
    model.train()
    before = {name: bits(value) for name, value in held(model, part).items()}

    def differing() -> list[str]:
        after = held(model, part)
        return [name for name, value in before.items() if bits(after[name]) != value]

    with _seen(model, part) as first:
        out = scores(model, given)
    assert out.shape == (len(given), CLASSES), f"scores of shape {tuple(out.shape)}"
    if step:
        _step(model, part, out)
    assert first or not part.watched, f"{', '.join(part.watched)} shows no tensor"
    found = differing()
    follows = any(each.requires_grad for each in first)
    if found or not first or (follows and part.shares):
        return found
    with torch.no_grad(), _seen(model, part, len(first)) as second, suppress(_SeenAll):
        model.train()
        scores(model, given)
    alike = len(first) == len(second) and all(torch.equal(*both) for both in zip(first, second, strict=True))
    if follows:
        return [*differing(), f"{', '.join(part.watched)} by what is trained"]
    return differing() + ([] if alike else [f"results of {', '.join(part.watched)}"])


def _step(model: nn.Module, part: Part, out: Tensor) -> None:
    """One step of all parameters that have a gradient; nothing frozen may have one, and each head has."""
    spec = zoo.spec_of(model)
    # Scores as large as the steps of earlier policies make them would leave a gradient that rounds to zero.
    scaled = out / out.detach().abs().max().clamp(min=1)
    nn.functional.cross_entropy(scaled, torch.arange(len(out)) % CLASSES).backward()
    reached = {name for name, each in model.named_parameters() if each.grad is not None}
    assert not reached & part.parameters, f"gradients reach {sorted(reached & part.parameters)[:3]}"
    for prefix in spec.head_prefixes:
        own = [each.grad for name, each in model.named_parameters() if is_under(name, prefix)]
        assert any(each is not None and bool(each.abs().sum() > 0) for each in own), f"no gradient reaches {prefix}"
    # By the sign, as AdamW's first step goes, every number with a gradient moves; its two states would cost memory.
    with torch.no_grad():
        for each in model.parameters():
            if each.grad is not None:
                each.sub_(each.grad.sign_(), alpha=1e-4)
                each.grad = None


def policies(model: nn.Module, order: RunningOrder, most: int | None) -> list[str]:
    """`backbone`, `until:` at the listed places (spread over them where `most` says so), `first:N`, `last:N`."""
    spec = zoo.spec_of(model)
    holds = {place for place in places(model, order) if any(is_under(head, place) for head in spec.head_paths)}
    listed = [place for place in places(model, order) if place not in holds and not spec.in_head(place)]
    if most is not None and len(listed) > most:
        listed = [listed[round((number + 0.5) * len(listed) / most)] for number in range(most)]
    count = len(blocks_of(model, order))
    some = sorted({1, max(1, count // 2)}) if most != 1 else []
    return ["backbone", *(f"until:{place}" for place in listed), *(f"first:{n}" for n in some), "last:1"]


def check_policy(model: nn.Module, policy: str, given: Tensor, order: RunningOrder) -> None:
    """A policy holds its part through a step of training, and lets its head learn."""
    frozen = zoo.freeze(model, policy, order=order).parameters
    part = part_of(model, policy, frozen, order)
    found = moved(model, part, given, step=True)
    assert not found, f"{policy}: {len(found)} moved, {', '.join(found[:3])}"


def check_control(model: nn.Module, given: Tensor, order: RunningOrder) -> bool:
    """The same look at a backbone that is frozen by `requires_grad` alone must see it move, where anything can.

    False for a model in which nothing goes by the mode: no statistics, no dropout.
    """
    names = zoo.freeze(model, "backbone", order=order).parameters
    part = part_of(model, "backbone", names, order)
    zoo.freeze(model, "none", order=order)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in names)
    if not any(_goes_by_mode(module) for path, module in model.named_modules() if path in part.modules):
        return False
    found = moved(model, part, given, step=False)
    assert found, "a backbone without eval mode looks as if it held"
    return True


def _goes_by_mode(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return module.track_running_stats
    return isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0


def check_append(model: nn.Module, given: Tensor) -> None:
    """A head behind the original classifiers, whose results stay as they were and can be reached."""
    paths = zoo.spec_of(model).head_paths
    originals = [zoo.get_module(model, path) for path in paths]
    seen: list[Tensor] = []
    for original in originals:
        original.register_forward_hook(lambda *args: seen.append(args[-1].clone()))
    with torch.no_grad():
        scores(model.eval(), given)
        zoo.append_head(model, classes=CLASSES)
        assert scores(model, given).shape == (len(given), CLASSES)
    half = len(seen) // 2
    assert half, "the original classifier is not called"
    assert all(zoo.get_module(model, f"{path}.0") is each for path, each in zip(paths, originals, strict=True))
    assert all(torch.equal(*both) for both in zip(seen[:half], seen[half:], strict=True)), "the original outputs differ"


def check_other_head(model: nn.Module) -> None:
    """Another head changes keys below the places of heads alone; the linear one comes back."""
    spec, before = zoo.spec_of(model), list(model.state_dict())
    zoo.swap_head(model, "mlp", classes=CLASSES)
    after = list(model.state_dict())
    assert [key for key in after if not spec.in_head(key)] == [key for key in before if not spec.in_head(key)]
    assert after != before
    zoo.swap_head(model, "linear", classes=CLASSES)
    assert list(model.state_dict()) == before
