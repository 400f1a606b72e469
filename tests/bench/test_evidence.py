"""The registered experiments: every run is what the plan says, no run is done twice."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gala.run.config import load

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))
import evidence
import evidence_page

Tree = dict[str, Any]


@pytest.fixture
def plan() -> Tree:
    loaded: Tree = yaml.safe_load(evidence.PLAN.read_text())
    return loaded


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(evidence, "DATA", tmp_path)
    return tmp_path


def row(arm: str, seed: int, score: float, game: str = "breakout", vary: str = "") -> Tree:
    agents = ["0", "1"] if arm in ("one", "independent") else ["mean", "0", "1"]
    return {"name": f"{game}{vary}{arm}{seed}", "game": game, "arm": arm, "vary": vary,
            "seed": seed, "commit": "0123", "curve": [None, *(score * k / 9 for k in range(9))],
            "evaluation": {agent: [score - 1, score + 1] for agent in agents}}  # fmt: skip


def keep(data: Path, stage: str, rows: list[Tree]) -> None:
    (data / f"{stage}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def tuned(plan: Tree, data: Path, best: dict[str, str]) -> None:
    """Results of the tuning stage in which each arm is best with the rate named."""
    rows = [
        {"name": run.name, "game": run.game, "arm": run.arm, "vary": run.vary,
         "evaluation": {"mean": [2.0 if best.get(run.arm) == run.vary else 1.0]}}
        for run in evidence.runs_of(plan, "tuning")
    ]  # fmt: skip
    keep(data, "tuning", rows)


def test_every_run_is_an_experiment_that_gala_train_takes(
    plan: Tree, data: Path, tmp_path: Path
) -> None:
    tuned(plan, data, {"gossip": "rate-1.4e-3"})
    for stage in plan["stages"]:
        runs = list(evidence.runs_of(plan, stage))
        assert len({run.name for run in runs}) == len(runs)
        for config in {json.dumps(run.config | {"seed": 1}): run.config for run in runs}.values():
            (tmp_path / "one.yaml").write_text(yaml.safe_dump(config))
            assert load(tmp_path / "one.yaml").agents == config["agents"]


def test_arms_have_equal_environments_and_steps(plan: Tree, data: Path) -> None:
    tuned(plan, data, {})
    for run in evidence.runs_of(plan, "minatar"):
        assert run.config["agents"] * run.config["env"]["num_envs"] == 64
        assert run.config["total_steps"] == 2_000_000
    for run in evidence.runs_of(plan, "growth"):
        everything = run.config["agents"] * run.config["env"]["num_envs"]
        assert run.vary == f"envs-{everything}"


def test_each_arm_goes_on_with_its_own_best_rate(plan: Tree, data: Path) -> None:
    tuned(plan, data, {"gossip": "rate-1.4e-3", "allreduce": "rate-3.5e-4"})
    rates = {run.arm: run.config["a2c"]["lr"] for run in evidence.runs_of(plan, "minatar")}
    assert rates["gossip"] == 0.0014 and rates["allreduce"] == 0.00035
    assert plan["base"]["a2c"]["lr"] == 0.0007, "the plan itself is not changed"


def test_no_stage_goes_on_before_its_tuning_is_whole(plan: Tree, data: Path) -> None:
    tuned(plan, data, {})
    lines = (data / "tuning.jsonl").read_text().splitlines(keepends=True)
    (data / "tuning.jsonl").write_text("".join(lines[1:]))
    with pytest.raises(SystemExit, match="first the stage tuning: 1 of its runs"):
        list(evidence.runs_of(plan, "minatar"))


def test_games_count_alike_whatever_their_scores(plan: Tree, data: Path) -> None:
    plan["stages"]["tuning"] |= {"arms": ["one"], "seeds": [1]}
    scores = {("breakout", "rate-7e-4"): 10.0, ("asterix", "rate-2.8e-3"): 1.0}
    rows = [
        {"name": run.name, "game": run.game, "arm": run.arm, "vary": run.vary,
         "evaluation": {"0": [scores.get((run.game, run.vary), 0.5)]}}
        for run in evidence.runs_of(plan, "tuning")
    ]  # fmt: skip
    keep(data, "tuning", rows)
    means = evidence.tuning_means(plan, "tuning")
    assert means["one", "rate-2.8e-3"] == pytest.approx((0.05 + 1.0) / 2)
    assert means["one", "rate-7e-4"] == pytest.approx((1.0 + 0.5) / 2)
    assert evidence.best_rates(plan, "tuning") == {"one": {"a2c": {"lr": 0.0007}}}


def test_score_is_of_the_mean_policy_or_of_all_agents() -> None:
    assert evidence.score({"evaluation": {"mean": [1, 3], "0": [9], "1": [9]}}) == 2
    assert evidence.score({"evaluation": {"0": [1, 3], "1": [8]}}) == 5


def test_what_is_done_is_not_done_again(
    plan: Tree, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan["stages"]["tuning"] |= {"games": ["breakout"], "arms": ["gossip", "one"], "seeds": [101]}
    asked = []

    def measure(run: Any, plan: Tree, folder: Path) -> Tree:
        asked.append(run.name)
        return {"name": run.name, "commit": "0123", "evaluation": {"mean": [1.0]}}

    monkeypatch.setattr(evidence, "measure", measure)
    evidence.run_stage(plan, "tuning", tmp_path, minutes=0)
    assert not asked
    evidence.run_stage(plan, "tuning", tmp_path, minutes=1)
    assert len(asked) == len(set(asked)) == 8 == len(evidence.results("tuning"))
    evidence.run_stage(plan, "tuning", tmp_path, minutes=1)
    assert len(asked) == 8


def test_nothing_of_a_changed_tree_is_kept(
    plan: Tree, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dirty = {"name": "x", "commit": "0123-dirty", "evaluation": {"mean": [1.0]}}
    monkeypatch.setattr(evidence, "measure", lambda *_: dirty)
    with pytest.raises(SystemExit, match="not clean"):
        evidence.run_stage(plan, "tuning", tmp_path, minutes=1)
    assert not evidence.results("tuning")


def test_the_page_says_who_is_better() -> None:
    rows = [row("gossip", k, 10.0 + k) for k in range(8)]
    rows += [row("allreduce", k, 1.0 + k) for k in range(8)]
    rows += [row("one", k, 100.0 + k) for k in range(8)]
    rows += [row("lock-step", k, 10.5 + k) for k in range(8)]
    rows += [row("independent", k, 9.0) for k in range(3)]
    found = evidence_page.compared(evidence_page.arms_of(rows), "gossip")
    assert {c.other.name: c.verdict for c in found} == {
        "allreduce": "better", "one": "worse", "lock-step": "undecided",
    }  # fmt: skip
    said = evidence_page.answer(found)
    assert "Against `allreduce`, `gossip` is better in 1, worse in 0" in said
    assert "Against `one`, `gossip` is better in 0, worse in 1 and undecided in 0 of 1" in said
    assert "independent" not in said, "three seeds say nothing"
    assert "no two arms" in evidence_page.answer([])


def test_where_one_arm_varies_what_it_varies_is_compared() -> None:
    rows = [row("gossip", k, 5.0 + k, vary=v) for v in ("ring", "complete") for k in range(5)]
    arms = evidence_page.arms_of(rows)
    assert [arm.name for arm in arms] == ["ring", "complete"]
    assert len(evidence_page.compared(arms, "ring")) == 1


def test_converged_are_those_above_a_share_of_the_median() -> None:
    goals = evidence_page.goals_of([row("gossip", k, 10.0 * k) for k in range(1, 6)], 0.5)
    assert goals == {"breakout": 15.0}
    arms = evidence_page.arms_of([row("one", k, 10.0 * k, vary="envs-16") for k in range(5)])
    text = evidence_page.converged_table(arms, goals)
    assert "| 3 of 5 |" in text and "0.23 to 0.88" in text


def test_the_page_is_written_of_what_is_there(
    plan: Tree, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence_page, "PAGE", data / "evidence.md")
    monkeypatch.setattr(evidence_page, "RESULTS", data)
    tuned(plan, data, {"gossip": "rate-1.4e-3"})
    tuning = [json.loads(line) for line in (data / "tuning.jsonl").read_text().splitlines()]
    keep(data, "tuning", [each | {"commit": "0123", "curve": []} for each in tuning])
    keep(data, "minatar", [row("gossip", 1, 3.0), row("one", 1, 2.0)])
    evidence.report(plan)
    text = (data / "evidence.md").read_text()
    assert "| gossip | 0.500 | 0.500 | **1.000** | 0.500 |" in text
    assert "Stage `minatar`: 2 runs of 2,000,000 steps; missing: 248." in text
    assert (data / "evidence-minatar.png").stat().st_size > 10_000
    assert not (data / "evidence-growth.png").exists()
