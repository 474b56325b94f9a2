"""What the tests of faults share: the runs that nothing happens to."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import zoo
from tests.conftest import write_pictures
from tests.faults.rig import GROWING, HEAVY, SLIM, Growing, Heavy, Unbroken, unbroken
from tests.faults.spaces import aside, small_disk
from tests.finetuning.conftest import Tiny


@pytest.fixture(scope="session", autouse=True)
def _registered() -> None:
    for name, model in ((HEAVY, Heavy), (GROWING, Growing), (SLIM, Tiny)):
        zoo.register(name.partition(":")[2], model, head_path="fc", input_size=(16, 16))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, ten small pictures each: 16 to train on, in 4 steps an epoch."""
    return write_pictures(tmp_path_factory.mktemp("faults") / "imgs", {"ant": 10, "bee": 10}, size=12)


@pytest.fixture(scope="session")
def control(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """The run as it is when nothing happens, with a checkpoint after every step."""
    return unbroken(pictures, tmp_path_factory.mktemp("control"))


Tell = Callable[[str], None]


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Say a figure to whom runs the long tests."""

    def say(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{line}\n")

    return say


@pytest.fixture(scope="session")
def mounts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Needs disks of the test's own."""
    place = tmp_path_factory.mktemp("mounts")
    try:
        aside(lambda: small_disk(place / "disk", 65536).name, place / "report")
    except (OSError, AssertionError, AttributeError) as error:
        pytest.skip(f"mounts of one's own are not permitted here: {str(error).strip().splitlines()[-1]}")
