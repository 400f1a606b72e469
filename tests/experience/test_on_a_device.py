"""Rollouts on a device that is late: the same numbers, in as few transfers as can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from late_queue import LateStream
from torch import Tensor

from gala.config.sections import NetworkConfig
from gala.device.streams import Direct, Stream
from gala.envs.step import Step
from gala.experience import Batch, Collector
from gala.learning.a2c import A2C
from gala.learning.a2c_config import A2CConfig
from gala.learning.learner import Learner
from gala.networks import build_network
from gala.networks.model import Model
from gala.parameters.flat import FlatParameters

pytestmark = pytest.mark.slow

T, B, ROLLOUTS = 4, 4, 5
PIXELS = (4, 36, 36)


class Noise:
    """Pictures that depend on all actions so far, in a buffer that is used again and again."""

    frames_per_step, restorable = 1, False
    masks, action_mask = False, None
    observation_space = gymnasium.spaces.Box(0, 255, PIXELS, np.uint8)
    action_space = gymnasium.spaces.Discrete(6)

    def __init__(self, num_envs: int = B, state: int = 1) -> None:
        self.num_envs = num_envs
        self._buffer = np.zeros((num_envs, *PIXELS), np.uint8)
        self._state = state

    def _draw(self) -> np.random.Generator:
        random = np.random.default_rng(self._state)
        self._buffer[:] = random.integers(0, 256, self._buffer.shape)
        return random

    def reset(self) -> np.ndarray:
        self._draw()
        return self._buffer

    def send(self, actions: np.ndarray) -> None:
        self._buffer[:] = 77  # what was handed out is void from here on
        self._state = hash((self._state, *actions.tolist())) % 2**31

    def recv(self) -> Step:
        random = self._draw()
        terminated = random.random(self.num_envs) < 0.2
        truncated = ~terminated & (random.random(self.num_envs) < 0.2)
        return Step(
            obs=self._buffer,
            reward=random.standard_normal(self.num_envs).astype(np.float32),
            terminated=terminated,
            truncated=truncated,
            valid=random.random(self.num_envs) < 0.8,
            final_obs=255 - self._buffer if truncated.any() else None,
            episodes=[],
        )

    def close(self) -> None: ...


REMEMBERED = {"memory", "begin"}
OF_REPLAYS = {"weight", "burn_in", "stream"}
FIELDS = tuple(set(Batch.__slots__) - {"mask", "version"} - OF_REPLAYS - REMEMBERED)


def train(
    stream: Stream,
    dtype: torch.dtype,
    keep: bool = False,
    envs: Sequence[Noise] | None = None,
    memory: str = "none",
) -> tuple[list[dict[str, Tensor]], list[Tensor], Any]:
    """Rollouts and parameters, update by update; ``keep`` what layers gave while acting."""
    network = NetworkConfig(filters=(8, 8, 8), hidden=(16,), memory=memory, memory_size=8)
    policy = build_network(Noise.observation_space, Noise.action_space, network, seed=1)
    flat = FlatParameters(policy)
    compute = Model(policy, flat, dtype, observations=T * B if keep else 0)
    collector = Collector(
        envs or [Noise()],  # type: ignore[arg-type]
        compute.act,
        policy.head,
        n_step=T,
        gamma=0.9,
        reward_clip=False,
        generator=torch.Generator().manual_seed(3),
        stream=stream,
        memory=policy.memory and policy.memory.shape,
    )
    fields = FIELDS if memory == "none" else (*FIELDS, *REMEMBERED)
    algorithm = Learner(A2C(A2CConfig()), compute, lr=0.05, stream=stream)
    rollouts, parameters = [], []
    for _ in range(ROLLOUTS):
        rollout = collector.next()
        algorithm.update(rollout)
        collector.learned(compute.revision)
        stream.download(flat.data)
        rollouts.append({name: getattr(rollout, name).clone() for name in fields})
        parameters.append(flat.data.clone())
    return rollouts, parameters, collector


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("warm_up", [0, 2])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("parts", [(B,), (B // 2, B // 2), (1, B - 1)])
def test_a_late_device_collects_and_learns_the_same(
    dtype: torch.dtype, warm_up: int, keep: bool, parts: tuple[int, ...]
) -> None:
    def environments() -> list[Noise]:
        return [Noise(part, state) for state, part in enumerate(parts, 1)]

    rollouts, parameters, _ = train(Direct(), dtype, keep, environments())
    found, others, _ = train(LateStream(warm_up), dtype, keep, environments())
    for k in range(ROLLOUTS):
        for name in FIELDS:
            assert torch.equal(rollouts[k][name], found[k][name]), f"rollout {k}: {name}"
        assert torch.equal(parameters[k], others[k]), f"update {k}"
    ended = torch.stack([each["cut"] for each in rollouts])
    assert bool(ended.any()) and not bool(ended.all()), "something must have happened"
    actions = torch.stack([each["action"] for each in rollouts])
    assert len(actions.unique()) > 3


@pytest.mark.parametrize("memory", ["lstm", "gru", "gtrxl"])
@pytest.mark.parametrize("warm_up", [0, 2])
def test_a_late_device_remembers_the_same(memory: str, warm_up: int) -> None:
    rollouts, parameters, _ = train(Direct(), torch.float32, memory=memory)
    found, others, _ = train(LateStream(warm_up), torch.float32, memory=memory)
    for k in range(ROLLOUTS):
        for name in (*FIELDS, *REMEMBERED):
            assert torch.equal(rollouts[k][name], found[k][name]), f"rollout {k}: {name}"
        assert torch.equal(parameters[k], others[k]), f"update {k}"
    assert bool(rollouts[-1]["memory"].any())


def test_observations_go_up_once_and_the_rest_in_one_piece() -> None:
    stream = LateStream()
    queue = stream.queue
    env = Noise()
    _, _, collector = train(stream, torch.float32, envs=[env])
    queue.copied.clear()
    waits = queue.waits
    steps: list[Step] = []
    receive = env.recv

    def recv() -> Step:
        step = receive()
        step.final_obs = None
        steps.append(step)
        return step

    env.recv = recv  # type: ignore[method-assign]
    collector.next()
    picture = B * int(np.prod(PIXELS))
    assert queue.copied == [B * 8, picture] * T + [T * B * 15]
    assert queue.waits - waits <= T, "one wait a step: for the actions"


def test_the_rollout_lies_still() -> None:
    """What is recorded works on these addresses for life."""
    _, _, collector = train(LateStream(), torch.float32)
    places = [getattr(collector.next(), name).data_ptr() for name in FIELDS]
    assert places == [getattr(collector.next(), name).data_ptr() for name in FIELDS]


def test_a_state_is_of_the_cpu_and_of_its_own() -> None:
    env = Noise()
    collector = train(Direct(), torch.float32, envs=[env])[2]
    env.restorable = True
    env.state_dict = dict  # type: ignore[attr-defined]
    state = collector.state_dict()
    before = state["obs"].clone()
    collector.next()
    assert state["obs"].device.type == "cpu" and torch.equal(state["obs"], before)
