"""Summaries checked by hand: one run, the seeds of a set, a method over environments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gala.report.curves import learning_curve
from gala.report.run_data import read_run
from gala.report.summary import (
    Summary,
    count_deaths,
    grouped,
    methods_of,
    sets_of,
    summarize_run,
    threshold_of,
)

Write = Any


def summary(path: Path, threshold: float | None = None) -> Summary:
    run = read_run(path.name, path)
    return summarize_run(run, learning_curve(run), threshold)


def agent_records(final: float = 480.0) -> list[dict[str, Any]]:
    return [
        {"event": "start", "message": ""},
        {"charts/episodic_return": 100.0, "divergence/epsilon_ratio": 0.5, "gossip/mixes": 4,
         "divergence/expected_ratio": 0.75, "divergence/step_cosine": 0.5},
        {"charts/episodic_return": final, "divergence/epsilon_ratio": 0.1, "gossip/mixes": 9,
         "divergence/relative": 0.02, "gossip/bytes_sent": 1000},
    ]  # fmt: skip


def test_one_run_by_hand(write_run: Write) -> None:
    found = summary(write_run("r", {0: agent_records(480.0), 1: agent_records(490.0)}))
    assert (found.env_id, found.agents, found.coupling) == ("CartPole-v1", 2, "gossip")
    assert (found.topology, found.seed, found.label) == ("ring", 1, "2 agents, ring")
    assert (found.steps, found.seconds, found.steps_per_s) == (40, 2.0, 20.0)
    assert (found.final_return, found.threshold) == (485.0, 475.0)
    assert (found.steps_to_threshold, found.seconds_to_threshold) == (40.0, 2.0)
    assert (found.epsilon_ratio_max, found.relative_max) == (0.5, 0.02)
    assert found.epsilon_ratio_median == pytest.approx(0.3)  # of 0.5, 0.5, 0.1, 0.1
    assert (found.expected_ratio_median, found.step_cosine_median) == (0.75, 0.5)
    assert (found.mixes, found.bytes_sent, found.deaths, found.alarms) == (18, 2000, 0, 0)


def test_who_exchanges_policies_does_so_over_a_graph(write_run: Write) -> None:
    found = summary(write_run("r", {0: agent_records()}, coupling="distil"))
    assert found.label.endswith(", distil over ring")


def test_a_threshold_of_ones_own(write_run: Write) -> None:
    run = write_run("r", {0: agent_records()})
    assert summary(run, 100.0).steps_to_threshold == 10.0
    assert summary(run, 481.0).steps_to_threshold is None


def test_frames_are_those_of_the_emulator(write_run: Write) -> None:
    found = summary(write_run("r", {0: agent_records()}, env_id="ALE/Pong-v5", frames_per_step=4))
    assert (found.steps, found.frames, found.threshold) == (20, 80, 18.0)


@pytest.mark.parametrize(
    ("env_id", "threshold"),
    [("CartPole-v1", 475.0), ("ALE/Pong-v5", 18.0), ("PongNoFrameskip-v4", 18.0),
     ("ALE/Breakout-v5", None), ("Mine-v0", None), (None, None)],
)  # fmt: skip
def test_known_thresholds(env_id: str | None, threshold: float | None) -> None:
    assert threshold_of(env_id) == threshold


def test_a_run_that_tells_nothing_of_itself(write_run: Write) -> None:
    run = write_run("r", {0: [{}], 1: [{}]})
    (run / "meta.json").write_text('{"env_id": 7, "seed": "x", "agents": null}')
    found = summary(run)
    assert (found.env_id, found.seed, found.agents, found.final_return) == (None, None, 2, None)
    assert (found.seconds, found.steps_per_s) == (0.0, 0.0)


def test_deaths_of_agents_that_came_back_and_that_did_not(write_run: Write) -> None:
    run = write_run(
        "r",
        {
            0: [
                {"t": 1.0},
                {"t": 2.0, "event": "dead", "message": "agent 1 is down; its weight stays"},
                {"t": 9.0, "event": "dead", "message": "agent 2 is down; its weight stays"},
                {"t": 10.0, "event": "dead", "message": "nobody is down"},
            ],
            1: [{"t": 1.0}, {"t": 4.0, "incarnation": 1}, {"t": 5.0, "incarnation": 2}],
            2: [{"t": 8.0}],
        },
    )
    assert count_deaths(read_run("r", run)) == 3  # agent 1 twice, agent 2 for good


# -- seeds and environments


def made(name: str, **changes: Any) -> Summary:
    values: dict[str, Any] = dict.fromkeys(Summary.__dataclass_fields__, 0)
    values |= {"configuration": "one", "method": "one", "differs": {}, "left_out": {}}
    values |= {"env_id": "CartPole-v1", "agents": 4, "coupling": "gossip", "topology": "ring"}
    values |= {"steps_per_s": 10.0, "final_return": 475.0, "threshold": 475.0}
    values |= {"seconds_to_threshold": None, "steps_to_threshold": None}
    return Summary(**{**values, "name": name, **changes})


def test_sets_are_what_has_one_configuration() -> None:
    runs = [
        made("a", seed=1), made("b", configuration="two", differs={"total_steps": "6000"}),
        made("c", seed=2), made("d", configuration="three", coupling="none", topology=None,
                                differs={"coupling": "none", "agents": "4", "threads": "2"}),
    ]  # fmt: skip
    assert [[each.name for each in group] for group in grouped(runs)] == [["a", "c"], ["b"], ["d"]]
    assert [each.label for each in sets_of(runs)] == [
        "4 agents, ring", "4 agents, ring, total_steps 6000", "4 agents, none, threads 2",
    ]  # fmt: skip
    assert [each.coverage for each in sets_of(runs)] == [0.49, None, None]


def test_a_set_is_summed_up_by_its_interquartile_mean() -> None:
    finals = [0.0, 10.0, 20.0, 1000.0]
    runs = [made(str(i), final_return=x, seconds_to_threshold=5.0) for i, x in enumerate(finals)]
    (found,) = sets_of(runs)
    assert found.final_return is not None and found.final_return.value == 15.0
    assert found.final_return.low is not None and found.final_return.high is not None
    assert 0.0 <= found.final_return.low < 15.0 < found.final_return.high <= 1000.0
    assert (found.reached, found.seconds_to_threshold) == (4, (5.0, 5.0, 5.0))


def test_a_time_that_a_run_did_not_reach_has_no_mean() -> None:
    (found,) = sets_of([made("a", seconds_to_threshold=5.0), made("b")])
    assert (found.reached, found.seconds_to_threshold) == (1, None)


def test_one_run_has_no_interval() -> None:
    (found,) = sets_of([made("a", final_return=3.0)])
    assert found.final_return == (3.0, None, None)


def test_a_method_over_environments_by_hand() -> None:
    pong = {"env_id": "ALE/Pong-v5", "threshold": 18.0, "configuration": "two"}
    pong["differs"] = {"env.id": "ALE/Pong-v5"}
    runs = [
        made("a", final_return=475.0), made("b", final_return=237.5),  # 1 and 0.5
        made("c", final_return=14.6, **pong), made("d", final_return=-20.7, **pong),  # 1 and 0
    ]  # fmt: skip
    (found,) = methods_of(runs)
    assert found.environments == ("CartPole-v1", "ALE/Pong-v5") and found.runs == 2
    assert (found.label, found.coverage) == ("4 agents, ring", 0.49)
    assert found.scores == ((1.0, 1.0), (0.5, 0.0))
    assert found.score.value == pytest.approx(0.75)  # the middle two of 0, 0.5, 1, 1


def test_methods_need_a_full_matrix_of_known_scores() -> None:
    other = {"env_id": "Mine-v0", "threshold": None, "configuration": "two"}
    pong = {"env_id": "ALE/Pong-v5", "configuration": "two"}
    assert methods_of([made("a"), made("b", **other)]) == []
    assert methods_of([made("a"), made("b"), made("c", **pong)]) == []
    assert methods_of([made("a"), made("b", final_return=None, **pong)]) == []
    assert methods_of([made("a"), made("b", method="two", **pong)]) == []
    assert len(methods_of([made("a"), made("b", **pong)])) == 1
