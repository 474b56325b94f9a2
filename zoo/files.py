"""The one writer: what zoo puts on disk is there completely or not at all.

A file is written under a temporary name beside its final place, flushed to the disk, then renamed; a folder
likewise, its manifest last. The temporary name is in the same folder because a rename is atomic only within
one file system.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo.errors import StorageError

MANIFEST = "MANIFEST.json"
MANIFEST_VERSION = 1


def sha256(path: Path) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Put a text where a path says, replacing the old one in a single step.

    Raises StorageError when the disk is full or may not be written.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o666 & ~_umask())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Put a value where a path says, as indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def append_text(path: Path, text: str) -> None:
    """Add lines to a log that a person reads and that no other state depends on."""
    with explained(path), path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(text)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, that appears under its name only when it is complete.

    The body writes into the folder that is handed over. Afterwards each file is flushed to the disk, a
    manifest with every file's sha256 and size is written last, and the folder gets its name. If the body
    fails, nothing stays behind. A folder that already has the name is replaced; it must itself have been
    written here, so that a folder of the user's is never lost.

    Raises StorageError when the disk is full, may not be written, or a foreign folder has the name.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not (path / MANIFEST).is_file():
            raise StorageError(
                f"{path} exists and was not written by zoo, so it is not replaced.",
                "give another place, or move it away",
            )
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield temporary
            _write_manifest(temporary)
            temporary.chmod(0o777 & ~_umask())
            _put_in_place(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Tidy up after a process that was killed while it wrote into a folder: put back what had stepped aside,
    remove what was never complete. Only for a folder in which nobody writes now."""
    with explained(folder):
        for aside in folder.glob(".*.old.*"):
            for kept in aside.iterdir():
                if not (folder / kept.name).exists():
                    kept.rename(folder / kept.name)
            shutil.rmtree(aside)
        for partial in folder.glob(".epoch-*"):
            shutil.rmtree(partial)


def is_complete(folder: Path) -> bool:
    """Whether a folder has a manifest and every file of it in the right size; reads no content."""
    try:
        manifest = read_manifest(folder)
    except (OSError, ValueError):
        return False
    return all(
        (folder / name).is_file() and (folder / name).stat().st_size == facts["size"]
        for name, facts in manifest["files"].items()
    )


def damaged(folder: Path) -> list[str]:
    """The files of a folder that are missing or whose content is not what its manifest says."""
    manifest = read_manifest(folder)
    return [
        name
        for name, facts in manifest["files"].items()
        if not (folder / name).is_file() or sha256(folder / name) != facts["sha256"]
    ]


def read_manifest(folder: Path) -> dict[str, Any]:
    """A folder's manifest; raises OSError or ValueError when it is absent or is none."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ValueError(f"{folder / MANIFEST} is not a manifest")
    version = manifest.get("format")
    if version != MANIFEST_VERSION:
        raise ValueError(f"{folder / MANIFEST} has format {version!r}; this zoo reads {MANIFEST_VERSION}")
    for name, facts in manifest["files"].items():
        if Path(name).name != name or name == ".." or not isinstance(facts, dict) or {"sha256", "size"} - facts.keys():
            raise ValueError(f"{folder / MANIFEST} has a bad entry {name!r}")
    return manifest


def free_space(path: Path) -> int:
    """The bytes that can still be written where a path will be."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an error of the operating system while writing to a path into one that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "free some space, or give another place with --out"
        else:
            advice = "give a folder that can be written with --out"
        raise StorageError(f"{path} cannot be written: {error.strerror or error}.", advice) from error


def _write_manifest(folder: Path) -> None:
    files = {}
    for file in sorted(folder.iterdir()):
        # Some writers make files that only their owner may read.
        file.chmod(0o666 & ~_umask())
        _sync(file)
        files[file.name] = {"sha256": sha256(file), "size": file.stat().st_size}
    manifest = {"format": MANIFEST_VERSION, "base": None, "files": files}
    target = folder / MANIFEST
    target.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    _sync(target)
    _sync_folder(folder)


def _put_in_place(temporary: Path, path: Path) -> None:
    """Rename a complete folder; an older one under that name steps aside first and goes afterwards."""
    if not path.exists():
        temporary.rename(path)
        return
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
    path.rename(aside / path.name)
    try:
        temporary.rename(path)
    except BaseException:
        (aside / path.name).rename(path)
        aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _sync(file: Path) -> None:
    with file.open("r+b") as opened:
        os.fsync(opened.fileno())


def _sync_folder(folder: Path) -> None:
    """Flush a rename to the disk; Windows has no handle for a folder and needs none."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    """The mask of the process, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
