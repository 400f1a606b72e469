"""Who is to be started, and when it is enough; who waits for whom."""

from __future__ import annotations

import time

import pytest

from gala.actors.balance import Balance
from gala.actors.restarts import MAX_FALSE_STARTS, Restarts, ending
from gala.errors import UserError


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    return clock


def test_whoever_had_worked_is_due_at_once_and_others_later_and_later(now: list[float]) -> None:
    restarts = Restarts(2)
    now[0] += 1
    assert restarts.due() == [0, 1] and restarts.due() == []
    restarts.delivered(1)
    assert restarts.over(1, ending(-9)) == "actor 1: was killed by signal 9; it is replaced"
    assert restarts.due() == [1]
    for pause_s in (0.1, 0.4, 1.6, 6.4):
        restarts.over(0, "lost")
        now[0] += 0.9 * pause_s
        assert restarts.due() == []
        now[0] += 0.2 * pause_s
        assert restarts.due() == [0]
    assert restarts.replaced == MAX_FALSE_STARTS
    with pytest.raises(UserError, match=r"actor 0 has failed 5 times .* exit code 3 .*acts in"):
        restarts.over(0, ending(3))


def test_an_unroll_forgives_false_starts(now: list[float]) -> None:
    restarts = Restarts(1)
    for _ in range(3 * MAX_FALSE_STARTS):
        now[0] += 20.0
        assert restarts.due() == [0]
        restarts.over(0, "lost")
        now[0] += 20.0
        assert restarts.due() == [0]
        restarts.delivered(0)
        restarts.over(0, "lost")


def test_shares_are_those_since_the_last_call(now: list[float]) -> None:
    balance = Balance(4)
    for full in (0, 2, 4):
        balance.asked(full)
    balance.waited(2.0)
    balance.acted(1.0, 3.0)
    now[0] += 8.0
    found = balance.metrics()
    assert found == {
        "actors/queue_fill": 0.5,
        "actors/idle": 0.25,
        "actors/learner_idle": 0.25,
    }
    assert set(balance.metrics().values()) == {0.0}
