"""What gossip does with each kind of state of a soft actor-critic, on learners that mix."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from batches import filled

from gala.config.sections import NetworkConfig
from gala.experience import Batch
from gala.gossip.mixing import mix_
from gala.learning.replay_learner import ReplayLearner
from gala.learning.sac import SAC
from gala.learning.sac_config import SACConfig
from gala.networks import Network, build_network
from gala.networks.model import Model
from gala.networks.soft import Soft
from gala.parameters.flat import FlatParameters

POLYAK = json.loads(
    (Path(__file__).parents[1] / "golden" / "gossip_state.json").read_text()
)["cases"][2]  # fmt: skip
BOX = gymnasium.spaces.Box(-1, 1, (3,), np.float32)


def agent(tau: float = 0.05) -> tuple[ReplayLearner, Network, FlatParameters]:
    network = build_network(
        BOX,
        BOX,
        NetworkConfig(hidden=(8,)),
        seed=0,
        values="soft",
        temperature=0.5,
        normalize_observation=True,
    )
    flat = FlatParameters(network, buffers=network.statistics)
    model = Model(network, flat, torch.float32)
    config = SACConfig(tau=tau, lr=0.01)
    return ReplayLearner(SAC(config), model, lr=0.01, rows=8), network, flat


def experience(seed: int) -> Batch:
    """Of an environment that each agent sees on a scale of its own."""
    g = torch.Generator().manual_seed(seed)
    obs = (1 + seed) * torch.randn(2, 8, 3, generator=g) + seed
    action = torch.rand(1, 8, 3, generator=g) * 2 - 1
    reward = torch.randn(1, 8, generator=g)
    return filled(obs, action, 6, reward=reward, discount=torch.full((1, 8), 0.9))


def soft(network: Network) -> Soft:
    assert network.soft is not None
    return network.soft


def mix(flats: list[FlatParameters], size: int | None = None) -> None:
    """Half of each other, of the leading ``size`` elements."""
    vectors = [flat.data[:size] for flat in flats]
    before = [vector.clone() for vector in vectors]
    for i, vector in enumerate(vectors):
        mix_(vector, 0.5, {1 - i: (0.5, before[1 - i])})


@pytest.mark.parametrize("targets_too", [True, False])
def test_targets_are_mixed_with_the_critics_or_they_trail_apart(targets_too: bool) -> None:
    """Golden: targets agree after 40 rounds where both are mixed, else they do not."""
    agents = [agent(POLYAK["tau"]) for _ in range(2)]
    flats = [flat for _, _, flat in agents]
    for round_ in range(POLYAK["steps"]):
        for rank, (learner, _, _) in enumerate(agents):
            learner.update(experience(2 * round_ + rank))
        mix(flats, None if targets_too else flats[0].learned)
    critics, targets = (
        [torch.cat([p.flatten() for p in part]) for part in parts]
        for parts in (
            [[*soft(network).critics.parameters()] for _, network, _ in agents],
            [[*soft(network).targets.buffers()] for _, network, _ in agents],
        )
    )
    assert torch.equal(critics[0], critics[1])
    apart = float((targets[0] - targets[1]).norm())
    assert apart == POLYAK["disagreement_mix_both"] if targets_too else apart > 1e-3


def test_the_average_of_a_mix_is_the_mix_of_averages() -> None:
    """Polyak after a mix of both gives what mixing Polyak's averages gives."""
    after_first, after_last = [], []
    for first in (True, False):
        agents = [agent() for _ in range(2)]
        for rank, (learner, _, flat) in enumerate(agents):
            learner.update(experience(rank))
            with torch.no_grad():
                flat.data[flat.learned :].add_(rank)
        flats = [flat for _, _, flat in agents]
        for step in ("mix", "average") if first else ("average", "mix"):
            if step == "mix":
                mix(flats)
            else:
                for learner, _, _ in agents:
                    learner._targets.lerp_(learner._critics, 0.05)
        (after_first if first else after_last).extend(flat.data for flat in flats)
    for one, other in zip(after_first, after_last, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_temperature_is_mixed_in_its_logarithm_and_counts_as_a_parameter() -> None:
    agents = [agent() for _ in range(2)]
    with torch.no_grad():
        for value, (_, network, _) in zip((0.01, 1.0), agents, strict=True):
            soft(network).log_alpha.fill_(float(np.log(value)))
    mix([flat for _, _, flat in agents])
    for _, network, flat in agents:
        assert soft(network).log_alpha.exp().item() == pytest.approx(0.1)
        assert flat.learned == sum(p.numel() for p in network.parameters())


def test_targets_are_no_parameters_and_no_optimizer_moves_them() -> None:
    learner, network, flat = agent(tau=1e-9)
    names = [name for name, _ in flat.layout]
    begins = next(k for k, name in enumerate(names) if name.startswith("soft.targets"))
    assert sum(flat.sizes[:begins]) >= flat.learned
    before = [buffer.clone() for buffer in soft(network).targets.buffers()]
    critics = [parameter.clone() for parameter in soft(network).critics.parameters()]
    learner.update(experience(0))
    for old, new in zip(before, soft(network).targets.buffers(), strict=True):
        torch.testing.assert_close(old, new, rtol=0, atol=1e-6)
    assert not all(map(torch.equal, critics, soft(network).critics.parameters()))


def test_observations_are_normalised_by_moments_that_all_share() -> None:
    agents = [agent() for _ in range(2)]
    for rank, (learner, _, _) in enumerate(agents):
        learner.update(experience(rank))
    moments = [network.observed for _, network, _ in agents]
    assert moments[0] is not None and moments[1] is not None
    apart = moments[0].first.clone(), moments[1].first.clone()
    assert not torch.equal(*apart)
    mix([flat for _, _, flat in agents])
    torch.testing.assert_close(moments[0].first, moments[1].first)
    torch.testing.assert_close(moments[0].first, (apart[0] + apart[1]) / 2)
    seen = [network.seen(torch.ones(1, 3)) for _, network, _ in agents]
    torch.testing.assert_close(*seen)


def test_the_moments_of_the_optimizer_stay_local() -> None:
    agents = [agent() for _ in range(2)]
    for rank, (learner, _, _) in enumerate(agents):
        learner.update(experience(rank))
    before = [learner.optimizer.state_dict()["halves"][1]["square"] for learner, _, _ in agents]
    mix([flat for _, _, flat in agents])
    after = [learner.optimizer.state_dict()["halves"][1]["square"] for learner, _, _ in agents]
    assert all(map(torch.equal, before, after)) and not torch.equal(*after)
