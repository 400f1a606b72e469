"""Gymnasium environments and the identity environment, in every autoreset mode."""

import io

import numpy as np
import pytest
import torch

from gala.config import EnvConfig
from gala.envs import VectorEnv, make_vector_env
from gala.errors import UserError


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


@pytest.mark.parametrize("name", ["CartPole-v1", "gala/Identity-v0"])
def test_restored_simulators_go_on_bit_for_bit(name: str) -> None:
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


def test_others_begin_anew_and_say_so() -> None:
    for env in (make("Pendulum-v1"), make("CartPole-v1", workers="sync")):
        assert not env.restorable and env.state_dict() == {}
        env.load_state_dict({})
        env.close()


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
        ("Blackjack-v1", r"observation space Tuple.* is not supported"),
    ],
)
def test_what_cannot_be_made_is_said_in_a_line(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        make(name)
    assert "\n" not in str(error.value)


def test_a_missing_extra_is_named() -> None:
    try:
        import Box2D  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match=r"pip install 'gymnasium\[box2d\]'"):
            make("LunarLander-v3")
    else:
        env = make("LunarLander-v3")
        assert env.reset().shape == (3, 8)
        env.close()
