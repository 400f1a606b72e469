"""Numbers that are not finite, in real runs: from the environment, in the parameters, at resume."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from launching import gala, newest_state, records

from gala.run import checkpoint

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

OWN = '''
import os

import gymnasium as gym
import numpy as np
import torch
from torch import nn


def once(name):
    """True the first time that the agent of SPOILT_RANK asks."""
    if os.environ.get("RANK", "0") != os.environ.get("SPOILT_RANK", "0"):
        return False
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False


class Plain(gym.Env):
    """Games of 20 steps; a reward and an observation of the 30th and 50th step are spoilt."""

    observation_space = gym.spaces.Box(-1, 1, (3,), np.float32)

    def __init__(self, value="nan", what="reward", gaussian=False):
        box = gym.spaces.Box(-1, 1, (1,), np.float32)
        self.action_space = box if gaussian else gym.spaces.Discrete(2)
        self.value, self.what, self.total = float(value), what, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.n = 0
        return self.observe(), {}

    def observe(self):
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)

    def step(self, action):
        assert np.isfinite(action).all()
        self.n, self.total = self.n + 1, self.total + 1
        obs, reward = self.observe(), 1.0
        if self.total >= 30 and once("spoilt"):
            if self.what == "reward":
                reward = self.value
            else:
                obs[1] = self.value
        return obs, reward, self.n >= 20, False, {}


gym.register("Plain-v0", Plain)


class Trunk(nn.Module):
    """One of its weights is lost in the 200th forward pass."""

    def __init__(self, space, generator):
        super().__init__()
        self.layer, self.features, self.calls = nn.Linear(3, 8), 8, 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 200 and once("lost"):
            with torch.no_grad():
                self.layer.weight[3, 1] = float("nan")
        return torch.tanh(self.layer(x))
'''

QUICK = (
    "--env.id own:Plain-v0 --env.num-envs 4 --log.no-tensorboard --log.every-s 0.05 --threads 1 "
    "--checkpoint.every-steps 400 --checkpoint.keep 99 --seed 3 --device cpu"
).split()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def train(run: Path, *arguments: object, code: int = 0) -> str:
    return gala("train", *QUICK, "--run-dir", run, *arguments, code=code)


def events(run: Path, rank: int, kind: str) -> list[str]:
    return [each["message"] for each in records(run, rank) if each.get("event") == kind]


def all_finite(run: Path, rank: int) -> bool:
    """Whether all checkpoints are, and there are some."""
    folder = checkpoint.folder_of(run, rank)
    states = [checkpoint.load(checkpoint.path_of(folder, u)) for u in checkpoint.updates(folder)]
    return len(states) > 0 and all(
        checkpoint.finite(s["params"]) and checkpoint.finite(s["learner"]) for s in states
    )


@pytest.mark.parametrize(
    ("what", "value", "options"),
    [
        ("reward", "nan", ["--algorithm", "a2c"]),
        ("reward", "inf", ["--algorithm", "ppo", "--ppo.n-step", 16]),
        ("reward", "1e300", ["--algorithm", "vtrace"]),
        ("reward", "nan", ["--algorithm", "impact", "--impact.n-step", 5]),
        ("reward", "-inf", ["--algorithm", "a2c", "--env.reward-clip", "true"]),
        ("observation", "nan", ["--algorithm", "a2c", "--env.normalize-observation", "true"]),
        ("observation", "inf", ["--algorithm", "ppo", "--env.normalize-reward", "true"]),
    ],
)
def test_one_number_costs_one_update(
    here: Path, what: str, value: str, options: list[object]
) -> None:
    gaussian = what == "observation"
    kwargs = json.dumps({"value": value, "what": what, "gaussian": gaussian})
    said = train(here, "--total-steps", 4000, "--env.kwargs", kwargs, *options)
    (text,) = events(here, 0, "skipped")
    assert f"{what} of environment" in text and f"skipped: {text}" in " ".join(said.split())
    assert all_finite(here, 0)
    last = [r for r in records(here, 0) if r.get("losses/value_loss") is not None][-1]
    assert last["losses/skipped_updates"] == 1 and last["charts/episodic_return"] == 20


def test_all_agents_leave_out_the_update_whose_gradients_are_averaged(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPOILT_RANK", "1")
    train(here, "--agents", 2, "--total-steps", 4000, "--coupling", "allreduce")
    (cause,), (other,) = (events(here, rank, "skipped") for rank in (1, 0))
    assert "reward of environment" in cause and "from another agent" in other
    assert cause.split(" was")[0] == other.split(" was")[0], "the same update"
    states = [newest_state(here, rank) for rank in (0, 1)]
    assert torch.equal(states[0]["params"], states[1]["params"]) and all_finite(here, 0)
    steps = {state["learner"]["optimizer"]["steps"] for state in states}
    assert steps == {states[0]["update"] - 1}


def test_the_next_incarnation_takes_a_neighbours_parameters_and_a_fresh_optimizer(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPOILT_RANK", "1")
    (here.parent / "spoilt").touch()  # the environment is a good one
    train(
        here, "--agents", 2, "--total-steps", 40_000, "--network.kind", "own:Trunk",
        "--faults.slowdown", 4, "--faults.agents", 0,  # not done before agent 1 is back
    )  # fmt: skip
    (lost,) = events(here, 1, "error")
    assert "its parameters are not finite after update" in lost and "actor.layer.weight" in lost
    (alive,) = (each for each in events(here, 1, "alive") if "incarnation" in each)
    assert "it asked to be started again, goes on with parameters of agent 0" in alive
    assert "a fresh optimizer" in alive
    assert all_finite(here, 0) and all_finite(here, 1)


def test_alone_it_ends_with_75_and_goes_on_from_its_last_checkpoint(here: Path) -> None:
    (here.parent / "spoilt").touch()
    said = train(here, "--total-steps", 6000, "--network.kind", "own:Trunk", code=75)
    assert "gala train --resume" in said and all_finite(here, 0)
    before = newest_state(here, 0)["update"]
    gala("train", "--resume", here)
    assert events(here, 0, "start")[1].startswith(f"update {before},")
    assert all_finite(here, 0) and newest_state(here, 0)["step"] >= 6000


@pytest.mark.parametrize("part", ["params", "learner"])
def test_resume_passes_over_what_is_not_finite(here: Path, part: str) -> None:
    (here.parent / "spoilt").touch()
    train(here, "--total-steps", 2000)
    folder = checkpoint.folder_of(here, 0)
    newest, state = checkpoint.updates(folder)[-1], newest_state(here, 0)
    spoilt: Any = state["params"] if part == "params" else state["learner"]["optimizer"]["square"]
    spoilt[5] = float("inf")
    torch.save(state, checkpoint.path_of(folder, newest))
    told = gala("train", "--resume", here, "--total-steps", 3000)
    start = events(here, 0, "start")[1]
    if part == "params":
        assert f"{newest:09d}.pt is passed over: its parameters are not finite" in told
        assert not start.startswith(f"update {newest},")
    else:
        assert "its saved state is not finite, it begins anew" in told
        assert start.startswith(f"update {newest},")
        checkpoint.path_of(folder, newest).unlink()  # it is as it was
    assert all_finite(here, 0)


def test_eval_says_that_an_agent_is_not_finite(here: Path) -> None:
    (here.parent / "spoilt").touch()
    train(here, "--total-steps", 3000, "--agents", 2)
    state = newest_state(here, 1)
    state["params"][0] = float("nan")
    folder = checkpoint.folder_of(here, 1)
    torch.save(state, checkpoint.path_of(folder, checkpoint.updates(folder)[-1]))

    def evaluate(*more: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gala", "eval", here, "--episodes", 1, "--json", *more]
        return subprocess.run(
            [str(word) for word in command],
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip

    mean = evaluate()
    report = json.loads(mean.stdout)
    assert mean.returncode == 0 and "agent 1 is not in the mean: its newest" in mean.stderr
    assert [each["agent"] for each in report["left_out"]] == [1]
    alone = evaluate("--agent", 1)
    assert alone.returncode == 2 and "is not finite" in alone.stderr and not alone.stdout
