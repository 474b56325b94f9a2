"""Which settings of a run that exists may be others when it goes on, and which make it another run."""

from collections.abc import Sequence

from zoo.errors import UsageError
from zoo.names import near_hint
from zoo.recipe.keys import RECIPE_KEYS, STAGE_KEYS

FREE = frozenset(
    {"name", "summary", "data", "image-column", "label-column", "label-separator", "image-root"}
    | {"workers", "device", "amp", "deterministic", "save", "keep", "save-every", "allow-partial"}
)
"""Settings that leave the numbers alone; of the device and its precision the machine's own comparison tells, and what
a table says by other columns is compared picture by picture."""
FIXED = frozenset({"model", "task", "weights", "head", "mode", "classes", "channels", "stages"})
"""What a checkpoint is made of: with another one it is another run."""
ALLOWABLE = tuple(key for key in (*RECIPE_KEYS, *STAGE_KEYS, "seed", "data") if key not in FREE - {"data"} | FIXED)


def require_allowable(allow: Sequence[str]) -> None:
    """Raise UsageError for a word that is no key which may be allowed to change."""
    wrong = [word for word in allow if word not in ALLOWABLE]
    if wrong:
        more = "; with another one it is another run" if wrong[0] in FIXED else ""
        near = () if more else near_hint(wrong[0], ALLOWABLE)
        raise UsageError(f"allow {wrong[0]!r} cannot be meant{more}.", *near, f"keys: {', '.join(ALLOWABLE)}")
