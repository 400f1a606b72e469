"""Waits end when nobody is missing, after the longest wait, and soon after one wish to stop."""

from __future__ import annotations

import pytest

from gala.gossip import patience
from gala.gossip.patience import GRACE_S, GRACE_UPDATES, Patience


class Clock:
    """Time passes by sleeping alone, in steps of at least 0.1 s; looks are counted."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(patience, "time", clock)
    return clock


def made(clock: Clock, *, asked_at: float = 1e9, aborted_at: float = 1e9, update_s: float = 0.0):
    return Patience(
        60.0,
        update_s=lambda: update_s,
        asked=lambda: clock.now >= asked_at,
        aborted=lambda: clock.now >= aborted_at,
    )


def test_a_wait_ends_with_what_was_waited_for(clock: Clock) -> None:
    waits = made(clock)
    assert waits.wait_while(lambda: {1} if clock.now < 7 else set()) == set()
    assert waits.waited_s == pytest.approx(7, abs=0.2)


def test_who_is_missing_after_the_longest_wait_is_told(clock: Clock) -> None:
    assert made(clock).wait_while(lambda: {1, 3}) == {1, 3}
    assert clock.now == pytest.approx(60, abs=0.2)


@pytest.mark.parametrize("update_s", [0.0, 5.0])
def test_one_wish_to_stop_shortens_a_wait(clock: Clock, update_s: float) -> None:
    """To seconds, or to some updates, so that a slow group still stops in step."""
    waits = made(clock, asked_at=10.0, update_s=update_s)
    assert waits.wait_while(lambda: {2}) == {2} and waits.ended
    expected = 10 + max(GRACE_S, GRACE_UPDATES * update_s)
    assert clock.now == pytest.approx(expected, abs=0.3)


def test_two_wishes_end_it(clock: Clock) -> None:
    assert made(clock, aborted_at=5.0).wait_while(lambda: {2}) == set()
    assert clock.now == pytest.approx(5, abs=0.2)


def test_an_own_standstill_is_no_wait_of_others(clock: Clock) -> None:
    """Whoever was stopped for an hour looks again before it gives anybody up."""
    looks = iter(range(10**6))

    def missing() -> set[int]:
        look = next(looks)
        if look == 1:
            clock.now += 3600
        return {1} if look < 10 else set()

    assert made(clock).wait_while(missing) == set()
