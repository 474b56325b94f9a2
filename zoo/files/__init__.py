"""The one way to the disk: what zoo writes is there completely or not at all, and is known by its sha256.

`writing` puts files and folders in place, `manifests` says what a folder must hold, `locks` keeps a second
process away.
"""

from zoo.files.locks import HOLDER as HOLDER
from zoo.files.locks import locked as locked
from zoo.files.manifests import DATA as DATA
from zoo.files.manifests import MANIFEST as MANIFEST
from zoo.files.manifests import RECIPE as RECIPE
from zoo.files.manifests import damaged as damaged
from zoo.files.manifests import is_complete as is_complete
from zoo.files.manifests import read_manifest as read_manifest
from zoo.files.manifests import sha256 as sha256
from zoo.files.writing import NewFolder as NewFolder
from zoo.files.writing import append_text as append_text
from zoo.files.writing import explained as explained
from zoo.files.writing import free_space as free_space
from zoo.files.writing import new_folder as new_folder
from zoo.files.writing import remove_folder as remove_folder
from zoo.files.writing import sweep as sweep
from zoo.files.writing import write_bytes as write_bytes
from zoo.files.writing import write_json as write_json
from zoo.files.writing import write_text as write_text
