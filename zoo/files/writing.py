"""The one writer: what zoo puts on disk is there completely or not at all.

A file is written under a temporary name beside its final place, flushed to the disk, then renamed; a folder
likewise, its manifest last. The temporary name is in the same folder because a rename is atomic only within
one file system. What is removed loses its name first, so that half of it is never taken for the whole.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo.errors import StorageError
from zoo.files.manifests import MANIFEST, manifest_of, sha256

if sys.platform != "win32":
    import fcntl

TEMPORARY, ASIDE = ".tmp", ".old"
"""How the hidden names end of what is not complete yet, and of what a successor replaces."""


def write_text(path: Path, text: str) -> None:
    """Put a text where a path says, replacing the old one in a single step; raises what `write_bytes` does."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Put some content where a path says, replacing the old one in a single step.

    Raises StorageError when the disk is full or may not be written.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _hidden(path, TEMPORARY)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            # What cannot be tidied up now is swept up later; the reason for it is what counts.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Put a value where a path says, as indented JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        # A name of a file that is no UTF-8; JSON has a way to write it down.
        text = json.dumps(value, indent=2, allow_nan=False)
    write_text(path, text + "\n")


def append_text(path: Path, text: str) -> None:
    """Add lines to a log that a person reads and that no other state depends on.

    A line that a killed process left unfinished is ended first.
    """
    with explained(path), path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(text.encode("utf-8"))


class NewFolder:
    """A folder that is being filled: `path / NAME` for what others write, `add` for what is written here."""

    def __init__(self, path: Path, check: Callable[[], None]) -> None:
        self.path = path
        self.check = check
        """Called between the pieces of work; what it raises undoes all of them."""
        self.base: Mapping[str, Any] | None = None
        """Facts about what the folder refers to, for its manifest."""
        self._digests: dict[str, str] = {}

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def add(self, name: str, content: Iterable[bytes | memoryview]) -> None:
        """Write a file piece by piece; what the disk gives back must be what was given here."""
        digest = hashlib.sha256()
        with (self.path / name).open("wb") as file:
            for piece in content:
                self.check()
                file.write(piece)
                digest.update(piece)
        self._digests[name] = digest.hexdigest()

    def close(self) -> None:
        """Flush every file to the disk, read it back, and write the manifest last."""
        files = {}
        for file in sorted(self.path.iterdir()):
            self.check()
            _sync(file)
            found = sha256(file)
            if self._digests.get(file.name, found) != found:
                raise OSError(errno.EIO, f"{file.name} reads back other than it was written")
            files[file.name] = {"sha256": found, "size": file.stat().st_size}
        (self.path / MANIFEST).write_text(manifest_of(files, self.base), encoding="utf-8")
        _sync(self.path / MANIFEST)
        _sync_folder(self.path)
        self.check()


@contextlib.contextmanager
def new_folder(path: Path, check: Callable[[], None] = lambda: None) -> Iterator[NewFolder]:
    """A folder to fill, that appears under its name only when it is complete.

    The body writes into the folder that is handed over. Afterwards each file is flushed to the disk and read
    back, a manifest with every file's sha256 and size is written last, and the folder gets its name. If the
    body fails, or `check`, which is called on the way, nothing stays behind. A folder that already has the name
    is replaced; it must itself have been written here, so that a folder of the user's is never lost.

    Raises StorageError when the disk is full, may not be written, or a foreign folder has the name.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not (path / MANIFEST).is_file():
            raise StorageError(
                f"{path} exists and was not written by zoo, so it is not replaced.",
                "give another place, or move it away",
            )
        _tidy(path)
        temporary = _hidden(path, TEMPORARY)
        temporary.mkdir()
        with _claimed(temporary):
            try:
                filled = NewFolder(temporary, check)
                yield filled
                filled.close()
                _put_in_place(temporary, path)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise


def remove_folder(path: Path) -> None:
    """Remove a folder; from the first moment on nothing has its name, even if the process is killed meanwhile."""
    with explained(path):
        doomed = _hidden(path, TEMPORARY)
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Tidy up after a process that was killed while it wrote into a folder: put back what had stepped aside,
    remove what was never complete. Only for a folder in which nobody else writes now."""
    with explained(folder):
        for aside in _made_here(folder, ASIDE):
            for kept in aside.iterdir():
                if not (folder / kept.name).exists():
                    kept.rename(folder / kept.name)
            shutil.rmtree(aside, ignore_errors=True)
        for partial in _made_here(folder, TEMPORARY):
            if partial.is_dir():
                shutil.rmtree(partial, ignore_errors=True)
            else:
                partial.unlink()


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
            advice = "free some space, or give another place"
        elif error.errno == errno.EIO:
            advice = "the disk itself may be failing: look at the system's log, or give another place"
        else:
            advice = "give a folder that can be written"
        raise StorageError(f"{path} cannot be written: {error.strerror or error}.", advice) from error


def _hidden(path: Path, suffix: str) -> Path:
    """A name beside a path that nobody else has; what is made under it gets the permissions that anything gets."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}{suffix}")


def _made_here(folder: Path, suffix: str, name: str | None = None) -> list[Path]:
    """What lies in a folder under names that `_hidden` made, of anything or of one name."""
    form = re.compile(rf"\.{re.escape(name) if name else '.+'}\.[0-9a-f]{{12}}{re.escape(suffix)}")
    return [each for each in folder.iterdir() if form.fullmatch(each.name)]


def _put_in_place(temporary: Path, path: Path) -> None:
    """Give a complete folder its name; an older one under that name goes when the new one is there for good."""
    if not path.exists():
        temporary.rename(path)
        _sync_folder(path.parent)
        return
    if _exchange(temporary, path):
        _sync_folder(path.parent)
        shutil.rmtree(temporary, ignore_errors=True)
        return
    # In two steps, between which nothing has the name; who is killed there finds the older one put back.
    aside = _hidden(path, ASIDE)
    aside.mkdir()
    path.rename(aside / path.name)
    try:
        temporary.rename(path)
    except BaseException:
        (aside / path.name).rename(path)
        aside.rmdir()
        raise
    _sync_folder(path.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders swap their names in a single step; False where that cannot be done."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE, https://man7.org/linux/man-pages/man2/rename.2.html
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def _tidy(path: Path) -> None:
    """Put back or remove what processes left that were killed while they wrote under this name."""
    for aside in _made_here(path.parent, ASIDE, path.name):
        if not path.exists() and (aside / path.name).exists():
            (aside / path.name).rename(path)
        shutil.rmtree(aside, ignore_errors=True)
    for partial in _made_here(path.parent, TEMPORARY, path.name):
        with contextlib.suppress(OSError), _claimed(partial) as ours:
            if ours:
                shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[bool]:
    """Hold a folder while the body runs and the process lives; False where another one does, or nobody can tell."""
    if sys.platform == "win32":
        yield False
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
    finally:
        os.close(handle)


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
    except OSError as error:
        # Some network file systems cannot flush a folder; a disk that fails says something else.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
