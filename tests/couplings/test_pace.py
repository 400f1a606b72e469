"""From options to what decides when to publish, and what contradicts itself."""

from collections.abc import Collection
from pathlib import Path

import pytest
import torch

from gala.config.sections import GossipConfig
from gala.couplings.pace import EpsilonPace, pace_of
from gala.divergence.controller import EpsilonController, spread
from gala.divergence.policy import PolicyDivergence
from gala.divergence.trigger import Trigger, drift
from gala.errors import UserError
from gala.parameters.flat import FlatParameters
from gala.run.request import read_request
from gala.topology import load_topology

NOBODY = PolicyDivergence(lambda: None, lambda vector, obs: obs, lambda p, q: p)


def pace(**options: object) -> object:
    return pace_of(
        GossipConfig(**options),
        load_topology("ring", 4),
        1,
        FlatParameters(torch.nn.Linear(1, 2)),
        NOBODY,
    )


def test_each_option_has_its_pace() -> None:
    assert pace() is None
    for name, distance in (("drift", drift), ("kl", NOBODY.between)):
        trigger = pace(trigger=name)
        assert isinstance(trigger, Trigger) and trigger._distance == distance
    assert isinstance(pace(epsilon_target=0.1), EpsilonPace)


class Listener(EpsilonController):
    """Notes what it receives."""

    def __init__(self) -> None:
        super().__init__(1.0, spread=1.0, most=1.0)
        self.heard_of: list[tuple[float, float, list[float], float]] = []

    def received(
        self, distance: float, norm: float, gaps: Collection[float], share: float = 1.0
    ) -> None:
        self.heard_of.append((distance, norm, list(gaps), share))


def test_the_controller_hears_distances_and_gaps() -> None:
    listener = Listener()
    epsilon = EpsilonPace(torch.tensor([3.0, 4.0]), listener, 2)
    others = {1: torch.tensor([3.0, 7.0]), 2: torch.tensor([3.0, 10.0])}
    epsilon.before_mix({1: 0.25, 2: 0.5, 9: 0.25}, others, {1: 10, 2: 40})
    epsilon.before_mix({1: 0.25, 2: 0.5}, others, {1: 13, 2: 40})
    # sqrt((0.25 * 3^2 + 0.5 * 6^2) / 0.75); agent 2 sent nothing new
    rms = pytest.approx(27**0.5)
    assert listener.heard_of == [(rms, 5.0, [], 0.75), (rms, 5.0, [3], 1.0)]
    epsilon.before_mix({1: 0.25, 2: 0.5}, {1: others[1]}, {1: 20})
    # a quarter of the way from 3 to 7
    assert listener.heard_of[-1] == (pytest.approx(3), 5.0, [4], pytest.approx(1 / 3))


def test_whoever_falls_silent_holds_nobody_back() -> None:
    listener, x = Listener(), torch.ones(2)
    epsilon = EpsilonPace(x, listener, 2)
    weights, both = {1: 0.3, 2: 0.3}, {1: x, 2: x}
    for k in range(2, 20, 2):
        for _ in range(2):
            epsilon.due(1)
        epsilon.before_mix(weights, both, {1: k, 2: k})
    assert listener.heard_of[-1][2] == [2, 2]
    for k in range(20, 60, 2):  # agent 1 died
        for _ in range(2):
            epsilon.due(1)
        epsilon.before_mix(weights, {2: x}, {2: k})
    assert listener.heard_of[-1][2] == [40, 2]


def test_the_degree_and_period_that_are_shown() -> None:
    controller = EpsilonController(1.0, spread=1.0, most=1.0)
    epsilon = EpsilonPace(torch.ones(2), controller, 6)
    for copies, interval, degree, period in (
        (6, 1.0, 6, 1), (6, 2.0, 3, 1), (6, 6.0, 1, 1), (6, 18.0, 1, 3),
        (1, 1.0, 6, 1), (1, 18.0, 6, 18),  # one copy serves all
        (2, 4.0, 3, 2),  # one for those nearby, one for somebody far
    ):  # fmt: skip
        controller.interval = interval
        epsilon.due(copies)
        assert (epsilon.degree, epsilon.period) == (degree, period)


def test_the_controller_is_told_how_far_one_moved_since_the_last_message() -> None:
    x = torch.tensor([3.0, 4.0])
    controller = EpsilonController(0.5, spread=1.0, most=1.0)
    controller.interval = 100.0
    epsilon = EpsilonPace(x, controller, 3)
    assert not epsilon.due(3)
    x += torch.tensor([3.0, 4.0])  # 5 of 10
    assert epsilon.due(3) == 1
    epsilon.sent(1)
    assert not epsilon.due(3)


def test_spread_of_the_run_is_that_of_its_topology() -> None:
    found = pace(epsilon_target=0.1)
    assert isinstance(found, EpsilonPace)
    assert found.controller._spread == spread(load_topology("ring", 4))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--gossip.epsilon-target", "0.1", "--gossip.trigger", "drift"], "take one"),
        (["--gossip.epsilon-target", "0.1", "--gossip.max-staleness", "3"], "not sent"),
        (["--gossip.trigger", "kl", "--gossip.max-staleness", "0"], "max-staleness null"),
        (
            [
                "--gossip.epsilon-target",
                "0.1",
                "--gossip.max-staleness",
                "0",
                "--gossip.staleness-policy",
                "skip",
            ],
            "max-staleness null",
        ),
        (["--gossip.trigger", "kl", "--coupling", "none"], "needs gossip"),
        (["--gossip.epsilon-target", "0"], "--gossip.epsilon-target"),
        (["--gossip.trigger", "drfit"], "--gossip.trigger"),
        (["--gossip.trigger-threshold", "-1"], "--gossip.trigger-threshold"),
        (["--divergence.alarm-ticks", "0"], "--divergence.alarm-ticks"),
    ],
)
def test_contradictions(options: list[str], words: str) -> None:
    with pytest.raises(UserError) as caught:
        read_request(["cartpole", *options], agents=4)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_push_sum_cannot_leave_messages_out(tmp_path: Path) -> None:
    path = tmp_path / "graph.yaml"
    path.write_text("version: 1\nname: sums\nagents: any\nfamily: ring\nweights: push-sum\n")
    with pytest.raises(UserError, match="push-sum"):
        read_request(["cartpole", "--topology", str(path), "--gossip.trigger", "drift"], agents=4)


def test_skipping_the_missing_goes_with_steering() -> None:
    options = ["--gossip.max-staleness", "3", "--gossip.staleness-policy", "skip"]
    read_request(["cartpole", "--gossip.epsilon-target", "0.1", *options], agents=4)
