"""Places that cannot be written, or that change while a run writes there."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import zoo
from tests.faults.checks import goes_on, survey
from tests.faults.rig import Unbroken, hidden
from tests.faults.spaces import aside, read_only
from tests.finetuning.conftest import Listener
from zoo.errors import StorageError, UsageError


def never() -> None:
    raise AssertionError("training has begun")


@pytest.mark.usefixtures("mounts")
def test_a_place_that_may_not_be_written_is_refused_before_the_first_batch(control: Unbroken, tmp_path: Path) -> None:
    def work() -> list[str]:
        place = tmp_path / "disk"
        place.mkdir()
        read_only(place)
        try:
            control.start(place, reporter=Listener(at_step={1: never}))
        except StorageError as error:
            return [] if "give a folder" in str(error) and str(place) in str(error) else [str(error)]
        return ["nobody was told"]

    assert aside(work, tmp_path / "report") == []


def out_is_a_file(place: Path) -> Path:
    (place / "file").touch()
    return place / "file"


def out_lies_in_a_file(place: Path) -> Path:
    (place / "file").touch()
    return place / "file" / "runs"


def out_points_nowhere(place: Path) -> Path:
    (place / "link").symlink_to(place / "nowhere")
    return place / "link"


@pytest.mark.parametrize("make", [out_is_a_file, out_lies_in_a_file, out_points_nowhere])
def test_a_place_that_is_no_folder_is_refused_before_the_first_batch(
    control: Unbroken, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    out = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StorageError, match="give a folder"):
        control.start(out, reporter=Listener(at_step={1: never}))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_place_that_does_not_exist_is_made(control: Unbroken, tmp_path: Path) -> None:
    run = control.start(tmp_path / "some" / "where" / "else")
    assert survey(run.folder, control) == []


@pytest.mark.parametrize("name", ["run", None])
def test_a_name_that_points_nowhere_is_taken(control: Unbroken, tmp_path: Path, name: str | None) -> None:
    usual = f"tests-heavy-{control.pictures.name}"
    (tmp_path / (name or usual)).symlink_to(tmp_path / "nowhere")
    if name:
        with pytest.raises(UsageError, match="exists already"):
            control.start(tmp_path, name=name)
    else:
        assert control.start(tmp_path, name=None).folder.name == f"{usual}-2"
    assert not (tmp_path / "nowhere").exists()


def deleted(run: Path) -> None:
    # Whatever is still being written there must not keep it.
    shutil.rmtree(run.rename(run.with_name("thrown away")), ignore_errors=True)
    shutil.rmtree(run.with_name("thrown away"), ignore_errors=True)


def renamed(run: Path) -> None:
    run.rename(run.with_name("moved"))


@pytest.mark.parametrize("step", [2, 4, 12])
@pytest.mark.parametrize("change", [deleted, renamed])
@pytest.mark.parametrize("background", [False, True], ids=["at once", "in the background"])
def test_a_folder_that_goes_while_training_ends_the_run(
    control: Unbroken,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    step: int,
    background: bool,
) -> None:
    if background:
        monkeypatch.setattr("zoo.finetuning.saving.LARGE", 0)
    run = tmp_path / "run"
    with pytest.raises(StorageError, match=r"run.*(is gone|No such file)"):
        control.start(tmp_path, reporter=Listener(at_step={step: lambda: change(run)}))
    assert not list(run.glob("epoch-*"))
    assert hidden(run) == []
    if change is renamed:
        assert survey(tmp_path / "moved", control) == []
        assert goes_on(tmp_path / "moved", control) == []


def test_a_run_that_was_moved_goes_on_where_it_lies_now(control: Unbroken, tmp_path: Path) -> None:
    run = control.after("epoch-0002-step-0001", tmp_path / "run")
    assert goes_on(run.rename(tmp_path / "moved"), control) == []


def test_what_cannot_be_removed_does_not_keep_a_run_from_going_on(
    control: Unbroken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = control.after("epoch-0002-step-0001", tmp_path / "run")
    (run / ".epoch-0002-step-0002.0123456789ab.tmp").mkdir()
    (run / ".epoch-0002-step-0002.0123456789ab.tmp" / "model.safetensors").touch()
    monkeypatch.setattr(shutil, "rmtree", lambda path, ignore_errors=False: None)
    assert zoo.resume(run).epochs == 3
