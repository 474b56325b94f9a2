"""Pickles that want to run code, in every form of file that torch reads: refused, named, and never run."""

import marshal
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import zoo
from zoo.checkpoint.foreign import describing
from zoo.checkpoint.weights import read_weights

from .forging import FORMS, MAGIC, PROTOCOL, Code, call, name, pickled, tensor, value

OS = call("importlib.import_module", "os")
COMPILED = marshal.dumps(compile("__import__('os').mkdir(canary)", "x", "exec"))
MEMO = b"\x8c\x05posix\x94\x8c\x05mkdir\x94"

# What each is given is the path of the canary, which it makes where somebody runs it.
PAYLOADS: dict[str, tuple[Callable[[str], bytes], str]] = {
    "system": (lambda at: call("os.system", f"mkdir {at}"), "os.system"),
    "posix": (lambda at: call("posix.system", f"mkdir {at}"), "posix.system"),
    "mkdir": (lambda at: call("posix.mkdir", at), "posix.mkdir"),
    "makedirs": (lambda at: call("os.makedirs", at), "os.makedirs"),
    "symlink": (lambda at: call("posix.symlink", "/etc/passwd", at), "posix.symlink"),
    "open": (lambda at: call("io.open", at, "w"), "io.open"),
    "open for writing": (lambda at: call("os.open", at, os.O_CREAT), "os.open"),
    "eval": (lambda at: call("builtins.eval", f"__import__('os').mkdir({at!r})"), "builtins.eval"),
    "eval of Python 2": (lambda at: call("__builtin__.eval", f"__import__('os').mkdir({at!r})"), "builtins.eval"),
    "exec": (lambda at: call("builtins.exec", f"import os; os.mkdir({at!r})"), "builtins.exec"),
    "check_output": (lambda at: call("subprocess.check_output", ["mkdir", at]), "subprocess.check_output"),
    "call": (lambda at: call("subprocess.call", ["mkdir", at]), "subprocess.call"),
    "getoutput": (lambda at: call("subprocess.getoutput", f"mkdir {at}"), "subprocess.getoutput"),
    "getoutput of Python 2": (lambda at: call("commands.getoutput", f"mkdir {at}"), "subprocess.getoutput"),
    "runpy": (lambda at: call("runpy._run_code", f"import os; os.mkdir({at!r})", Code(b"}")), "runpy._run_code"),
    "timeit": (lambda at: call("timeit.timeit", f"import os; os.mkdir({at!r})", "pass", name("time.time"), 1),
               "timeit.timeit"),
    "logging": (lambda at: call("logging.FileHandler", at), "logging.FileHandler"),
    "copyfile": (lambda at: call("shutil.copyfile", "/etc/passwd", at), "shutil.copyfile"),
    "fetch": (lambda at: call("urllib.request.urlretrieve", "file:///etc/passwd", at), "urllib.request.urlretrieve"),
    "torch's own shell": (lambda at: call("torch.utils.collect_env.run", f"mkdir {at}"), "torch.utils.collect_env.run"),
    "torch's own file": (lambda at: call("torch.serialization.save", 5, at), "torch.serialization.save"),
    "numpy's own file": (lambda at: call("numpy.save", at + ".npy", 5), "numpy.save"),
    "a pickle in a pickle": (lambda at: call("_pickle.loads", pickled(call("posix.mkdir", at))), "_pickle.loads"),
    "code": (lambda at: call(call("types.FunctionType", call("marshal.loads", COMPILED), Code(
        b"}" + value("canary") + value(at) + b"s" + value("__builtins__") + name("builtins.__dict__") + b"s"))),
        "types.FunctionType"),
    "getattr": (lambda at: call(call("builtins.getattr", OS, "mkdir"), at), "importlib.import_module"),
    "methodcaller": (lambda at: call(call("operator.methodcaller", "mkdir", at), OS), "operator.methodcaller"),
    "map": (lambda at: call("builtins.list", call("builtins.map", name("posix.mkdir"), [at])), "builtins.map"),
    "partial": (lambda at: call(call("functools.partial", name("posix.mkdir"), at)), "functools.partial"),
    "torch's rebuilding": (lambda at: call("torch._tensor._rebuild_from_type_v2", name("posix.mkdir"),
                                           name("torch.Tensor"), (at,), None), "posix.mkdir"),
    "INST": (lambda at: b"(" + value(at) + b"iposix\nmkdir\n", "posix.mkdir"),
    "OBJ": (lambda at: b"(" + name("logging.FileHandler") + value(at) + b"o", "logging.FileHandler"),
    "STACK_GLOBAL": (lambda at: value("posix") + value("mkdir") + b"\x93" + value((at,)) + b"R", "posix.mkdir"),
    "STACK_GLOBAL out of the memo": (lambda at: b"(" + MEMO + b"0" * 3 + b"h\x00h\x01\x93" + value((at,)) + b"R",
                                     "posix.mkdir"),
    "STACK_GLOBAL of a computed name": (lambda at: value("posix") + call("builtins.str", "mkdir") + b"\x93"
                                        + value((at,)) + b"R", "posix.?"),
    "a name below a name": (lambda at: value("pathlib") + value("Path.mkdir") + b"\x93"
                            + value((call("pathlib.PosixPath", at),)) + b"R", "pathlib.Path.mkdir"),
    "NEWOBJ": (lambda at: name("functools.partial") + value((name("posix.mkdir"), at)) + b"\x81)R",
               "functools.partial"),
    "NEWOBJ_EX": (lambda at: name("functools.partial") + value((name("posix.mkdir"), at)) + b"}\x92)R",
                  "functools.partial"),
    "BUILD": (lambda at: name("functools.partial") + value((name("builtins.print"),)) + b"\x81"
              + value((name("posix.mkdir"), (at,), Code(b"}"), None)) + b"b)R", "functools.partial"),
    "a registered extension": (lambda at: b"\x82\xf0" + value((at,)) + b"R", "copyreg.extension 240"),
    "thrown away": (lambda at: call("posix.mkdir", at) + b"0N", "posix.mkdir"),
    "behind a mark": (lambda at: b"(" + call("posix.mkdir", at) + b"1N", "posix.mkdir"),
    "kept in the memo": (lambda at: call("posix.mkdir", at) + b"q\x07h\x07", "posix.mkdir"),
    "as a key": (lambda at: b"}" + call("posix.mkdir", at) + b"Ns", "posix.mkdir"),
    "in a persistent name": (lambda at: value(("storage", call("posix.mkdir", at), "0", "cpu", 1)) + b"Q",
                             "posix.mkdir"),
    "as a tensor's storage": (lambda at: tensor(call("posix.mkdir", at), (1,), (1,)), "posix.mkdir"),
    "in a state dict's notes": (lambda at: call("collections.OrderedDict") + b"}" + value("_metadata")
                                + call("posix.mkdir", at) + b"sb", "posix.mkdir"),
    "as a stand-in's argument": (lambda at: call("argparse.Namespace", call("posix.mkdir", at)), "posix.mkdir"),
    "under fifty lists": (lambda at: b"](" * 50 + call("posix.mkdir", at) + b"e" * 50, "posix.mkdir"),
}  # fmt: skip


def protocol_of(payload: str) -> int:
    return 4 if payload.startswith(("STACK_GLOBAL", "NEWOBJ_EX", "a name below")) else 2


def test_there_are_more_than_forty_payloads() -> None:
    assert len(PAYLOADS) >= 40


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_is_refused_named_and_never_run(payload: str, form: str, tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / "w.pth"
    code, guilty = PAYLOADS[payload]
    FORMS[form](path, pickled(code(str(canary)), protocol_of(payload)))
    with pytest.raises(zoo.CheckpointError, match="is refused: reading it would run") as caught:
        read_weights(path)
    assert guilty in str(caught.value)
    assert (caught.value.exit_code, len(str(caught.value).splitlines())) == (4, 2)
    facts = describing.of_file(path)
    assert guilty in facts["globals"]
    assert facts["refused"]
    assert list(tmp_path.iterdir()) == [path], "neither the canary nor anything else was made"


CONTROL = """
import copyreg, contextlib, pathlib, pickle, posix, sys
copyreg.add_extension("posix", "mkdir", 0xF0)
for path in sys.argv[1:]:
    with contextlib.suppress(Exception):
        pickle.loads(pathlib.Path(path).read_bytes())
"""


def test_the_payloads_work_where_somebody_runs_them(tmp_path: Path) -> None:
    paths = []
    for number, (payload, (code, _)) in enumerate(PAYLOADS.items()):
        paths.append(tmp_path / f"{number}.pkl")
        paths[-1].write_bytes(pickled(code(f"{tmp_path}/canary{number}"), protocol_of(payload)))
    subprocess.run([sys.executable, "-c", CONTROL, *map(str, paths)], check=True, timeout=60)
    made = {file.name.removesuffix(".npy") for file in tmp_path.glob("canary*")}
    assert [payload for number, payload in enumerate(PAYLOADS) if f"canary{number}" not in made] == []


@pytest.mark.parametrize("form", ["archive", "stream"])
def test_torch_itself_runs_a_payload_when_it_is_told_to(form: str, tmp_path: Path) -> None:
    FORMS[form](tmp_path / "w.pth", pickled(call("posix.mkdir", str(tmp_path / "canary"))))
    torch.load(tmp_path / "w.pth", weights_only=False)
    assert (tmp_path / "canary").is_dir()


@pytest.mark.parametrize("place", range(5))
def test_every_pickle_of_a_stream_is_looked_at(place: int, tmp_path: Path) -> None:
    pickles = [pickle.dumps(each, protocol=2) for each in (MAGIC, PROTOCOL, {}, {}, [])]
    pickles[place] = pickled(call("posix.mkdir", str(tmp_path / "canary")))
    (tmp_path / "w.pth").write_bytes(b"".join(pickles))
    with pytest.raises(zoo.CheckpointError, match=r"posix\.mkdir"):
        read_weights(tmp_path / "w.pth")
    assert not (tmp_path / "canary").exists()


def test_every_guilty_name_is_told_and_none_of_its_modules_is_imported(tmp_path: Path) -> None:
    (tmp_path / "evil_of_a_file.py").write_text("raise SystemExit('imported')")
    sys.path.insert(0, str(tmp_path))
    try:
        code = value([name("evil_of_a_file.one"), name("antigravity.fly"), call("evil_of_a_file.two", 3)])
        FORMS["archive"](tmp_path / "w.pth", pickled(code))
        with pytest.raises(zoo.CheckpointError) as caught:
            read_weights(tmp_path / "w.pth")
    finally:
        sys.path.remove(str(tmp_path))
    assert "run evil_of_a_file.one, antigravity.fly, evil_of_a_file.two." in str(caught.value)
    assert not {"evil_of_a_file", "antigravity"} & sys.modules.keys()


def test_a_name_cannot_move_the_cursor(tmp_path: Path) -> None:
    FORMS["archive"](tmp_path / "w.pth", pickled(value("os") + value("\x1b[2J\nfine") + b"\x93", 4))
    with pytest.raises(zoo.CheckpointError) as caught:
        read_weights(tmp_path / "w.pth")
    assert r"os.\x1b[2J\nfine" in str(caught.value)


STRANGE: dict[str, tuple[bytes, str]] = {
    "a call of a storage's class": (call("torch.FloatStorage", 10**6), "calls torch.FloatStorage"),
    "a call of a tensor's class": (call("torch.Tensor", 10**6, 10**6), "calls torch.Tensor"),
    "memory by its length": (call("builtins.bytearray", 10**12), "with what is no text"),
    "memory through torch's rebuilding": (
        call("torch._tensor._rebuild_from_type_v2", name("builtins.bytearray"), name("torch.Tensor"), (10**12,), None),
        "makes a tensor of torch.Tensor by builtins.bytearray",
    ),
    "quantized memory": (call("torch._utils._rebuild_qtensor", 1, 2, 3), "calls torch._utils._rebuild_qtensor"),
    "memory of a device": (
        call("torch._utils._rebuild_device_tensor_from_numpy", 1, 2, 3, 4), "_rebuild_device_tensor_from_numpy",
    ),
    "a codec": (call("_codecs.encode", "x" * 99, "zip"), "with what is no text"),
    "attributes of a dictionary": (
        call("collections.OrderedDict") + b"}" + value("items") + name("torch.Size") + b"sb", "attributes",
    ),
    "a call of a result": (call(call("torch.Size", [1]), 5), "calls what it made itself"),
    "a call without arguments": (Code(name("torch.Size") + b"NR"), "calls torch.Size without arguments"),
    "a new object of torch's": (Code(name("torch.Tensor") + b")\x81"), "makes a torch.Tensor of its own"),
    "a list with a state": (Code(b"]}b"), "changes a list"),
    "items of a size": (Code(call("torch.Size", [1]) + value(1) + b"a"), "puts items into what takes none"),
    "no storage at all": (tensor(value("0"), (1,), (1,)), "makes a tensor of no storage"),
}  # fmt: skip


@pytest.mark.parametrize("form", ["archive", "stream"])
@pytest.mark.parametrize("case", STRANGE)
def test_what_torch_would_do_and_no_weights_need_is_refused(case: str, form: str, tmp_path: Path) -> None:
    code, reason = STRANGE[case]
    FORMS[form](tmp_path / "w.pth", pickled(code))
    with pytest.raises(zoo.CheckpointError, match="is refused: its pickle") as caught:
        read_weights(tmp_path / "w.pth")
    assert reason in str(caught.value)


BROKEN = {
    "nothing": b"",
    "no end": b"\x80\x02}",
    "an unknown opcode": b"\x80\x02\xff.",
    "an empty stack": b"\x80\x02.",
    "too few for a tuple": b"\x80\x02N\x87.",
    "an unknown place in the memo": b"\x80\x02h\x05.",
    "no mark": b"\x80\x02t.",
    "a text longer than the file": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "a text of a wrong code": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
    "an odd backslash": b"\x80\x02ccollections\nOrdered\\sDict\n.",
    "a key without a value": b"\x80\x02}(Nu.",
}


@pytest.mark.parametrize("form", ["archive", "stream", "tar"])
@pytest.mark.parametrize("case", BROKEN)
def test_a_pickle_that_cannot_be_followed_is_damaged(case: str, form: str, tmp_path: Path) -> None:
    FORMS[form](tmp_path / "w.pth", BROKEN[case])
    for read in (read_weights, describing.of_file):
        with pytest.raises(zoo.CheckpointError, match="or it is cut off: it"):
            read(tmp_path / "w.pth")
