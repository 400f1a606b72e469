"""Time by phase."""

from itertools import pairwise
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gala.telemetry import phases
from gala.telemetry.phases import PHASES, PhaseTimer


def at(moments: list[float]) -> Any:
    return mock.patch.object(phases.time, "perf_counter", side_effect=moments)


def test_each_lap_ends_the_phase_that_it_names() -> None:
    with at([0.0, 10.0, 11.0, 13.0, 13.5, 14.5]):
        clock = PhaseTimer()
        clock.start()  # what was before 10 is nobody's
        clock.end_phase("collect")
        clock.end_phase("learn")
        clock.end_phase("gossip")
        clock.end_phase("collect")
    expected = dict.fromkeys(PHASES, 0.0) | {"collect": 2.0, "learn": 2.0, "gossip": 0.5}
    assert clock.take() == expected
    assert clock.take() == dict.fromkeys(PHASES, 0.0)


@given(
    st.lists(st.tuples(st.sampled_from(PHASES), st.floats(0.0, 100.0)), max_size=30),
)
def test_no_time_is_lost_or_counted_twice(steps: list[tuple[str, float]]) -> None:
    moments = [5.0]
    for _, length in steps:
        moments.append(moments[-1] + length)
    with at(moments):
        clock = PhaseTimer()
        for phase, _ in steps:
            clock.end_phase(phase)
    spent = clock.take()
    assert sum(spent.values()) == pytest.approx(moments[-1] - moments[0])
    for phase in PHASES:
        own = [b - a for (name, _), (a, b) in zip(steps, pairwise(moments), strict=True)
               if name == phase]  # fmt: skip
        assert spent[phase] == pytest.approx(sum(own))
