"""A stored checkpoint that is damaged is never loaded in silence, and its run goes on from the one before."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import zoo
from tests.faults.checks import goes_on, passed_over
from tests.faults.conftest import Tell
from tests.faults.rig import SLIM, Unbroken, unbroken
from tests.finetuning.conftest import Listener, crash
from zoo import files
from zoo.checkpoint import reading
from zoo.errors import ZooError

NEWEST, BEFORE = "epoch-0002", "epoch-0001"


@pytest.fixture(scope="module")
def slim(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """A run of the tiny model as it is, whose checkpoints are small, with one at the end of every epoch."""
    place = tmp_path_factory.mktemp("slim")
    return unbroken(pictures, place, model=SLIM, keep="every:1", save_every="never")


@pytest.fixture
def run(slim: Unbroken, tmp_path: Path) -> Path:
    """That run when its second epoch was done."""
    return slim.after(NEWEST, tmp_path / "run")


class Silent:
    """Whether a damaged checkpoint loads as if it were whole: with other weights or another state than were saved."""

    def __init__(self, whole: Path) -> None:
        self.model = zoo.load_checkpoint(whole)
        self.state = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.training = repr(reading.read_training(whole))

    def loads(self, checkpoint: Path) -> bool:
        try:
            found = zoo.load_checkpoint(checkpoint).state_dict()
            training = reading.read_training(checkpoint)
        except ZooError:
            return False
        same = all(torch.equal(found[name], tensor) for name, tensor in self.state.items())
        return not (same and repr(training) == self.training)


def wrong_with(run: Path, silent: Silent, *, resume: bool = True) -> list[str]:
    """What is wrong with how a run with a damaged newest checkpoint is met."""
    wrong = ["it loads in silence"] if silent.loads(run / NEWEST) else []
    try:
        files.damaged(run / NEWEST)
    except (OSError, ValueError):
        pass
    except Exception as error:
        wrong.append(f"checking it fails: {error!r}")
    return wrong + (passed_over(run, NEWEST) if resume else [])


@pytest.fixture(scope="module")
def silent(slim: Unbroken) -> Silent:
    return Silent(slim.stages / NEWEST / NEWEST)


def names(slim: Unbroken) -> list[str]:
    return sorted(path.name for path in (slim.stages / NEWEST / NEWEST).iterdir())


def test_cut_short_anywhere(slim: Unbroken, silent: Silent, run: Path) -> None:
    wrong = []
    for name in names(slim):
        place = run / NEWEST / name
        whole = place.read_bytes()
        for share in range(0, 100, 5):
            place.write_bytes(whole[: len(whole) * share // 100])
            wrong += [f"{name} at {share} %: {each}" for each in wrong_with(run, silent, resume=share % 20 == 0)]
        place.write_bytes(whole)
    assert wrong == []


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors", "training.json", "MANIFEST.json"])
def test_a_tail_of_zeros_as_after_a_power_cut(silent: Silent, run: Path, name: str) -> None:
    place = run / NEWEST / name
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    assert wrong_with(run, silent) == []


@pytest.mark.parametrize(
    "name", ["model.safetensors", "training.safetensors", "training.json", "config.json", "MANIFEST.json"]
)
@pytest.mark.parametrize("harm", ["missing", "another checkpoint's"])
def test_a_file_that_is_not_the_checkpoints_own(
    slim: Unbroken, silent: Silent, run: Path, name: str, harm: str
) -> None:
    (run / NEWEST / name).unlink()
    if harm != "missing":
        shutil.copy(run / BEFORE / name, run / NEWEST / name)
    same = (slim.stages / NEWEST / NEWEST / name).read_bytes() == (run / BEFORE / name).read_bytes()
    if same and harm != "missing":
        assert files.damaged(run / NEWEST) == []
    else:
        assert wrong_with(run, silent) == []


def test_two_checkpoints_whose_names_were_swapped(slim: Unbroken, run: Path) -> None:
    """Each is whole; what they hold says which is the newer one."""
    (run / NEWEST).rename(run / "other")
    (run / BEFORE).rename(run / NEWEST)
    (run / "other").rename(run / BEFORE)
    assert [each.age[1:] for each in reading.checkpoints_of(run)] == [(1, 0), (2, 0)]


def flips(folder: Path, count: int, seed: int = 0, only: str | None = None) -> Iterator[tuple[str, Callable[[], None]]]:
    """Flip one bit after the other at random places of a folder's files; each is said, with what puts it right."""
    chance = random.Random(seed)
    places = sorted(folder.iterdir()) if only is None else [folder / only]
    sizes = [place.stat().st_size for place in places]
    for number in range(count):
        # Half of them by size, half by file, as the small ones would hardly ever be met.
        place = chance.choices(places, sizes)[0] if number % 2 else chance.choice(places)
        whole = place.read_bytes()
        bit = chance.randrange(8 * len(whole))
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        place.write_bytes(bytes(content))
        yield f"bit {bit} of {place.name}", lambda place=place, whole=whole: place.write_bytes(whole)  # type: ignore[misc]


def flip(run: Path, silent: Silent, count: int, resume_each: int, only: str | None = None) -> list[str]:
    wrong = []
    for number, (what, put_right) in enumerate(flips(run / NEWEST, count, only=only)):
        harmless = only == files.MANIFEST and not damaged(run / NEWEST)
        resume = number % resume_each == 0 and not harmless
        wrong += [f"{what}: {each}" for each in wrong_with(run, silent, resume=resume)]
        try:
            reading.checkpoints_of(run)
            reading.best_of(run)
        except Exception as error:
            wrong.append(f"{what}: looking for checkpoints fails: {error!r}")
        put_right()
    return wrong


def damaged(folder: Path) -> bool:
    try:
        return bool(files.damaged(folder))
    except (OSError, ValueError):
        return True


@pytest.mark.parametrize("resume_each", [12, pytest.param(1, marks=pytest.mark.slow)])
def test_three_hundred_flipped_bits(silent: Silent, run: Path, resume_each: int, tell: Tell) -> None:
    wrong = flip(run, silent, 300, resume_each)
    if resume_each == 1:
        tell(f"flipped bits: 300, {len(wrong)} failures")
    assert wrong == []


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_flipped_bits_in_the_manifest(silent: Silent, run: Path, count: int) -> None:
    assert flip(run, silent, count, 12, files.MANIFEST) == []


@pytest.mark.parametrize("name", ["model.safetensors", "training.json", "MANIFEST.json"])
@pytest.mark.parametrize("harm", ["cut", "flipped", "missing"])
def test_the_run_ends_as_the_unbroken_one(slim: Unbroken, run: Path, name: str, harm: str) -> None:
    place = run / NEWEST / name
    whole = place.read_bytes()
    place.unlink()
    if harm != "missing":
        place.write_bytes(whole[:-9] if harm == "cut" else whole[:-9] + bytes([whole[-9] ^ 16]) + whole[-8:])
    assert goes_on(run, slim) == []


@pytest.mark.parametrize("name", ["model.safetensors", "training.json"])
def test_a_run_that_fell_back_and_is_broken_off_again(control: Unbroken, tmp_path: Path, name: str) -> None:
    """The damaged checkpoint is the newest and the best by what it says; it must not drive out the good ones."""
    run = control.after("epoch-0001-step-0002", tmp_path / "run")
    shutil.copytree(control.stages / "epoch-0002" / "epoch-0002", run / "epoch-0002")
    place = run / "epoch-0002" / name
    whole = place.read_bytes()
    place.write_bytes(whole[:-9] + bytes([whole[-9] ^ 16]) + whole[-8:])
    with pytest.raises(RuntimeError, match="went down"):
        zoo.resume(run, reporter=Listener(at_save={"epoch-0001-step-0003": crash}))
    assert files.damaged(run / "epoch-0001-step-0003") == []
    heard = Listener()
    zoo.resume(run, reporter=heard)
    assert "going on from epoch-0001-step-0003" in heard.notes
    assert files.damaged(run / "epoch-0002") == []
