"""The optimizers by name: which there are, what each keeps, and why others are none of them."""

from collections.abc import Mapping
from typing import Literal, get_args

from zoo.names import one_of

Opt = Literal[
    "adamw",
    "adam",
    "sgd",
    "nadam",
    "radam",
    "rmsprop",
    "adagrad",
    "adadelta",
    "adamax",
    "asgd",
    "adafactor",
    "rprop",
    "muon",
]
"""Those of torch.optim that step by the gradients of one batch after another."""

REFUSED: Mapping[str, str] = {
    "lbfgs": "it calls the model many times within a step, on the same batch, which training by batches does not do",
    "sparseadam": "it takes sparse gradients alone, and those of pictures are dense",
}
"""The rest of torch.optim."""

WITH_MOMENTUM = ("sgd", "rmsprop", "muon")
"""Those that `momentum` is for; the others have it in their own ways, or have none."""
WITHOUT_DECAY = ("rprop",)
"""Those that no weight decay reaches."""
RATES_OF_ADAMW = ("adamw", "adam", "nadam", "radam", "adamax", "muon")
"""Those whose steps are as long as AdamW's at the same learning rate."""


def opt_mistake(name: str) -> str | None:
    """What is wrong with the name of an optimizer, in words that follow 'opt is NAME'.

    >>> opt_mistake("AdamW")
    'it is written adamw'
    >>> opt_mistake("lbfgs")
    'it calls the model many times within a step, on the same batch, which training by batches does not do'
    """
    if name in get_args(Opt):
        return None
    folded = name.lower().replace("-", "")
    if folded in get_args(Opt):
        return f"it is written {folded}"
    return REFUSED.get(folded) or one_of(folded, get_args(Opt))


def state_numbers(opt: str, shape: tuple[int, ...], *, momentum: float, matrix: bool) -> int:
    """How many numbers an optimizer keeps for a parameter of a shape; `matrix` where muon orthogonalizes it.

    >>> state_numbers("adamw", (10, 20), momentum=0.9, matrix=False)
    400
    >>> state_numbers("adafactor", (10, 20), momentum=0.9, matrix=False)  # a mean a row, and one a column
    30
    """
    count = 1
    for size in shape:
        count *= size
    if opt == "adafactor" and len(shape) > 1:
        return count // max(1, shape[-1]) + count // max(1, shape[-2])
    copies = {"sgd": int(momentum > 0), "rmsprop": 1 + int(momentum > 0), "muon": 1 if matrix else 2}
    return count * copies.get(opt, 1 if opt in ("adagrad", "asgd", "adafactor") else 2)
