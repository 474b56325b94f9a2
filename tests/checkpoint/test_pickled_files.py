"""What torch.save writes is read, in both of its forms, with all that people put beside their weights."""

import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo.checkpoint.foreign.pickled import examine
from zoo.checkpoint.weights import read_weights


def whole() -> dict[str, Any]:
    shared = torch.arange(12.0)
    return {
        "state_dict": {"tied": shared, "too": shared[4:].view(2, 4), "turned": torch.ones(2, 3).T, "no": shared[:0]},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999)}]},
        "losses": [float(each) for each in range(2000)], "random": torch.get_rng_state(), "size": torch.Size([1, 2]),
        "device": torch.device("cpu"), "dtype": torch.bfloat16, "layout": torch.strided, "counter": Counter("aab"),
        "bytes": b"\x00\xff", "bytearray": bytearray(b"xyz"), "set": {1, 2}, "complex": 1j, "big": 2**100,
        "parameter": torch.nn.Parameter(torch.ones(2)), "wide": torch.ones(3, dtype=torch.complex128),
        "bits": torch.ones(3, dtype=torch.uint16), "eight": torch.zeros(4, dtype=torch.float8_e5m2),
    }  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False])
def test_what_people_put_beside_their_weights_is_read(zipped: bool, tmp_path: Path) -> None:
    made = whole()
    if not zipped:
        # That form is older than these types.
        del made["bits"], made["eight"]
    torch.save(made, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    loaded = read_weights(tmp_path / "w.pth")
    assert loaded.keys() == made["state_dict"].keys()
    assert all(torch.equal(loaded[name], each) for name, each in made["state_dict"].items())


def test_a_model_that_is_all_of_torch_is_a_state_dict_with_its_notes(tmp_path: Path) -> None:
    state = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)).state_dict()
    torch.save(state, tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth").keys() == state.keys()


def test_a_tensor_brings_no_attributes_or_hooks(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.copy_ = 5  # type: ignore[method-assign, assignment]
    torch.save({"a": parameter}, tmp_path / "w.pth")
    loaded = read_weights(tmp_path / "w.pth")["a"]
    assert type(loaded) is torch.Tensor
    assert not vars(loaded)


def test_a_file_in_memory_is_looked_at_as_one_on_the_disk_is(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(4)}, tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    assert [each.shape for each in examine(io.BytesIO(content), len(content)).claims.tensors] == [(4,)]
