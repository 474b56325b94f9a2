"""Pools of heads: finding the place where a model pools its map or tokens, and what stands there.

A model's own pool has no parameters and gives one vector a picture, through which all that the head receives has to
come. That is looked at, not believed: the model runs on two batches with its pool answering the same to both, and its
head must see the same. What pools scores behind the head, as in squeezenet, is no such place.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo import surgery
from zoo.errors import UsageError
from zoo.head import building, presets
from zoo.names import listed
from zoo.registry import POOL_ATTRIBUTE, Kind, Mode, ModelSpec, index, spec_of
from zoo.sources import timm


@dataclass(frozen=True)
class Pooled:
    """A pool that was put in its place."""

    layer: Mapping[str, Any]
    path: str
    features: int
    """How many numbers the layers behind it receive."""


@dataclass(frozen=True)
class _Place:
    path: str
    kind: Kind
    features: int
    form: Mapping[str, Any]


class _NoPlaceError(Exception):
    """Why a model has no place for a pool, in words that follow 'which MODEL does not have: '."""


class _Reached(Exception):  # noqa: N818
    """The head is called, and nothing behind it matters."""


@contextlib.contextmanager
def changed(model: nn.Module, head: presets.Preset | nn.Module, mode: Mode) -> Iterator[Pooled | None]:
    """The pool of a new head in its place, or the model's own; when the body fails, what stood there before.

    Raises UsageError for a head with a pool on a model without a place for one.
    """
    spec = spec_of(model)
    path = spec.head.pool_path if spec.head else None
    before = surgery.get_module(model, path) if path else None
    if path and POOL_ATTRIBUTE not in vars(model):
        raise UsageError(
            f"what stood at {path} of this {spec.full_name} before is not known, so no other head fits.",
            "swap the head of the model that its checkpoint's folder gives: zoo.load_checkpoint(FOLDER)",
        )
    remove(model)
    try:
        yield _put(model, spec, head, mode) if isinstance(head, presets.Preset) and head.pool is not None else None
    except BaseException:
        remove(model)
        if path and before is not None:
            stand(model, path, before)
        raise


def stand(model: nn.Module, path: str, pool: nn.Module) -> None:
    """Put a pool in the place of the model's own, which is kept."""
    parent, _, name = path.rpartition(".")
    around = surgery.get_module(model, parent)
    registered = name in around._modules
    own = around._modules[name] if registered else vars(around).get(name, around)
    if own is not None and (not registered or any(True for _ in own.parameters())):
        raise UsageError(f"this {type(model).__name__} has no pool of its own at {path!r}.")
    vars(model)[POOL_ATTRIBUTE] = (path, own, registered)
    if not registered:
        del vars(around)[name]
    example = next(model.parameters())
    around._modules[name] = pool.to(device=example.device, dtype=example.dtype).train(around.training)


def remove(model: nn.Module) -> None:
    """Put the model's own pool back where a head's stands."""
    path, own, registered = vars(model).pop(POOL_ATTRIBUTE, ("", None, False))
    if path:
        parent, _, name = path.rpartition(".")
        around = surgery.get_module(model, parent)
        if registered:
            around._modules[name] = own.train(around.training) if own is not None else None
        else:
            del around._modules[name]
            vars(around)[name] = own


def fitting(model: nn.Module) -> tuple[Kind, bool] | None:
    """What the pool of a head would take on a model, and whether it may give more features; None without a place.

    Shapes alone are looked at, so a model without values will do; putting a head there looks closer.
    """
    spec = spec_of(model)
    try:
        place = _look(model, spec)
    except _NoPlaceError:
        return None

    def runs(layer: Mapping[str, Any]) -> bool:
        stand(model, place.path, building.build([{**layer, **place.form}]).to(next(model.parameters()).device))
        try:
            _run(model, spec, _samples(model, spec)[0], {})
        except _NoPlaceError:
            return False
        finally:
            remove(model)
        return True

    same = {"layer": "AttentionPool", "features": place.features, "heads": 1}
    return (place.kind, runs({"layer": "ConcatPool"})) if runs(same) else None


def _put(model: nn.Module, spec: ModelSpec, preset: presets.Preset, mode: Mode) -> Pooled:
    if mode == "append":
        raise presets.refuse(preset, "pools, and an appended head takes what the original classifier gives.", spec.kind)
    try:
        place = _look(model, spec)
    except _NoPlaceError as error:
        reason = f"takes the place of a pool, which {spec.full_name} does not have: {error}."
        refused = presets.refuse(preset, reason, spec.kind)
        other = _with_pool(spec)
        hints = (*refused.hints, *((f"a model of about its size that has one: {other}",) if other else ()))
        raise UsageError(refused.message, *hints) from error
    if place.kind not in preset.takes:
        what = f"takes {listed(preset.takes)}, and {spec.full_name} pools {place.kind}."
        raise presets.refuse(preset, what, spec.kind, place.kind)
    layer, features = presets.pool_of(preset, place.features, place.form)
    stand(model, place.path, building.build([layer]))
    try:
        return Pooled(layer, place.path, _verified(model, spec, place.path))
    except _NoPlaceError as error:
        reason, wide = f"does not fit {spec.full_name}: {error}.", features > place.features
        pooled = place.kind if wide else None
        raise presets.refuse(preset, reason, spec.kind, pooled, widen=not wide) from error


# The same networks, in timm, which pools by a module where torchvision calls a function or takes the class token.
_TWINS = {
    "mobilenet_v2": "mobilenetv2_100",
    "mnasnet1_0": "mnasnet_100",
    "vit_b_16": "vit_base_patch16_224",
    "vit_b_32": "vit_base_patch32_224",
    "vit_l_16": "vit_large_patch16_224",
    "vit_l_32": "vit_large_patch32_224",
    "vit_h_14": "vit_huge_patch14_224",
}


def _with_pool(spec: ModelSpec) -> str | None:
    """A model of torchvision's or timm's that pools by a module, in the place of one of torchvision's that does not."""
    if spec.source != "torchvision":
        return None
    if spec.name in _TWINS or spec.name.startswith("densenet"):
        return f"timm:{_TWINS.get(spec.name, spec.name)}"
    size = index("torchvision")["models"][spec.name]["parameters"]
    residual = {
        name: abs(math.log(facts["parameters"] / size))
        for name, facts in index("torchvision")["models"].items()
        if name.startswith(("resnet", "resnext", "regnet"))
    }
    return f"torchvision:{min(residual, key=residual.__getitem__)}"


def _look(model: nn.Module, spec: ModelSpec) -> _Place:
    """Where the pool stands, and in which form it takes features and gives them."""
    if spec.more_heads:
        raise _NoPlaceError("it has several heads")
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}

    def note(path: str, given: Tensor, out: Tensor) -> Tensor:
        shapes.pop(path, None)
        shapes[path] = tuple(given.shape), tuple(out.shape)
        return out

    usual = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
    places = [path for path, module in model.named_modules() if path == spec.pool_path or isinstance(module, usual)]
    _run(model, spec, _samples(model, spec)[0], dict.fromkeys(places, note))
    path = spec.pool_path if spec.pool_path in shapes else next(reversed(shapes), None)
    if path is None and spec.source == "timm" and (slot := timm.empty_pool(model)):
        return _Place(slot, "tokens", spec.features, {"channels_last": True, "places": 1, "flatten": True})
    if path is None:
        raise _NoPlaceError("no module of it pools what its head receives, its own forward does")
    if any(True for _ in surgery.get_module(model, path).parameters()):
        raise _NoPlaceError(f"its pool at {path} is learned already")
    return _place_at(path, *shapes[path])


def _place_at(path: str, given: tuple[int, ...], out: tuple[int, ...]) -> _Place:
    channels = max(out[1:])
    if sum(size > 1 for size in out[1:]) > 1:
        kept = " × ".join(str(size) for size in out[1:])
        raise _NoPlaceError(f"its pool at {path} keeps places, {kept}")
    last = given[1] != channels and given[-1] == channels
    form = {"channels_last": last, "places": len(given) - 2, "flatten": len(out) == 2}
    return _Place(path, "map" if len(given) == 4 else "tokens", channels, form)


def _verified(model: nn.Module, spec: ModelSpec, path: str) -> int:
    """How many numbers the head receives now, after looking whether all of them come through the pool."""
    called = []

    def answer(path: str, given: Tensor, out: Tensor) -> Tensor:
        called.append(path)
        return torch.ones_like(out)

    seen = [_run(model, spec, sample, {path: answer}) for sample in _samples(model, spec)]
    if not called:
        raise _NoPlaceError(f"it does not use what stands at {path}")
    if not torch.equal(*seen):
        raise _NoPlaceError(f"its head receives more than what {path} pools")
    return int(seen[0].shape[1])


def _samples(model: nn.Module, spec: ModelSpec) -> tuple[Tensor, Tensor]:
    """Two batches that differ, of the size that the model is known for."""
    example = next(model.parameters())
    shape = spec.shape(2)
    zeros = torch.zeros(shape, device=example.device, dtype=example.dtype)
    return zeros, torch.linspace(-1, 1, zeros.numel(), device=example.device).reshape(shape).to(example.dtype)


_Note = Callable[[str, Tensor, Tensor], Tensor]


def _run(model: nn.Module, spec: ModelSpec, sample: Tensor, notes: Mapping[str, _Note]) -> Tensor:
    """What the head is given on a batch; `notes` see what goes into modules before it, and say what comes out."""
    entered: list[str] = []
    given: list[Tensor] = []

    def enter(name: str) -> Callable[..., None]:
        return lambda module, args: entered.append(name)

    def leave(name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any, out: Any) -> Any:
            entered.pop()
            return notes[name](name, args[0], out) if name in notes and args else None

        return hook

    def stop(module: nn.Module, args: tuple[Tensor]) -> None:
        given.append(args[0])
        raise _Reached

    head = surgery.get_module(model, spec.head_path)
    handles = [head.register_forward_pre_hook(stop)]
    for name, module in model.named_modules():
        if module is not head:
            handles += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave(name))]
    try:
        with surgery.looking(model), contextlib.suppress(_Reached):
            model(sample)
    # Modules refuse other sizes in their own ways.
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, AssertionError) as error:
        where = entered[-1] if entered else ""
        module = surgery.get_module(model, where)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise _NoPlaceError(f"{where or 'it'} ({type(module).__name__}) fails behind it: {reason[:120]}") from error
    finally:
        for handle in handles:
            handle.remove()
    if not given:
        raise _NoPlaceError("its head was not called")
    return given[-1]
