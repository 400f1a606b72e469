"""The certificate against agents of which everything is known."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gala.divergence.certificate import Certificate, certify
from gala.divergence.walk import Incomplete

from .scripted import Scripted, spread

RING = {i: {(i - 1) % 4: 0.25, (i + 1) % 4: 0.25} for i in range(4)}


def certified(
    world: Scripted, tick: int, begin: int = -1, absent: frozenset[int] = frozenset()
) -> Certificate:
    found = look(world, tick, begin, absent)
    assert isinstance(found, Certificate), found
    return found


def look(
    world: Scripted, tick: int, begin: int = -1, absent: frozenset[int] = frozenset()
) -> Certificate | Incomplete:
    histories = {i: log for i, log in world.read().items() if i not in absent}
    return certify(
        histories,
        world.sketches,
        tick=tick,
        present={i: t for i, t in world.cuts[tick].items() if i not in absent},
        begin=begin,
        norms={},
        sketch_error=0.0,
    )


def lock_step(world: Scripted, rounds: int, tick: int, draw: NDArray[np.float64]) -> None:
    """All step by ``draw[round, agent]``, publish, mix; then all are cut."""
    for round in range(rounds):
        for i in range(4):
            world.step(i, draw[round, i])
            world.publish(i)
        for i in range(4):
            world.mix(i, RING[i])
    for i in range(4):
        world.cut(i, tick)


def test_lock_step_is_the_sum_of_the_paper(tmp_path: Path) -> None:
    world = Scripted(tmp_path, 4, 3)
    draw = world.rng.standard_normal((6, 4, 3))
    lock_step(world, 6, 0, draw)
    matrix = np.eye(4) * 0.5
    for i, row in RING.items():
        for j, weight in row.items():
            matrix[i, j] = weight
    total = squares = 0.0
    for age in range(1, 7):
        left = np.linalg.matrix_power(matrix, age) - 0.25
        for i in range(4):
            part = np.linalg.norm(left[:, i]) * np.linalg.norm(draw[6 - age, i])
            total, squares = total + part, squares + part**2
    found = certified(world, 0)
    assert found.epsilon == pytest.approx(total, rel=2e-4)
    assert found.expected == pytest.approx(np.sqrt(squares), rel=2e-4)
    assert found.beginning == 0.0 and found.steps == 24
    assert spread(world.x) <= found.epsilon


def test_the_beginning_is_measured(tmp_path: Path) -> None:
    """A window that begins later knows where the agents were then, whoever was on the way."""
    world = Scripted(tmp_path, 4, 3)
    draw = world.rng.standard_normal((40, 4, 3))
    lock_step(world, 20, 0, draw)
    lock_step(world, 2, 1, np.zeros((2, 4, 3)))
    found = certified(world, 1, begin=0)
    assert found.steps == 0 or found.epsilon < certified(world, 1).epsilon
    assert found.epsilon == pytest.approx(spread(world.x), rel=2e-4)  # nothing happened since


Script = list[tuple[int, int, int, float]]


def play(world: Scripted, script: Script, ticks: int) -> int:
    """Any schedule: steps of any length, rounding, old messages, partial mixes, deaths, cuts."""
    tick, every = 0, max(len(script) // ticks, 1)
    for at, (what, i, j, size) in enumerate(script, 1):
        if what == 0:
            world.step(i, size * world.direction())
        elif what == 1:
            world.publish(i, rounding=0.1 * size)
        elif what == 2 and i != j:
            world.mix(
                i,
                {j: 0.9 * size / 10, (j + 1) % world.agents: 0.1}
                if (j + 1) % world.agents != i
                else {j: 0.5},
                {j: j % 3},
            )
        elif what == 3 and i != j:
            world.restart(i, adopts=j if size < 8 else None)
        if at % every == 0:
            for k in np.roll(np.arange(world.agents), at).tolist():
                world.cut(k, tick)
            tick += 1
    for i in range(world.agents):
        world.cut(i, tick)
    return tick


SCRIPTS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3]),
        st.integers(0, 3),
        st.integers(0, 3),
        st.floats(0.001, 10),
    ),
    min_size=1,
    max_size=120,
)


@settings(max_examples=150)
@given(SCRIPTS, st.integers(1, 5), st.integers(0, 2**16))
def test_never_exceeded_by_any_schedule(script: Script, ticks: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = Scripted(Path(folder), 4, 5, seed)
        last = play(world, script, ticks)
        for begin in range(-1, last):
            found = certified(world, last, begin)
            assert spread(world.x) <= found.epsilon * (1 + 1e-9) + 1e-12, begin


def test_an_adversary_reaches_it(tmp_path: Path) -> None:
    """Two agents, any schedule: all updates in one direction, signed so as to pull apart."""
    rng = np.random.default_rng(3)
    script = [(int(rng.integers(3)), int(rng.integers(2))) for _ in range(80)]

    def run(folder: Path, signs: NDArray[np.float64]) -> tuple[float, float]:
        folder.mkdir(exist_ok=True)
        world = Scripted(folder, 2, 1)
        steps = iter(signs)
        for what, i in script:
            if what == 0:
                world.step(i, np.array([next(steps)]))
            elif what == 1:
                world.publish(i)
            else:
                world.mix(i, {1 - i: 0.4}, {1 - i: 1})
        for i in range(2):
            world.cut(i, 0)
        return float(world.x[0][0] - world.x[1][0]), certified(world, 0).epsilon

    count = sum(what == 0 for what, _ in script)
    alone = [run(tmp_path / f"{k}", np.eye(count)[k])[0] for k in range(count)]
    apart, epsilon = run(tmp_path / "all", np.sign(alone))
    assert abs(apart) / np.sqrt(2) == pytest.approx(epsilon, rel=2e-4)


def test_an_adversary_in_a_ring(tmp_path: Path) -> None:
    """Opposite agents that move apart: the worst direction of the ring of four."""
    world = Scripted(tmp_path, 4, 2)
    draw = np.zeros((30, 4, 2))
    draw[:, 0], draw[:, 2] = [1.0, 0.0], [-1.0, 0.0]
    weights = {i: dict.fromkeys(row, 0.2) for i, row in RING.items()}
    for round in range(30):
        for i in range(4):
            world.step(i, draw[round, i])
            world.publish(i)
        for i in range(4):
            world.mix(i, weights[i])
    for i in range(4):
        world.cut(i, 0)
    assert 0.95 < spread(world.x) / certified(world, 0).epsilon <= 1.0


def test_rounding_on_the_wire_counts(tmp_path: Path) -> None:
    """Agents that never move and hear rounded copies of one another."""
    world = Scripted(tmp_path, 4, 3)
    for _ in range(20):
        for i in range(4):
            world.publish(i, rounding=0.1)
        for i in range(4):
            world.mix(i, RING[i])
    for i in range(4):
        world.cut(i, 0)
    found = certified(world, 0)
    assert 0.01 < spread(world.x) <= found.epsilon and found.steps == 0


def test_what_is_not_in_the_records_is_told(tmp_path: Path) -> None:
    world = Scripted(tmp_path, 4, 3, capacity=64)
    lock_step(world, 40, 0, world.rng.standard_normal((40, 4, 3)))
    found = look(world, 0)
    assert isinstance(found, Incomplete) and "do not reach back" in found.reason
    assert found.more
    (tmp_path / "whole").mkdir()
    world = Scripted(tmp_path / "whole", 4, 3, capacity=4096)
    lock_step(world, 5, 0, world.rng.standard_normal((5, 4, 3)))
    found = look(world, 0, absent=frozenset({2}))
    assert (
        isinstance(found, Incomplete)
        and found.reason == "a message of agent 2 is not in its records"
    )
    assert not found.more  # nothing of it can be read
    del world.sketches[1, -1, 2.0]
    found = look(world, 0)
    assert found == Incomplete(reason="agent 1 began anew without a sketch")


def test_a_message_may_be_mixed_before_a_cut_and_published_after_another(tmp_path: Path) -> None:
    """Agent 0 is cut first; what it did then is in the row of agent 1 alone."""
    world = Scripted(tmp_path, 2, 3)
    world.cut(0, 0)
    world.step(0, np.array([2.0, 0.0, 0.0]))
    world.publish(0)
    world.mix(1, {0: 0.5})
    world.cut(1, 0)
    world.step(0, np.array([9.0, 0.0, 0.0]))
    world.step(1, np.array([9.0, 0.0, 0.0]))
    rows = [world.sketches[i, 0, t] for i, t in world.cuts[0].items()]
    found = certified(world, 0)
    assert spread(rows) == pytest.approx(0.5**0.5) and found.steps == 1
    assert found.epsilon == pytest.approx(spread(rows), rel=2e-4)


def test_the_mean_drifts_where_copies_are_late(tmp_path: Path) -> None:
    """One agent steps; whoever mixes its copy late or never, moves the mean otherwise."""
    world = Scripted(tmp_path, 2, 3)
    world.step(0, np.array([1.0, 0.0, 0.0]))
    world.publish(0)
    world.mix(1, {0: 0.5})  # agent 0 has not heard agent 1: the step counts 0.75, not 0.5
    for i in range(2):
        world.cut(i, 0)
    assert certified(world, 0).drift == pytest.approx(0.5)
    (tmp_path / "lock").mkdir()
    lock = Scripted(tmp_path / "lock", 4, 3)
    lock_step(lock, 5, 0, lock.rng.standard_normal((5, 4, 3)))
    assert certified(lock, 0).drift == pytest.approx(0.0, abs=1e-12)


def test_steps_before_the_window_are_no_drift(tmp_path: Path) -> None:
    """Messages that cross its beginning lead back to steps of which little is left to see."""
    world = Scripted(tmp_path, 4, 3)
    for tick in range(6):
        for _ in range(10):
            for i in range(4):
                world.step(i, world.direction())
                world.publish(i)
                world.mix(i, RING[i], dict.fromkeys(RING[i], 1))
        for i in range(4):
            world.cut(i, tick)
    found = certified(world, 5, begin=4)
    assert found.steps == 40 and found.drift == pytest.approx(certified(world, 5).drift, abs=0.25)
