"""The trust radius: nonsense is refused, a cut network heals, what anybody grants is bounded."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gala.gossip.trust import (
    ENOUGH,
    LARGEST,
    MAX_APART,
    MAX_SILENCE,
    QUARANTINE,
    REST,
    Quarantine,
    TrustRadius,
)


def settled(distance: float = 1.0, factor: float = 10.0, **options: Any) -> TrustRadius:
    trust = TrustRadius(factor, **options)
    for _ in range(ENOUGH):
        assert trust.accepts(1, distance)
    return trust


def test_the_radius_is_a_multiple_of_the_median_distance() -> None:
    trust = settled(distance=2.0, factor=5.0)
    assert trust.radius(1) == trust.radius(2) == 10.0, "a newcomer is judged by its neighbours"
    assert trust.accepts(2, 9.9) and not trust.accepts(1, 10.1)


@pytest.mark.parametrize("heard", [1, 2, 5, 32])
def test_several_lengths_have_the_radius_of_their_own_medians(heard: int) -> None:
    found = np.random.default_rng(heard).uniform(1.0, 2.0, (heard, 3))
    trust = TrustRadius(10.0, lambda: 1.0)
    for lengths in found:
        assert trust.accepts(1, lengths)
    np.testing.assert_allclose(trust.radius(1), 10.0 * np.median(found, axis=0), rtol=1e-15)


@pytest.mark.parametrize("distance", [1.0, 1e4, 1e20, math.inf, math.nan])
def test_the_first_message_is_judged_by_the_own_updates(distance: float) -> None:
    assert not TrustRadius(10.0, lambda: 0.02).accepts(1, distance)
    assert TrustRadius(10.0, lambda: 0.02).accepts(1, 0.19)


@pytest.mark.parametrize("nonsense", [1e9, math.inf, math.nan])
def test_nonsense_is_refused_and_not_remembered(nonsense: float) -> None:
    trust = settled()
    for _ in range(100):
        assert not trust.accepts(1, nonsense)
    assert trust.radius(1) == 10.0


def test_silence_widens_the_radius() -> None:
    trust = settled()
    assert not trust.accepts(1, 500.0, silence=1.0)
    assert trust.accepts(1, 500.0, silence=60.0)


def test_what_silence_granted_stays_until_the_sender_is_believed() -> None:
    trust = settled()
    assert not trust.accepts(1, 5000.0, silence=60.0)
    assert trust.accepts(1, 500.0), "a later one, nearer"
    assert not trust.accepts(1, 501.0), "granted once"


def test_silence_grants_only_so_much() -> None:
    trust = settled()
    assert not trust.accepts(1, 10.0 * MAX_SILENCE + 1, silence=1e12)
    assert trust.accepts(1, 10.0 * MAX_SILENCE)


def test_who_is_silent_again_and_again_is_not_believed_each_time() -> None:
    trust = settled()
    believed = sum(trust.accepts(1, 100.0 * (k + 1), silence=50.0) for k in range(1000))
    assert believed == 1
    for _ in range(REST):
        assert trust.accepts(1, 1.0)
    assert trust.accepts(1, 400.0, silence=50.0), "it was good for long"


def test_two_sides_of_a_cut_find_together_again() -> None:
    """Each message halves the distance: all must be believed on the way back."""
    trust = settled(distance=1.0)
    distance = 600.0
    assert trust.accepts(1, distance, silence=100.0), "the first after the cut"
    while distance > 1.0:
        distance *= 0.8
        assert trust.accepts(1, distance, silence=1.0)


@pytest.mark.parametrize("growth", [1.01, 1.1, 1.3, 2.0])
@pytest.mark.parametrize("others", [0, 1])
def test_a_distance_that_grows_is_followed_only_so_far(growth: float, others: int) -> None:
    trust, moved = TrustRadius(10.0, lambda: 0.02), 0.02
    for _ in range(200):
        assert all(trust.accepts(j, 0.05) for j in range(others + 1))
    distance, farthest = 0.05, 0.0
    for _ in range(1500):
        if trust.accepts(0, distance):
            farthest = distance
        assert all(trust.accepts(j, 0.05) for j in range(1, others + 1))
        distance = min(distance * growth, 1e30)
    assert farthest <= 10 * LARGEST * moved


@given(st.lists(st.floats(0, 1e6), max_size=300), st.floats(1.1, 100))
@example([2.0], 1.5)
@example([1e6, 4.0], 3.0)
def test_what_is_accepted_was_within_the_radius(distances: list[float], factor: float) -> None:
    trust, apart = TrustRadius(factor, lambda: 1.0), 0
    for distance in distances:
        apart += 1  # updates without a word that was believed
        radii = trust.radius(3).item(), 2.0 * min(apart, MAX_APART)
        believed = trust.accepts(3, distance)
        assert believed is (distance <= max(radii))
        apart = 0 if believed else apart
        assert trust.radius(3).item() <= factor * LARGEST


def test_lengths_are_judged_side_by_side() -> None:
    trust = TrustRadius(10.0)
    for _ in range(ENOUGH):
        assert trust.accepts(1, [1.0, 0.01])
    assert trust.accepts(1, [5.0, 0.05])
    assert not trust.accepts(1, [5.0, 0.2]) and not trust.accepts(1, [11.0, 0.01])


def test_who_moves_far_expects_others_to_be_far() -> None:
    trust = settled(distance=1.0, factor=10.0, moved=lambda: 7.0)
    assert trust.radius(1) == 70.0 and trust.accepts(1, 60.0) and not trust.accepts(2, 71.0)


def test_a_quarantine_begins_and_ends_once() -> None:
    quarantine = Quarantine()
    began = [quarantine.refuse(4) for _ in range(QUARANTINE + 5)]
    assert began.count(True) == 1 and began[QUARANTINE - 1] and 4 in quarantine
    assert 5 not in quarantine
    assert quarantine.accept(4) is True and 4 not in quarantine
    assert quarantine.accept(4) is False


def test_a_good_message_interrupts_the_count() -> None:
    quarantine = Quarantine()
    for _ in range(QUARANTINE - 1):
        assert not quarantine.refuse(4)
    quarantine.accept(4)
    assert not quarantine.refuse(4)


def test_who_has_not_begun_to_learn_still_hears_those_who_have() -> None:
    """An agent that fills its replay does not move, and neither do its neighbours at first."""
    moved = [0.0]
    trust = TrustRadius(10.0, lambda: moved[0])
    for _ in range(3 * ENOUGH):
        assert trust.accepts(1, 0.0)
    assert all(trust.accepts(1, 0.02 * k) for k in range(1, 20))
    moved[0] = 0.02
    assert trust.accepts(1, 0.1) and not trust.accepts(1, 1e3)


@given(distance=st.floats(11.0, 500.0), updates=st.integers(1, 3))
def test_who_stays_far_away_moves_another_by_two_updates_an_update(
    distance: float, updates: int
) -> None:
    """Within what two that learn could have come apart it is believed, and that seldom."""
    trust = settled(moved=lambda: 1.0)
    believed = sum(trust.accepts(1, distance, updates=updates) for _ in range(1000))
    assert believed * distance <= 2.0 * (1000 * updates + MAX_APART)
    assert bool(believed) is (distance <= 2.0 * MAX_APART)


def test_being_believed_from_afar_is_not_what_is_usual() -> None:
    trust = settled(moved=lambda: 1.0)
    before = trust.radius(1)
    assert sum(trust.accepts(1, 50.0) for _ in range(250)) == 10
    assert trust.radius(1) == before
