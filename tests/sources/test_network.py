"""Downloads: what is said where there is no network, and what comes through where there is one."""

import gc
import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import SqueezeNet1_1_Weights
from transformers import AutoModelForImageClassification, ViTConfig

import zoo

from .conftest import Server

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture(autouse=True)
def caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Empty caches, and no way around the network of the test."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def cut(*_: Any, **__: Any) -> Any:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def files_below(folder: Path) -> list[str]:
    return [str(file) for file in folder.rglob("*") if file.is_file() and file.suffix != ".lock"]


ABSENT = {
    "squeezenet1_1": (
        "squeezenet1_1-b8a52dc0.pth (5 MB)",
        "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
        "torch/hub/checkpoints",
    ),
    "timm:resnet10t": (
        "model.safetensors of timm/resnet10t.c3_in1k",
        "https://huggingface.co/timm/resnet10t.c3_in1k/resolve/main/model.safetensors",
        "hf",
    ),
    "hf:google/vit-base-patch16-224": (
        "config.json of google/vit-base-patch16-224",
        "https://huggingface.co/google/vit-base-patch16-224/resolve/main/config.json",
        "hf",
    ),
}


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize("name", ABSENT)
def test_without_network_it_says_which_file_from_where_into_which_folder(
    name: str, offline: bool, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not offline:
        monkeypatch.setattr(socket, "getaddrinfo", cut)
    with pytest.raises(zoo.StorageError) as caught:
        zoo.load(name, 2, offline=offline)
    file, url, folder = ABSENT[name]
    first, second, third = str(caught.value).splitlines()
    assert first.startswith(f"the weights {file} are not in the cache {caches / folder} and cannot be downloaded: ")
    assert ("downloads are off (--offline)" if offline else "no network") in first
    assert url in second
    assert "--weights FILE" in second
    assert "--weights none" in third
    assert caught.value.exit_code == 5
    assert files_below(caches) == []


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize("form", ["one file", "in parts", "pickled"])
def test_without_network_what_is_in_the_cache_is_loaded_in_whatever_form(
    form: str, offline: bool, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ViTConfig(
        image_size=32, patch_size=8, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    model = AutoModelForImageClassification.from_config(config)
    place = caches / "hf" / "models--some--vit"
    snapshot = place / "snapshots" / ("a" * 40)
    model.save_pretrained(snapshot, **({"max_shard_size": "9KB"} if form == "in parts" else {}))
    if form == "pickled":
        (snapshot / "model.safetensors").unlink()
        torch.save(model.state_dict(), snapshot / "pytorch_model.bin")
    assert (snapshot / "model.safetensors").exists() == (form == "one file")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr(socket, "getaddrinfo", cut)
    found = zoo.load("hf:some/vit", 2, offline=offline).state_dict()
    key = "vit.embeddings.cls_token"
    assert torch.equal(found[key], model.state_dict()[key])


def test_offline_opens_no_connection(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*_: Any, **__: Any) -> Any:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket, "getaddrinfo", touched)
    monkeypatch.setattr(socket.socket, "connect", touched)
    for name in ABSENT:
        with pytest.raises(zoo.StorageError):
            zoo.load(name, 2, offline=True)


@pytest.fixture
def squeezenet(tmp_path: Path) -> bytes:
    torch.save(zoo.load("squeezenet1_1", weights=None).state_dict(), tmp_path / "made.pth")
    return (tmp_path / "made.pth").read_bytes()


@pytest.mark.parametrize("stem", ["squeezenet1_1-{hash}", "squeezenet-600e"])
def test_weights_are_downloaded_once_and_checked(
    stem: str, server: Server, squeezenet: bytes, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/{stem.format(hash=hashlib.sha256(squeezenet).hexdigest()[:8])}.pth"
    server.files[path] = squeezenet
    monkeypatch.setattr(SqueezeNet1_1_Weights.IMAGENET1K_V1.value, "url", server.url + path)
    first = zoo.load("squeezenet1_1").state_dict()
    monkeypatch.setattr(socket, "getaddrinfo", cut)
    second = zoo.load("squeezenet1_1").state_dict()
    assert server.asked == [(path, None)]
    made = torch.load(caches / "made.pth")
    assert all(torch.equal(first[name], made[name]) and torch.equal(second[name], made[name]) for name in made)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("publish", "message"), [(True, "was downloaded and is not what it should be"), (False, "cannot be downloaded")]
)
def test_another_file_than_its_name_says_is_refused_and_not_kept(
    publish: bool, message: str, server: Server, squeezenet: bytes, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if publish:
        server.files["/squeezenet1_1-0123abcd.pth"] = squeezenet
    url = f"{server.url}/squeezenet1_1-0123abcd.pth"
    monkeypatch.setattr(SqueezeNet1_1_Weights.IMAGENET1K_V1.value, "url", url)
    with pytest.raises(zoo.StorageError, match=message) as caught:
        zoo.load("squeezenet1_1", 2)
    assert url in str(caught.value)
    assert files_below(caches / "torch") == []
    # torch.hub leaves the connection of a refused file to the garbage collector.
    del caught
    gc.collect()


FROM_THE_HUB = """
import socket, sys, torch, zoo
first = zoo.load("hf:owner/tiny", 2)
def cut(*given, **more):
    raise socket.gaierror("no network")
socket.getaddrinfo = cut
for offline in (False, True):
    again = zoo.load("hf:owner/tiny", 2, offline=offline)
    assert torch.equal(first.vit.layernorm.weight, again.vit.layernorm.weight)
torch.save(again.state_dict(), sys.argv[1])
"""


def test_a_hub_model_comes_with_the_users_token_and_stays_in_the_cache(server: Server, tmp_path: Path) -> None:
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    model = AutoModelForImageClassification.from_config(ViTConfig(image_size=16, patch_size=8, **small))
    model.save_pretrained(tmp_path / "made")
    names = [file.name for file in (tmp_path / "made").iterdir()]
    for name in names:
        content = (tmp_path / "made" / name).read_bytes()
        server.files |= {f"/owner/tiny/resolve/{at}/{name}": content for at in ("main", "c" * 40)}
    repository = {"id": "owner/tiny", "sha": "c" * 40, "siblings": [{"rfilename": name} for name in names]}
    server.files["/api/models/owner/tiny/revision/main"] = json.dumps(repository).encode()
    tree = [{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in names]
    server.files[f"/api/models/owner/tiny/tree/{'c' * 40}"] = json.dumps(tree).encode()
    environment = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_mine"}
    done = subprocess.run(
        [sys.executable, "-c", FROM_THE_HUB, tmp_path / "got.pth"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    got = torch.load(tmp_path / "got.pth")
    assert all(torch.equal(got[name], value) for name, value in model.state_dict().items() if "classifier" not in name)
    sent = {token for path, token in server.asked if "/owner/tiny" in path}
    assert sent == {"Bearer hf_mine"}
    assert list((tmp_path / "home" / "hub").rglob("model.safetensors"))
