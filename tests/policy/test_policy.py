"""``gala.load``: what a user gets of a trained run, and that it is what was trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from made_runs import write_run
from small_runs import CARTPOLE, PENDULUM, remembering

import gala
from gala.config.sections import EnvConfig, NetworkConfig
from gala.envs import make_vector_env, translation_of
from gala.errors import UserError
from gala.evaluation.command import evaluate
from gala.evaluation.episodes import evaluation_env, evaluation_seed
from gala.networks.build import network_of
from gala.parameters.flat import FlatParameters
from gala.run import checkpoint
from gala.run.config import Config

MakeRun = Callable[..., Path]
Train = Callable[..., Any]
NUMBERS = np.eye(4, dtype=np.float32)


def test_one_observation_or_several(identity_run: MakeRun) -> None:
    policy = gala.load(identity_run(40.0))
    assert (policy.agent, policy.update, policy.step) == ("mean", 100, 1000)
    assert policy.config.env.id == "gala/Identity-v0"
    action, state = policy.predict(NUMBERS[2], deterministic=True)
    assert action == 2 and policy.action_space.contains(action) and state is None
    actions, state = policy.predict(NUMBERS, deterministic=True)
    assert actions.tolist() == [0, 1, 2, 3] and state is None


def test_draws_follow_the_seed(identity_run: MakeRun) -> None:
    run = identity_run(0.0)
    policy = gala.load(run, seed=3)
    obs = NUMBERS[np.zeros(400, np.int64)]
    first = policy.predict(obs)[0].tolist()
    assert set(first) == {0, 1, 2, 3} and policy.predict(obs)[0].tolist() != first
    policy.seed(3)
    assert (
        policy.predict(obs)[0].tolist() == first == gala.load(run, seed=3).predict(obs)[0].tolist()
    )


def test_the_mean_is_without_who_is_behind(
    identity_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = identity_run(40.0, -400.0)
    path = checkpoint.path_of(checkpoint.folder_of(run, 1), 101)
    state = checkpoint.load(path)
    path.unlink()
    checkpoint.save(path.parent, 7, state | {"update": 7}, keep=1)
    assert gala.load(run).predict(NUMBERS, deterministic=True)[0].tolist() == [0, 1, 2, 3]
    assert "agent 1 is not in the mean: far behind, 7 updates of 100" in capsys.readouterr().err
    behind = gala.load(run, agent=1)
    assert (behind.agent, behind.update) == (1, 7) and capsys.readouterr().err == ""
    assert (behind.predict(NUMBERS, deterministic=True)[0] != np.arange(4)).all()


def test_an_earlier_step(identity_run: MakeRun) -> None:
    run = identity_run(-40.0)
    state = checkpoint.load(checkpoint.path_of(checkpoint.folder_of(run, 0), 100))
    better = {**state, "params": -state["params"], "update": 200, "step": 2000}
    checkpoint.save(checkpoint.folder_of(run, 0), 200, better, keep=2)
    assert gala.load(run).step == gala.load(run, step=2500).step == 2000
    assert gala.load(run, step=1999).update == 100
    with pytest.raises(
        UserError, match=r"of 999 steps or fewer \(its agents .* 1,000, 2,000 steps"
    ):
        gala.load(run, step=999)


@pytest.mark.parametrize("agent", ["all", 7, "men"])
def test_agents_that_are_no_policy(identity_run: MakeRun, agent: Any) -> None:
    with pytest.raises(UserError, match="--agent"):
        gala.load(identity_run(1.0), agent=agent)


def test_without_gossip_there_is_no_mean(identity_run: MakeRun) -> None:
    run = identity_run(40.0, 40.0)
    text = (run / "config.yaml").read_text().replace("coupling: gossip", "coupling: none")
    (run / "config.yaml").write_text(text.replace("agents: null", "agents: 2"))
    with pytest.raises(UserError, match=r"is no policy \(take one with --agent: 0, 1\)"):
        gala.load(run)
    assert gala.load(run, agent=1).agent == 1


def test_a_normalised_run_sees_what_training_saw(train_here: Train) -> None:
    agent = train_here(CARTPOLE)
    policy = gala.load(_run(agent))
    moments = policy.model.observed
    assert moments is not None and moments.count > 0
    env = gymnasium.make("CartPole-v1")
    assert (policy.observation_space, policy.action_space) == (
        env.observation_space, env.action_space,
    )  # fmt: skip
    obs, _ = env.reset(seed=1)
    rows = np.stack([obs, obs + 1, obs - 1])
    with torch.no_grad():
        logits = policy.model.logits(policy.model.actor(moments(torch.from_numpy(rows))))
    assert policy.predict(rows, deterministic=True)[0].tolist() == logits.argmax(-1).tolist()
    for row, logit in zip(rows, logits, strict=True):
        assert policy.predict(row, deterministic=True)[0] == logit.argmax()
    env.close()


def test_quantities_are_those_of_the_environment(train_here: Train) -> None:
    policy = gala.load(_run(train_here(PENDULUM)))
    obs = np.random.default_rng(0).uniform(-1, 1, (50, 3)).astype(np.float32)
    actions, _ = policy.predict(obs)
    assert actions.shape == (50, 1) and actions.dtype == np.float32
    assert 1 < np.abs(actions).max() <= 2, "torque, not the squashed share of it"
    sure, _ = policy.predict(obs, deterministic=True)
    with torch.no_grad():
        dist, _ = policy.model(torch.from_numpy(obs))
    np.testing.assert_allclose(sure, 2 * np.tanh(dist[:, :1].numpy()), rtol=1e-5)
    assert policy.action_space.contains(policy.predict(obs[0])[0])


@pytest.mark.parametrize("memory", ["lstm", "gru", "gtrxl"])
def test_memory_is_carried_by_the_caller(train_here: Train, memory: str) -> None:
    policy = gala.load(_run(train_here(remembering(memory))))
    seen: list[torch.Tensor] = []
    head = policy.model.head
    mode = head.mode
    head.mode = lambda dist: seen.append(dist) or mode(dist)  # type: ignore[method-assign, func-returns-value]
    numbers = np.random.default_rng(0).integers(0, 4, (7, 2))
    state = None
    for t, row in enumerate(NUMBERS[numbers]):
        _, state = policy.predict(row, state, np.array([t == 0, t in (0, 4)]), True)
        assert state is not None and state.dtype == np.float32 and len(state) == 2
    obs = torch.from_numpy(NUMBERS[numbers])
    begin = torch.zeros((7, 2), dtype=torch.bool)
    begin[4, 1] = True
    dist, _, last = policy.model.unroll(obs, policy.model.initial(2), begin)
    torch.testing.assert_close(torch.cat(seen), dist.detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state, last.detach().numpy(), rtol=1e-4, atol=1e-5)
    alone, kept = policy.predict(NUMBERS[0], None, True, True)
    assert np.shape(alone) == () and kept is not None and len(kept) == 1
    with pytest.raises(UserError, match=r"state: has the shape \[2, .*, wanted \[1, "):
        policy.predict(NUMBERS[0], state)
    with pytest.raises(UserError, match=r"episode_start: has the shape \[3\], wanted \[2\]"):
        policy.predict(NUMBERS[:2], state, [True] * 3)


def test_predict_plays_as_eval_does(identity_run: MakeRun) -> None:
    """One loop of a user against ``gala eval``: the same actions, one by one."""
    run = identity_run(0.0)
    (result,) = evaluate(run, episodes=1, policy="stochastic", json=True)["results"]
    policy = gala.load(run, seed=evaluation_seed(0, stream=1))
    env = make_vector_env(evaluation_env(policy.config.env, episodes=1), seed=evaluation_seed(0))
    obs, total, done = env.reset(), 0.0, False
    while not done:
        step = env.step(policy.predict(obs)[0])
        obs, total, done = step.obs, total + float(step.reward[0]), bool(step.episodes)
    assert total == result["mean_return"] > 0


class Choosing(gymnasium.Env[Any, Any]):
    """Observes a part and a mask of its three actions."""

    observation_space = gymnasium.spaces.Dict(
        {
            "where": gymnasium.spaces.Discrete(3),
            "what": gymnasium.spaces.Box(-1, 1, (2,)),
            "action_mask": gymnasium.spaces.MultiBinary(3),
        }
    )
    action_space = gymnasium.spaces.Discrete(3, start=5)

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        return self.observation_space.sample(), {}


@pytest.fixture
def choosing_run(tmp_path: Path) -> Any:
    gymnasium.register("Choosing-v0", Choosing, disable_env_checker=True)
    config = Config(env=EnvConfig(id="Choosing-v0"), network=NetworkConfig(hidden=(8,)))
    translation = translation_of(config.env)
    network = network_of(config, translation.observations.space, translation.actions.space)
    yield write_run(tmp_path / "run", config, {0: FlatParameters(network).data.clone()}, 1)
    del gymnasium.registry["Choosing-v0"]


def test_parts_and_masks(choosing_run: Path) -> None:
    policy = gala.load(choosing_run)
    mask = np.array([0, 1, 0], np.int8)
    one = {"where": np.int64(1), "what": np.zeros(2, np.float32), "action_mask": mask}
    assert {int(policy.predict(one)[0]) for _ in range(20)} == {6}
    several = {name: np.stack([each, each]) for name, each in one.items()}
    several["action_mask"] = np.array([[1, 0, 0], [0, 0, 1]])
    assert policy.predict(several)[0].tolist() == [5, 7]
    assert policy.predict(several, action_masks=[[0, 1, 0], [1, 0, 0]])[0].tolist() == [6, 5]
    for wrong, words in (
        ({"where": 1}, "the observation has no part 'action_mask'"),
        (np.zeros(4), "the observation has no part"),
        (
            one | {"what": np.zeros(3)},
            r"observation what has the shape \[3\] \(\[2\], or of several",
        ),
        (several | {"where": np.int64(1)}, "not of one and the same number"),
    ):
        with pytest.raises(UserError, match=words):
            policy.predict(wrong)
    with pytest.raises(UserError, match=r"action_masks: the mask has the shape \[2\]"):
        policy.predict(one, action_masks=[1, 0])


def test_pictures_of_atari(atari_run: MakeRun) -> None:
    config = Config(env=EnvConfig(id="ALE/Pong-v5", num_envs=1), network=NetworkConfig(hidden=(8,)))
    policy = gala.load(atari_run(config))
    assert policy.observation_space.shape == (4, 84, 84)
    obs = np.zeros((2, 4, 84, 84), np.uint8)
    assert policy.predict(obs)[0].shape == (2,) and 0 <= policy.predict(obs[0])[0] < 6


def test_wrong_shapes_and_devices_are_one_line(identity_run: MakeRun) -> None:
    run = identity_run(1.0)
    with pytest.raises(UserError, match=r"has the shape \[3\] \(\[4\], or of several \[B, 4\]\)"):
        gala.load(run).predict(np.zeros(3))
    with pytest.raises(UserError, match=r"there is no device 'cpuu' \(auto, cpu or cuda:0\)"):
        gala.load(run, device="cpuu")
    with pytest.raises(UserError, match="no such run folder"):
        gala.load(run / "nowhere")
    (run / "meta.json").write_text(json.dumps({"agents": 1, "loop": True}))
    with pytest.raises(UserError, match="is the run of a loop of its own"):
        gala.load(run)


def _run(agent: Any) -> Path:
    """Where ``train_here`` wrote."""
    return Path(agent.setting.run.path)
