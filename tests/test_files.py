"""What is written is there completely or not at all."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from zoo import files
from zoo.errors import StorageError
from zoo.files import writing


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete folder with two files."""
    place = tmp_path / "epoch-0001"
    fill(place, "first")
    return place


def fill(place: Path, text: str) -> None:
    with files.new_folder(place) as inside:
        (inside / "model.bin").write_bytes(text.encode() * 100)
        (inside / "config.json").write_text("{}")


def no_space(_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    place = tmp_path / "runs" / "epoch-0001"
    with files.new_folder(place) as inside:
        (inside / "model.bin").write_bytes(b"weights")
        assert not place.exists()
        assert inside.path.parent == place.parent
    assert names_in(place) == ["MANIFEST.json", "model.bin"]
    assert names_in(place.parent) == ["epoch-0001"]


def test_the_manifest_states_format_size_and_sha256_of_every_file(folder: Path) -> None:
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    assert (manifest["format"], manifest["base"]) == (1, None)
    assert manifest["files"]["config.json"] == {
        "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "size": 2,
    }
    assert sorted(manifest["files"]) == ["config.json", "model.bin"]


def test_all_is_flushed_before_the_folder_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "epoch-0001"
    flushed: dict[bool, list[int]] = {False: [], True: []}
    monkeypatch.setattr(os, "fsync", lambda handle: flushed[place.exists()].append(os.fstat(handle).st_ino))
    fill(place, "new")
    written = [(place / name).stat().st_ino for name in ("config.json", "model.bin", "MANIFEST.json", ".")]
    assert flushed == {False: written, True: [tmp_path.stat().st_ino]}


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_body_that_fails_leaves_nothing(tmp_path: Path, failure: type[BaseException]) -> None:
    def interrupted() -> None:
        with files.new_folder(tmp_path / "runs" / "epoch-0001") as inside:
            (inside / "model.bin").write_bytes(b"half")
            raise failure

    with pytest.raises(failure):
        interrupted()
    assert names_in(tmp_path / "runs") == []


def test_a_folder_of_ours_is_replaced_as_a_whole(folder: Path) -> None:
    with files.new_folder(folder) as inside:
        (inside / "other.bin").write_bytes(b"second")
    assert names_in(folder) == ["MANIFEST.json", "other.bin"]
    assert names_in(folder.parent) == [folder.name]


def test_a_body_that_fails_keeps_the_older_folder(folder: Path) -> None:
    with pytest.raises(ValueError, match="loss"), files.new_folder(folder):
        raise ValueError("loss")
    assert files.damaged(folder) == []
    assert names_in(folder.parent) == [folder.name]


def test_a_rename_that_fails_keeps_the_older_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_exchange", lambda one, other: False)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if target == folder and (self / "model.bin").read_bytes().startswith(b"second"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(StorageError, match="Input/output error"):
        fill(folder, "second")
    assert (folder / "model.bin").read_bytes().startswith(b"first")
    assert names_in(folder.parent) == [folder.name]


@pytest.mark.parametrize("content", [[], ["thesis.tex"]])
def test_a_foreign_folder_is_never_replaced(tmp_path: Path, content: list[str]) -> None:
    place = tmp_path / "mine"
    place.mkdir()
    for name in content:
        (place / name).touch()
    with pytest.raises(StorageError, match="was not written by zoo"), files.new_folder(place):
        pytest.fail("the body must not run")
    assert names_in(place) == content
    assert names_in(tmp_path) == ["mine"]


@pytest.mark.parametrize(
    ("damage", "seen_at_a_glance"),
    [
        (lambda file: os.truncate(file, 17), True),
        (Path.unlink, True),
        (lambda file: file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:]), False),
    ],
    ids=["truncated", "missing", "one bit flipped"],
)
def test_damage_is_found(damage: Callable[[Path], object], seen_at_a_glance: bool, folder: Path) -> None:
    assert (files.is_complete(folder), files.damaged(folder)) == (True, [])
    damage(folder / "model.bin")
    assert files.is_complete(folder) is not seen_at_a_glance
    assert files.damaged(folder) == ["model.bin"]


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "[]",
        '{"format": 2, "files": {}}',
        '{"format": 1, "files": {"../../etc/passwd": {"sha256": "", "size": 0}}}',
        '{"format": 1, "files": {"..": {"sha256": "", "size": 0}}}',
        '{"format": 1, "files": {"model.bin": {"size": 3}}}',
        '{"format": 1, "files": {"model.bin": 3}}',
    ],
)
def test_what_is_no_manifest_makes_no_complete_folder(folder: Path, manifest: str) -> None:
    (folder / "MANIFEST.json").unlink()
    assert not files.is_complete(folder)
    (folder / "MANIFEST.json").write_text(manifest)
    assert not files.is_complete(folder)
    with pytest.raises(ValueError, match=r"Expecting|MANIFEST\.json (is|has)"):
        files.read_manifest(folder)


def test_a_full_disk_leaves_nothing_and_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StorageError, match=r"No space left on device(?s:.*)free some space, or give another place"):
        fill(tmp_path / "epoch-0001", "new")
    with pytest.raises(StorageError, match="free some space"):
        files.write_text(tmp_path / "data.json", "{}")
    assert names_in(tmp_path) == []


def test_a_text_is_replaced_in_one_step_or_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "logs" / "metrics.csv"
    files.write_text(target, "old\n")
    seen = target.open()
    files.write_text(target, "new\n")
    assert (target.read_text(), seen.read()) == ("new\n", "old\n")
    seen.close()
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StorageError):
        files.write_text(target, "newer\n")
    assert target.read_text() == "new\n"
    assert names_in(target.parent) == ["metrics.csv"]


def test_a_text_can_be_read_by_whom_the_mask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write_text(tmp_path / "run.toml", "")
        fill(tmp_path / "epoch-0001", "new")
    finally:
        os.umask(before)
    assert (tmp_path / "run.toml").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "epoch-0001").stat().st_mode & 0o777 == 0o750


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="give a folder that can be written"):
        files.write_text(tmp_path / "file" / "run.toml", "")


def test_what_json_cannot_say_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "metrics.json", {"loss": float("nan")})
    assert names_in(tmp_path) == []
