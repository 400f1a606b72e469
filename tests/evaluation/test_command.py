"""``gala eval`` on run folders whose agents are known exactly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gala import cli
from gala.config.sections import AtariConfig, EnvConfig, LogConfig, NetworkConfig
from gala.dashboard.videos import videos_of
from gala.envs.identity import IdentityEnv
from gala.envs.step import Step
from gala.errors import UserError
from gala.evaluation import player
from gala.evaluation.command import evaluate
from gala.learning.vmpo_config import VMPOConfig
from gala.policy.trained_run import load_run
from gala.run.config import Config

MakeRun = Callable[..., Path]

PERFECT, WRONG = 40.0, -40.0
LENGTH = 20  # of an episode; reward 1 for each right answer


def by_name(report: dict[str, Any]) -> dict[tuple[object, str], dict[str, Any]]:
    return {(each["agent"], each["policy"]): each for each in report["results"]}


def test_each_agent_and_the_mean_get_what_they_deserve(identity_run: MakeRun) -> None:
    # mean gain (120 - 40 + 0) / 3 > 0: the average of all is right where agent 1 is wrong
    report = evaluate(identity_run(3 * PERFECT, WRONG, 0.0), episodes=12, agent="all", json=True)
    results = by_name(report)
    assert len(results) == 8
    for mode in ("greedy", "stochastic"):
        for agent, value in (("mean", LENGTH), (0, LENGTH), (1, 0)):
            result = results[agent, mode]
            assert result["mean_return"] == value
            assert result["min_return"] == result["max_return"] == value
            assert result["standard_error"] == 0
            assert result["mean_length"] == LENGTH
    # agent 2 has equal logits: drawing is right one time in four
    drawn = results[2, "stochastic"]
    assert abs(drawn["mean_return"] - LENGTH / 4) < 5 * drawn["standard_error"]
    assert 0 < drawn["standard_error"] < 1
    assert drawn["min_return"] < drawn["max_return"]


def test_the_json_is_one_object_with_the_promised_names(
    identity_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = identity_run(PERFECT, PERFECT)
    assert cli.main(["eval", str(run), "--episodes", "5", "--json"]) == 0
    output = capsys.readouterr()
    report = json.loads(output.out)
    assert {"env_id", "episodes", "results"} <= report.keys()
    assert (report["env_id"], report["episodes"]) == ("gala/Identity-v0", 5)
    promised = {"agent", "policy", "mean_return", "standard_error", "min_return", "max_return"}
    for result in report["results"]:
        assert promised | {"human_normalized"} <= result.keys()
        assert result["human_normalized"] is None
        assert len(result["returns"]) == 5
    assert [(r["agent"], r["policy"]) for r in report["results"]] == [
        ("mean", "greedy"),
        ("mean", "stochastic"),
    ]


def test_what_environments_print_is_no_result(
    identity_run: MakeRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recv = IdentityEnv.recv

    def loud(env: IdentityEnv) -> Step:
        print("stepping")
        return recv(env)

    monkeypatch.setattr(IdentityEnv, "recv", loud)
    assert cli.main(["eval", str(identity_run(PERFECT)), "--episodes", "1", "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["episodes"] == 1 and output.err.count("stepping") == 2 * LENGTH


def test_the_table_tells_the_same(
    identity_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = identity_run(PERFECT, WRONG)
    assert cli.main(["eval", str(run), "--episodes", "3", "--agent", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "gala/Identity-v0, 3 episodes, seed 0" in lines[0]
    assert "human" not in "".join(lines)
    assert [line.split("│")[1].strip() for line in lines if "agent 1" in line] == ["agent 1"] * 2
    assert sum("0.00" in line for line in lines) == 2


def test_the_same_seed_gives_the_same_games(identity_run: MakeRun) -> None:
    run = identity_run(0.0)
    returns = [
        by_name(evaluate(run, episodes=8, seed=seed, json=True))["mean", "stochastic"]["returns"]
        for seed in (0, 0, 1)
    ]
    assert returns[0] == returns[1] != returns[2]


def test_results_are_kept_in_the_run_folder(identity_run: MakeRun) -> None:
    run = identity_run(PERFECT, WRONG)
    first = evaluate(run, episodes=2, policy="greedy", json=True)
    second = evaluate(run, episodes=3, agent=1, policy="stochastic", json=True)
    lines = [json.loads(line) for line in (run / "eval.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in line.items() if k != "t"} for line in lines] == [first, second]
    assert (run / "mean.safetensors").is_file()


def test_best_and_missing_agents(identity_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run = identity_run(WRONG, PERFECT, None)
    for rank, value in ((0, 1.0), (1, 19.0)):
        record = json.dumps({"charts/episodic_return": value}) + "\n"
        (run / f"rank_{rank:02d}" / "metrics.jsonl").write_text(record)
    report = evaluate(run, episodes=2, agent="best", policy="greedy", json=True)
    assert [(r["agent"], r["mean_return"]) for r in report["results"]] == [(1, LENGTH)]
    assert report["missing_agents"] == [2]
    assert "gala: warning: agent 2 has no readable checkpoint" in capsys.readouterr().err


def test_a_run_folder_that_cannot_be_written_is_no_obstacle(
    identity_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = identity_run(PERFECT)
    (run / "eval.jsonl").mkdir()
    report = evaluate(run, episodes=1, policy="greedy", json=True)
    output = capsys.readouterr()
    assert json.loads(output.out) == report
    assert report["results"][0]["standard_error"] is None  # one episode has none
    assert "the result is not kept in the run folder: Is a directory" in output.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--episodes", "0"], "--episodes: must be a whole number of at least 1, got '0'"),
        (["--agent", "7"], "--agent: there is no agent 7, this run has 1"),
        (["--agent", "men"], "--agent: must be mean, best, all or a rank, got 'men'"),
        (["--seed", "-1"], "--seed: must not be negative, got -1"),
        (["--video", "game.gif"], "--video: must end with .mp4"),
        (["--video", "no/such/folder/game.mp4"], "no such folder"),
        (["--video", "game.mp4"], "gala/Identity-v0 has no picture"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(
    identity_run: MakeRun,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    run = identity_run(PERFECT)
    assert cli.main(["eval", str(run), *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("gala: error: ")
    assert output.err.count("\n") == 1
    assert message in output.err
    assert not (run / "eval.jsonl").exists()  # refused before any game is played


def test_a_video_is_refused_before_the_games(
    identity_run: MakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def play(*arguments: object, **options: object) -> None:
        raise AssertionError("games were played")

    monkeypatch.setattr(player, "play", play)
    with pytest.raises(UserError, match="has no picture"):
        evaluate(identity_run(PERFECT), video=tmp_path / "game.mp4")


def test_an_unknown_policy_is_refused(identity_run: MakeRun) -> None:
    with pytest.raises(UserError, match="did you mean 'greedy'"):
        evaluate(identity_run(PERFECT), policy="gredy")


def test_observations_are_normalised_by_the_moments_of_the_checkpoint(
    normalizing_run: Callable[[float], Path],
) -> None:
    near, far = (
        by_name(evaluate(normalizing_run(mean), episodes=4, json=True))["mean", "greedy"]
        for mean in (0.0, 1000.0)
    )
    assert near["mean_return"] == LENGTH
    assert far["mean_return"] < LENGTH / 2  # so far from the mean all observations look alike


def test_a_configuration_of_another_network_is_refused(identity_run: MakeRun) -> None:
    run = identity_run(PERFECT)
    config = (run / "config.yaml").read_text()
    assert "  - 4\n" in config
    (run / "config.yaml").write_text(config.replace("  - 4\n", "  - 8\n"))
    with pytest.raises(UserError, match="describes another network than the checkpoints hold"):
        evaluate(run, episodes=1)


def test_atari_is_scored_raw_against_the_human(
    atari_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    pong = Config(
        env=EnvConfig(
            id="ALE/Pong-v5", num_envs=2, reward_clip=True, atari=AtariConfig(max_frames=240)
        ),
        network=NetworkConfig(hidden=(16,)),
    )
    run = atari_run(pong)
    report = evaluate(run, episodes=4, policy="stochastic", video="")
    (shown_by_the_dashboard,) = videos_of(run)
    name = f"step {report['results'][0]['step']}, mean, stochastic.mp4"
    assert shown_by_the_dashboard["name"] == name and shown_by_the_dashboard["bytes"] > 1000
    assert report["video"]["file"] == str(run / "videos" / name)
    assert report["video"]["agent"] == "mean"
    events = EventAccumulator(str(run / "tensorboard" / "evaluation"))
    events.Reload()
    (shown,) = events.Images("evaluation/mean/stochastic")
    assert shown.encoded_image_string.startswith(b"GIF") and (shown.width, shown.height) == (
        210,
        210,
    )
    assert -5 < report["video"]["return"] < 2
    (result,) = report["results"]
    assert -5 < result["mean_return"] < 1  # nobody can win or lose much in four seconds
    assert result["human_normalized"] == pytest.approx((result["mean_return"] + 20.7) / 35.3)
    assert 45 <= result["mean_length"] <= 60
    table = capsys.readouterr().out
    assert "human: 0 is random play, 1 the human's score" in table
    row = next(line.split("│") for line in table.splitlines() if "stochastic" in line)
    assert f"{result['mean_return']:.2f}" in row[3]
    assert f"{result['human_normalized']:.2f}" in row[7]


def test_a_run_with_duals_is_played_and_averaged(
    train_here: Callable[..., Any], tmp_path: Path
) -> None:
    """Duals of an algorithm are among the parameters, and no part of the policy."""
    config = Config(
        env=EnvConfig(id="gala/Identity-v0", num_envs=8),
        network=NetworkConfig(hidden=(16,)),
        algorithm="vmpo",
        vmpo=VMPOConfig(n_step=5, gamma=0.9, lr=1e-2, act_every=4),
        log=LogConfig(tensorboard=False),
        total_steps=16_000,
        seed=3,
    )
    train_here(config)
    run = tmp_path / "run"
    report = evaluate(run, agent="all", policy="greedy", episodes=4, seed=0, json=True)
    assert all(result["mean_return"] > 15 for result in report["results"])  # chance is 5
    assert load_run(run).duals == 3
