"""Acting with a memory: it begins with the episode, in both autoreset modes, across unrolls."""

from __future__ import annotations

import copy

import pytest
import torch
from scripted import Scripted, step
from torch import Tensor

from gala.config.sections import NetworkConfig
from gala.experience import Batch, Collector
from gala.networks import build_network
from gala.networks.model import Model
from gala.parameters.flat import FlatParameters

# Both see 1, 2 and (at last) 4, environment 0 terminates and 1 is truncated; then both see 6 and 8.
NEXT_STEP = [
    step((2, 2)),
    step((4, 4), terminated=(1, 0), truncated=(0, 1)),
    step((6, 6), valid=(0, 0)),
    step((8, 8)),
]
SAME_STEP = [
    step((2, 2)),
    step((6, 6), terminated=(1, 0), truncated=(0, 1), final=(4, 4)),
    step((8, 8)),
    step((9, 9)),
]
MODES = {"next-step": NEXT_STEP, "same-step": SAME_STEP}
KINDS = ["lstm", "gru", "gtrxl"]


def policy(kind: str) -> Model:
    config = NetworkConfig(memory=kind, memory_size=8, hidden=(8,))  # type: ignore[arg-type]
    network = build_network(Scripted.observation_space, Scripted.action_space, config, seed=1)
    return Model(network, FlatParameters(network), torch.float32)


def collector(model: Model, mode: str, n_step: int) -> Collector:
    memory = model.module.memory
    assert memory is not None
    return Collector(
        [Scripted(copy.deepcopy(MODES[mode]))], model.act, model.module.head, n_step=n_step,
        gamma=0.5, reward_clip=False, generator=torch.Generator().manual_seed(0),
        memory=memory.shape,
    )  # fmt: skip


def alone(model: Model, *seen: float) -> Tensor:
    """Values of an episode's observations, by itself."""
    obs = torch.tensor(seen).view(-1, 1, 1)
    nothing = torch.zeros(len(seen), 1, dtype=torch.bool)
    with torch.no_grad():
        return model.module.unroll(obs, model.module.initial(1), nothing)[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_step", [1, 2, 4])
def test_values_are_those_of_the_episode_alone(kind: str, mode: str, n_step: int) -> None:
    model = policy(kind)
    source = collector(model, mode, n_step)
    batches = []
    for _ in range(4 // n_step):
        batch = source.next()
        torch.testing.assert_close(model.unroll(batch).value.view(n_step, 2), batch.value)
        dist, _ = model.evaluate(batch)
        torch.testing.assert_close(dist[:-1], batch.dist)
        batches.append(copy.deepcopy(batch))
    first, second = alone(model, 1, 2, 4), alone(model, 6, 8)
    value = torch.cat([batch.value for batch in batches])
    after = torch.cat([batch.next_value for batch in batches])
    valid = torch.cat([batch.valid for batch in batches])
    expected = torch.cat([first[:2], second])[: int(valid[:, 0].sum())]  # next-step: a row is lost
    for env in range(2):
        torch.testing.assert_close(value[:, env][valid[:, env]], expected)
    torch.testing.assert_close(after[0], first[1].expand(2))
    torch.testing.assert_close(after[1, 1], first[2])  # of the truncated one: what it saw last


@pytest.mark.parametrize("mode", MODES)
def test_an_episode_begins_where_it_is_seen_first(mode: str) -> None:
    begin = collector(policy("gru"), mode, 4).next().begin
    assert begin is not None
    place = 3 if mode == "next-step" else 2
    assert begin[:, 0].tolist() == [t in (0, place) for t in range(5)]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_remembered_is_saved(kind: str) -> None:
    model = policy(kind)
    source, other = collector(model, "next-step", 2), collector(model, "next-step", 2)
    source.next()
    state = copy.deepcopy(source.state_dict())
    expected = source.next()
    other.load_state_dict(state)
    found = other.next()
    assert found.memory is not None and bool(found.memory.any())
    for name in ("memory", "begin", "value", "next_value", "dist", "action"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


def test_without_memory_there_is_none() -> None:
    network = build_network(
        Scripted.observation_space, Scripted.action_space, NetworkConfig(), seed=1
    )
    model = Model(network, FlatParameters(network), torch.float32)
    source = Collector(
        [Scripted(NEXT_STEP)], model.act, network.head, n_step=2, gamma=0.5, reward_clip=False,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    batch: Batch = source.next()
    assert batch.memory is None and batch.begin is None and "memory" not in source.state_dict()
