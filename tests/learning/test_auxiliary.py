"""Decorrelated features: golden numbers, both ways to the Gramian, and that covariance falls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from batches import filled, linear_learner, random_batch
from late_queue import LateStream

from gala.config.sections import NetworkConfig
from gala.device.streams import Direct
from gala.experience.windows import Transitions
from gala.learning.auxiliary import Decorrelation, covariance
from gala.learning.learner import Alone, Learner
from gala.learning.replay_learner import ReplayLearner
from gala.learning.sac import SAC
from gala.learning.sac_config import SACConfig
from gala.learning.table import ALGORITHMS, make_algorithm
from gala.networks import Network, build_network
from gala.networks.model import Model
from gala.parameters.flat import FlatParameters

T, B = 4, 8
MISC = json.loads((Path(__file__).parents[1] / "golden" / "losses_misc.json").read_text())
GOLDEN = {case["name"]: case for case in MISC["cases"]}
VECTORS = gymnasium.spaces.Box(-1, 1, (6,), np.float32)
PICTURES = gymnasium.spaces.Box(0, 255, (4, 36, 36), np.uint8)
FIVE = gymnasium.spaces.Discrete(5)
METRIC = "losses/decorrelation"


def equal(rows: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.full((rows,), 1 / rows, dtype=dtype)


def by_hand(features: torch.Tensor) -> torch.Tensor:
    """From the matrix itself."""
    centred = features - features.mean(0)
    matrix = centred.t() @ centred / len(features)
    return matrix.square().sum() - matrix.diagonal().square().sum()


def test_the_gramian_of_the_golden_file() -> None:
    case = GOLDEN["gramian"]
    features = torch.tensor(case["features"], dtype=torch.float64, requires_grad=True)
    found = covariance(features, equal(len(features), torch.float64))
    found.backward()
    assert found.item() == pytest.approx(case["off_diagonal_centred_over_B"], rel=1e-8)
    wanted = torch.tensor(case["grad_centred"], dtype=torch.float64)
    torch.testing.assert_close(features.grad, wanted, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (5, 5), (1, 4), (4, 1)])
def test_rows_or_features_whichever_are_fewer(shape: tuple[int, int]) -> None:
    features = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = covariance(features, equal(len(features), torch.float64))
    torch.testing.assert_close(found, by_hand(features))
    # of rotated rows, of a moved origin, of repeated rows it is the same
    again = covariance(features.flip(0) + 3.0, equal(len(features), torch.float64))
    torch.testing.assert_close(again, found)
    twice = covariance(features.repeat(2, 1), equal(2 * len(features), torch.float64))
    torch.testing.assert_close(twice, found)


def test_rows_that_are_not_valid_do_not_count() -> None:
    features = torch.randn((6, 4), generator=torch.Generator().manual_seed(2))
    weight = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 1.0]) / 4
    kept = covariance(features[weight > 0], equal(4))
    torch.testing.assert_close(covariance(features, weight), kept)
    features[weight == 0] = 1e6
    torch.testing.assert_close(covariance(features, weight), kept)


def network_of(kind: str) -> Network:
    config = {
        "mlp": NetworkConfig(hidden=(16,)),
        "gru": NetworkConfig(hidden=(16,), memory="gru", memory_size=8),
        "nature-cnn": NetworkConfig(filters=(4, 4, 4), hidden=(16,)),
    }[kind]
    space = PICTURES if kind == "nature-cnn" else VECTORS
    return build_network(space, FIVE, config, seed=1)


def batch_for(network: Network, kind: str) -> Any:
    g = torch.Generator().manual_seed(3)
    if kind == "nature-cnn":
        obs = torch.randint(0, 256, (T + 1, B, 4, 36, 36), dtype=torch.uint8, generator=g)
    else:
        obs = torch.randn((T + 1, B, 6), generator=g)
    more: dict[str, Any] = {}
    if network.memory is not None:
        begin = torch.zeros((T + 1, B), dtype=torch.bool)
        more = {"memory": network.initial(B), "begin": begin}
    return filled(obs, torch.randint(0, 5, (T, B), generator=g), 5, **more)


@pytest.mark.parametrize("algorithm", ["a2c", "impact", "ppo", "vmpo", "vtrace"])
@pytest.mark.parametrize("kind", ["mlp", "gru", "nature-cnn"])
def test_covariance_falls_with_every_algorithm_and_trunk(algorithm: str, kind: str) -> None:
    """Without rewards nothing else moves the features by much; by the wrong sign it would grow."""
    lr = 3e-3
    config = ALGORITHMS[algorithm].config(lr=lr, value_coef=0.0, entropy_coef=0.0)
    network, made = network_of(kind), make_algorithm(algorithm, config)
    network.hold(made.plan.duals)
    model = Model(network, FlatParameters(network), torch.float32)
    learner = Learner(made, model, lr=lr, auxiliaries=[Decorrelation(10.0)])
    batch = batch_for(network, kind)
    found = [learner.update(batch).numbers()[METRIC] for _ in range(20)]
    assert found[0] > 0 and found[-1] < 0.8 * found[0], found
    features = model.unroll(batch).features
    assert len(features) == (2 if kind == "mlp" else 1)


def test_it_is_what_it_says_of_both_trunks() -> None:
    network = network_of("mlp")
    model = Model(network, FlatParameters(network), torch.float32)
    batch = batch_for(network, "mlp")
    out = model.unroll(batch)
    loss = Decorrelation(0.5).of(out.features, equal(T * B))
    obs = batch.obs[:-1].flatten(0, 1)
    assert network.critic is not None
    wanted = by_hand(network.actor(obs)) + by_hand(network.critic(obs))
    torch.testing.assert_close(loss.logged[METRIC], wanted.detach())
    torch.testing.assert_close(loss.total, 0.5 * wanted)


@pytest.mark.parametrize("algorithm", ["a2c", "impact", "ppo"])
def test_recorded_and_replayed_late_it_is_the_same(algorithm: str) -> None:
    plans = {"epochs": 2, "minibatches": 3} if algorithm == "ppo" else {}
    found = []
    for stream in (Direct(), LateStream()):
        learner, _, model = linear_learner(algorithm, stream=stream, **plans)
        learner.auxiliaries.append(Decorrelation(1.0))
        batch = random_batch()
        for seed in range(4):
            if isinstance(stream, LateStream):
                stream.queue.drain()
            batch.obs.copy_(random_batch(seed).obs)
            learner.update(batch)
        if isinstance(stream, LateStream):
            stream.queue.drain()
        found.append(model.flat.data.clone())
    assert torch.equal(*found)


@pytest.mark.parametrize("actions", [FIVE, gymnasium.spaces.Box(-1, 1, (2,), np.float32)])
def test_covariance_of_a_soft_actor_critic_falls(actions: gymnasium.Space[Any]) -> None:
    network = build_network(VECTORS, actions, NetworkConfig(hidden=(8,)), seed=1, values="soft")
    model = Model(network, FlatParameters(network, buffers=True), torch.float32)
    sac, rows, g = SAC(SACConfig()), 32, torch.Generator().manual_seed(4)
    term = Decorrelation(10.0)
    learner = ReplayLearner(sac, model, lr=1e-3, rows=rows, decorrelation=term)
    action = torch.randint(0, 5, (rows,), generator=g)
    if isinstance(actions, gymnasium.spaces.Box):
        action = torch.rand((rows, 2), generator=g)
    obs = torch.randn((2, rows, 6), generator=g)
    transitions = Transitions(obs[0], action, torch.zeros(rows), torch.zeros(rows), obs[1])
    assert network.soft is not None
    critics = network.soft.critics

    def each() -> list[float]:
        given = critics.given(obs[0], action)
        features = [*critics.features(given), *network.features(obs[0])]
        return [float(covariance(part.detach(), equal(rows))) for part in features]

    before = each()
    noise = torch.zeros((2, rows, critics.noise))
    logged = [learner.step(transitions, noise, Alone())[0] for _ in range(30)]
    assert float(logged[0][METRIC]) == pytest.approx(sum(before), rel=0.1)
    assert all(now < 0.8 * then for now, then in zip(each(), before, strict=True))
