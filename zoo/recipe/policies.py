"""The words of a policy, as far as they are right or wrong whatever the model; `freezing` says what they mean."""

from zoo.names import listed, near

ALLOWED = "policies: none, backbone, until:PATH, from:PATH, first:N, last:N, norm, bias, or globs like 'features.*'"
WORDS = ("none", "backbone", "norm", "bias")
COUNTED = ("first", "last")
WITH_VALUE = ("until", "from", *COUNTED)


def words(text: str) -> list[str]:
    """The words of a text that separates them by commas.

    >>> words("backbone, last:1")
    ['backbone', 'last:1']
    """
    return [part.strip() for part in text.split(",") if part.strip()]


def is_none(policy: str) -> bool:
    """Whether a policy says that nothing is frozen.

    >>> is_none("none"), is_none("none,"), is_none("backbone")
    (True, True, False)
    """
    return words(policy) == ["none"]


def freeze_mistake(text: str) -> str | None:
    """What is wrong with a policy whatever the model, in words that follow 'freeze is TEXT'.

    >>> freeze_mistake("backbone"), freeze_mistake("frist:2")
    (None, 'there is no word frist:…; near: first:N')
    """
    given = words(text)
    if not given:
        return f"it is empty; {ALLOWED}"
    if "none" in given and len(given) > 1:
        return "it contradicts itself: none freezes nothing; leave none away"
    return next((mistake for mistake in map(_mistake, given) if mistake), None)


def unfreeze_mistake(text: str) -> str | None:
    """The same of what is taken out of a policy, in words that follow 'unfreeze is TEXT'.

    >>> unfreeze_mistake("last:0")
    'last:N takes a number of blocks, 1 or more'
    """
    given = words(text)
    if not given or "none" in given:
        return "it takes nothing out; leave it away"
    return next((mistake for mistake in map(_mistake, given) if mistake), None)


def joint_mistake(freeze: str) -> str | None:
    """What is wrong with taking anything out of a policy, in words that follow 'unfreeze is TEXT'.

    >>> joint_mistake("none")
    'it takes nothing out, as freeze is none; set freeze too, to backbone for instance'
    """
    if not is_none(freeze):
        return None
    return "it takes nothing out, as freeze is none; set freeze too, to backbone for instance"


def is_count(text: str) -> bool:
    """Whether a text can be a number of blocks.

    >>> is_count("2"), is_count("0"), is_count("two")
    (True, False, False)
    """
    return text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0


def _mistake(word: str) -> str | None:
    kind, colon, value = word.partition(":")
    if not colon:
        # No parameter is called nearly so, and it is the word that is typed most.
        close = word != "backbone" and len(word) > 5 and near(word, ("backbone",))
        return f"there is no policy {word}; near: backbone" if close else None
    if kind in COUNTED and not is_count(value.strip()):
        return f"{kind}:N takes a number of blocks, 1 or more"
    if kind in WITH_VALUE:
        return None if value.strip() else f"{kind}:PATH takes the name of a module; zoo summary shows them"
    # The names of a model's parameters may hold a colon, but no ordinary one's do.
    similar = [f"{each}:{'N' if each in COUNTED else 'PATH'}" for each in near(kind, WITH_VALUE)]
    return f"there is no word {kind}:…; near: {listed(similar)}" if similar else None
