"""Seeds are derived from what they are for, not drawn from a stream."""

import itertools

from zoo.seeding import derive


def test_a_seed_is_the_same_on_every_machine_and_in_every_version() -> None:
    assert derive(0, "step", 12) == 231383131325738176
    assert derive(7) == 8333924190356522945


def test_each_purpose_has_a_seed_of_its_own() -> None:
    purposes = [*itertools.product((0, 1), ("step", "sample"), (0, 1, 11), (0, 1, 11)), (11, "step", 1, 1)]
    assert len({derive(*purpose) for purpose in purposes}) == len(purposes)


def test_neighbouring_numbers_do_not_run_together() -> None:
    assert derive(0, 1, 12) != derive(0, 11, 2) != derive(0, 112)


def test_a_seed_fits_into_what_torch_and_numpy_take() -> None:
    seeds = [derive(0, number) for number in range(2000)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62
