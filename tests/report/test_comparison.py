"""``gala report --compare A B``: what is said of two sets of seeds, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gala import cli
from gala.evaluation.statistics import smallest_p
from gala.report.curves import Curve, area, learning_curve
from gala.report.run_data import read_run

Write = Any


def records(*returns: float) -> dict[int, list[dict[str, Any]]]:
    """One agent, whose return is as given after 100, 200 ... steps."""
    return {
        0: [{"charts/episodic_return": x, "step": 100 * (i + 1)} for i, x in enumerate(returns)]
    }


@pytest.fixture
def write(write_run: Write) -> Any:
    """``write(name, seed, *returns)``: a run of 300 steps."""

    def make(name: str, seed: int, *returns: float, **meta: Any) -> Path:
        told = {"total_steps": 100 * len(returns), "seed": seed, **meta}
        return Path(write_run(f"{name}-{seed}", records(*returns), **told))

    return make


@pytest.fixture
def three(write: Any, tmp_path: Path) -> list[str]:
    """Three seeds of ring and of none; ring is better at the end, worse on the way."""
    for seed in (1, 2, 3):
        write("ring", seed, 0.0, 10.0 * seed, 400.0 + seed)
        write("none", seed, 100.0, 300.0, 300.0 + seed, coupling="none")
    return [str(tmp_path / "ring-*"), str(tmp_path / "none-*")]


def compared(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert cli.main(["report", "--json", "--compare", *arguments]) == 0
    return json.loads(capsys.readouterr().out)["comparison"]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["report", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    return said.err


# -- what is said


def test_two_sets_by_hand(three: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = compared(capsys, *three)
    assert (found["a"]["label"], found["b"]["label"]) == ("1 agent, ring", "1 agent, none")
    assert found["a"]["runs"] == ["ring-1", "ring-2", "ring-3"] and found["coverage"] == 0.75
    assert found["differs"] == [{"coupling": "gossip"}, {"coupling": "none"}]
    final, mean = found["measures"]
    (task,) = final["tasks"]
    assert (final["name"], task["environment"], task["runs"]) == (
        "final_return", "CartPole-v1", [3, 3],
    )  # fmt: skip
    assert task["a"] == [402.0, 401.0, 403.0] and task["b"] == [302.0, 301.0, 303.0]
    assert task["improvement"] == [1.0, 1.0, 1.0]
    assert task["p"] == task["p_holm"] == task["p_smallest"] == smallest_p(3, 3)
    # from 100 to 300 steps: (0 + 20) / 2 and (20 + 402) / 2, half of the way each
    assert mean["name"] == "mean_return" and mean["tasks"][0]["a"][0] == pytest.approx(110.5)
    assert mean["tasks"][0]["b"][0] == pytest.approx(250.5)
    assert mean["tasks"][0]["improvement"][0] == 0.0 and final["overall"] is None


def test_the_profile_falls_over_the_scores_of_both(
    three: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    profile = compared(capsys, *three)["measures"][0]["tasks"][0]["profile"]
    assert (profile["thresholds"][0], profile["thresholds"][-1]) == (301.0, 403.0)
    # above the worst of B are two of its three runs and all of A
    assert profile["a"][0] == [1.0, 1.0, 1.0] and profile["b"][0][0] == pytest.approx(2 / 3)
    assert profile["b"][0][1] < 2 / 3 < profile["b"][0][2] and profile["a"][-1][0] == 0.0


def test_several_environments_are_corrected_for_and_summed_up(
    three: list[str], write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (1, 2, 3):
        pong = {"env_id": "ALE/Pong-v5", "options": {"env": {"id": "ALE/Pong-v5"}, "lr": 1}}
        write("ring", 10 + seed, -20.7, -20.7, 14.6 + seed, **pong)
        write("none", 10 + seed, -20.7, -20.7, -20.7 + seed, coupling="none", **pong)
    final = compared(capsys, *three)["measures"][0]
    assert [task["environment"] for task in final["tasks"]] == ["CartPole-v1", "ALE/Pong-v5"]
    assert [(task["p"], task["p_holm"]) for task in final["tasks"]] == [(0.1, 0.2)] * 2
    overall = final["overall"]
    assert overall["environment"] is None and overall["improvement"] == [1.0, 1.0, 1.0]
    # of the six scores about 1.03, 1.06, 1.08 and 0.84, 0.85, 0.85: the middle four
    assert 0.84 < overall["a"][0] < 1.06 and overall["b"][0] < 0.5


def test_the_newest_evaluation_counts_where_every_run_has_one(
    three: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def evaluate(name: str, value: float) -> None:
        results = [
            {"agent": "mean", "policy": "greedy", "mean_return": value},
            {"agent": 0, "policy": "greedy", "mean_return": -1.0},
        ]
        with open(tmp_path / name / "eval.jsonl", "a") as file:
            file.write(json.dumps({"results": results}) + "\n")

    for seed in (1, 2, 3):
        evaluate(f"ring-{seed}", 0.0)
        evaluate(f"ring-{seed}", 490.0 + seed)
    found = compared(capsys, *three)
    assert len(found["measures"]) == 2 and found["unevaluated"] == ["none-1", "none-2", "none-3"]
    assert cli.main(["report", "--compare", *three]) == 0
    assert "none-1, none-2, none-3 has none (gala eval)" in capsys.readouterr().out
    for seed in (1, 2, 3):
        evaluate(f"none-{seed}", 400.0)
    last = compared(capsys, *three)["measures"][2]
    assert last["name"] == "evaluation_greedy"
    assert (last["tasks"][0]["a"][0], last["tasks"][0]["b"]) == (492.0, [400.0] * 3)


def test_sets_of_one_configuration_are_kept_apart(
    write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (1, 2):
        write("old", seed, 0.0, 5.0)
        write("new", seed, 0.0, 9.0)
    assert cli.main(["report", "--compare", str(tmp_path / "old-*"), str(tmp_path / "new-*")]) == 0
    shown = capsys.readouterr().out
    assert "No option tells them apart" in shown and "1 agent, ring, set B" in shown


def test_every_format_has_the_comparison(three: list[str], tmp_path: Path) -> None:
    for name in ("r.md", "r.html"):
        assert cli.main(["report", "--compare", *three, "-o", str(tmp_path / name)]) == 0
        text = (tmp_path / name).read_text()
        assert "A against B" in text and re.search(r"402\.00 \\?\[401\.00, 403\.00", text)


# -- steps


def test_other_budgets_are_refused_until_steps_are_named(
    write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (1, 2):
        write("short", seed, 0.0, 5.0)
        write("long", seed, 0.0, 7.0, 100.0, 200.0, options={"a2c": {"lr": 1}})
    sets = [str(tmp_path / "short-*"), str(tmp_path / "long-*")]
    said = refused(capsys, "--compare", *sets)
    assert "have different budgets: 200 and 400 steps (--steps 200 compares them there)" in said
    found = compared(capsys, *sets, "--steps", "200")
    assert found["measures"][0]["tasks"][0]["b"][0] == 7.0 and found["steps"] == 200.0
    found = compared(capsys, *sets, "--steps", "150")
    assert found["measures"][0]["tasks"][0]["b"][0] == pytest.approx(3.5)
    said = refused(capsys, "--compare", *sets, "--steps", "300")
    assert "short-1: has no return at step 300 of 200" in said


def test_a_run_that_is_not_through_is_refused(
    three: list[str], write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    write("ring", 4, 0.0, 5.0, total_steps=300)
    said = refused(capsys, "--compare", *three)
    assert "ring-4: has done 200 of 300 steps (--steps 200 compares them there)" in said


def test_a_curve_until_a_step(write_run: Write) -> None:
    curve = learning_curve(read_run("r", write_run("r", records(0.0, 10.0, 40.0))))
    assert isinstance(curve, Curve) and area(curve, 100.0) == (5.0 + 25.0) / 2
    part = curve.until(250.0)
    assert part is not None and part.steps.tolist() == [100.0, 200.0, 250.0]
    assert part.mean.tolist() == part.returns[0].tolist() == [0.0, 10.0, 25.0]
    assert area(part, 150.0) == pytest.approx((7.5 * 50 + 17.5 * 50) / 100)
    assert area(part, 250.0) == 25.0
    assert curve.until(99.0) is None and curve.until(301.0) is None


# -- what is refused


def test_other_environments_are_refused(
    three: list[str], write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("mine", 1, 0.0, 1.0, env_id="Mine-v0")
    said = refused(capsys, "--compare", three[0], str(tmp_path / "mine-*"))
    assert "different environments: A alone has CartPole-v1; B alone has Mine-v0" in said
    sticky = {"env": {"id": "CartPole-v1", "atari": {"sticky_actions": 0.25}}}
    write("sticky", 1, 0.0, 1.0, options=sticky)
    said = refused(capsys, "--compare", three[0], str(tmp_path / "sticky-*"))
    assert "B alone has CartPole-v1, env.atari.sticky_actions 0.25" in said


def test_what_is_no_set_of_seeds_is_refused(
    three: list[str], write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("ring", 4, 0.0, 5.0, 10.0, options={"threads": 2})
    said = refused(capsys, "--compare", *three)
    assert (
        "the runs of A on CartPole-v1 are no seeds of one another: they differ in threads" in said
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--compare", "RUNS/ring-*", "RUNS/ring-1"], "ring-1: is named twice"),
        (["--compare", "RUNS/ring-*", "RUNS/nobody-*"], "nobody-*: no run folder is meant by it"),
        (["RUNS/ring-3", "--compare", "RUNS/ring-1", "RUNS/ring-2"], "patterns need quotes"),
        (["--compare", "RUNS/ring-1"], "--compare: expected 2 arguments"),
        (["--steps", "0", "RUNS/ring-1"], "--steps: must be a number above 0"),
    ],
)
def test_mistakes(
    arguments: list[str],
    words: str,
    three: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert words in refused(capsys, *(each.replace("RUNS", str(tmp_path)) for each in arguments))


def test_a_run_without_a_game_is_refused(
    three: list[str], write_run: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run("none-4", {0: [{"step": 300}]}, coupling="none", seed=4, total_steps=300)
    assert f"{run}: an agent has finished no game" in refused(capsys, "--compare", *three)


def test_a_folder_of_runs_is_a_set(
    write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("before", "after"):
        for seed in (1, 2):
            run = write(f"{name}x", seed, 0.0, 5.0)
            (tmp_path / name).mkdir(exist_ok=True)
            run.rename(tmp_path / name / f"run-{seed}")
    found = compared(capsys, str(tmp_path / "before"), str(tmp_path / "after"))
    assert found["a"]["runs"] == ["before/run-1", "before/run-2"]
