"""What holds for a model of any source; a family's file lists its models and how its own library builds them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import zoo
from zoo.registry import entry

CLASSES = 7

# Runs where zoo cannot be imported: the library's own model takes the weights, and the checkpoint's lines run.
WITHOUT_ZOO = """
import json, os, sys, traceback
sys.modules["zoo"] = None
from safetensors.torch import load_file
import torch

def run(lines, folder):
    os.chdir(folder)
    values = {}
    exec(lines, values)
    return values["model"]

def check(model):
    seen = load_file("../example.safetensors")
    with torch.no_grad():
        out = model.eval()(seen["pictures"])
    torch.testing.assert_close(getattr(out, "logits", out), seen[os.path.basename(os.getcwd())])

def outcome(job):
    try:
        if job["build"]:
            model = run(job["build"], job["folder"])
            model.load_state_dict(load_file("model.safetensors"), strict=True)
            check(model)
        if job["rebuild"]:
            check(run("\\n".join(json.load(open(job["folder"] + "/config.json"))["rebuild"]), job["folder"]))
    except Exception:
        return traceback.format_exc()
    return "same outputs"

print(json.dumps({job["key"]: outcome(job) for job in json.load(sys.stdin)}))
"""


def without_zoo(jobs: list[dict[str, Any]]) -> dict[str, str]:
    """What a process without zoo made of each checkpoint, by the job's key; `same outputs` where all is well.

    A job has a `key`, a `folder`, the lines to `build` the library's own model, or none, and whether to `rebuild` it
    by the checkpoint's lines; beside the folder lies `example.safetensors`, with `pictures` and the outputs of each.
    """
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ZOO],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


def logits(model: nn.Module, pictures: Tensor) -> Tensor:
    """The class scores, also of models that return them within an object."""
    out = model(pictures)
    scores: Tensor = getattr(out, "logits", out)
    return scores


def pictures_for(model: nn.Module) -> Tensor:
    """Two pictures, small where the model takes any size."""
    spec = zoo.spec_of(model)
    known = entry(spec.source, spec.name)
    size = (96, 96) if known and not known.fixed_size else spec.preprocessing.size
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


class SourceContract:
    """Inherit, and list for each model the lines that build the library's own with `{classes}` as `model`."""

    models: ClassVar[dict[str, str]] = {}
    heads: ClassVar[tuple[str, ...]] = ("linear replace", "mlp replace", "linear append")
    rebuilds: ClassVar[bool] = True
    large: ClassVar[tuple[str, ...]] = ()
    """Models of hundreds of megabytes, saved with the linear head alone."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "name" in metafunc.fixturenames:
            metafunc.parametrize("name", self.models)

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Where the family finds what it loads, for those that load from folders."""
        return tmp_path_factory.mktemp("models")

    @classmethod
    def full_name(cls, name: str, place: Path) -> str:
        return name

    @classmethod
    def lines(cls, name: str, place: Path, classes: int) -> str:
        return cls.models[name].replace("{classes}", str(classes)).replace("{place}", str(place))

    @classmethod
    def theirs(cls, name: str, place: Path, classes: int = CLASSES) -> nn.Module:
        """The library's own model, built without zoo."""
        values: dict[str, Any] = {}
        exec(cls.lines(name, place, classes), values)
        model: nn.Module = values["model"]
        return model

    @classmethod
    def load(cls, name: str, place: Path, classes: int | None = CLASSES, **given: Any) -> nn.Module:
        return zoo.load(cls.full_name(name, place), classes, weights=None, **given)

    @pytest.fixture(scope="class")
    @classmethod
    def outcomes(cls, place: Path) -> Iterator[dict[str, str]]:
        """What one process without zoo made of each model's checkpoints."""
        jobs = []
        with TemporaryDirectory() as folder:
            for number, name in enumerate(cls.models):
                example: dict[str, Tensor] = {}
                for head in cls.heads[:1] if name in cls.large else cls.heads:
                    preset, mode = head.split()
                    model = cls.load(name, place, head=preset, mode=mode)
                    example["pictures"] = pictures_for(model)
                    with torch.no_grad():
                        example[head] = logits(model, example["pictures"])
                    target = Path(folder, str(number), head)
                    zoo.save_checkpoint(target, model)
                    plain = cls.lines(name, place, CLASSES) if head == "linear replace" else ""
                    key = f"{name} {head}"
                    jobs.append({"key": key, "folder": str(target), "build": plain, "rebuild": cls.rebuilds})
                safetensors.torch.save_file(example, Path(folder, str(number), "example.safetensors"))
            yield without_zoo(jobs)

    def test_it_stays_the_librarys_own_model(self, name: str, place: Path) -> None:
        model, own = self.load(name, place), self.theirs(name, place)
        assert type(model) is type(own)
        assert "forward" not in vars(model)
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        assert shapes == {key: tuple(value.shape) for key, value in own.state_dict().items()}
        assert logits(model, pictures_for(model)).shape == (2, CLASSES)

    def test_other_heads_change_keys_under_the_head_path_only(self, name: str, place: Path) -> None:
        model, own = self.load(name, place, head="mlp"), self.theirs(name, place)
        spec = zoo.spec_of(model)

        def outside(state: dict[str, Tensor]) -> list[str]:
            return [key for key in state if not spec.in_head(key)]

        assert outside(model.state_dict()) == outside(own.state_dict())
        assert model.state_dict().keys() != own.state_dict().keys()

    def test_without_zoo_its_checkpoints_give_the_same_outputs(self, name: str, outcomes: dict[str, str]) -> None:
        mine = {key: outcome for key, outcome in outcomes.items() if key.startswith(f"{name} ")}
        assert len(mine) == (1 if name in self.large else len(self.heads))
        for key, outcome in mine.items():
            assert outcome == "same outputs", f"{key}: {outcome}"

    @pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
    def test_a_frozen_backbone_stays_bit_equal_and_the_head_learns(
        self, name: str, place: Path, optimizer: type[torch.optim.Optimizer]
    ) -> None:
        model = self.load(name, place)
        zoo.freeze(model, "backbone")
        spec = zoo.spec_of(model)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        steps = optimizer(model.parameters(), lr=0.1, weight_decay=0.1)  # type: ignore[call-arg]
        for _ in range(2):
            model.train()
            nn.functional.cross_entropy(logits(model, pictures_for(model)), torch.tensor([1, 2])).backward()
            steps.step()
        for key, value in model.state_dict().items():
            assert torch.equal(value, before[key]) != spec.in_head(key), key
        for key, parameter in model.named_parameters():
            assert (parameter.grad is not None) == spec.in_head(key), key

    @pytest.mark.parametrize("classes", [CLASSES, 1000])
    def test_append_keeps_the_original_outputs(self, name: str, place: Path, classes: int) -> None:
        model = self.load(name, place, classes=None)
        pictures, paths = pictures_for(model), zoo.spec_of(model).head_paths
        originals = [zoo.get_module(model, path) for path in paths]
        seen: list[Tensor] = []
        for original in originals:
            original.register_forward_hook(lambda *given: seen.append(given[-1].clone()))
        with torch.no_grad():
            logits(model, pictures)
            zoo.append_head(model, classes=classes)
            assert logits(model, pictures).shape == (2, classes)
        assert all(zoo.get_module(model, f"{path}.0") is each for path, each in zip(paths, originals, strict=True))
        assert len(seen) == 2 * len(paths)
        assert all(torch.equal(*both) for both in zip(seen[: len(paths)], seen[len(paths) :], strict=True))
        frozen = zoo.freeze(model, "backbone").parameters
        trained = {key for key, _ in model.named_parameters()} - set(frozen)
        assert trained == {f"{path}.1.{name}" for path in paths for name in ("weight", "bias")}
