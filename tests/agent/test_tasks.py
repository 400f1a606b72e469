"""Agents with tasks: whose each is, what is refused, what is recorded and evaluated."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from gala.config.sections import EnvConfig, LogConfig, NetworkConfig
from gala.config.tasks import own_tasks, tasks_of, whose
from gala.envs.cartpole import CartPoleEnv, register
from gala.envs.tasks import make_task_envs, require_alike
from gala.errors import UserError
from gala.evaluation.command import evaluate
from gala.run.config import Config
from gala.run.request import read_request

CARTPOLES = EnvConfig(
    id="gala/CartPole-v1", num_envs=5, kwargs={"gravity": 9.0}, tasks=({}, {"length": 2.0})
)


@pytest.mark.parametrize(("tasks", "agents"), [(1, 1), (5, 2), (2, 5), (4, 4)])
def test_each_task_has_an_agent_and_each_agent_a_task(tasks: int, agents: int) -> None:
    own = [own_tasks(tasks, rank, agents) for rank in range(agents)]
    assert all(own) and {task for each in own for task in each} == set(range(tasks))
    for task in range(tasks):
        assert whose(task, tasks, agents) == [r for r in range(agents) if task in own[r]]


def test_a_task_lies_over_the_arguments() -> None:
    env = EnvConfig(id="A-v0", kwargs={"a": 1, "b": 2}, tasks=({"b": 3}, {"id": "B-v0", "c": 4}))
    first, second = tasks_of(env)
    assert (first.id, first.kwargs, first.tasks) == ("A-v0", {"a": 1, "b": 3}, ())
    assert (second.id, second.kwargs) == ("B-v0", {"a": 1, "b": 2, "c": 4})


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["--env.tasks", "5"], "must be a list of mappings"),
        (["--env.tasks", "[{id: 5}]"], "the id of task 0 must be text"),
        (["--env.tasks", "[{}, {}, {}]", "--env.num-envs", "2"], r"env.num-envs: .*got 2 \(3\)"),
        (
            ["--env.tasks", "[{}, {}, {}]", "--algorithm", "vtrace", "--actors.count", "2"],
            r"actors.count: .*got 2 \(4\)",
        ),
    ],
)
def test_what_is_refused(arguments: list[str], rule: str) -> None:
    with pytest.raises(UserError, match=rule):
        read_request(arguments, agents=1)


@pytest.mark.parametrize(
    ("task", "rule"),
    [
        ({"id": "Acrobot-v1"}, "task 1 observes 6 .* and task 0 observes 4"),
        ({"length": -1}, "task 1: length must be a number greater than 0"),
        ({"lenght": 1}, "task 1: CartPole has no lenght"),
    ],
)
def test_tasks_that_one_network_does_not_fit(task: dict[str, Any], rule: str) -> None:
    base = EnvConfig(id="gala/CartPole-v1", tasks=({}, task))
    with pytest.raises(UserError, match=rule) as error:
        require_alike(base)
    assert error.value.field == "env.tasks"


class Masked(CartPoleEnv):
    """Says in ``info``, which nobody sees before a reset, that all is allowed."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        obs, info = super().reset(seed=seed, options=options)
        return obs, info | {"action_mask": np.ones(2, np.int8)}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, reward, ended, cut, info = super().step(action)
        return obs, float(reward), ended, cut, info | {"action_mask": np.ones(2, np.int8)}


@pytest.mark.parametrize(
    ("ids", "rule"),
    [
        (("gala/CartPole-v1", "Masked-v0"), "task 1 says which actions are allowed, and task 0 al"),
        (("Masked-v0", "gala/CartPole-v1"), "task 1 allows all actions, and task 0 says"),
        (("Masked-v0", "Masked-v0"), None),
    ],
)
def test_either_all_tasks_mask_actions_or_none(
    monkeypatch: pytest.MonkeyPatch, ids: tuple[str, str], rule: str | None
) -> None:
    register()
    spec = gymnasium.envs.registration.EnvSpec("Masked-v0", entry_point=Masked)
    monkeypatch.setitem(gymnasium.registry, "Masked-v0", spec)
    tasks = tuple({"id": each} for each in ids)
    if rule is None:
        require_alike(EnvConfig(id=ids[0], tasks=tasks))
        return
    with pytest.raises(UserError, match=rule):
        require_alike(EnvConfig(id=ids[0], tasks=tasks))


def test_environments_are_shared_out_and_differ() -> None:
    with ExitStack() as stack:
        envs: list[Any] = make_task_envs(CARTPOLES, (0, 1), seed=1)
        for env in envs:
            stack.callback(env.close)
            env.reset()
        assert [env.num_envs for env in envs] == [3, 2]
        inner = [env._env.unwrapped for env in envs]
        assert [each.length for each in inner] == [0.5, 2.0]
        assert [each.gravity for each in inner] == [9.0, 9.0]
        one = stack.enter_context(_closing(CartPoleEnv(length=2.0, gravity=9.0)))
        one.reset(seed=0)
        one.state = inner[1].state[:, 0].copy()
        step = envs[1].step(np.ones(2, np.int64))
        np.testing.assert_allclose(step.obs[0], one.step(1)[0], rtol=1e-5)


class _closing:
    def __init__(self, env: Any) -> None:
        self.env = env

    def __enter__(self) -> Any:
        return self.env

    def __exit__(self, *error: object) -> None:
        self.env.close()


def test_returns_are_recorded_and_evaluated_by_task(
    train_here: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config(
        env=CARTPOLES,
        network=NetworkConfig(hidden=(8,)),
        log=LogConfig(tensorboard=False, every_s=1e-6),
        total_steps=1500,
    )
    agent = train_here(config)
    records = (tmp_path / "run" / "rank_00" / "metrics.jsonl").read_text().splitlines()
    last = [r for r in map(json.loads, records) if "charts/SPS" in r][-1]
    assert min(last[f"charts/task/{task}/episodic_return"] for task in (0, 1)) > 5
    kept = agent.source.counts()["task_returns"]
    assert sorted(kept) == [0, 1] and all(kept.values())
    evaluated = evaluate(tmp_path / "run", episodes=2, policy="greedy")
    (result,) = evaluated["results"]
    means = [each["mean_return"] for each in result["tasks"]]
    assert len(means) == 2 and result["mean_return"] == pytest.approx(np.mean(means))
    assert "task 1: length 2.0" in capsys.readouterr().out
