"""Dotted names, globs over them, and near matches."""

import pytest

from zoo.names import is_glob, is_under, join, listed, matching, natural, near, near_hint

NAMES = ["conv1.weight", "layer1.0.conv1.weight", "layer1.0.bn1.bias", "layer10.0.conv1.weight", "fc.weight"]


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("layer1.0.conv1", "layer1", True),
        ("layer1", "layer1", True),
        ("layer10.0", "layer1", False),
        ("layer1", "layer1.0", False),
        ("conv1", "", True),
    ],
)
def test_a_path_holds_itself_and_what_lies_below_it(name: str, path: str, expected: bool) -> None:
    assert is_under(name, path) is expected


@pytest.mark.parametrize(
    ("path", "name", "expected"),
    [("layer1", "0.conv1", "layer1.0.conv1"), ("", "fc", "fc"), ("fc", "", "fc"), ("", "", "")],
)
def test_parts_join_without_stray_dots(path: str, name: str, expected: str) -> None:
    assert join(path, name) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("layer1", NAMES[1:3]),
        ("layer1.*", NAMES[1:3]),
        ("layer1*", NAMES[1:4]),
        ("*.conv1.*", [NAMES[1], NAMES[3]]),
        ("layer[1-9].0.bn?.bias", [NAMES[2]]),
        ("fc.weight", [NAMES[4]]),
        ("Layer1.*", []),
        ("onv1", []),
    ],
)
def test_a_pattern_means_whole_names(pattern: str, expected: list[str]) -> None:
    assert matching(pattern, NAMES) == expected


def test_a_wildcard_makes_a_glob() -> None:
    assert [is_glob(text) for text in ("features.*", "layer?", "blocks.[0-3].*", "features.24")] == [
        True,
        True,
        True,
        False,
    ]


def test_near_names_come_best_first_and_in_their_own_spelling() -> None:
    assert near("resnet81", ["vgg16", "resnet101", "ResNet18"]) == ["ResNet18", "resnet101"]
    assert near("RESNET18", ["resnet18"]) == ["resnet18"]
    assert len(near("resnet", [f"resnet{depth}" for depth in range(10, 20)], count=2)) == 2


def test_nothing_near_gives_no_hint() -> None:
    assert near("zzz", ["linear", "mlp"]) == []
    assert near_hint("zzz", ["linear", "mlp"]) == ()
    assert near_hint("lienar", ["linear", "mlp"]) == ("near: linear",)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, ""), (1, "n0"), (3, "n0, n1, n2"), (4, "n0, n1, n2 and 1 more"), (1203, "n0, n1, n2 and 1,200 more")],
)
def test_a_long_list_is_cut_and_counted(count: int, expected: str) -> None:
    assert listed([f"n{number}" for number in range(count)], most=3) == expected


def test_names_of_one_number_are_always_in_one_order() -> None:
    assert sorted(["1", "01", "10", "2"], key=natural) == sorted(["01", "2", "1", "10"], key=natural)
    assert sorted(["a1", "a", "a01"], key=natural) == ["a", "a01", "a1"]
