"""Which models there are and what is known of each, without importing the libraries that build them.

The facts of torchvision, timm and transformers are read from an index that ships with zoo (`shipped`) and that
`tools/build_index.py` makes again from the installed libraries. A user's own models are added with `register`
(`own`), names are looked up in both (`finding`), and a loaded model carries its facts along (`specs`).
"""

from zoo.registry import others as others
from zoo.registry.finding import find as find
from zoo.registry.finding import known as known
from zoo.registry.finding import list_models as list_models
from zoo.registry.finding import own_entry as own_entry
from zoo.registry.finding import registration as registration
from zoo.registry.finding import require_usable as require_usable
from zoo.registry.own import OwnModel as OwnModel
from zoo.registry.own import Registration as Registration
from zoo.registry.own import register as register
from zoo.registry.shipped import LARGEST_TRIED as LARGEST_TRIED
from zoo.registry.shipped import SOURCES as SOURCES
from zoo.registry.shipped import Entry as Entry
from zoo.registry.shipped import entry as entry
from zoo.registry.shipped import entry_of_type as entry_of_type
from zoo.registry.shipped import index as index
from zoo.registry.specs import LARGEST as LARGEST
from zoo.registry.specs import POOL_ATTRIBUTE as POOL_ATTRIBUTE
from zoo.registry.specs import SPEC_ATTRIBUTE as SPEC_ATTRIBUTE
from zoo.registry.specs import WRAPPERS as WRAPPERS
from zoo.registry.specs import HeadSpec as HeadSpec
from zoo.registry.specs import Kind as Kind
from zoo.registry.specs import Mode as Mode
from zoo.registry.specs import ModelSpec as ModelSpec
from zoo.registry.specs import Preprocessing as Preprocessing
from zoo.registry.specs import Task as Task
from zoo.registry.specs import find_spec as find_spec
from zoo.registry.specs import input_shape as input_shape
from zoo.registry.specs import outputs_of as outputs_of
from zoo.registry.specs import preprocessing_from as preprocessing_from
from zoo.registry.specs import set_spec as set_spec
from zoo.registry.specs import spec_of as spec_of
from zoo.registry.specs import taking as taking
from zoo.registry.specs import unwrapped as unwrapped
