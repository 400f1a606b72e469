"""The mixing rule against numbers worked out by hand, and its invariants."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gala.errors import UserError
from gala.gossip.mixing import PushSumMixing, mix_, mixer_of, without_missing
from gala.topology import load_topology


def test_weighted_average_by_hand() -> None:
    x = torch.tensor([1.0, 2.0])
    mix_(x, 0.5, {2: (0.25, torch.tensor([4.0, 0.0])), 1: (0.25, torch.tensor([0.0, 8.0]))})
    assert x.tolist() == [1.5, 3.0]


def test_a_weight_of_zero_counts_for_nothing() -> None:
    x = torch.tensor([7.0])
    assert (
        mix_(x, 0.0, {1: (0.0, torch.tensor([9.0])), 2: (1.0, torch.tensor([3.0]))}).item() == 3.0
    )
    assert mix_(x, 1.0, {1: (0.0, torch.tensor([9.0]))}).item() == 3.0


@pytest.mark.parametrize("neighbours", [1, 2, 6, 9])
def test_who_agrees_with_all_stays_exactly_there(neighbours: int) -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    weight = 1 / (neighbours + 1)
    parts = {j: (weight, x.clone()) for j in range(1, neighbours + 1)}
    assert torch.equal(mix_(x.clone(), 1 - neighbours * weight, parts), x)


def test_it_changes_the_vector_in_place_and_no_message() -> None:
    x, message = torch.ones(3), torch.zeros(3)
    assert mix_(x, 0.5, {0: (0.5, message)}) is x
    assert x.tolist() == [0.5] * 3 and message.tolist() == [0.0] * 3


def test_push_sum_needs_out_neighbours_that_stay(tmp_path: Path) -> None:
    path = tmp_path / "graph.yaml"
    text = "version: 1\nname: mine\nfamily: star\nweights: push-sum\n"
    path.write_text(text)
    assert isinstance(mixer_of(load_topology(path, 4), torch.zeros(2)), PushSumMixing)
    path.write_text(text.replace("star", "one-peer-exponential"))
    with pytest.raises(UserError, match=r"mine has push-sum weights and a schedule.*static"):
        mixer_of(load_topology(path, 4), torch.zeros(2))


def test_the_order_of_arrival_does_not_matter() -> None:
    parts = {
        j: (0.1, torch.randn(1000, generator=torch.Generator().manual_seed(j))) for j in range(9)
    }
    start = torch.randn(1000, generator=torch.Generator().manual_seed(99))
    forward = mix_(start.clone(), 0.1, parts)
    backward = mix_(start.clone(), 0.1, dict(reversed(parts.items())))
    assert torch.equal(forward, backward)


def test_weights_that_do_not_sum_to_one_are_a_programming_error() -> None:
    with pytest.raises(AssertionError, match="must sum to 1"):
        mix_(torch.ones(2), 0.5, {1: (0.4, torch.ones(2))})


def test_the_weight_of_the_missing_stays_with_self() -> None:
    assert without_missing(0.2, {1: 0.3, 2: 0.5}, {1}) == (0.7, {1: 0.3})
    assert without_missing(0.2, {1: 0.3, 2: 0.5}, {1, 2}) == (0.2, {1: 0.3, 2: 0.5})
    assert without_missing(0.2, {1: 0.3, 2: 0.5}, set()) == (1.0, {})


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=6), st.integers(0, 2**16), st.data())
def test_a_mix_stays_inside_the_hull_of_what_went_in(
    raw: list[float], seed: int, data: st.DataObject
) -> None:
    total = sum(raw)
    self_weight, *others = (value / total for value in raw)
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(len(raw), 5, generator=generator, dtype=torch.float64)
    present = data.draw(st.sets(st.integers(1, len(others))))
    weights = dict(enumerate(others, 1))
    own, kept = without_missing(self_weight, weights, present)
    result = mix_(vectors[0].clone(), own, {j: (kept[j], vectors[j]) for j in kept})
    used = vectors[[0, *sorted(present)]]
    assert bool((result <= used.max(0).values + 1e-9).all())
    assert bool((result >= used.min(0).values - 1e-9).all())
