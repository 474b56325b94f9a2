"""Drawing the pictures that validate: a fifth, by the seed, with every class or label in its share."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo.data.datasets import Picture
from zoo.names import listed
from zoo.seeding import derive

VAL_SHARE = 0.2
HALVES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""The words, in lower case, by which folders and tables call the parts of their data."""


def by_class(
    found: Mapping[str, Sequence[Path]], labels: Mapping[str, int], seed: int
) -> tuple[tuple[Picture, ...], tuple[Picture, ...], list[str]]:
    """A stratified split: of each class a fifth, at least one picture, validates if the class has two."""
    train: list[Picture] = []
    val: list[Picture] = []
    single = [name for name, paths in found.items() if len(paths) == 1]
    for name, paths in found.items():
        order = list(paths)
        _shuffle(order, derive(seed, "split", name))
        count = max(1, round(len(order) * VAL_SHARE)) if len(order) > 1 else 0
        chosen = set(order[:count])
        for path in paths:
            (val if path in chosen else train).append(Picture(path, labels[name]))
    notes = [f"too small to split, all for training: {listed(single)} (1 picture each)"] if single else []
    return tuple(train), tuple(val), notes


def by_labels(labels: Sequence[Sequence[int]], classes: int, seed: int) -> set[int]:
    """The places that validate, so that a fifth of every label's pictures does.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011): the rarest label is dealt out
    first, each picture to the half that still lacks the most of it.

    >>> len(by_labels([(0,), (0, 1), (1,), (), (0,)] * 10, classes=2, seed=0))
    10
    """
    order = list(range(len(labels)))
    _shuffle(order, derive(seed, "split"))
    members: list[list[int]] = [[] for _ in range(classes)]
    for place in order:
        for label in labels[place]:
            members[label].append(place)
    counts = [len(places) for places in members]
    shares = (1 - VAL_SHARE, VAL_SHARE)
    lacking = [[share * count for count in counts] for share in shares]
    room = [share * len(labels) for share in shares]
    left, val = dict.fromkeys(order), set()

    def deal(place: int, half: int) -> None:
        del left[place]
        room[half] -= 1
        for label in labels[place]:
            counts[label] -= 1
            lacking[half][label] -= 1
        if half:
            val.add(place)

    while any(counts):
        rarest = min((label for label in range(classes) if counts[label]), key=counts.__getitem__)
        for place in [place for place in members[rarest] if place in left]:
            wanted = [(lacking[half][rarest], room[half]) for half in (0, 1)]
            deal(place, int(wanted[1] > wanted[0]))
    for place in list(left):
        deal(place, int(room[1] > room[0]))
    return val or set(order[-1:])


def by_chance(count: int, seed: int) -> set[int]:
    """The places that validate: a fifth, at least one.

    >>> len(by_chance(10, seed=0)), by_chance(10, seed=0) == by_chance(10, seed=1)
    (2, False)
    """
    order = list(range(count))
    _shuffle(order, derive(seed, "split"))
    return set(order[: max(1, round(count * VAL_SHARE))])


def _shuffle(order: list[Path] | list[int], seed: int) -> None:
    random.Random(seed).shuffle(order)  # noqa: S311 - a split is no secret
