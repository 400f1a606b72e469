"""The task for memories: who remembers has 1, who guesses -0.5, and nothing is asked too early."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gala.config.sections import EnvConfig
from gala.envs import VectorEnv, make_vector_env
from gala.errors import UserError


def make(num_envs: int = 3, **changes: Any) -> VectorEnv:
    return make_vector_env(
        EnvConfig(id="gala/RepeatPrevious-v0", num_envs=num_envs, **changes), seed=0
    )


@pytest.mark.parametrize("autoreset", ["next-step", "same-step"])
@pytest.mark.parametrize("limit", [None, 10])
@pytest.mark.parametrize("lag", [1, 4])
def test_who_remembers_has_one(autoreset: str, limit: int | None, lag: int) -> None:
    env = make(autoreset=autoreset, max_episode_steps=limit, kwargs={"lag": lag})
    obs, begin, seen, games = env.reset(), np.ones(3, np.bool_), [[], [], []], []
    for _ in range(120):
        for own, number, first in zip(seen, obs.argmax(1), begin, strict=True):
            own[:] = [number] if first else [*own, number]
        answers = np.array([own[-lag - 1] if len(own) > lag else 0 for own in seen])
        step = env.step(answers)
        games += step.episodes
        assert not step.reward[[len(own) <= lag for own in seen]].any()
        obs, begin = step.obs, step.first
    assert len(games) >= 6 and {game.length for game in games} == {limit or 48}
    assert [game.ret for game in games] == pytest.approx([1.0] * len(games))


def test_who_guesses_has_less_than_nothing() -> None:
    env, rng, games = make(200), np.random.default_rng(1), []
    env.reset()
    for _ in range(49):
        games += env.step(rng.integers(0, 4, 200)).episodes
    assert np.mean([game.ret for game in games]) == pytest.approx(-0.5, abs=0.04)  # 4 errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kwargs": {"leg": 2}}, "env.kwargs: gala/RepeatPrevious-v0 has no argument 'leg'"),
        ({"kwargs": {"lag": 0}}, "env.kwargs.lag: must be a whole number from 1 to 47, got 0"),
        ({"kwargs": {"lag": "2"}}, "env.kwargs.lag: must be a whole number"),
        ({"max_episode_steps": 4}, "env.kwargs.lag: must be a whole number from 1 to 3, got 4"),
        ({"options": {"a": 1}}, "env.options: gala/RepeatPrevious-v0 takes none"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        make(**changes)
    assert message in str(caught.value)
