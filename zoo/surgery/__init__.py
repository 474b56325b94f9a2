"""Taking modules out of a model and putting others in, by their dotted names.

Surgery is in place, as torch models are, but for `cut_at`, which leaves the model alone. Every function checks that
the place exists and names near ones, prints nothing, and returns what it took out or what it did.
"""

from zoo.surgery.cutting import cut_at as cut_at
from zoo.surgery.cutting import is_cut as is_cut
from zoo.surgery.places import Change as Change
from zoo.surgery.places import Modules as Modules
from zoo.surgery.places import ends_in as ends_in
from zoo.surgery.places import find_modules as find_modules
from zoo.surgery.places import get_module as get_module
from zoo.surgery.places import insert_after as insert_after
from zoo.surgery.places import looking as looking
from zoo.surgery.places import replace_module as replace_module
