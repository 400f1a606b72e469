"""Episodes: how many each environment plays, what is counted, and how a policy acts."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gala.config.sections import AtariConfig, EnvConfig, NetworkConfig
from gala.envs import Episode, Step, make_vector_env
from gala.errors import UserError
from gala.evaluation.episodes import (
    actor,
    evaluation_env,
    evaluation_seed,
    play,
    quotas,
)
from gala.networks import build_network
from gala.policy.acting import Acting


class ScriptedEnv:
    """Environment i plays episodes of lengths ``script[i]``, again and again; return = length."""

    action_mask = None

    frames_per_step = 1
    restorable = False
    observation_space: gymnasium.Space[Any] = gymnasium.spaces.Box(0, 1, (1,))
    action_space: gymnasium.Space[Any] = gymnasium.spaces.Discrete(2)

    def __init__(self, script: list[list[int]]) -> None:
        self.num_envs = len(script)
        self.steps = 0
        self._script = script
        self._time = [0] * len(script)
        self._game = [0] * len(script)

    def reset(self) -> np.ndarray:
        return np.zeros((self.num_envs, 1), np.float32)

    def step(self, actions: np.ndarray) -> Step:
        self.steps += 1
        assert len(actions) == self.num_envs
        done = []
        for i, lengths in enumerate(self._script):
            self._time[i] += 1
            length = lengths[self._game[i] % len(lengths)]
            if self._time[i] == length:
                done.append(Episode(i, float(length), length))
                self._time[i], self._game[i] = 0, self._game[i] + 1
        none = np.zeros(self.num_envs, np.bool_)
        reward = np.ones(self.num_envs, np.float32)
        return Step(self.reset(), reward, none, none, ~none, None, done)

    send = recv = state_dict = load_state_dict = close = None  # type: ignore[assignment]


def still(obs: np.ndarray, mask: object, begin: object) -> np.ndarray:
    return np.zeros(len(obs), np.int64)


def test_long_episodes_count_as_much_as_short_ones() -> None:
    env = ScriptedEnv([[1], [10]])
    games = play(env, still, 4)  # type: ignore[arg-type]
    assert games.returns.tolist() == [1.0, 1.0, 10.0, 10.0]  # the first four to end are all short
    assert games.lengths.tolist() == [1, 1, 10, 10]
    assert env.steps == 20


def test_only_the_first_episodes_of_each_environment_count() -> None:
    games = play(ScriptedEnv([[2, 3, 50], [7, 1]]), still, 3)  # type: ignore[arg-type]
    assert games.returns.tolist() == [2.0, 3.0, 7.0]


def test_progress_is_told_in_finished_games() -> None:
    told: list[int] = []
    play(ScriptedEnv([[1], [2], [2]]), still, 6, finished=told.append)  # type: ignore[arg-type]
    assert told == [1, 3, 2]


@given(st.integers(1, 200), st.integers(1, 32))
def test_quotas_are_fair_and_complete(episodes: int, environments: int) -> None:
    shares = quotas(episodes, environments)
    assert sum(shares) == episodes
    assert max(shares) - min(shares) <= 1


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=5))
def test_exactly_the_quota_of_each_environment_is_played(script: list[list[int]]) -> None:
    episodes = 2 * len(script) + 1
    games = play(ScriptedEnv(script), still, episodes)  # type: ignore[arg-type]
    expected = [
        float(lengths[k % len(lengths)])
        for lengths, share in zip(script, quotas(episodes, len(script)), strict=True)
        for k in range(share)
    ]
    assert games.returns.tolist() == expected


def test_an_endless_episode_is_an_error_not_a_hang() -> None:
    with pytest.raises(UserError, match=r"did not end within 50 steps \(set a limit\)"):
        play(ScriptedEnv([[5], [10**9]]), still, 2, max_steps=50)  # type: ignore[arg-type]


def test_a_environment_that_has_played_its_share_may_go_on_forever() -> None:
    games = play(ScriptedEnv([[1, 10**9], [40]]), still, 2, max_steps=45)  # type: ignore[arg-type]
    assert games.returns.tolist() == [1.0, 40.0]


# -- the protocol of evaluation


def test_evaluation_plays_full_games_for_raw_rewards() -> None:
    trained = EnvConfig(
        id="ALE/Breakout-v5",
        num_envs=64,
        reward_clip=True,
        autoreset="same-step",
        max_episode_steps=500,
        atari=AtariConfig(episodic_life=True, sticky_actions=0.25, frame_skip=3),
    )
    config = evaluation_env(trained, episodes=30)
    assert (config.reward_clip, config.atari) == (False, trained.atari)
    assert (config.id, config.max_episode_steps) == ("ALE/Breakout-v5", 500)
    assert (config.atari.sticky_actions, config.atari.frame_skip) == (0.25, 3)
    assert config.num_envs == 16
    assert evaluation_env(trained, episodes=3).num_envs == 3


def test_a_lost_life_does_not_end_a_game() -> None:
    config = evaluation_env(EnvConfig(id="ALE/Breakout-v5", reward_clip=True), episodes=2)
    env = make_vector_env(config, seed=1)
    fire = np.array([1, 1])
    env.reset()
    ends = 0
    episodes: list[Episode] = []
    while len(episodes) < 2:
        step = env.step(fire)
        ends += int(step.terminated.sum())
        episodes += step.episodes
    env.close()
    assert ends >= 10 and len(episodes) == 2  # five lives a game, whose ends are no ends of games


def test_seeds_differ_by_use_and_are_not_those_of_training() -> None:
    seeds = {evaluation_seed(seed, stream) for seed in range(50) for stream in (0, 1)}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert evaluation_seed(3, 1) == evaluation_seed(3, 1)


# -- how a policy acts


@pytest.fixture
def policy() -> Any:
    env = make_vector_env(EnvConfig(id="CartPole-v1", num_envs=2), seed=0)
    config = NetworkConfig(kind="mlp", hidden=(8,))
    policy = build_network(env.observation_space, env.action_space, config, seed=0)
    env.close()
    with torch.no_grad():
        policy.logits.weight.zero_()
        policy.logits.bias.copy_(torch.tensor([0.0, 1.0]))  # P(1) = 0.731
    return policy


OBS, FIRST = np.zeros((500, 4), np.float32), np.ones(500, np.bool_)
CPU = torch.device("cpu")


def playing(policy: Any, *, greedy: bool, seed: int = 0) -> Any:
    return actor(Acting(policy, seed=seed, device=CPU), greedy=greedy)


def test_greedy_takes_the_most_likely_action(policy: Any) -> None:
    assert playing(policy, greedy=True)(OBS, None, FIRST).tolist() == [1] * 500


def test_stochastic_draws_from_the_distribution(policy: Any) -> None:
    act = playing(policy, greedy=False)
    share = np.mean([act(OBS, None, FIRST).mean() for _ in range(20)])
    assert share == pytest.approx(1 / (1 + np.exp(-1)), abs=0.015)  # 3.4 standard errors


def test_a_seed_fixes_the_draws(policy: Any) -> None:
    first, again, other = (
        playing(policy, greedy=False, seed=s)(OBS, None, FIRST) for s in (1, 1, 2)
    )
    assert first.tolist() == again.tolist() != other.tolist()


def test_acting_builds_no_graph(policy: Any) -> None:
    dist_requires_grad = []
    policy.register_forward_hook(lambda *args: dist_requires_grad.append(args[-1][0].requires_grad))
    playing(policy, greedy=True)(OBS[:2], None, FIRST[:2])
    assert dist_requires_grad == [False]


@pytest.mark.parametrize("kind", ["lstm", "gru", "gtrxl"])
def test_a_policy_remembers_its_game_and_no_other(kind: str) -> None:
    space, two = gymnasium.spaces.Box(-1, 1, (3,), np.float32), gymnasium.spaces.Discrete(2)
    config = NetworkConfig(memory=kind, memory_size=8, hidden=(8,))  # type: ignore[arg-type]
    policy = build_network(space, two, config, seed=0)
    seen = []
    policy.head.mode = lambda dist: seen.append(dist) or dist.argmax(-1)  # type: ignore[method-assign]
    obs = np.random.default_rng(0).standard_normal((6, 2, 3)).astype(np.float32)
    begin = np.zeros((6, 2), np.bool_)
    begin[0], begin[3, 1] = True, True
    act = playing(policy, greedy=True)
    for row, first in zip(obs, begin, strict=True):
        act(row, None, first)
    for games in ([(0, 0, 6)], [(1, 0, 3), (1, 3, 6)]):
        for env, start, stop in games:
            own = torch.from_numpy(obs[start:stop, env : env + 1])
            nothing = torch.zeros(stop - start, 1, dtype=torch.bool)
            dist, _, _ = policy.unroll(own, policy.initial(1), nothing)
            found = torch.stack(seen)[start:stop, env]
            torch.testing.assert_close(found, dist.detach(), rtol=1e-4, atol=1e-5)
