"""`zoo inspect` of files that others wrote: what is in them, what they would import, and how to go on."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import zoo
from tests.checkpoint.forging import FORMS, call, pickled
from tests.conftest import Command


def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


STATE = model().state_dict()


def legacy(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def script(path: Path) -> None:
    torch.jit.script(model()).save(path)


def program(path: Path) -> None:
    exported = torch.export.export(model().eval(), (torch.zeros(2, 3, 4, 4),))
    torch.export.save(exported, path)


def trained(path: Path) -> None:
    state = {f"module.{name}": each for name, each in STATE.items()}
    torch.save({"epoch": 90, "arch": "resnet18", "state_dict": state, "optimizer": {"lr": 0.1}}, path)


FILES: dict[str, tuple[Callable[[Path], object], dict[str, Any]]] = {
    "w.safetensors": (
        lambda path: save_file(STATE, path, metadata={"made": "by hand"}),
        {"kind": "safetensors", "metadata": {"made": "by hand"}, "prefix": ""},
    ),
    "state.pth": (lambda path: torch.save(STATE, path), {"kind": "archive", "keys": [], "refused": None}),
    "old.pth": (lambda path: legacy(STATE, path), {"kind": "stream", "keys": [], "refused": None}),
    "trained.ckpt": (trained, {
        "kind": "archive", "keys": ["epoch", "arch", "state_dict", "optimizer"], "taken_from": "state_dict",
        "prefix": "module.", "metadata": {"epoch": 90, "arch": "resnet18"},
    }),
    "model.pt": (lambda path: torch.save(model(), path), {
        "kind": "module", "class": "torch.nn.modules.container.Sequential", "refused": "reading it would run code",
        "globals": ["torch.nn.modules.container.Sequential", "torch.nn.modules.conv.Conv2d",
                    "torch.nn.modules.batchnorm.BatchNorm2d"],
    }),
    "old.pt": (lambda path: legacy(model(), path), {
        "kind": "module", "class": "torch.nn.modules.container.Sequential", "refused": "reading it would run code"}),
    "script.pt": (script, {"kind": "torchscript", "refused": "it is a TorchScript program", "globals": []}),
    "model.pt2": (program, {"kind": "program", "refused": "it is a program, not weights"}),
}  # fmt: skip


def facts(command: Command, path: Path) -> dict[str, Any]:
    done = command("inspect", path, "--json")
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("name", FILES)
def test_a_file_is_described_without_being_loaded(
    name: str, zoo_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, expected = FILES[name]
    make(tmp_path / name)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    found = facts(zoo_command, tmp_path / name)
    assert {key: found[key] for key in expected} == expected
    assert (found["tensors"], found["numbers"]) == (7, 33)
    assert found["dtypes"] == {"float32": 6, "int64": 1}
    shown = zoo_command("inspect", tmp_path / name)
    assert shown.code == 0
    for text in (name, "7 (6 float32, 1 int64)", "33", "use it"):
        assert text in shown.out


def test_what_a_person_reads_says_how_to_go_on(zoo_command: Command, tmp_path: Path) -> None:
    trained(tmp_path / "w.ckpt")
    shown = zoo_command("inspect", tmp_path / "w.ckpt").out
    assert "module. before every name" in shown
    assert "epoch 90, arch resnet18" in shown
    assert f"zoo finetune timm:resnet18 --weights {tmp_path / 'w.ckpt'} --data IMAGES" in shown
    torch.save(model(), tmp_path / "model.pt")
    shown = zoo_command("inspect", tmp_path / "model.pt").out
    assert "would import   torch.nn.modules.container.Sequential" in shown
    assert "--trust-pickle SHA256" in shown


def test_a_name_of_an_architecture_is_only_looked_up(zoo_command: Command, tmp_path: Path) -> None:
    torch.save({"arch": "../../x; rm -rf ~", "state_dict": STATE}, tmp_path / "w.pth")
    assert facts(zoo_command, tmp_path / "w.pth")["use"][0].startswith("zoo finetune MODEL --weights")


def test_real_files_are_described(assets: Path, zoo_command: Command) -> None:
    found = facts(zoo_command, assets / "weights" / "resnet20_cifar10" / "resnet20-12fca82f.th")
    assert (found["kind"], found["keys"], found["prefix"]) == ("stream", ["best_prec1", "state_dict"], "module.")
    assert found["tensors"] == 97
    found = facts(zoo_command, assets / "weights" / "minilm-l6-v2")
    assert (found["kind"], found["tensors"], found["metadata"]["model_type"]) == ("folder", 104, "bert")


def test_a_folder_in_parts_is_described(zoo_command: Command, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    for number, names in enumerate((list(STATE)[:3], list(STATE)[3:])):
        save_file({name: STATE[name] for name in names}, tmp_path / f"{number}.safetensors")
    named = {name: f"{int(place > 2)}.safetensors" for place, name in enumerate(STATE)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": named}))
    found = facts(zoo_command, tmp_path)
    assert (found["tensors"], found["files"]) == (7, ["0.safetensors", "1.safetensors"])
    assert found["use"] == [f"zoo finetune hf:{tmp_path} --data IMAGES"]


@pytest.mark.parametrize("form", FORMS)
def test_a_pickle_that_wants_to_run_code_is_described_and_not_run(
    form: str, zoo_command: Command, tmp_path: Path
) -> None:
    FORMS[form](tmp_path / "w.pth", pickled(call("posix.mkdir", str(tmp_path / "canary"))))
    found = facts(zoo_command, tmp_path / "w.pth")
    assert (found["globals"], found["refused"]) == (["posix.mkdir"], "reading it would run code")
    assert "would import   posix.mkdir" in zoo_command("inspect", tmp_path / "w.pth").out
    assert not (tmp_path / "canary").exists()


EVIL = "a\x1b[2J\x9b1;1H\u202e\ud800\nb"


def test_texts_of_files_cannot_move_the_cursor(zoo_command: Command, tmp_path: Path) -> None:
    torch.save({EVIL: 1, "note": EVIL, "state_dict": {f"{EVIL}.{name}": each for name, each in STATE.items()}},
               tmp_path / "w.pth")  # fmt: skip
    plain = EVIL.replace("\ud800", "")
    save_file({plain: torch.ones(1), "x": torch.ones(1)}, tmp_path / "w.safetensors", metadata={plain: plain})
    for name in ("w.pth", "w.safetensors"):
        for more in ((), ("--json",)):
            done = zoo_command("inspect", tmp_path / name, *more)
            assert done.code == 0
            assert all(each.isprintable() for line in done.out.split("\n") for each in line)
    found = facts(zoo_command, tmp_path / "w.pth")
    assert (found["keys"][0], found["metadata"]["note"]) == (EVIL, EVIL), "for a program they are what they are"


def test_numbers_that_json_does_not_know_are_left_out(zoo_command: Command, tmp_path: Path) -> None:
    odd = {"best": float("nan"), "worst": float("inf"), "seed": 1 << 20_000, "epoch": 3}
    torch.save({**odd, "state_dict": STATE}, tmp_path / "w.pth", pickle_protocol=2)
    done = zoo_command("inspect", tmp_path / "w.pth", "--json")
    assert json.loads(done.out, parse_constant=pytest.fail)["metadata"] == {"epoch": 3}
    assert zoo_command("inspect", tmp_path / "w.pth").code == 0


def test_class_names_cannot_move_the_cursor(zoo_command: Command, tmp_path: Path) -> None:
    checkpoint = zoo.save_checkpoint(tmp_path / "epoch-0001", zoo.load("squeezenet1_1", [EVIL[:5], "b"], weights=None))
    shown = zoo_command("inspect", checkpoint.folder).out
    assert r"2: a\x1b[2J, b" in shown


@pytest.mark.parametrize(
    "content", [b"", b"404: not found", b"PK\x03\x04", b"\x80\x02}", b"\x89PNG\r\n\x1a\n", bytes(600)]
)
def test_what_is_damaged_or_no_checkpoint_is_refused(content: bytes, zoo_command: Command, tmp_path: Path) -> None:
    for name in ("w.pth", "w.safetensors"):
        (tmp_path / name).write_bytes(content)
        done = zoo_command("inspect", tmp_path / name)
        assert (done.code, done.out) == (4, "")
        assert name in done.err
        assert len(done.err.splitlines()) <= 3


@pytest.mark.parametrize("content", [b"404: not found", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_of_what_is_something_else_no_pickle_is_spoken(content: bytes, zoo_command: Command, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    done = zoo_command("inspect", tmp_path / "w.pth")
    assert ("does not begin as such files do" in done.err, "pickle" in done.err) == (True, False)


def test_what_is_absent_is_said_so(zoo_command: Command, tmp_path: Path) -> None:
    done = zoo_command("inspect", tmp_path / "absent.pth")
    assert (done.code, "there is no checkpoint" in done.err) == (4, True)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
def test_a_pipe_is_not_waited_for(zoo_command: Command, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.pth")
    assert zoo_command("inspect", tmp_path / "w.pth").code == 4


def test_a_damaged_checkpoint_of_a_run_is_told_and_none_taken_for_the_best_in_its_place(
    tmp_path: Path, pictures: Path, zoo_command: Command
) -> None:
    asked = ["finetune", "squeezenet1_1", "--weights", "none", "--data", pictures, "--img-size", 32, "-j", 0]
    assert zoo_command(*asked, "--epochs", 2, "--keep", "every:1", "--out", tmp_path, "--name", "run").code == 0
    run = tmp_path / "run"
    best = json.loads(zoo_command("inspect", run, "--json").out)["best"]
    weights = run / "epoch-0002" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    told = json.loads(zoo_command("inspect", run, "--json").out)
    assert told["damaged"] == [str(run / "epoch-0002")]
    assert told["best"] == best
    assert "epoch-0002             damaged: model.safetensors is not what its manifest says" in (
        zoo_command("inspect", run).out
    )
    (run / "epoch-0001" / "MANIFEST.json").unlink()
    shown = zoo_command("inspect", run).out
    assert "damaged: it has no manifest" in shown
    assert "best" not in shown
