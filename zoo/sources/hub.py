"""Getting files from where the libraries publish them, into the libraries' own caches.

The variables of the libraries hold: HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE and TORCH_HOME.
"""

import os
import re
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from zoo.errors import StorageError

# The hash that torch and timm put in a file's name; some names have a dash for another reason.
_DIGEST = re.compile(r"-([0-9a-f]{8,64})\.")


class NoSuchFile(StorageError):  # noqa: N818 - an answer of the hub's
    """The repository is there and does not have the file."""


def from_url(url: str, *, offline: bool, size: str = "") -> Path:
    """A file from torch.hub's cache, downloaded first where it is missing and checked by its name's hash.

    Raises StorageError that says how to give the file by hand.
    """
    import torch

    name = Path(urllib.parse.urlparse(url).path).name
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    target = folder / name
    if target.is_file():
        return target
    if offline:
        raise _absent(name, size, url, folder, "downloads are off (--offline)")
    digest = _DIGEST.search(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(target), hash_prefix=digest and digest[1])
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise _absent(name, size, url, folder, f"no network ({getattr(error, 'reason', error)})") from error
    except RuntimeError as error:
        raise StorageError(f"{url} was downloaded and is not what it should be: {error}.") from error
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error}.", "TORCH_HOME names another folder") from error
    return target


def from_hub(repository: str, filename: str, *, offline: bool) -> Path:
    """A file of a hub repository from the hub's cache, downloaded first where it is missing.

    Raises StorageError that says how to give the file by hand.
    """
    from huggingface_hub import hf_hub_download

    offline = _offline(repository, (filename,), offline)
    try:
        return Path(hf_hub_download(repository, filename, local_files_only=offline))
    except Exception as error:
        raise _explained(error, repository, filename, offline) from error


def snapshot(repository: str, *, offline: bool) -> Path:
    """The folder of a transformers repository, its configuration and its weights alone.

    Raises StorageError that says how to give the folder by hand.
    """
    from huggingface_hub import snapshot_download

    offline = _offline(repository, WEIGHTS, offline)
    patterns = ["*.json", "model*.safetensors", "pytorch_model*.bin"]
    try:
        folder = snapshot_download(
            repository,
            allow_patterns=patterns[:2] if _has_safetensors(repository, offline) else patterns,
            local_files_only=offline,
        )
    except StorageError:
        raise
    except Exception as error:
        raise _explained(error, repository, "model.safetensors", offline) from error
    return Path(folder)


def _has_safetensors(repository: str, offline: bool) -> bool:
    from huggingface_hub import file_exists, try_to_load_from_cache

    if offline:
        return isinstance(try_to_load_from_cache(repository, "model.safetensors"), str)
    return file_exists(repository, "model.safetensors") or file_exists(repository, "model.safetensors.index.json")


WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""By one of these a repository's weights are found, in this order."""


def _offline(repository: str, names: Sequence[str], offline: bool) -> bool:
    """Whether to look into the cache only; a hub that cannot be reached is seen at once, not after retries.

    Then the cache must have a file of one of these names.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if offline or constants.HF_HUB_OFFLINE:
        return True
    proxied = any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"))
    host = urllib.parse.urlparse(constants.ENDPOINT).hostname or ""
    if proxied:
        return False
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        if any(isinstance(try_to_load_from_cache(repository, each), str) for each in names):
            return True
        url = f"{constants.ENDPOINT}/{repository}/resolve/main/{names[0]}"
        folder = Path(constants.HF_HUB_CACHE)
        raise _absent(names[0], "", url, folder, "no network", repository) from error
    return False


def _explained(error: Exception, repository: str, filename: str, offline: bool) -> Exception:
    """The hub client's many errors as the few that a user can act on; others stay what they are."""
    from huggingface_hub import constants, errors

    url = f"{constants.ENDPOINT}/{repository}/resolve/main/{filename}"
    folder = Path(constants.HF_HUB_CACHE)
    if isinstance(error, errors.GatedRepoError):
        return StorageError(
            f"{repository} is given only to those who accepted its terms.",
            f"accept them at {constants.ENDPOINT}/{repository}, then set HF_TOKEN",
        )
    if isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError):
        return StorageError(
            f"the hub has no repository {repository!r} that may be read.",
            "a name is written OWNER/NAME; a private one needs HF_TOKEN; a folder begins with ./ or /",
        )
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return NoSuchFile(f"{repository} on the hub has no file {filename}.")
    if isinstance(error, errors.HfHubHTTPError | OSError) or type(error).__module__.startswith("httpx"):
        reason = "downloads are off (--offline)" if offline else f"the hub did not answer ({error})"
        return _absent(filename, "", url, folder, reason.splitlines()[0], repository)
    return error


def _absent(name: str, size: str, url: str, folder: Path, reason: str, repository: str | None = None) -> StorageError:
    what = f"{name} of {repository}" if repository else name
    return StorageError(
        f"the weights {what}{size} are not in the cache {folder} and cannot be downloaded: {reason}.",
        f"get {url} elsewhere, then give it by hand with --weights FILE",
        "or train from random weights with --weights none.",
    )
