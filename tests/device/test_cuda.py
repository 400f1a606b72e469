"""The CUDA side: what torch must offer and, on a GPU, that it does what the CPU does."""

from __future__ import annotations

import inspect
import threading
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gala.config.sections import NetworkConfig
from gala.device.choose import handover_on, stream_on, usage_on
from gala.device.cuda import CudaHandover, CudaQueue
from gala.device.streams import Direct, Queued, Stream
from gala.experience import Batch
from gala.gossip import message
from gala.gossip.in_process import InProcessTransport, LocalGroup
from gala.gossip.message import Header, Identity
from gala.learning.a2c import A2C
from gala.learning.a2c_config import A2CConfig
from gala.learning.learner import Learner
from gala.networks import build_network
from gala.networks.heads import CategoricalHead
from gala.networks.model import Model
from gala.networks.network import Network
from gala.networks.trunks import MLP
from gala.parameters.flat import FlatParameters

T, B, N, ACTIONS = 3, 8, 4, 3


def test_torch_still_offers_what_is_asked_of_it() -> None:
    offered = inspect.signature(torch.cuda.graph.__init__).parameters
    assert {"stream", "capture_error_mode"} <= set(offered)
    assert {"thread_local"} <= set(torch.cuda.graph.__doc__.split('"'))
    assert "blocking" in inspect.signature(torch.cuda.Event.__new__).parameters
    for kind, names in (
        (torch.cuda.CUDAGraph, ("replay",)),
        (torch.cuda.Stream, ("wait_event", "wait_stream")),
    ):
        assert all(callable(getattr(kind, name, None)) for name in names), kind


def test_what_the_cpu_wrote_needs_no_handover() -> None:
    assert handover_on(torch.device("cpu")) is None
    x = torch.ones(2)
    handover = CudaHandover(torch.device("cuda", 0))
    assert handover.written(x) is None
    handover.read(x, None)


def test_usage_is_that_of_the_agents_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for two GPUs, one of which the driver does not know."""
    busy = {torch.device("cuda", 0): 40}
    held = {torch.device("cuda", 0): 3_000_000, torch.device("cuda", 1): 5_000_000}
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: busy[device])
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: held[device])
    first, second = (usage_on(torch.device("cuda", k)) for k in (0, 1))
    assert first() == {"system/gpu_busy": 0.4, "system/gpu_memory_mb": 3.0}
    assert second() == {"system/gpu_busy": None, "system/gpu_memory_mb": 5.0}
    assert usage_on(torch.device("cpu"))() == {}


# -- on a GPU

gpu = pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="NO CUDA DEVICE: streams, graphs and handover on a GPU go untested",
)


def on_gpu() -> Stream:
    return stream_on(torch.device("cuda", 0))


def learner(stream: Stream) -> tuple[Learner, FlatParameters, Network]:
    g = torch.Generator().manual_seed(0)
    actor, critic = MLP(N, (16,), g), MLP(N, (16,), g)
    policy = Network(actor, critic, 16, CategoricalHead(ACTIONS), g).to(stream.device)
    flat = FlatParameters(policy)
    compute = Model(policy, flat, torch.float32)
    return Learner(A2C(A2CConfig()), compute, lr=0.01, stream=stream), flat, policy


def numbers(seed: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        "obs": torch.randn(T + 1, B, N, generator=g),
        "action": torch.randint(0, ACTIONS, (T, B), generator=g),
        "reward": torch.randn(T, B, generator=g),
        "discount": torch.full((T, B), 0.9),
        "value": torch.randn(T, B, generator=g),
        "next_value": torch.randn(T, B, generator=g),
        "cut": torch.rand(T, B, generator=g) < 0.1,
        "final": torch.zeros(T, B, dtype=torch.bool),
        "dist": torch.randn(T, B, ACTIONS, generator=g),
        "valid": torch.rand(T, B, generator=g) < 0.9,
    }


def learn(stream: Stream, updates: int = 8) -> Tensor:
    with stream.current():
        algorithm, flat, _ = learner(stream)
        columns = {name: x.to(stream.device) for name, x in numbers(0).items()}
        rollout = Batch(**columns, version=np.zeros((T, B), np.int64))
        for k in range(updates):
            for name, x in numbers(k).items():
                stream.upload(x, getattr(rollout, name))
            algorithm.schedule(k / updates)
            algorithm.update(rollout)
            algorithm.follow(k + 1, mixed=False)
        return stream.download(flat.data).clone()


@gpu
def test_recorded_updates_are_those_of_the_cpu() -> None:
    torch.testing.assert_close(learn(on_gpu()), learn(Direct()), rtol=1e-3, atol=1e-5)


@gpu
def test_recorded_updates_are_those_that_are_not_recorded() -> None:
    stream = on_gpu()
    stream.captured = lambda function, generator=None: function  # type: ignore[method-assign]
    torch.testing.assert_close(learn(on_gpu()), learn(stream), rtol=1e-5, atol=1e-6)


@gpu
def test_a_recording_draws_the_numbers_that_would_have_been_drawn() -> None:
    drawn = []
    for recorded in (True, False):
        stream = on_gpu()
        g = torch.Generator(stream.device).manual_seed(5)
        noise = torch.zeros(100, device=stream.device)

        def draw(noise: Tensor = noise, g: torch.Generator = g) -> None:
            noise.exponential_(generator=g)

        with stream.current():
            act = stream.captured(draw, g) if recorded else draw
            found = []
            for _ in range(7):
                act()
                found.append(stream.download(noise).clone())
        drawn.append(torch.stack(found))
        assert len(drawn[-1][:, 0].unique()) == 7
    assert torch.equal(*drawn)


@gpu
def test_threads_record_and_replay_beside_one_another() -> None:
    expected = learn(on_gpu(), 30)
    found: list[Any] = []

    def work() -> None:
        try:
            found.append(learn(on_gpu(), 30))
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert len(found) == 8
    for each in found:
        assert isinstance(each, Tensor), each
        torch.testing.assert_close(each, expected, rtol=1e-4, atol=1e-6)


@gpu
def test_buffers_are_page_locked_and_rest_until_they_are_through() -> None:
    stream = on_gpu()
    assert isinstance(stream, Queued)
    source, target = torch.zeros(2**22), torch.zeros(20, 2**22, device=stream.device)
    with stream.current():
        for k in range(20):
            source.fill_(k)
            stream.upload(source, target[k])
        found = stream.download(target[:, -1].contiguous())
    assert found.tolist() == list(range(20)) and found.is_pinned()


@gpu
def test_a_message_is_read_when_it_is_written_and_its_memory_stays_its_own() -> None:
    device = torch.device("cuda", 0)
    local_group = LocalGroup((0, 1, 2), handover_on(device))
    who = Identity(run="00" * 8, topology="11" * 8, layout="22" * 8)
    boxes = [
        InProcessTransport(rank=rank, local_group=local_group, identity=who) for rank in (0, 1, 2)
    ]
    size = 2**24
    wrong: list[str] = []
    written, done = threading.Event(), threading.Event()

    def record() -> None:
        """An agent that records all the time, and reads messages in between."""
        stream, x = on_gpu(), torch.zeros(2**20, device=device)
        written.wait(60)
        try:
            with stream.current():
                while not done.is_set():
                    boxes[2].latest(0)
                    add = stream.captured(lambda: x.add_(1))
                    for _ in range(5):
                        add()
        except RuntimeError as error:
            wrong.append(f"recording: {error}")

    def publish() -> None:
        with CudaQueue(device).current():
            vector = torch.zeros(size, device=device)
            for version in range(1, 200):
                vector.fill_(version)
                payload = vector.view(torch.uint8)
                header = Header(identity=who, rank=0, version=version, update=1, step=1, time=1.0)
                boxes[0].publish(message.sealed(header, payload), payload)
                written.set()
        done.set()

    def read() -> None:
        written.wait(60)
        with CudaQueue(device).current():
            while not done.is_set():
                found = boxes[1].latest(0)
                assert found is not None
                vector = found[1].view(torch.float32)
                low, high = float(vector.min()), float(vector.max())
                if not low == high == found[0].version:
                    wrong.append(f"{low} to {high} in version {found[0].version}")

    threads = [threading.Thread(target=each) for each in (publish, read, record)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert wrong == [] and done.is_set()


@gpu
def test_convolutions_in_bfloat16_are_recorded() -> None:
    stream = on_gpu()
    conv = nn.Conv2d(4, 8, 3).to(stream.device, torch.bfloat16)
    pictures = torch.zeros(2, 4, 9, 9, dtype=torch.uint8, device=stream.device)
    with stream.current(), torch.no_grad():
        look = stream.captured(lambda: conv(pictures.to(torch.bfloat16)))
        for k in range(6):
            stream.upload(torch.full(pictures.shape, k, dtype=torch.uint8), pictures)
            found = stream.download(look()).clone()
            torch.testing.assert_close(found, conv(pictures.to(torch.bfloat16)).cpu())


def gradient(stream: Stream, dtype: torch.dtype) -> Tensor:
    """Of a convolutional network that learns from what it kept while acting."""
    space = gymnasium.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    actions = gymnasium.spaces.Discrete(ACTIONS)
    policy = build_network(space, actions, NetworkConfig(), seed=1).to(stream.device)
    with stream.current():
        flat = FlatParameters(policy)
        compute = Model(policy, flat, dtype, observations=2 * B)
        algorithm = Learner(A2C(A2CConfig()), compute, lr=0.0, stream=stream)
        g = torch.Generator().manual_seed(3)
        pictures = torch.randint(0, 256, (3, B, 4, 84, 84), dtype=torch.uint8, generator=g)
        columns = {name: x[:2].to(stream.device) for name, x in numbers(0).items() if name != "obs"}
        rollout = Batch(
            obs=pictures.to(stream.device), **columns, version=np.zeros((2, B), np.int64)
        )
        acts = [
            stream.captured(partial(compute.act, rollout.obs[t], slice(t * B, (t + 1) * B)))
            for t in range(2)
        ]
        for k in range(6):
            for act in acts:
                act()
            rollout.version.fill(compute.revision)
            algorithm.update(rollout)
            algorithm.follow(k + 1, mixed=False)
        return stream.download(flat.grad).clone()


def test_what_a_device_is_held_against_runs_on_the_cpu() -> None:
    assert bool(learn(Direct()).isfinite().all())
    assert float(gradient(Direct(), torch.float32).norm()) > 0


@gpu
def test_a_convolutional_policy_learns_from_what_it_recorded_while_acting() -> None:
    """As on the CPU in float32; in bfloat16 nearly so."""
    with torch.backends.cudnn.flags(allow_tf32=False):
        exact = gradient(Direct(), torch.float32)
        torch.testing.assert_close(gradient(on_gpu(), torch.float32), exact, rtol=1e-3, atol=1e-5)
        rough = gradient(on_gpu(), torch.bfloat16)
        assert float((rough - exact).norm() / exact.norm()) < 0.05


@gpu
def test_usage_sees_what_is_held() -> None:
    ask = usage_on(torch.device("cuda", 0))
    before = ask()["system/gpu_memory_mb"] or 0.0
    kept = torch.empty(64_000_000, dtype=torch.uint8, device="cuda")
    found = ask()
    assert (found["system/gpu_memory_mb"] or 0.0) - before > 50 and kept.numel() > 0
    assert found["system/gpu_busy"] is None or 0 <= found["system/gpu_busy"] <= 1
