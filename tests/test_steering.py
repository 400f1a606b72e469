"""From options to what decides when to publish, and what contradicts itself."""

from pathlib import Path

import pytest
import torch

from gala.config import Config, GossipConfig
from gala.divergence.controller import EpsilonController, spread
from gala.divergence.policy import PolicyDivergence
from gala.divergence.trigger import Trigger, drift
from gala.errors import UserError
from gala.request import read_request
from gala.steering import EpsilonPace, pace_of
from gala.topology import load_topology

NOBODY = PolicyDivergence(lambda: None, lambda vector, obs: obs, lambda p, q: p)


def pace(**options: object) -> object:
    config = Config(gossip=GossipConfig(**options))
    return pace_of(config, load_topology("ring", 4), torch.ones(3), NOBODY)


def test_each_option_has_its_pace() -> None:
    assert pace() is None
    for name, distance in (("drift", drift), ("kl", NOBODY.between)):
        trigger = pace(trigger=name)
        assert isinstance(trigger, Trigger) and trigger._distance == distance
    assert isinstance(pace(epsilon_target=0.1), EpsilonPace)


def test_the_controller_hears_distances_and_gaps() -> None:
    x = torch.tensor([3.0, 4.0])
    heard = []
    controller = EpsilonController(1.0, spread=1.0, most=1.0)
    controller.heard = lambda theta, norm, gaps: heard.append((theta, norm, list(gaps)))  # type: ignore[method-assign]
    epsilon = EpsilonPace(x, controller)
    others = {1: torch.tensor([3.0, 7.0]), 2: torch.tensor([3.0, 10.0])}
    epsilon.hear({1: 0.25, 2: 0.5, 9: 0.1}, others, {1: 10, 2: 40})
    epsilon.hear({1: 0.25, 2: 0.5}, others, {1: 13, 2: 40})
    # 0.25 * 3 + 0.5 * 6 along the second axis; agent 2 sent nothing new
    assert heard == [(3.75, 5.0, []), (3.75, 5.0, [3])]


def test_the_controller_is_told_how_far_one_moved_since_the_last_message() -> None:
    x = torch.tensor([3.0, 4.0])
    controller = EpsilonController(0.5, spread=1.0, most=1.0)
    controller.period = 100
    epsilon = EpsilonPace(x, controller)
    assert not epsilon.due()
    x += torch.tensor([3.0, 4.0])  # 5 of 10
    assert epsilon.due()
    epsilon.sent()
    assert not epsilon.due()


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
