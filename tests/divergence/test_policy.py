"""Policy divergence, with parameters that are policies by themselves."""

import gymnasium
import numpy as np
import pytest
import torch

from gala.config.sections import NetworkConfig
from gala.divergence.policy import OBSERVATIONS, PolicyDivergence
from gala.networks import build_network
from gala.networks.network import outputs_at
from gala.parameters.flat import FlatParameters


def bernoulli_kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).squeeze(-1)


def test_mean_over_recent_observations() -> None:
    rows = torch.tensor([[1.0], [2.0]])
    found = PolicyDivergence(lambda: rows, lambda vector, obs: vector * obs, bernoulli_kl)
    own, other = torch.tensor([0.2]), torch.tensor([0.3])
    by_hand = np.mean(
        [
            p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
            for p, q in ((0.2, 0.3), (0.4, 0.6))
        ]
    )
    assert found.between(own, other) == pytest.approx(by_hand, rel=1e-5)
    metrics = found.from_others(own, {7: other, 3: own})
    assert list(metrics) == ["divergence/kl/3", "divergence/kl/7"]
    assert metrics["divergence/kl/3"] == 0.0
    assert metrics["divergence/kl/7"] == pytest.approx(by_hand, rel=1e-5)


def test_many_observations_are_thinned_out() -> None:
    seen = []

    def evaluate(vector: torch.Tensor, obs: torch.Tensor) -> torch.Tensor:
        seen.append(len(obs))
        return vector * torch.ones(len(obs), 1)

    found = PolicyDivergence(lambda: torch.ones(1000, 1), evaluate, bernoulli_kl)
    assert found.between(torch.tensor([0.5]), torch.tensor([0.5])) == 0.0
    assert seen == [OBSERVATIONS] * 2


@pytest.mark.parametrize("rows", [None, torch.zeros(0, 1)])
def test_without_observations_nothing_is_said(rows: torch.Tensor | None) -> None:
    found = PolicyDivergence(lambda: rows, lambda v, o: v, bernoulli_kl)
    assert found.between(torch.ones(1), torch.ones(1)) is None
    assert found.from_others(torch.ones(1), {1: torch.ones(1)}) == {}


@pytest.mark.parametrize(
    ("observation", "kind"),
    [
        (gymnasium.spaces.Box(-1, 1, (3,), np.float32), "mlp"),
        (gymnasium.spaces.Box(0, 255, (4, 36, 36), np.uint8), "nature-cnn"),
    ],
)
def test_other_parameters_in_the_same_network(observation: gymnasium.Space, kind: str) -> None:
    config = NetworkConfig(kind=kind, hidden=(8,), filters=(2, 2, 2))
    actions = gymnasium.spaces.Discrete(3)
    policy, other = (build_network(observation, actions, config, seed=seed) for seed in (1, 2))
    flat, flat_other = FlatParameters(policy), FlatParameters(other)
    flat_other.data.mul_(3)
    obs = torch.from_numpy(np.stack([observation.sample() for _ in range(5)]))
    before = flat.data.clone()
    with torch.no_grad():
        found, _ = outputs_at(policy, flat.layout, flat_other.data, obs)
        torch.testing.assert_close(found, other(obs)[0])
    assert torch.equal(flat.data, before)
