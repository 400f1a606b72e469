"""Environments elsewhere: bit-identical to those here, and what does not fit is refused."""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from gala.config.sections import EnvConfig
from gala.envs import make_vector_env
from gala.envs.remote import Form, RemoteEnv, orders_of, read_orders, serve
from gala.envs.step import VectorEnv
from gala.envs.wire import GREETING_BYTES, HEADER, MAGIC, PROTOCOL, Gone, Kind, Link
from gala.errors import UserError

Connect = Callable[..., RemoteEnv]


def links() -> tuple[Link, Link]:
    ours, theirs = map(Link, socket.socketpair())
    ours.trust()
    theirs.trust()
    return ours, theirs


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Environments that a thread at the other end of a link steps."""
    served: list[tuple[RemoteEnv, threading.Thread]] = []

    def make(config: EnvConfig, seed: int, form: Form | None = None) -> RemoteEnv:
        ours, theirs = links()

        def work() -> None:
            try:
                serve(theirs, theirs.receive().text)
            except (Gone, UserError) as error:
                if isinstance(error, UserError):
                    with suppress(Gone):  # ours may have found it out, too
                        theirs.send(Kind.REFUSED, str(error).encode())
            finally:
                theirs.close()

        thread = threading.Thread(target=work)
        thread.start()
        shown = make_vector_env(dataclasses.replace(config, num_envs=1), seed=0)
        form = form or Form.of(shown, config.num_envs, shown.reset())
        shown.close()
        served.append((RemoteEnv(ours, config, seed=seed, shown=shown, form=form), thread))
        return served[-1][0]

    yield make
    for env, thread in served:
        env.close()
        thread.join()


class Choosy(gymnasium.Env[np.ndarray, int]):
    """Masks actions, and ends by chance, with its last observation beyond the next episode's."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-9, 9, (2, 3), np.float64)
        self.action_space = spaces.Discrete(3)

    def _see(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        mask = self.np_random.integers(0, 2, 3).astype(np.int8)
        mask[int(self.np_random.integers(3))] = 1
        return self.np_random.normal(size=(2, 3)), {"action_mask": mask}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._see()

    def step(self, action):
        obs, info = self._see()
        ends, cut = self.np_random.random(2) < 0.2
        return obs, float(self.np_random.random()), bool(ends), bool(cut and not ends), info


if "Choosy-v0" not in gymnasium.registry:
    gymnasium.register("Choosy-v0", entry_point=Choosy)

CONFIGS = {
    "vector": EnvConfig(id="CartPole-v1", num_envs=3),
    "same-step": EnvConfig(id="Choosy-v0", num_envs=3, autoreset="same-step"),
    "masks": EnvConfig(id="Choosy-v0", num_envs=2),
    "atari": EnvConfig(id="PongNoFrameskip-v4", num_envs=2),
    "box": EnvConfig(id="Pendulum-v1", num_envs=2, max_episode_steps=20),
    "own": EnvConfig(id="gala/Identity-v0", num_envs=4, autoreset="same-step"),
}


def actions_for(env: VectorEnv, rng: np.random.Generator) -> np.ndarray:
    space = env.action_space
    if isinstance(space, spaces.Discrete):
        return rng.integers(0, space.n, env.num_envs)
    return rng.uniform(-1, 1, (env.num_envs, *space.shape)).astype(np.float32)


@pytest.mark.parametrize("name", CONFIGS)
def test_steps_elsewhere_are_those_of_here_bit_by_bit(connect: Connect, name: str) -> None:
    config = CONFIGS[name]
    here, there = make_vector_env(config, seed=7), connect(config, 7)
    first = here.reset()
    assert np.array_equal(first, there.reset()) and first.dtype == there.reset().dtype
    assert (here.num_envs, here.masks) == (there.num_envs, there.masks)
    assert here.opening == there.opening and here.frames_per_step == there.frames_per_step
    finals, rng = 0, np.random.default_rng(1)
    for _ in range(150):
        actions = actions_for(here, rng)
        mine, theirs = here.step(actions), there.step(actions)
        for field in ("obs", "reward", "terminated", "truncated", "valid", "first"):
            a, b = getattr(mine, field), getattr(theirs, field)
            assert a.dtype == b.dtype and np.array_equal(a, b), field
        for field in ("final_obs", "action_mask"):
            a, b = getattr(mine, field), getattr(theirs, field)
            assert (a is None) == (b is None) and (a is None or np.array_equal(a, b)), field
        finals += mine.final_obs is not None
        assert mine.episodes == theirs.episodes
    here.close()
    assert (finals > 0) == (config.autoreset == "same-step")
    assert there.state_dict() == {} and not there.restorable


def test_whoever_does_not_wait_gets_a_step_when_it_has_come(connect: Connect) -> None:
    env = connect(CONFIGS["own"], 3)
    while (first := env.begun()) is None:
        pass
    assert first.shape == (4, 4) and env.begun() is first
    env.send(np.zeros(4, np.int64))
    while (step := env.poll()) is None:
        pass
    assert step.obs.shape == (4, 4) and env.poll() is None


def test_another_environment_than_the_agents_is_refused(connect: Connect) -> None:
    other = Form(envs=4, obs=(5,), dtype="<f4", mask=0)
    with pytest.raises(UserError, match=r'another environment .*"obs": \[4\].* instead of .*\[5\]'):
        connect(CONFIGS["own"], 3, other).reset()


def test_an_environment_that_the_worker_lacks_is_told(connect: Connect) -> None:
    ours, theirs = links()
    ours.send(Kind.ORDERS, orders_of(EnvConfig(id="NoSuch-v3"), 1).encode())
    with pytest.raises(UserError, match="no environment is called 'NoSuch-v3'"):
        serve(theirs, theirs.receive().text)
    ours.close()
    theirs.close()


def test_orders_travel_whole_and_strange_ones_are_refused() -> None:
    config = EnvConfig(id="a:B-v0", kwargs={"size": 5, "far": float("inf")}, wrappers=("c:d",))
    assert read_orders(orders_of(config, 2**30)) == (config, 2**30)
    for text in ("", "[]", '{"env": {"colour": 1}, "seed": 1}', '{"env": {}}'):
        with pytest.raises(UserError, match="install the same version"):
            read_orders(text)


def test_a_frame_is_there_as_a_whole_or_not_at_all() -> None:
    ours, theirs = links()
    payload = bytes(range(256)) * 50
    head = HEADER.pack(MAGIC, PROTOCOL, Kind.STEP, 5, 9, len(payload))
    for piece in (head[:7], head[7:], payload[:1000]):
        ours.end.sendall(piece)
        assert theirs.poll() is None
    ours.end.sendall(payload[1000:] + HEADER.pack(MAGIC, PROTOCOL, Kind.BYE, 0, 0, 0))
    frame = theirs.poll()
    assert frame is not None and (frame.kind, frame.flags, frame.count) == (Kind.STEP, 5, 9)
    assert bytes(frame.payload) == payload
    assert theirs.receive().kind == Kind.BYE and theirs.received == len(payload) + 48
    ours.close()
    with pytest.raises(Gone):
        theirs.receive()
    theirs.close()
    with pytest.raises(Gone):
        theirs.send(Kind.BYE)


def test_large_frames_pass_a_small_socket() -> None:
    ours, theirs = links()
    payload = np.random.default_rng(0).integers(0, 256, 5_000_000, np.uint8)
    thread = threading.Thread(target=ours.send, args=(Kind.STEP, payload.data))
    thread.start()
    assert np.array_equal(np.frombuffer(theirs.receive().payload, np.uint8), payload)
    thread.join()
    assert ours.sent == theirs.received
    ours.close()
    theirs.close()


@pytest.mark.parametrize(
    ("head", "rule"),
    [
        (HEADER.pack(b"HTTP", PROTOCOL, Kind.STEP, 0, 0, 0), "no gala"),
        (HEADER.pack(MAGIC, PROTOCOL + 1, Kind.STEP, 0, 0, 0), "version 2 .* speaks version 1"),
        (HEADER.pack(MAGIC, PROTOCOL, Kind.STEP, 0, 0, GREETING_BYTES + 1), "4,097 bytes at once"),
    ],
)
def test_strangers_are_refused(head: bytes, rule: str) -> None:
    ours, theirs = map(Link, socket.socketpair())
    ours.end.sendall(head)
    with pytest.raises(UserError, match=rule):
        theirs.poll()
    ours.close()
    theirs.close()


def test_a_step_of_another_size_is_refused() -> None:
    form = Form(envs=2, obs=(3,), dtype="<f4", mask=0)
    ours, theirs = links()
    ours.send(Kind.STEP, bytes(form.size - 8), count=1)
    with pytest.raises(UserError, match="another size"):
        form.unpack(theirs.receive())
    ours.close()
    theirs.close()
