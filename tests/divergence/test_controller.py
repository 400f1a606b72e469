"""The controller: by hand, against linear algebra, and in a closed loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gala.divergence.controller import (
    GROWTH,
    LONGEST,
    MARGIN,
    SMOOTHING,
    EpsilonController,
    farthest,
    spread,
)
from gala.topology import load_topology


def distances(matrix: np.ndarray, x: np.ndarray) -> np.ndarray:
    """d_i of every agent."""
    weights = matrix - np.diag(np.diag(matrix))
    squares = np.array([[np.sum((a - b) ** 2) for b in x] for a in x])
    return np.sqrt((weights * squares).sum(axis=1) / weights.sum(axis=1))


def test_spread_of_a_complete_graph_by_hand() -> None:
    """Independent agents: E ||x_j - x_i||^2 = 2 s^2, xi^2 = (1 - 1 / N) s^2."""
    assert spread(load_topology("complete", 5)) == pytest.approx(np.sqrt(0.4))
    assert spread(load_topology("ring", 1)) == 1.0


def test_spread_of_a_ring_of_four_by_hand() -> None:
    """Off the mean P has 1/3, 1/3, -1/3, so 9/8 per mode; the neighbours alone 0, 0, -1."""
    neighbours = np.array([0, 0, -1])
    expected = np.sqrt(len(neighbours) / np.sum(2 * (1 - neighbours)))
    assert spread(load_topology("ring", 4)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", ["ring", "directed-ring", "exponential", "one-peer-exponential"])
@pytest.mark.parametrize("agents", [4, 8, 16])
def test_spread_is_what_random_updates_show(name: str, agents: int) -> None:
    topology = load_topology(name, agents)
    dice = np.random.default_rng(0)
    x = np.zeros((agents, 400))
    xi = apart = 0.0
    for k in range(400):
        x += dice.standard_normal(x.shape)
        matrix = topology.matrix(k)
        if k >= 200:
            xi += np.mean(np.sum((x - x.mean(axis=0)) ** 2, axis=1))
            apart += np.mean(distances(matrix, x) ** 2)
        x = matrix @ x
    assert spread(topology) == pytest.approx(np.sqrt(xi / apart), rel=0.1)


@given(
    st.sampled_from(["ring", "directed-ring", "exponential", "complete"]),
    st.sampled_from([3, 4, 8]),
    st.integers(0, 99),
)
def test_the_distance_to_the_mean_lies_between_its_bounds(
    name: str, agents: int, seed: int
) -> None:
    topology = load_topology(name, agents)
    matrix, p = topology.matrix(0), topology.matrix(0)[0, 0]
    x = np.random.default_rng(seed).standard_cauchy((agents, 3))
    xi = np.sqrt(np.mean(np.sum((x - x.mean(axis=0)) ** 2, axis=1)))
    d = np.sqrt(np.mean(distances(matrix, x) ** 2))
    assert d * np.sqrt(1 - p) / 2 <= xi * (1 + 1e-9)
    assert xi <= d * np.sqrt(1 - p) * farthest(topology) * (1 + 1e-9)
    assert np.sqrt(1 - p) / 2 <= spread(topology) <= farthest(topology)


def test_the_interval_by_hand() -> None:
    controller = EpsilonController(1.0, spread=2.0, most=10.0)
    assert controller.interval == 1.0
    for k in range(1, 6):
        controller.received(distance=0.1, norm=10.0, gaps=[])  # distance 0.02, far inside
        assert controller.estimate == pytest.approx(0.02)
        assert controller.interval == pytest.approx(GROWTH**k)
    controller.received(distance=4.875, norm=10.0, gaps=[])  # 0.975 is one and a half times the aim
    assert controller.interval == pytest.approx(GROWTH**5 * MARGIN / 0.975)


def test_who_is_heard_in_parts_lengthens_in_parts_and_shortens_at_once() -> None:
    """Four quarters of the neighbours are worth what all of them at once are."""
    controller = EpsilonController(1.0, spread=1.0, most=1.0)
    for _ in range(4):
        controller.received(distance=0.1, norm=1.0, gaps=[], share=0.25)
    assert controller.interval == pytest.approx(GROWTH)
    controller.received(distance=0.05, norm=1.0, gaps=[], share=0.25)
    assert controller.estimate == pytest.approx(0.1 - SMOOTHING / 4 * 0.05)
    controller.received(distance=0.8 * MARGIN, norm=1.0, gaps=[], share=0.25)
    before = controller.interval
    controller.received(distance=1.25 * MARGIN, norm=1.0, gaps=[], share=0.25)
    assert controller.interval == pytest.approx(max(before / 1.25, 1.0))


def test_nobody_waits_much_longer_than_the_most_eager() -> None:
    controller = EpsilonController(1.0, spread=1.0, most=1.0)
    for _ in range(60):
        controller.received(distance=1e-6, norm=1.0, gaps=[8, 50])
    assert controller.interval == 10
    for _ in range(60):
        controller.received(distance=1e-6, norm=1.0, gaps=[])
    assert controller.interval == LONGEST


def sent(controller: EpsilonController, copies: int, updates: int) -> list[int]:
    """Copies after each update."""
    found = []
    for _ in range(updates):
        found.append(controller.due(copies))
        if found[-1]:
            controller.sent(found[-1])
    return found


def test_fewer_neighbours_come_before_longer_periods() -> None:
    controller = EpsilonController(1.0, spread=1.0, most=1.0)
    for interval, expected in (
        (1.0, [3, 3, 3, 3, 3, 3]),
        (1.5, [2, 2, 2, 2, 2, 2]),
        (2.0, [1, 2, 1, 2, 1, 2]),
        (3.0, [1, 1, 1, 1, 1, 1]),
        (6.0, [0, 1, 0, 1, 0, 1]),
        (9.0, [0, 0, 1, 0, 0, 1]),
    ):
        controller.interval = interval
        assert sent(controller, 3, 6) == expected
    controller.interval = 3.0
    assert sent(controller, 1, 7) == [0, 0, 1, 0, 0, 1, 0], "one copy for all: the period alone"


@given(st.integers(1, 9), st.floats(1, 60))
def test_every_copy_that_was_earned_is_sent(copies: int, interval: float) -> None:
    controller = EpsilonController(1.0, spread=1.0, most=1.0)
    controller.interval = interval
    found = sent(controller, copies, 300)
    assert abs(sum(found) - 300 * copies / interval) <= 1 + 1e-6
    assert set(found) <= {int(copies / interval), int(copies / interval) + 1}


def test_who_moved_far_says_so_before_its_time() -> None:
    controller = EpsilonController(1.0, spread=1.0, most=1.0)
    controller.interval = 30.0
    assert not controller.due(3, moved=0.99 * MARGIN)
    assert controller.due(3, moved=MARGIN) == 1
    controller.sent(1)
    assert not controller.due(3), "what was sent early is not sent again in time"


def test_measurements_correct_the_estimate_within_limits() -> None:
    controller = EpsilonController(1.0, spread=1.0, most=3.0)
    controller.measured(5.0)  # nothing to correct yet
    controller.received(distance=1.0, norm=10.0, gaps=[])
    for _ in range(200):
        controller.measured(99.0 * controller.estimate)
        controller.received(distance=1.0, norm=10.0, gaps=[])
    assert controller.estimate == pytest.approx(0.3)  # three times, not more
    for _ in range(200):
        controller.measured(0.001 * controller.estimate)
        controller.received(distance=1.0, norm=10.0, gaps=[])
    assert controller.estimate == pytest.approx(0.1)  # never below what theory expects


def closed_loop(name: str, agents: int, target: float, *, drift: float = 0.0, updates: int = 1200):
    """Asynchronous agents that publish when their controllers say so.

    Random updates of norm 0.05 (0.1 in the second half) on parameters of norm 10 in 500
    dimensions; ``drift`` is the share of each agent's updates that always points its own way.

    Returns:
        Largest relative distance after each sweep, messages per agent and update.
    """
    topology = load_topology(name, agents)
    dice = np.random.default_rng(1)
    start = dice.standard_normal(500)
    x = np.tile(10 * start / np.linalg.norm(start), (agents, 1))
    own_way = dice.standard_normal((agents, 500))
    own_way /= np.linalg.norm(own_way, axis=1, keepdims=True)
    limits = {"spread": spread(topology), "most": farthest(topology)}
    local_group = [EpsilonController(target, **limits) for _ in range(agents)]
    box, sent_at = x.copy(), np.zeros(agents, int)
    version, used, gap = np.zeros(agents, int), {}, {}
    heard_at: dict[tuple[int, int], int] = {}
    round, sent, relative = np.zeros(agents, int), 0, []
    for k in range(1, updates + 1):
        norm = 0.05 if k <= updates // 2 else 0.1
        for i in dice.permutation(agents):
            step = dice.standard_normal(500)
            step = np.sqrt(1 - drift**2) * step / np.linalg.norm(step) + drift * own_way[i]
            x[i] += norm * step
            if local_group[i].due(1, np.linalg.norm(x[i] - box[i]) / np.linalg.norm(x[i])):
                local_group[i].sent(1)
                box[i], version[i], sent_at[i], sent = x[i], version[i] + 1, k, sent + 1
            own, row = topology.row(i, round[i])
            if any(version[j] <= used.get((j, i), 0) for j in row):
                continue
            for j in row:
                used[j, i] = version[j]
                gap[j, i] = sent_at[j] - heard_at.get((j, i), sent_at[j] - 1)
                heard_at[j, i] = sent_at[j]
            squares = sum(w * np.sum((box[j] - x[i]) ** 2) for j, w in row.items())
            distance = np.sqrt(squares / sum(row.values()))
            local_group[i].received(distance, np.linalg.norm(x[i]), [gap[j, i] for j in row])
            x[i] = own * x[i] + sum(w * box[j] for j, w in row.items())
            round[i] += 1
        mean = x.mean(axis=0)
        distances = np.linalg.norm(x - mean, axis=1) / np.linalg.norm(mean)
        relative.append(distances.max())
        if k % 50 == 0:
            for i in range(agents):
                local_group[i].measured(distances[i])
    return np.array(relative), sent / (agents * updates)


@pytest.mark.parametrize("name", ["ring", "directed-ring", "exponential", "one-peer-exponential"])
@pytest.mark.parametrize("target", [0.05, 0.1])
def test_the_radius_is_held_with_few_messages(name: str, target: float) -> None:
    relative, messages = closed_loop(name, 8, target)
    assert relative.max() <= target
    assert messages < 0.2, "fewer than a fifth of all updates are sent"
    assert np.median(relative[800:]) > 0.3 * target, "no more messages than needed"


def test_agents_that_pull_apart_are_held_too() -> None:
    """Against all that the expectation assumes: measurements and eagerness make up for it."""
    relative, messages = closed_loop("ring", 8, 0.1, drift=0.5)
    assert relative.max() <= 1.1 * 0.1 and np.mean(relative <= 0.1) > 0.98 and messages < 0.3


def test_what_cannot_be_held_is_tried_with_every_message() -> None:
    _, messages = closed_loop("ring", 8, 1e-4, updates=200)
    assert messages == 1.0
