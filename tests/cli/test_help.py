"""What the command line says of itself: help, mistakes, `--debug` and completion."""

import json
import subprocess
import sys

import pytest

import zoo
from tests.conftest import Command
from zoo.cli import COMMANDS
from zoo.cli.completion import model_names


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("fintune", "Did you mean 'finetune'?"),
        ("recipes shw", "Did you mean 'show'?"),
        ("recipes show linear-prob", "near: linear-probe"),
        ("list --sorce timm", "--source"),
        ("list --source keras", "torchvision, timm, hf"),
        ("list --sort parms", "--sort is 'parms'; it takes name, params, accuracy; near: params"),
        ("predict x y --format jsn", "--format is 'jsn'; it takes table, csv, json; near: json"),
        ("finetune x --sched cosin", "--sched is 'cosin'; it takes cosine, constant, linear, one-cycle, step; near"),
        ("finetune x --task regresion", "near: regression"),
        ("finetune x --augment trival", "near: trivial"),
        ("finetune x --opt adm", "--opt is 'adm'; it takes adamw, adam, sgd"),
        ("finetune x --lr abc", "--lr is 'abc'; it takes a number"),
        ("finetune x --epochs 1.5", "--epochs is '1.5'; it takes a whole number"),
        ("finetune x --lr -1", "--lr is -1.0; it must be above 0"),
        ("finetune x --set lr=-1", "error: lr is -1; it must be above 0"),
        ("evaluate x --data y --batch-size 0", "--batch-size is 0; it must be 1 or more"),
        ("list --max-params many", "5M, 800k or 25000000"),
        ("info", "MODEL"),
        ("info resnet81", "torchvision:resnet18"),
        ("info hf:nobody/nothing", "zoo summary hf:nobody/nothing"),
        ("summary vgg61", "vgg16"),
        ("summary vgg16 --depth 0", "--depth is 0; it must be 1 or more"),
        ("summary resnet18 --freeze layr4.*", "'layer4.*'"),
    ],
)
def test_a_mistake_is_told_in_three_lines_with_what_is_allowed(
    arguments: str, words: str, zoo_command: Command
) -> None:
    result = zoo_command(*arguments.split())
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert words in result.err
    assert len(result.err.splitlines()) <= 3
    assert not any(word in result.err for word in ("Invalid value", "Value error", "Input should"))


def test_debug_shows_where_an_error_comes_from_and_keeps_its_code(zoo_process: Command) -> None:
    plain = zoo_process("info", "resnet81")
    told = zoo_process("info", "resnet81", "--debug")
    assert (plain.code, told.code) == (2, 2)
    assert plain.err.startswith("error: ")
    assert told.err.startswith("Traceback")
    assert told.err.endswith(plain.err)


def test_a_mistake_of_zoo_itself_is_told_as_one(zoo_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.registry.find", lambda _: 1 // 0)
    result = zoo_command("info", "vgg16")
    assert (result.code, result.err.splitlines()[0]) == (
        1,
        "error: ZeroDivisionError: integer division or modulo by zero",
    )
    assert "Traceback" not in result.err


def test_without_arguments_the_help_is_shown(zoo_command: Command) -> None:
    bare, asked, short = zoo_command(), zoo_command("--help"), zoo_command("-h")
    assert (bare.code, asked.code, short.code) == (0, 0, 0)
    assert all(name in bare.out and line in asked.out for name, line in COMMANDS.items())
    assert short.out == asked.out
    assert zoo_command("--version").out == f"zoo {zoo.__version__}\n"


def test_completion_is_offered_for_the_shell(zoo_process: Command) -> None:
    script = zoo_process(_ZOO_COMPLETE="source_bash")
    assert "_ZOO_COMPLETE=complete_bash" in script.out
    completed = zoo_process(_ZOO_COMPLETE="complete_bash", COMP_WORDS="zoo info timm:resnet1", COMP_CWORD="2")
    assert "timm:resnet18" in completed.out.split()


@pytest.mark.parametrize("words", [["list"], ["info", "resnet18"], ["recipes"], ["predict", "--help"]])
def test_a_reader_that_goes_away_is_no_mistake(words: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "zoo", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (0, "")


@pytest.mark.parametrize("kind", ["recipes", "heads"])
def test_json_before_a_command_that_has_none_is_refused(zoo_command: Command, kind: str) -> None:
    told = zoo_command(kind, "--json", "show", "linear")
    assert told.code == 2
    assert f"--json is for the list, zoo {kind} --json; show has no such form" in told.err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--epochs", 2, "--set", "epochs=3"], "epochs is given twice, by its flag and by --set."),
        (["--weight-decay", -1], "--weight-decay is -1.0; "),
        (["-b", 0], "-b is 0; "),
        (["--batch-size", 0], "--batch-size is 0; "),
        (["-j", -1], "-j is -1; "),
    ],
)
def test_a_mistake_is_told_by_the_flag_that_was_given(zoo_command: Command, flags: list[object], told: str) -> None:
    result = zoo_command("finetune", "resnet18", "--data", "imgs", *flags)
    assert result.code == 2
    assert told in result.err


def test_an_empty_list_says_what_it_was_asked_for(zoo_command: Command) -> None:
    told = zoo_command("list", "resnet*", "--max-params", "1k", "--pretrained")
    assert "no model matches 'resnet*' with --pretrained, --max-params 1k." in told.err


def test_formats_that_contradict_each_other_are_refused(zoo_command: Command) -> None:
    told = zoo_command("predict", "run", "a.jpg", "--json", "--format", "csv")
    assert (told.code, told.err.splitlines()[0]) == (2, "error: --json and --format csv contradict each other.")
    for form in (["--json"], ["--format", "json"], ["--format=json"]):
        assert json.loads(zoo_command("predict", "nosuch", "a.jpg", *form).out)["exit_code"] == 4


def test_bare_names_of_both_libraries_are_completed() -> None:
    assert "vit_tiny_patch16_224" in model_names("vit_tiny")
    assert "mobilenet_v2" in model_names("mobilenet_v2")
    assert model_names("resnet18").count("resnet18") == 1


def test_an_input_that_is_not_square_is_told_as_it_is(zoo_command: Command) -> None:
    told = zoo_command("info", "timm:vit_base_patch16_sapiens2").out
    assert "input          1024 × 768" in told
    assert "centre 1024 × 768," in told
