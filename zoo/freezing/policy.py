"""What the text of a policy means for one model."""

from collections.abc import Sequence

from torch import nn

from zoo.errors import UsageError
from zoo.freezing.order import RunningOrder
from zoo.names import is_glob, listed, matching, near
from zoo.registry import find_spec, spec_of

ALLOWED = "policies: none, backbone, until:PATH, or globs like 'features.*'"


def resolve(model: nn.Module, policy: str, unfreeze: str | None, order: RunningOrder) -> list[str]:
    """The parameters that a policy freezes, in definition order.

    Raises UsageError when it matches nothing or everything, or cannot be meant.
    """
    names = [name for name, _ in model.named_parameters()]
    frozen = set(_frozen_by(model, policy.strip(), names, order))
    for pattern in patterns(unfreeze or ""):
        revived = set(match(pattern, names, model, "--unfreeze"))
        if not revived & frozen:
            raise UsageError(
                f"--unfreeze {pattern!r} takes nothing out: --freeze {policy!r} does not freeze it.",
                _where_to_look(model),
            )
        frozen -= revived
    if frozen == set(names):
        raise UsageError(
            f"--freeze {policy!r} freezes every parameter of {_called(model)}, so nothing would be trained.",
            "leave something to train, --freeze backbone trains the head alone",
            ALLOWED,
        )
    if not frozen and policy.strip() != "none":
        raise UsageError(
            f"--freeze {policy!r} with --unfreeze {unfreeze!r} leaves nothing frozen.",
            "--freeze none says that on purpose",
        )
    return [name for name in names if name in frozen]


def _frozen_by(model: nn.Module, policy: str, names: Sequence[str], order: RunningOrder) -> list[str]:
    if policy == "none":
        return []
    if policy == "backbone":
        spec = spec_of(model)
        return [name for name in names if not spec.in_head(name) and name not in spec.fresh]
    if policy.startswith("until:"):
        return _until(model, policy.removeprefix("until:"), names, order)
    if not policy:
        raise UsageError("--freeze is empty.", ALLOWED)
    return [name for pattern in patterns(policy) for name in match(pattern, names, model)]


def _until(model: nn.Module, path: str, names: Sequence[str], order: RunningOrder) -> list[str]:
    modules = [name for name, _ in model.named_modules() if name]
    if path not in modules:
        found = near(path, modules)
        raise UsageError(
            f"--freeze 'until:{path}' names no module of {_called(model)}.",
            *([f"near: {', '.join(found)}"] if found else []),
            _where_to_look(model),
        )
    before = order.before(path)
    if not before:
        raise UsageError(
            f"--freeze 'until:{path}' freezes nothing: {_called(model)} has no parameter that runs before"
            f" {path} returns, or never runs it.",
            _where_to_look(model),
        )
    return [name for name in names if name in before]


def patterns(text: str) -> list[str]:
    """The globs and paths of a text that separates them by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def match(pattern: str, names: Sequence[str], model: nn.Module, flag: str = "--freeze") -> list[str]:
    """The parameters that one glob or path means.

    Raises UsageError with near patterns that do match, when this one does not.
    """
    found = matching(pattern, names)
    if not found:
        similar = near(pattern, ("none", "backbone")) + _near_patterns(pattern, names)
        hints = [f"near: {listed(similar)}"] if similar else []
        raise UsageError(f"{flag} {pattern!r} matches no parameter of {_called(model)}.", *hints, _where_to_look(model))
    return found


def _near_patterns(pattern: str, names: Sequence[str]) -> list[str]:
    """Patterns of the same form that match something, with how much; a count tells them apart."""
    paths = {name.rsplit(".", depth)[0] for name in names for depth in range(1, name.count(".") + 1)}
    word = pattern.rstrip("*?.")
    suffix = ".*" if is_glob(pattern) else ""
    return [
        f"'{path}{suffix}' ({len(matching(path, names))} parameters)"
        for path in near(word, sorted(paths, key=lambda path: (path.count("."), path)))
    ]


def _called(model: nn.Module) -> str:
    spec = find_spec(model)
    return spec.full_name if spec else f"this {type(model).__name__}"


def _where_to_look(model: nn.Module) -> str:
    spec = find_spec(model)
    return f"zoo summary {spec.full_name} shows the names." if spec else "zoo.summary(model) shows the names."
