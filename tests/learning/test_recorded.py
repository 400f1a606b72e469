"""Updates that are recorded and replayed late are those of the CPU, bit for bit."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from batches import filled
from late_queue import LateStream
from torch import Tensor

from gala.config.sections import NetworkConfig
from gala.device.streams import Direct, Stream
from gala.experience import Batch
from gala.learning.a2c import A2C
from gala.learning.a2c_config import A2CConfig
from gala.learning.learner import Alone, Learner
from gala.learning.table import ALGORITHMS, make_algorithm
from gala.networks import build_network
from gala.networks.model import Model
from gala.parameters.flat import FlatParameters
from gala.parameters.optimizer import build_optimizer

T, B, UPDATES = 3, 4, 6
IMAGES = gymnasium.spaces.Box(0, 255, (4, 36, 36), np.uint8)
VECTORS = gymnasium.spaces.Box(-1, 1, (5,), np.float32)
SIX = gymnasium.spaces.Discrete(6)
TORQUE = gymnasium.spaces.Box(-2, 2, (3,), np.float32)


def agent(
    stream: Stream, spaces: tuple[Any, Any], dtype: torch.dtype, **changes: Any
) -> tuple[Learner, FlatParameters, Model]:
    policy = build_network(*spaces, NetworkConfig(filters=(8, 8, 8), hidden=(16,)), seed=1)
    flat = FlatParameters(policy)
    compute = Model(policy, flat, dtype)
    config = A2CConfig(lr_schedule="linear", entropy_schedule="linear", **changes)
    return Learner(A2C(config), compute, lr=0.01, stream=stream), flat, compute


def empty_rollout(spaces: tuple[Any, Any], compute: Model) -> Batch:
    space, head = spaces[0], compute.module.head
    obs = torch.zeros((T + 1, B, *space.shape), dtype=torch.from_numpy(space.sample()).dtype)
    return filled(obs, head.buffer(T, B), head.size)


def play(rollout: Batch, seed: int) -> None:
    """Other numbers into the same tensors."""
    g = torch.Generator().manual_seed(seed)
    obs, action = rollout.obs, rollout.action
    if obs.dtype == torch.uint8:
        obs.random_(0, 256, generator=g)
    else:
        obs.normal_(generator=g)
    if action.dtype == torch.int64:
        action.random_(0, 6, generator=g)
    else:
        action.normal_(generator=g)
    for each in (rollout.reward, rollout.value, rollout.next_value):
        each.normal_(generator=g)
    rollout.discount.fill_(0.9)
    rollout.cut.random_(0, 2, generator=g)
    rollout.valid.copy_(torch.rand((T, B), generator=g) < 0.8)


def learn(
    stream: Stream, spaces: tuple[Any, Any], dtype: torch.dtype, **changes: Any
) -> tuple[list[Tensor], list[dict[str, float]]]:
    """Parameters and statistics after each update."""
    algorithm, flat, compute = agent(stream, spaces, dtype, **changes)
    rollout = empty_rollout(spaces, compute)
    parameters, numbers = [], []
    for k in range(UPDATES):
        play(rollout, seed=k)
        rollout.version[:] = compute.revision
        algorithm.schedule(k / UPDATES)
        losses = algorithm.update(rollout)
        algorithm.follow(k + 1, mixed=False)
        if isinstance(stream, LateStream):
            stream.queue.drain()
        parameters.append(flat.data.clone())
        numbers.append(losses.numbers())
    return parameters, numbers


CASES: dict[str, tuple[tuple[Any, Any], torch.dtype, dict[str, Any]]] = {
    "images": ((IMAGES, SIX), torch.float32, {}),
    "images, bfloat16": ((IMAGES, SIX), torch.bfloat16, {}),
    "vectors, adam": ((VECTORS, SIX), torch.float32, {"optimizer": "adam"}),
    "torques, normalised": ((VECTORS, TORQUE), torch.float32, {"normalize_advantage": True}),
    "unclipped": ((VECTORS, SIX), torch.float32, {"max_grad_norm": None, "gae_lambda": 0.9}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("warm_up", [0, 2])
def test_recorded_updates_are_the_same_bit_for_bit(name: str, warm_up: int) -> None:
    spaces, dtype, changes = CASES[name]
    expected, numbers = learn(Direct(), spaces, dtype, **changes)
    stream = LateStream(warm_up)
    found, again = learn(stream, spaces, dtype, **changes)
    for k, (theirs, ours) in enumerate(zip(expected, found, strict=True)):
        assert torch.equal(theirs, ours), f"update {k}"
    assert numbers == again
    copies = dtype != torch.float32
    assert stream.queue.recordings == 2 + copies, "gradient, step and copy, once each"
    assert not torch.equal(found[0], found[-1])


def learn_by(
    algorithm: str, stream: Stream, older: bool, **changes: Any
) -> tuple[list[Tensor], list[dict[str, float]]]:
    """Parameters and statistics after each update, by any algorithm."""
    spaces, dtype = changes.pop("spaces", (VECTORS, SIX)), changes.pop("dtype", torch.float32)
    scaled, masked = changes.pop("scaled", False), changes.pop("masked", False)
    choices = NetworkConfig(filters=(8, 8, 8), hidden=(16,))
    network = build_network(*spaces, choices, seed=1, normalize_observation=scaled)
    config = ALGORITHMS[algorithm].config(
        lr_schedule="linear", entropy_schedule="linear", optimizer="adam", **changes
    )
    made = make_algorithm(algorithm, config)
    network.hold(made.plan.duals)
    flat = FlatParameters(network, buffers=network.statistics)
    model = Model(network, flat, dtype)
    learner = Learner(made, model, lr=0.01, stream=stream)
    batch = empty_rollout(spaces, model)
    if masked:
        batch.mask = torch.zeros(batch.dist.shape, dtype=torch.bool)
    parameters, numbers = [], []
    for k in range(UPDATES):
        play(batch, seed=k)
        g = torch.Generator().manual_seed(k)
        batch.dist.normal_(generator=g)
        if batch.mask is not None:
            batch.mask.random_(0, 2, generator=g).scatter_(-1, batch.action[..., None], True)
        batch.version[:] = model.revision - (older and k % 2)
        learner.schedule(k / UPDATES)
        losses = learner.update(batch)
        if isinstance(stream, LateStream):
            stream.queue.drain()  # what follows is handed over in order, and here done at once
        learner.follow(k + 1, mixed=False)
        if isinstance(stream, LateStream):
            stream.queue.drain()
        learner.follow(k + 1, mixed=k == 2)
        parameters.append(flat.data.clone())
        numbers.append(losses.numbers())
    return parameters, numbers


PLANS: dict[str, tuple[str, dict[str, Any]]] = {
    "ppo": ("ppo", {"epochs": 3, "minibatches": 2, "clip_schedule": "linear"}),
    "ppo, value clipped, stopped": (
        "ppo", {"epochs": 4, "minibatches": 2, "value_clip": True, "stop_kl": 1e-3},
    ),
    "ppo, whole batches": ("ppo", {"epochs": 2, "minibatches": 1}),
    "ppo, both clips, images in bfloat16": (
        "ppo", {"epochs": 2, "minibatches": 2, "dual_clip": 2.0, "spaces": (IMAGES, SIX),
                "dtype": torch.bfloat16},
    ),
    "ppo, masked and normalised": (
        "ppo", {"epochs": 2, "minibatches": 3, "masked": True, "scaled": True},
    ),
    "vmpo": ("vmpo", {}),
    "vmpo, images in bfloat16": ("vmpo", {"spaces": (IMAGES, SIX), "dtype": torch.bfloat16}),
    "vmpo, masked and normalised": ("vmpo", {"masked": True, "scaled": True}),
    "vmpo, torques": ("vmpo", {"spaces": (VECTORS, TORQUE)}),
    "vtrace": ("vtrace", {}),
    "vtrace, images in bfloat16": ("vtrace", {"spaces": (IMAGES, SIX), "dtype": torch.bfloat16}),
    "vtrace, masked and normalised": ("vtrace", {"masked": True, "scaled": True}),
    "vtrace, torques": ("vtrace", {"spaces": (VECTORS, TORQUE)}),
    "impact": ("impact", {"target_every": 2, "replays": 3}),
    "impact, images in bfloat16": ("impact", {"spaces": (IMAGES, SIX), "dtype": torch.bfloat16}),
    "impact, masked and normalised": (
        "impact", {"masked": True, "scaled": True, "kl_coef": 0.5, "target": "mix"},
    ),
    "impact, torques": ("impact", {"spaces": (VECTORS, TORQUE), "kl_coef": 0.5}),
    "impact, without a buffer": ("impact", {"buffer": 1, "replays": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("warm_up", [0, 2])
def test_every_plan_is_recorded_bit_for_bit(name: str, older: bool, warm_up: int) -> None:
    algorithm, changes = PLANS[name]
    expected, numbers = learn_by(algorithm, Direct(), older, **changes)
    found, again = learn_by(algorithm, LateStream(warm_up), older, **changes)
    for k, (theirs, ours) in enumerate(zip(expected, found, strict=True)):
        assert torch.equal(theirs, ours), f"update {k}"
    for one, other in zip(numbers, again, strict=True):
        assert other == pytest.approx(one, nan_ok=True)
    assert not torch.equal(found[0], found[-1]) and bool(found[-1].isfinite().all())


def test_a_baked_in_rate_would_have_been_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream whose numbers are plain floats: what every optimizer does if left alone."""
    expected, _ = learn(Direct(), (VECTORS, SIX), torch.float32)
    monkeypatch.setattr(LateStream, "number", lambda self: Direct().number())
    found, _ = learn(LateStream(), (VECTORS, SIX), torch.float32)
    assert torch.equal(expected[0], found[0]) and not torch.equal(expected[1], found[1])


def test_the_reduced_gradient_is_the_one_that_is_used() -> None:
    """Between the two recordings, after the work of the first."""
    results = []
    for stream in (Direct(), LateStream()):
        algorithm, flat, compute = agent(stream, (VECTORS, SIX), torch.float32)
        rollout = empty_rollout((VECTORS, SIX), compute)
        host = torch.zeros_like(flat.data)

        class Halving(Alone):
            def reduce(
                self, gradient: Tensor, stream: Stream = stream, host: Tensor = host
            ) -> None:
                host.copy_(stream.download(gradient)).mul_(0.5)  # as allreduce does it
                stream.upload(host, gradient)

        for k in range(3):
            play(rollout, seed=k)
            rollout.version[:] = compute.revision
            algorithm.update(rollout, Halving())
            stream.download(flat.data)
        results.append(flat.data.clone())
    assert torch.equal(*results)


@pytest.mark.parametrize("name", ["rmsprop", "adam"])
def test_steps_with_numbers_on_the_device_round_alike(name: str) -> None:
    config = A2CConfig(optimizer=name)  # type: ignore[arg-type]
    results = []
    for stream in (Direct(), LateStream()):
        flat = FlatParameters(torch.nn.Linear(70, 50))
        g = torch.Generator().manual_seed(0)
        flat.data.normal_(generator=g)
        optimizer = build_optimizer(config, flat, 1e-3, stream)
        for k in range(10):
            flat.grad.normal_(generator=g)
            optimizer.lr = 1e-3 / (k + 1)
            optimizer.advance()
            if isinstance(stream, LateStream):
                stream.queue.drain()
            optimizer.apply()
        results.append(flat.data.clone())
    assert torch.equal(*results)


@pytest.mark.parametrize("warm_up", [0, 9])
def test_the_copy_that_computes_follows_each_update(warm_up: int) -> None:
    stream = LateStream(warm_up)
    algorithm, flat, compute = agent(stream, (IMAGES, SIX), torch.bfloat16)
    rollout = empty_rollout((IMAGES, SIX), compute)
    for k in range(3):
        play(rollout, seed=k)
        rollout.version[:] = compute.revision
        algorithm.update(rollout)
        algorithm.follow(k + 1, mixed=False)
        stream.queue.drain()
        trunk = torch.cat([p.detach().flatten() for p in compute.module.actor.parameters()])
        assert torch.equal(trunk, flat.data[: len(trunk)].to(torch.bfloat16)), f"update {k}"
