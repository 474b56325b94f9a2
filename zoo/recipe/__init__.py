"""Recipes: a head, how data and training go, and a list of stages; all as plain values.

A recipe is a TOML file that a person reads, copies and edits. Every key stands in one table (`keys`) with what it
takes; the same table checks recipes (`reading`), `--set` and the flags (`overriding`), and all mistakes are
reported at once.
"""

from zoo.recipe.allowing import FIXED as FIXED
from zoo.recipe.allowing import FREE as FREE
from zoo.recipe.allowing import require_allowable as require_allowable
from zoo.recipe.keys import KEYS as KEYS
from zoo.recipe.keys import RECIPE_KEYS as RECIPE_KEYS
from zoo.recipe.keys import RISE as RISE
from zoo.recipe.keys import RUN_KEYS as RUN_KEYS
from zoo.recipe.keys import STAGE_KEYS as STAGE_KEYS
from zoo.recipe.keys import Amp as Amp
from zoo.recipe.keys import Augment as Augment
from zoo.recipe.keys import Key as Key
from zoo.recipe.keys import Save as Save
from zoo.recipe.keys import Sched as Sched
from zoo.recipe.keys import interval as interval
from zoo.recipe.keys import kept as kept
from zoo.recipe.model import Recipe as Recipe
from zoo.recipe.model import Stage as Stage
from zoo.recipe.model import most_kept as most_kept
from zoo.recipe.optimizers import WITH_MOMENTUM as WITH_MOMENTUM
from zoo.recipe.optimizers import Opt as Opt
from zoo.recipe.optimizers import state_numbers as state_numbers
from zoo.recipe.overriding import override as override
from zoo.recipe.overriding import resolve as resolve
from zoo.recipe.overriding import stages_of as stages_of
from zoo.recipe.overriding import value_of as value_of
from zoo.recipe.reading import find as find
from zoo.recipe.reading import from_values as from_values
from zoo.recipe.reading import parse as parse
from zoo.recipe.reading import to_toml as to_toml
from zoo.recipe.reading import to_values as to_values
