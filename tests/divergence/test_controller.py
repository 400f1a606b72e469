"""The controller: by hand, against linear algebra, and in a closed loop."""

import numpy as np
import pytest

from gala.divergence.controller import GROWTH, LONGEST, MARGIN, EpsilonController, spread
from gala.topology import load_topology


def test_spread_of_a_complete_graph_is_one() -> None:
    """Everybody hears everybody: theta_i is the distance to the mean itself."""
    assert spread(load_topology("complete", 5)) == pytest.approx(1.0)
    assert spread(load_topology("ring", 1)) == 1.0


def test_spread_of_a_ring_of_four_by_hand() -> None:
    """Eigenvalues off the mean 1/3, 1/3, -1/3: xi^2 per mode 9/8, theta^2 (1 - l)^2 9/8."""
    modes = np.array([1 / 3, 1 / 3, -1 / 3])
    expected = np.sqrt(len(modes) / np.sum((1 - modes) ** 2))
    assert spread(load_topology("ring", 4)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", ["ring", "directed-ring", "exponential", "one-peer-exponential"])
@pytest.mark.parametrize("agents", [4, 8, 16])
def test_spread_is_what_random_updates_show(name: str, agents: int) -> None:
    topology = load_topology(name, agents)
    dice = np.random.default_rng(0)
    x = np.zeros((agents, 400))
    xi = theta = 0.0
    for k in range(600):
        x += dice.standard_normal(x.shape)
        matrix = topology.matrix(k)
        if k >= 300:
            xi += np.linalg.norm(x - x.mean(axis=0)) ** 2
            theta += np.linalg.norm(matrix @ x - x) ** 2
        x = matrix @ x
    assert spread(topology) == pytest.approx(np.sqrt(xi / theta), rel=0.1)
    assert spread(topology) >= 0.5  # theta <= 2 xi (Kong et al. 2021)


def test_the_period_by_hand() -> None:
    controller = EpsilonController(1.0, spread=2.0, most=10.0)
    controller.heard(theta=0.1, norm=10.0, gaps=[])  # distance 0.02, far inside
    assert controller.estimate == pytest.approx(0.02) and controller.period == 1  # 1.25
    for expected in (1, 1, 2, 3):  # 1.5625, 1.95, 2.44, 3.05
        controller.heard(theta=0.1, norm=10.0, gaps=[])
        assert controller.period == expected
    controller.heard(theta=4.875, norm=10.0, gaps=[])  # 0.975 is one and a half times the aim
    assert controller.period == int(GROWTH**5 * MARGIN / 0.975) == 2


def test_nobody_waits_much_longer_than_the_most_eager() -> None:
    controller = EpsilonController(1.0, spread=1.0, most=1.0)
    for _ in range(60):
        controller.heard(theta=1e-6, norm=1.0, gaps=[8, 50])
    assert controller.period == 10
    for _ in range(60):
        controller.heard(theta=1e-6, norm=1.0, gaps=[])
    assert controller.period == LONGEST


def test_due_after_a_period_and_again_after_the_next() -> None:
    controller = EpsilonController(1.0, spread=1.0, most=1.0)
    controller.period = 3
    due = []
    for _ in range(7):
        due.append(controller.due())
        if due[-1]:
            controller.sent()
    assert due == [False, False, True, False, False, True, False]
    assert not controller.due(moved=0.99 * MARGIN)
    controller.sent()
    assert controller.due(moved=MARGIN), "who moved far says so before its time"


def test_measurements_correct_the_estimate_within_limits() -> None:
    controller = EpsilonController(1.0, spread=1.0, most=3.0)
    controller.measured(5.0)  # nothing to correct yet
    controller.heard(theta=1.0, norm=10.0, gaps=[])
    for _ in range(200):
        controller.measured(99.0 * controller.estimate)
        controller.heard(theta=1.0, norm=10.0, gaps=[])
    assert controller.estimate == pytest.approx(0.3)  # three times, not more
    for _ in range(200):
        controller.measured(0.001 * controller.estimate)
        controller.heard(theta=1.0, norm=10.0, gaps=[])
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
    rate = 1 / (1 - topology_beta(topology))
    crowd = [EpsilonController(target, spread=spread(topology), most=rate) for _ in range(agents)]
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
            if crowd[i].due(np.linalg.norm(x[i] - box[i]) / np.linalg.norm(x[i])):
                crowd[i].sent()
                box[i], version[i], sent_at[i], sent = x[i], version[i] + 1, k, sent + 1
            own, row = topology.row(i, round[i])
            if any(version[j] <= used.get((j, i), 0) for j in row):
                continue
            for j in row:
                used[j, i] = version[j]
                gap[j, i] = sent_at[j] - heard_at.get((j, i), sent_at[j] - 1)
                heard_at[j, i] = sent_at[j]
            theta = np.linalg.norm(sum(w * (box[j] - x[i]) for j, w in row.items()))
            crowd[i].heard(theta, np.linalg.norm(x[i]), [gap[j, i] for j in row])
            x[i] = own * x[i] + sum(w * box[j] for j, w in row.items())
            round[i] += 1
        mean = x.mean(axis=0)
        distances = np.linalg.norm(x - mean, axis=1) / np.linalg.norm(mean)
        relative.append(distances.max())
        if k % 50 == 0:
            for i in range(agents):
                crowd[i].measured(distances[i])
    return np.array(relative), sent / (agents * updates)


def topology_beta(topology) -> float:
    from gala.topology import spectrum

    return spectrum.beta(topology) or 0.0


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
