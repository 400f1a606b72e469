"""The trust radius: nonsense is refused, a cut network heals."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gala.gossip.trust import ENOUGH, QUARANTINE, Quarantine, TrustRadius, distance_between


def settled(distance: float = 1.0, factor: float = 10.0, **options: Any) -> TrustRadius:
    trust = TrustRadius(factor, **options)
    for _ in range(ENOUGH):
        assert trust.accepts(1, distance)
    return trust


def test_at_first_everything_is_believed() -> None:
    trust = TrustRadius(10.0)
    assert trust.radius(1) == math.inf and trust.accepts(1, 1e30)


def test_the_radius_is_a_multiple_of_the_median_distance() -> None:
    trust = settled(distance=2.0, factor=5.0)
    assert trust.radius(1) == trust.radius(2) == 10.0
    assert trust.accepts(2, 9.9) and not trust.accepts(1, 10.1)


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
    assert not trust.accepts(1, 1001.0), "granted once"


def test_two_sides_of_a_cut_find_together_again() -> None:
    """Each message halves the distance: all must be believed on the way back."""
    trust = settled(distance=1.0)
    distance = 600.0
    assert trust.accepts(1, distance, silence=100.0), "the first after the cut"
    while distance > 1.0:
        distance *= 0.6
        assert trust.accepts(1, distance, silence=1.0)


@given(st.lists(st.floats(0, 1e6), max_size=300), st.floats(1.1, 100))
def test_what_is_accepted_was_within_the_radius(distances: list[float], factor: float) -> None:
    trust = TrustRadius(factor)
    for distance in distances:
        radius = trust.radius(3)
        assert trust.accepts(3, distance) is (distance <= radius)


@pytest.mark.parametrize("size", [1, 1000, 262_143, 262_144, 866_439])
def test_distances_of_large_vectors_are_estimated(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    a, b = torch.randn(2, size, generator=generator)
    exact = float(torch.dist(a, b))
    assert distance_between(a, b) == pytest.approx(exact, rel=0.0 if size < 2**18 else 0.02)
    assert distance_between(a, a) == 0.0
    assert math.isnan(distance_between(a, torch.full((size,), math.nan)))


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
