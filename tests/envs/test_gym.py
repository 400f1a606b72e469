"""Gymnasium environments and the identity environment, in every autoreset mode."""

import importlib.util
import io
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode

from gala.config.sections import EnvConfig
from gala.envs import VectorEnv, make_vector_env, make_vector_envs
from gala.envs.gym import GymEnv
from gala.errors import UserError
from gala.files import commands


def make(name: str, **changes: object) -> VectorEnv:
    seed = changes.pop("seed", 3)
    settings = {"num_envs": 3} | changes
    return make_vector_env(EnvConfig(id=name, **settings), seed=seed)  # type: ignore[arg-type]


def act(env: VectorEnv, rng: np.random.Generator) -> np.ndarray:
    if hasattr(env.action_space, "n"):
        return rng.integers(0, env.action_space.n, env.num_envs)
    return rng.uniform(-1, 1, (env.num_envs, *env.action_space.shape)).astype(np.float32)


@pytest.mark.parametrize("workers", ["vector", "sync", "async"])
def test_next_step_mode_marks_the_reset_row(workers: str) -> None:
    env, rng = make("CartPole-v1", workers=workers), np.random.default_rng(0)
    env.reset()
    ended = np.zeros(3, bool)
    games = 0
    for _ in range(120):
        step = env.step(act(env, rng))
        assert np.array_equal(step.valid, ~ended) and step.final_obs is None
        assert np.all(step.reward[ended] == 0) and np.all(np.abs(step.obs[ended]) <= 0.05)
        ended = step.terminated | step.truncated
        assert {game.env for game in step.episodes} == set(np.flatnonzero(ended))
        games += len(step.episodes)
    assert games > 5
    env.close()


@pytest.mark.parametrize("workers", ["vector", "sync", "async"])
def test_same_step_mode_gives_the_final_observation(workers: str) -> None:
    env, rng = make("CartPole-v1", workers=workers, autoreset="same-step"), np.random.default_rng(0)
    env.reset()
    seen = 0
    for _ in range(120):
        step = env.step(act(env, rng))
        ended = step.terminated | step.truncated
        assert step.valid.all() and (step.final_obs is not None) == bool(ended.any())
        if step.final_obs is not None:
            seen += int(ended.sum())
            fallen = step.final_obs[step.terminated]
            assert np.all((np.abs(fallen[:, 0]) > 2.4) | (np.abs(fallen[:, 2]) > 0.2))
            assert np.all(np.abs(step.obs[ended]) <= 0.05)
            assert np.array_equal(step.final_obs[~ended], step.obs[~ended])
    assert seen > 5
    env.close()


@pytest.mark.parametrize("autoreset", ["next-step", "same-step"])
def test_a_time_limit_truncates(autoreset: str) -> None:
    env = make("CartPole-v1", max_episode_steps=5, autoreset=autoreset)
    env.reset()
    games = []
    for t in range(20):
        step = env.step(np.full(3, t % 2))
        assert not step.terminated.any()
        games += step.episodes
    env.close()
    assert len(games) >= 9 and all(game.length == 5 and game.ret == 5 for game in games)


def test_returns_are_of_whole_episodes() -> None:
    env, rng = make("CartPole-v1", num_envs=1), np.random.default_rng(1)
    env.reset()
    total, games = 0.0, []
    for _ in range(400):
        step = env.step(act(env, rng))
        total += float(step.reward[0])
        games += step.episodes
        if games and step.episodes:
            assert sum(game.ret for game in games) == total
    assert all(game.ret == game.length for game in games) and len(games) > 5
    env.close()


@pytest.mark.parametrize("name", ["CartPole-v1", "gala/Identity-v0", "gala/RepeatPrevious-v0"])
def test_restored_environments_go_on_bit_for_bit(name: str) -> None:
    env, rng = make(name), np.random.default_rng(0)
    env.reset()
    for _ in range(33):
        env.step(act(env, rng))
    file = io.BytesIO()
    torch.save(env.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    actions = [act(env, rng) for _ in range(80)]
    expected = [env.step(action) for action in actions]
    other = make(name, seed=99)
    other.reset()
    other.load_state_dict(state)
    assert env.restorable and other.restorable
    for action, old in zip(actions, expected, strict=True):
        new = other.step(action)
        for field in ("obs", "reward", "terminated", "truncated", "valid"):
            assert np.array_equal(getattr(new, field), getattr(old, field))
        assert new.episodes == old.episodes


@pytest.mark.parametrize("name", ["CartPole-v1", "gala/Identity-v0"])
def test_a_state_of_another_number_of_environments_is_refused(name: str) -> None:
    env = make(name)
    env.reset()
    with pytest.raises(UserError, match="env.num_envs: the checkpoint holds 3 environments, got 2"):
        make(name, num_envs=2).load_state_dict(env.state_dict())


@pytest.mark.parametrize("autoreset", ["next-step", "same-step"])
def test_identity_is_restored_within_episodes(autoreset: str) -> None:
    env = make("gala/Identity-v0", autoreset=autoreset)
    env.reset()
    for _ in range(20):  # the end of the first episodes: next-step must still skip a row
        env.step(np.zeros(3, np.int64))
    other = make("gala/Identity-v0", autoreset=autoreset, seed=9)
    other.load_state_dict(env.state_dict())
    for _ in range(50):
        old, new = env.step(np.ones(3, np.int64)), other.step(np.ones(3, np.int64))
        assert np.array_equal(old.obs, new.obs) and np.array_equal(old.valid, new.valid)
        assert old.episodes == new.episodes


def test_others_begin_anew_and_say_so() -> None:
    for env in (make("Pendulum-v1"), make("CartPole-v1", workers="sync")):
        assert not env.restorable and env.state_dict() == {}
        env.load_state_dict({})
        env.close()


@pytest.mark.parametrize("workers", ["vector", "sync", "async"])
def test_a_second_reset_begins_other_episodes(workers: str) -> None:
    env, other = (make("CartPole-v1", workers=workers) for _ in range(2))
    first = env.reset().copy()
    other.step(np.zeros(3, np.int64))  # the first reset has taken place
    for later in (env.reset(), other.reset()):
        assert not set(map(tuple, first.tolist())) & set(map(tuple, later.tolist()))
    env.close()
    other.close()


def test_neighbouring_seeds_share_no_episode() -> None:
    first, other = make("Pendulum-v1", seed=7), make("Pendulum-v1", seed=8)
    assert not set(map(tuple, first.reset().tolist())) & set(map(tuple, other.reset().tolist()))
    first.close()
    other.close()


@pytest.mark.parametrize("name", ["CartPole-v1", "gala/Identity-v0", "Pendulum-v1"])
def test_the_seed_decides(name: str) -> None:
    def trace(seed: int) -> np.ndarray:
        env, rng = make(name, seed=seed), np.random.default_rng(0)
        first = env.reset()
        rows = [first, *(env.step(act(env, rng)).obs for _ in range(30))]
        env.close()
        return np.stack(rows)

    assert np.array_equal(trace(1), trace(1)) and not np.array_equal(trace(1), trace(2))


def test_boxes_of_actions_and_discrete_observations() -> None:
    env, rng = make("Pendulum-v1"), np.random.default_rng(0)
    assert env.reset().dtype == np.float32 and env.action_space.shape == (1,)
    step = env.step(act(env, rng))
    assert step.reward.dtype == np.float32 and bool((step.reward < 0).any())
    env.close()
    lake = make("FrozenLake-v1")
    first = lake.reset()
    assert lake.observation_space.shape == (16,) and np.array_equal(first, np.eye(16)[[0] * 3])
    lake.close()


def test_identity_pays_for_naming_the_number() -> None:
    env = make("gala/Identity-v0", num_envs=5)
    obs = env.reset()
    games = []
    for _ in range(45):
        step = env.step(obs.argmax(1))
        obs = step.obs
        assert np.all(step.reward == step.valid)
        games += step.episodes
    assert len(games) == 10 and {(g.ret, g.length) for g in games} == {(20.0, 20)}


@pytest.mark.parametrize("limit", [None, 7])
def test_identity_terminates_by_itself_and_truncates_by_limit(limit: int | None) -> None:
    env = make("gala/Identity-v0", max_episode_steps=limit, autoreset="same-step")
    env.reset()
    steps = [env.step(np.zeros(3, np.int64)) for _ in range(21)]
    ended = any(step.terminated.any() for step in steps)
    cut = any(step.truncated.any() for step in steps)
    assert (ended, cut) == (limit is None, limit is not None)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CartPole-v9", r"no environment is called 'CartPole-v9' \(did you mean 'CartPole-v1'\?\)"),
        ("Cartpoll-v1", r"did you mean 'CartPole-v1'\?"),
        ("gala/Identity-v1", r"did you mean 'gala/Identity-v0'\?"),
        ("no_such_module:Room-v0", r"there is no module 'no_such_module'"),
    ],
)
def test_what_cannot_be_made_is_said_in_a_line(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        make(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("extra", "package", "name", "shape"),
    [
        ("box2d", "Box2D", "LunarLander-v3", (3, 8)),
        ("mujoco", "mujoco", "HalfCheetah-v5", (3, 17)),
        ("mujoco", "mujoco", "Hopper-v5", (3, 11)),
    ],
)
def test_a_missing_extra_is_named(
    extra: str, package: str, name: str, shape: tuple[int, ...]
) -> None:
    if importlib.util.find_spec(package) is None:
        with pytest.raises(UserError) as error:
            make(name)
        assert str(error.value).endswith(f"is not installed ({commands.install(extra)})")
    else:
        env = make(name)
        assert env.reset().shape == shape
        env.close()


@pytest.mark.parametrize("said", ["MuJoCo is not installed, run `pip install ...`", "no mujoco"])
def test_the_extra_of_robots_is_ours(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    def missing(*_: object, **__: object) -> None:
        raise gymnasium.error.DependencyNotInstalled(said)

    monkeypatch.setattr(gymnasium, "make", missing)
    with pytest.raises(UserError) as error:
        make("HalfCheetah-v5")
    assert str(error.value).endswith(f"({commands.install('mujoco')})")


ROOM = """
import multiprocessing

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete


class Room(gymnasium.Env):
    def __init__(self, actions, observations):
        self.action_space, self.observation_space = actions, observations

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self._see(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.time += 1
        return self._see(), 1.0, self.time == 3, False, {}

    def _see(self):
        space = self.observation_space
        if isinstance(space, Discrete):
            return np.int64(space.start + self.time)
        return np.full(space.shape, self.time, space.dtype)


class Lacking(Room):
    def __init__(self, **spaces):
        super().__init__(**spaces)
        if multiprocessing.current_process().name.endswith("-1"):
            raise OSError("no licence left")


def register(name, actions, observations):
    kwargs = {"actions": actions, "observations": observations}
    gymnasium.register(name, Room, kwargs=kwargs)


vector = Box(-1.0, 9.0, (2,), np.float64)
register("Picture-v0", Discrete(2), Box(0, 255, (40, 48, 3), np.uint8))
register("Planes-v0", Discrete(2), Box(0, 255, (3, 40, 48), np.uint8))
register("Shifted-v0", MultiDiscrete([2, 3]), Discrete(4, start=5))
register("Double-v0", Discrete(2), vector)
register("Bits-v0", MultiBinary(3), vector)
register("Whole-v0", Box(0, 5, (2,), np.int64), vector)
kwargs = {"actions": Discrete(2), "observations": vector}
gymnasium.register("Lacking-v0", Lacking, kwargs=kwargs)
"""


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "gala_test_room.py").write_text(ROOM)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(gymnasium.registry)
    yield "gala_test_room"
    for name in set(gymnasium.registry) - before:
        del gymnasium.registry[name]
    sys.modules.pop("gala_test_room", None)


@pytest.mark.parametrize("workers", ["sync", "async"])
@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("Picture-v0", (3, 40, 48), np.uint8),  # channels first, as networks take them
        ("Planes-v0", (3, 40, 48), np.uint8),
        ("Shifted-v0", (4,), np.float32),
        ("Double-v0", (2,), np.float32),
        ("Bits-v0", (2,), np.float32),
    ],
)
def test_environments_of_ones_own_module(
    room: str, name: str, shape: tuple[int, ...], dtype: type, workers: str
) -> None:
    env = make(f"{room}:{name}", workers=workers, num_envs=2)
    assert env.observation_space.shape == shape and env.observation_space.dtype == dtype
    rows = [env.reset().copy()]
    action = np.stack([env.action_space.sample()] * 2)
    for _ in range(3):
        step = env.step(action)
        rows.append(step.obs.copy())
    env.close()
    assert step.terminated.all() and [game.ret for game in step.episodes] == [3.0, 3.0]
    for time, row in enumerate(rows):
        assert row.shape == (2, *shape) and row.dtype == dtype
        one = np.eye(4)[time] if name == "Shifted-v0" else np.full(shape, time)
        assert np.array_equal(row, np.stack([one, one]))


@pytest.mark.parametrize("workers", ["sync", "async"])
def test_spaces_that_are_refused_leave_no_processes(room: str, workers: str) -> None:
    with pytest.raises(UserError, match=r"action space .* is not supported: it holds integers"):
        make(f"{room}:Whole-v0", workers=workers)
    assert not multiprocessing.active_children()


def test_a_vectorised_form_with_another_autoreset_mode_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metadata = CartPoleVectorEnv.metadata | {"autoreset_mode": AutoresetMode.SAME_STEP}
    monkeypatch.setattr(CartPoleVectorEnv, "metadata", metadata)
    with pytest.raises(UserError, match="does not reset in mode next-step .*sync or async"):
        make("CartPole-v1")


def test_environments_in_processes_come_in_halves_of_their_own_seeds() -> None:
    config = EnvConfig(id="CartPole-v1", num_envs=5, workers="async")
    halves = make_vector_envs(config, seed=3)
    try:
        assert [half.num_envs for half in halves] == [3, 2]
        first = np.concatenate([half.reset() for half in halves])
        assert len(np.unique(first, axis=0)) == 5
    finally:
        for half in halves:
            half.close()


@pytest.mark.parametrize(
    ("name", "workers", "num_envs"),
    [
        ("CartPole-v1", "async", 1),
        ("CartPole-v1", "sync", 4),
        ("CartPole-v1", "vector", 4),
        ("ALE/Pong-v5", "async", 2),  # threads, whatever is asked for
        ("gala/Identity-v0", "async", 4),
    ],
)
def test_other_environments_stay_together(name: str, workers: str, num_envs: int) -> None:
    config = EnvConfig(id=name, num_envs=num_envs, workers=workers)  # type: ignore[arg-type]
    (all_of_them,) = make_vector_envs(config, seed=3)
    assert all_of_them.num_envs == num_envs
    all_of_them.close()


def test_a_half_that_cannot_be_made_leaves_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[VectorEnv] = []

    def once(config: EnvConfig, *, seed: int, threads: int) -> VectorEnv:
        if made:
            raise UserError("no more of them", field="env.id")
        made.append(make_vector_env(config, seed=seed, threads=threads))
        return made[0]

    monkeypatch.setattr("gala.envs.make_vector_env", once)
    with pytest.raises(UserError, match="no more"):
        make_vector_envs(EnvConfig(id="CartPole-v1", num_envs=4, workers="async"), seed=3)
    assert made[0]._env.closed  # type: ignore[attr-defined]


@pytest.fixture
def sigterm_counts() -> Iterator[None]:
    """As in training, SIGTERM ends neither this process nor those that it forks."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, before)


def processes_of(env: VectorEnv) -> list[multiprocessing.Process]:
    assert isinstance(env, GymEnv)
    return env._env.processes  # type: ignore[attr-defined, no-any-return]


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("sigterm_counts")
@pytest.mark.parametrize("when", ["in a step", "between steps", "unnoticed"])
def test_an_environment_that_dies_is_an_error_and_the_others_end(when: str) -> None:
    env, actions = make("CartPole-v1", workers="async"), np.zeros(3, np.int64)
    env.reset()
    env.step(actions)
    victim = processes_of(env)[1]
    if when == "in a step":
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGSTOP)  # else it might be done with the step
        env.send(actions)
    victim.kill()
    victim.join()
    if when != "unnoticed":
        with pytest.raises((EOFError, OSError)):
            env.recv() if when == "in a step" else env.step(actions)
    env.close()
    assert not any(process.is_alive() for process in processes_of(env))
    env.close()  # once more is no harm


@pytest.mark.timeout(60)
def test_environments_that_are_well_leave_by_themselves() -> None:
    env = make("CartPole-v1", workers="async")
    env.reset()
    env.step(np.zeros(3, np.int64))
    env.close()
    assert [process.exitcode for process in processes_of(env)] == [0, 0, 0]


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("sigterm_counts")
def test_a_vector_of_which_one_environment_cannot_be_made_leaves_no_processes(room: str) -> None:
    with pytest.raises(UserError, match=r"gala_test_room.py:\d+: .* no licence left$") as failure:
        make(f"{room}:Lacking-v0", workers="async")
    assert not multiprocessing.active_children(), f"while {failure!r} holds the vector"
