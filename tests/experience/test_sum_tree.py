"""Sum tree: whatever was set in whatever order, leaves are found in proportion to priority."""

from __future__ import annotations

import numpy as np
import pytest

from gala.experience.sum_tree import SumTree


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 100])
def test_any_share_of_the_total_lies_in_the_leaf_that_a_running_sum_says(size: int) -> None:
    generator, tree = np.random.default_rng(size), SumTree(size)
    plain = np.zeros(size)
    for _ in range(30):
        leaves = generator.integers(size, size=generator.integers(1, 9))
        priority = generator.choice([0.0, 0.25, 1.0, 8.0, 1024.0], len(leaves))  # sums are exact
        tree[leaves] = priority
        for leaf, value in zip(leaves, priority, strict=True):
            plain[leaf] = value
        assert tree.total == plain.sum() and (tree[np.arange(size)] == plain).all()
        if plain.sum():
            shares = generator.random(50)
            wanted = np.searchsorted(plain.cumsum(), shares * plain.sum(), side="right")
            assert (tree.find(shares) == wanted).all()


def test_the_first_and_the_last_share_find_what_can_be_drawn() -> None:
    tree = SumTree(6)
    tree[np.array([2, 4])] = np.array([1e-300, 1e300])
    assert tree.find(np.array([0.0, np.nextafter(1.0, 0.0)])).tolist() == [2, 4]
    tree[np.array([4])] = 0.0
    assert set(tree.find(np.random.default_rng(0).random(100)).tolist()) == {2}


def test_rounding_never_finds_a_leaf_without_priority() -> None:
    generator, tree = np.random.default_rng(0), SumTree(512)
    priority = generator.random(512) ** 20
    priority[generator.random(512) < 0.5] = 0.0
    tree[np.arange(512)] = priority
    shares = np.concatenate([generator.random(20_000), [0.0, np.nextafter(1.0, 0.0)]])
    assert (priority[tree.find(shares)] > 0).all()


def test_draws_are_in_proportion() -> None:
    generator, tree = np.random.default_rng(0), SumTree(5)
    tree[np.arange(5)] = np.array([1.0, 2.0, 3.0, 0.0, 4.0])
    counts = np.bincount(tree.find(generator.random(100_000)), minlength=5) / 100_000
    assert counts == pytest.approx([0.1, 0.2, 0.3, 0.0, 0.4], abs=0.01)


def test_a_million_changes_do_not_add_up_to_an_error() -> None:
    generator, tree = np.random.default_rng(0), SumTree(64)
    for _ in range(300):
        tree[generator.integers(64, size=64)] = generator.random(64) * 1e6
    tree[np.arange(64)] = 1e-9
    assert tree.total == pytest.approx(64e-9, rel=1e-12)


def test_nothing_is_set_by_no_leaves_and_nothing_is_found_in_nothing() -> None:
    tree = SumTree(4)
    tree[np.zeros(0, np.int64)] = np.zeros(0)
    with pytest.raises(AssertionError, match="nothing has a priority"):
        tree.find(np.array([0.5]))
    assert SumTree.bytes_of(4) == 8 * 2 * 4 and SumTree.bytes_of(5) == 8 * 2 * 8


def test_a_share_that_is_rounded_up_finds_no_leaf_of_priority_zero() -> None:
    tree = SumTree(2)
    tree[np.array([0])] = np.array([5e-324])  # nine tenths of it are it
    assert tree.find(np.array([0.9])).tolist() == [0]
