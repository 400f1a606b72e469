"""``gala distil``: real teachers, a student that reaches them, and its run folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import CARTPOLE, PENDULUM, remembering

import gala
from gala import cli
from gala.config.sections import EnvConfig, LogConfig, NetworkConfig
from gala.errors import UserError
from gala.evaluation.command import evaluate
from gala.learning.a2c_config import A2CConfig
from gala.learning.r2d2_config import R2D2Config
from gala.run.config import Config, load

MakeRun = Callable[..., Path]
Train = Callable[..., Any]
SMALL = ("--log.no-tensorboard", "--log.every-s", "1e-6")


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """What ``gala distil --json`` prints."""
    capsys.readouterr()
    assert cli.main(["distil", *map(str, arguments), *SMALL, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert cli.main(["distil", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1, captured
    return captured.err


def recorded(run: Path, name: str) -> list[float]:
    lines = (run / "rank_00" / "metrics.jsonl").read_text().splitlines()
    return [record[name] for line in lines if name in (record := json.loads(line))]


def lights(shift: int, seed: int) -> Config:
    return Config(
        env=EnvConfig(id="rooms:Lights-v0", kwargs={"shift": shift}, num_envs=16, channels="last"),
        network=NetworkConfig(filters=(8,), hidden=(32,)),
        a2c=A2CConfig(optimizer="adam", lr=5e-3, gamma=0.0, n_step=4),  # type: ignore[call-arg]
        log=LogConfig(tensorboard=False),
        total_steps=8_000,
        seed=seed,
    )


@pytest.fixture
def rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)


@pytest.mark.slow
@pytest.mark.usefixtures("rooms")
def test_one_student_of_two_tasks(
    train_here: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tasks contradict one another: who learns the wrong way round, or one alone, fails."""
    teachers = [tmp_path / name for name in ("plain", "shifted")]
    for shift, path in enumerate(teachers):
        train_here(lights(shift, seed=shift + 1), path.name)
    into, again = tmp_path / "student", tmp_path / "again"
    lesson = (*teachers, "--total-steps", 6_000, "--a2c.n-step", 2, "--a2c.lr", 5e-3)
    for path, more in ((into, ()), (again, ("--features", 0.01))):
        found = told(capsys, *lesson, *more, "--into", path, "--episodes", 10)
        assert [each["policy"] for each in found["results"]] == ["greedy", "stochastic"] * 2
        for each in found["results"]:
            teacher, student = (each[who]["mean_return"] for who in ("teacher", "student"))
            assert teacher > 9 and student > 0.9 * teacher, found["results"]
        kls = recorded(path, "losses/mimic_kl")
        assert kls[-1] < 0.1 < kls[0]
        assert bool(recorded(path, "losses/mimic_features")) == bool(more)
    errors = recorded(again, "losses/mimic_features")
    assert errors[-1] < 0.5 * errors[0]
    _require_a_run(into, teachers)


def _require_a_run(into: Path, teachers: list[Path]) -> None:
    """A student's folder is one like any other, of the first teacher's environments."""
    config = load(into / "config.yaml")
    assert (config.env.pad_channels, config.env.num_envs) == (3, 16)
    meta = json.loads((into / "meta.json").read_text())
    assert meta["distilled"] == [str(path) for path in teachers]
    assert meta["command"].startswith("gala distil ") and meta["agents"] == 1
    for there in (None, *teachers):
        report = evaluate(into, episodes=2, policy="greedy", json=True, env_of=there)
        assert report["results"][0]["mean_return"] == 10, there
    assert len((into / "eval.jsonl").read_text().splitlines()) == 1  # of its own environments
    with pytest.raises(UserError, match="--env-of: observes 5x5x3 booleans"):
        evaluate(teachers[0], env_of=teachers[1])
    obs = np.zeros((5, 5, 2), bool)
    obs[:, 3, 0] = True
    assert gala.load(into).predict(obs, deterministic=True)[0] == 3


@pytest.mark.usefixtures("rooms")
def test_forbidden_actions_are_no_difference(
    train_here: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside a task that forbids nothing; a teacher without masks would be infinitely far away."""
    config = lights(0, seed=1)
    env = replace(config.env, kwargs={"masked": True})
    for name, each in (("masked", env), ("plain", config.env)):
        train_here(replace(config, env=each, total_steps=320), name)
    into, runs = tmp_path / "c", [tmp_path / name for name in ("masked", "plain")]
    told(capsys, *runs, "--into", into, "--total-steps", 512, "--episodes", 0)
    assert 0 <= max(recorded(into, "losses/mimic_kl")) < 3


def test_teachers_and_students_that_remember(
    train_here: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_here(remembering("gru"), "gru")
    path = tmp_path / "gru"
    words = (path, path, "--into", tmp_path / "c", "--total-steps", 256, "--episodes", 0)
    assert told(capsys, *words, "--features", 0.01)["results"] == []
    policy = gala.load(tmp_path / "c")
    assert policy.predict(policy.observation_space.sample())[1] is not None
    words = (path, "--into", tmp_path / "d", "--network.memory", "none")
    assert "--network.memory: " in complaint(capsys, *words)
    assert not (tmp_path / "d").exists()


def test_values_are_taught_as_a_policy(
    train_here: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(
        CARTPOLE,
        env=EnvConfig(id="CartPole-v1", num_envs=2),
        network=NetworkConfig(hidden=(8,), memory="none"),
        algorithm="r2d2",
        r2d2=R2D2Config(n_step=4, burn_in=0, sequences=2),  # type: ignore[call-arg]
        replay=replace(CARTPOLE.replay, warm_up=20, capacity=400),
    )
    train_here(config, "values")
    path, into = tmp_path / "values", tmp_path / "c"
    told(capsys, path, "--into", into, "--total-steps", 20_000, "--episodes", 0)
    teacher, student = gala.load(path), gala.load(into)
    seen = np.random.default_rng(1).normal(0, 0.05, (200, 4)).astype(np.float32)
    chosen = [each.predict(seen, deterministic=True)[0] for each in (teacher, student)]
    assert (chosen[0] == chosen[1]).mean() > 0.9


def test_normalised_observations(
    normalizing_run: Callable[[float], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    into = tmp_path / "c"
    found = told(capsys, normalizing_run(0.25), "--into", into, "--total-steps", 4000)
    assert found["results"][0]["student"]["mean_return"] == 20
    assert gala.load(into).model.observed is not None


def test_mistakes_are_a_line(
    identity_run: MakeRun,
    train_here: Train,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, into = identity_run(40.0), tmp_path / "c"
    assert "needs the run folders" in complaint(capsys, "--into", into)
    assert "--into" in complaint(capsys, run)
    assert "no such run folder" in complaint(capsys, run, tmp_path / "none", "--into", into)
    train_here(CARTPOLE, "cartpole")
    train_here(PENDULUM, "pendulum")
    words = (run, tmp_path / "cartpole", "--into", into)
    assert f"acts by one of 2, and {run} acts by one of 4" in complaint(capsys, *words)
    assert "squashes" in complaint(capsys, tmp_path / "pendulum", "--into", into)
    for option in ("--env.id", "--algorithm", "--a2c.entropy-coef", "--coupling"):
        assert f"{option}: is no option of a student" in complaint(
            capsys, run, "--into", into, option, {"--a2c.entropy-coef": 1}.get(option, "x")
        )
    words = (run, run, run, "--into", into, "--env.num-envs", 2)
    assert "--env.num-envs: each of 3 teachers" in complaint(capsys, *words)
    assert "--temperature" in complaint(capsys, run, "--into", into, "--temperature", 0)
    assert not into.exists()
    assert "--into: holds another run" in complaint(capsys, run, "--into", run)
    (tmp_path / "file").write_text("")
    assert "--into: is not an empty" in complaint(capsys, run, "--into", tmp_path / "file")


def test_a_run_without_a_checkpoint(
    identity_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no readable checkpoint" in complaint(
        capsys, identity_run(None), "--into", tmp_path / "c"
    )


def test_agents_without_a_mean(
    identity_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = identity_run(40.0, 10.0)
    text = (run / "config.yaml").read_text().replace("coupling: gossip", "coupling: none")
    (run / "config.yaml").write_text(text.replace("agents: null", "agents: 2"))
    error = complaint(capsys, run, "--into", tmp_path / "c")
    assert "their mean is no policy" in error and "--policy --agent 0 -o DIR" in error
