"""Image classifiers of transformers, by hub name or from a local folder.

Its parts: `configuration` reads and checks what describes a model, `models` builds and loads one, `inputs` changes
what it takes, `processors` tells how its pictures are prepared.
"""

from zoo.sources.hf.configuration import REFUSED as REFUSED
from zoo.sources.hf.configuration import channels_of as channels_of
from zoo.sources.hf.configuration import configuration_of as configuration_of
from zoo.sources.hf.configuration import folder_of as folder_of
from zoo.sources.hf.configuration import stated_size as stated_size
from zoo.sources.hf.inputs import input_configuration as input_configuration
from zoo.sources.hf.inputs import resized as resized
from zoo.sources.hf.inputs import size_of as size_of
from zoo.sources.hf.inputs import states_channels as states_channels
from zoo.sources.hf.models import class_names as class_names
from zoo.sources.hf.models import classes_in_configuration as classes_in_configuration
from zoo.sources.hf.models import create as create
from zoo.sources.hf.models import head_path as head_path
from zoo.sources.hf.models import load as load
from zoo.sources.hf.models import outside_base as outside_base
from zoo.sources.hf.models import require_modest as require_modest
from zoo.sources.hf.models import set_classes as set_classes
from zoo.sources.hf.models import translated as translated
from zoo.sources.hf.processors import preprocessing as preprocessing
from zoo.sources.hf.processors import preprocessing_of as preprocessing_of
from zoo.sources.hf.processors import stated_by as stated_by
