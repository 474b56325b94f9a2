"""Manifests: the last file that is written into a folder, with the size and the sha256 of every other one."""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

MANIFEST = "MANIFEST.json"
MANIFEST_VERSION = 1
RECIPE, DATA = "run.toml", "data.json"
"""What a run's folder has beside its checkpoints: how to repeat it, and which pictures it uses."""


def sha256(path: Path) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_of(files: Mapping[str, Mapping[str, Any]], base: Mapping[str, Any] | None) -> str:
    """The text of a manifest; `base` are the facts about the weights that a folder refers to."""
    return json.dumps({"format": MANIFEST_VERSION, "base": base, "files": files}, indent=2) + "\n"


def is_complete(folder: Path) -> bool:
    """Whether a folder has a manifest and every file of it in the right size; reads no content."""
    try:
        listed = read_manifest(folder)["files"]
        return all((folder / name).stat().st_size == facts["size"] for name, facts in listed.items())
    except (OSError, ValueError):
        return False


def damaged(folder: Path, names: Collection[str] | None = None) -> list[str]:
    """The files of a folder, or those with these names, that are missing or not what its manifest says."""
    manifest = read_manifest(folder)
    return [
        name
        for name, facts in manifest["files"].items()
        if (names is None or name in names)
        and (not (folder / name).is_file() or sha256(folder / name) != facts["sha256"])
    ]


def read_manifest(folder: Path) -> dict[str, Any]:
    """A folder's manifest; raises OSError or ValueError when it is absent or is none."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{folder / MANIFEST} is not a manifest") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ValueError(f"{folder / MANIFEST} is not a manifest")
    version = manifest.get("format")
    if version != MANIFEST_VERSION:
        raise ValueError(f"{folder / MANIFEST} has format {version!r}; this zoo reads {MANIFEST_VERSION}")
    if not isinstance(manifest.get("base", ""), dict | None):
        raise ValueError(f"{folder / MANIFEST} has a bad base")
    for name, facts in manifest["files"].items():
        if Path(name).name != name or name == ".." or not isinstance(facts, dict) or {"sha256", "size"} - facts.keys():
            raise ValueError(f"{folder / MANIFEST} has a bad entry {name!r}")
    return manifest
