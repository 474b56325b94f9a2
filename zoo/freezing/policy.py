"""What the text of a policy means for one model: words separated by commas, each a set of parameters.

A policy freezes what any of its words freezes, so that their order plays no part; what `unfreeze` names is then
taken out, in the same words.
"""

from torch import nn

from zoo.errors import UsageError
from zoo.freezing.dividing import blocks_of
from zoo.freezing.order import RunningOrder
from zoo.freezing.words import called, explained, meant, where_to_look
from zoo.recipe.policies import ALLOWED, freeze_mistake, is_none, joint_mistake, unfreeze_mistake, words


def require_meant(policy: str | None, unfreeze: str | None) -> None:
    """Raise UsageError for a text that is wrong whatever the model; it needs no batch to tell."""
    for key, text in (("freeze", policy), ("unfreeze", unfreeze)):
        if text is not None and not isinstance(text, str):
            raise UsageError(f"{key} is {text!r:.80}; it takes one text, its words separated by commas")
    found = None if policy is None else freeze_mistake(policy)
    if found:
        raise UsageError(f"freeze is {policy!r}; {found}")
    if unfreeze is not None:
        found = unfreeze_mistake(unfreeze) or (policy and joint_mistake(policy))
    if found:
        raise UsageError(f"unfreeze is {unfreeze!r}; {found}")


def resolve(model: nn.Module, policy: str, unfreeze: str | None, order: RunningOrder) -> list[str]:
    """The parameters that a policy freezes, in definition order.

    Raises UsageError when it matches nothing or everything, or cannot be meant.
    """
    require_meant(policy, unfreeze)
    names = [name for name, _ in model.named_parameters()]
    frozen = _frozen_by(model, policy, order)
    revived: set[str] = set()
    for word in words(unfreeze or ""):
        named = taken_out(word, model, order)
        if not named & frozen:
            raise UsageError(
                f"unfreeze {word!r} takes nothing out: freeze {policy!r} does not freeze it.",
                where_to_look(model),
            )
        revived |= named
    frozen -= revived
    if frozen == set(names):
        raise UsageError(
            f"freeze {policy!r} freezes every parameter of {called(model)}, so nothing would be trained.",
            "leave something to train; the policy backbone trains the head alone",
            ALLOWED,
        )
    if not frozen and not is_none(policy):
        raise UsageError(
            f"freeze {policy!r} with unfreeze {unfreeze!r} leaves nothing frozen.",
            "the policy none says that on purpose",
        )
    return [name for name in names if name in frozen]


def fitted(model: nn.Module, policy: str, unfreeze: str | None, order: RunningOrder) -> tuple[str, str | None]:
    """A policy that is meant for any model, with counts of blocks cut to those of this one.

    What would leave nothing frozen then becomes `none`. A policy that fits comes back as it was given.
    """
    cut = _cut(policy, model, order), unfreeze and _cut(unfreeze, model, order)
    if cut == (policy, unfreeze):
        taken = words(unfreeze or "")
        if is_none(policy) or not any(word.startswith(COUNTED) for word in taken):
            return cut
    frozen = _frozen_by(model, cut[0], order)
    left = frozen.difference(*(taken_out(word, model, order) for word in words(cut[1] or "")))
    return cut if left else ("none", None)


COUNTED = ("first:", "last:")


def _cut(text: str, model: nn.Module, order: RunningOrder) -> str:
    """The text, but for counts that are larger than the number of blocks."""
    given = words(text)
    if not any(word.startswith(COUNTED) for word in given):
        return text
    most = len(blocks_of(model, order))
    now = [_at_most(word, most) for word in given]
    return text if now == given else ",".join(now)


def _at_most(word: str, most: int) -> str:
    kind, _, count = word.partition(":")
    larger = word.startswith(COUNTED) and count.isdecimal() and int(count) > most
    return f"{kind}:{most}" if larger and most else word


def taken_out(word: str, model: nn.Module, order: RunningOrder) -> set[str]:
    """The parameters that one word of `unfreeze` names."""
    return meant(word, model, order, "unfreeze")


def sentence(policy: str, unfreeze: str | None) -> str:
    """What a policy freezes, in words.

    >>> sentence("backbone", "last:1")
    'freezes all but the head, except the last block'
    """
    frozen = " and ".join(explained(word) for word in words(policy))
    taken = " and ".join(explained(word, "unfreeze") for word in words(unfreeze or ""))
    return f"freezes {frozen}" + (f", except {taken}" if taken else "")


def _frozen_by(model: nn.Module, policy: str, order: RunningOrder) -> set[str]:
    return set() if is_none(policy) else set().union(*(meant(word, model, order) for word in words(policy)))
