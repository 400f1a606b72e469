"""Real episodes of a policy: full games, raw rewards, no bias toward short ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gala.config.sections import EnvConfig
from gala.envs import VectorEnv
from gala.errors import UserError
from gala.policy.acting import Acting

Observations = NDArray[Any]
Actions = NDArray[Any]
Masks = NDArray[np.bool_] | None
Begins = NDArray[np.bool_]
Act = Callable[[Observations, Masks, Begins], Actions]
"""Observations [B, ...], Bool[B, K], the actions that are allowed (None: all), and Bool[B], which
observations are the first of a game, to actions [B, ...] as the environments take them."""

MAX_ENVS = 16
MAX_STEPS = 1_000_000
"""Steps after which an episode counts as endless."""

_EVALUATION_STREAM = 0x4556414C  # keeps evaluation seeds apart from those of training


def evaluation_env(config: EnvConfig, *, episodes: int) -> EnvConfig:
    """The environments of a run, under the protocol of evaluation.

    Raw rewards, and full games are what counts: a lost life ends no episode of :func:`play`.
    Everything else (sticky actions, no-ops, what is pressed after a lost life, frame skip, time
    limits) stays as in training.

    Args:
        config: of the run.
        episodes: to be played; no more environments than that are made.
    """
    return dataclasses.replace(
        config,
        num_envs=min(episodes, MAX_ENVS),
        reward_clip=False,
        autoreset="next-step",
    )


def evaluation_seed(seed: int, stream: int = 0) -> int:
    """A seed for environments (``stream`` 0) or actions (1) that no training run uses."""
    words = np.random.SeedSequence([_EVALUATION_STREAM, seed, stream]).generate_state(1)
    return int(words[0]) % 2**31


def quotas(episodes: int, envs: int) -> list[int]:
    """How many episodes each environment plays, fixed before the first step.

    >>> quotas(30, 16)[:3], sum(quotas(30, 16))
    ([2, 2, 2], 30)
    """
    each, more = divmod(episodes, envs)
    return [each + (index < more) for index in range(envs)]


@dataclasses.dataclass(frozen=True)
class Games:
    """Finished episodes, ordered by environment, then by time.

    Attributes:
        returns: Float64[N], raw.
        lengths: Int64[N], steps.
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]


def play(
    env: VectorEnv,
    act: Act,
    episodes: int,
    *,
    finished: Callable[[int], None] = lambda count: None,
    max_steps: int = MAX_STEPS,
) -> Games:
    """Play ``episodes`` full games, a number per environment that is fixed beforehand.

    Taking the first ``episodes`` games to finish would prefer short ones; here each environment
    contributes its own first games, however long they last.

    Args:
        env: freshly made; its episodes must be full games.
        act: the policy.
        episodes: games to play in all.
        finished: called with the number of games that just ended and count.
        max_steps: of one episode.

    Raises:
        UserError: an episode did not end within ``max_steps``.
    """
    quota = quotas(episodes, env.num_envs)
    games: list[list[tuple[float, int]]] = [[] for _ in quota]
    left = episodes
    since_end = np.zeros(env.num_envs, dtype=np.int64)
    waiting = np.array(quota) > 0
    obs, begin = env.reset(), np.ones(env.num_envs, np.bool_)
    while left:
        step = env.step(act(obs, env.action_mask, begin))
        obs, begin = step.obs, step.first
        since_end += 1
        before = left
        for episode in step.episodes:
            since_end[episode.env] = 0
            own = games[episode.env]
            if len(own) < quota[episode.env]:
                own.append((episode.ret, episode.length))
                left -= 1
                waiting[episode.env] = len(own) < quota[episode.env]
        if left < before:
            finished(before - left)
        if (since_end[waiting] > max_steps).any():
            raise UserError(
                f"an episode did not end within {max_steps:,} steps",
                field="env.max_episode_steps",
                hint="set a limit",
            )
    flat = [game for own in games for game in own]
    return Games(
        returns=np.array([ret for ret, _ in flat], dtype=np.float64),
        lengths=np.array([length for _, length in flat], dtype=np.int64),
    )


def actor(acting: Acting, *, greedy: bool) -> Act:
    """Make a policy act, one game after the other; with a memory, remember each of them.

    Args:
        acting: the policy.
        greedy: take the most likely action; else draw from the distribution.
    """
    state: Tensor | None = None

    def act(obs: Observations, mask: Masks, begin: Begins) -> Actions:
        nonlocal state
        before = acting.state(len(obs)) if state is None else state
        actions, state = acting.act(obs, mask, before, begin, greedy=greedy)
        return actions

    return act
