"""Runs as arrays: counters over incarnations, pauses between launches, files in any state."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gala.report.run_data import AgentData, RunData, held, number, read_run

Write = Any


def test_records_become_columns(write_run: Write) -> None:
    run = write_run(
        "r",
        {
            0: [
                {"event": "start", "message": "m"},
                {"charts/episodic_return": None, "gossip/mixes": 3},
                {"charts/episodic_return": 7.5, "divergence/total": "far", "step": None},
            ],
            1: [{"divergence/total": 2.0}],
        },
        seed=5,
    )
    found = read_run("name", run)
    first = found.agents[0]
    assert (found.name, found.topology, found.meta["seed"]) == ("name", "ring", 5)
    assert first.t.tolist() == [1001.0, 1002.0] and first.step.tolist() == [10.0, 10.0]
    assert first.last("charts/episodic_return") == 7.5
    assert first.last("divergence/total") is None
    assert [event["event"] for event in first.events] == ["start"]
    assert found.pooled("divergence/total").tolist() == [2.0]


@pytest.mark.parametrize(
    ("values", "counted"),
    [
        ([1, 5, 9], 9),
        ([5, 9, 2, 3], 12),  # a second incarnation counted to 3
        ([5, math.nan, 6], 6),
        ([4, 4, 0, 0, 1], 5),
        ([], 0),
    ],
)
def test_counters_go_on_over_incarnations(values: list[float], counted: float) -> None:
    column = np.array(values, dtype=float)
    empty = np.zeros(len(values))
    assert AgentData(0, empty, empty, empty, {"n": column}).counted("n") == counted


def test_the_clock_stands_still_between_launches() -> None:
    def agent(rank: int, times: list[float], *starts: float) -> AgentData:
        t = np.array(times)
        events = [{"t": start, "event": "start"} for start in starts]
        return AgentData(rank, t, t, t, {}, events)

    first = agent(0, [11, 12, 300, 1005], 10.0, 1003.0)
    run = RunData("r", Path(), {}, None, (first, agent(1, [13, 200, 1004], 10.5, 1003.5)), {})
    # 200 to 300 is a long update; 300 to 1003 lies between two launches
    moments = np.array([10.0, 13.0, 300.0, 1003.0, 1005.0])
    assert run.clock(moments).tolist() == [0.0, 3.0, 290.0, 290.0, 292.0]


def test_what_cannot_be_read_is_passed_over(write_run: Write) -> None:
    run = write_run("r", {0: [{"divergence/total": 1.0}], 1: [{}]})
    with open(run / "rank_00" / "metrics.jsonl", "ab") as file:
        file.write(b'\xff\xfe\n{"t": "late"}\n{"t": 5, "divergence/total": 1e999}\n{"t": 6')
    (run / "meta.json").write_text("{")
    (run / "topology.json").unlink()
    (run / "rank_01" / "metrics.jsonl").write_bytes(b"")
    (run / "rank_x").mkdir()
    (run / "rank_x" / "metrics.jsonl").write_text('{"t": 1}\n')
    found = read_run("r", run)
    assert found.meta == {} and found.topology is None
    assert [agent.rank for agent in found.agents] == [0]
    assert found.agents[0].corrupt == 2
    assert np.isnan(found.agents[0].values["divergence/total"]).tolist() == [False, True]


def test_without_gossip_the_topology_means_nothing(write_run: Write) -> None:
    assert read_run("r", write_run("r", {0: [{}]}, coupling="allreduce")).topology is None
    assert read_run("d", write_run("d", {0: [{}]}, coupling="distil")).topology == "ring"


def test_numbers_and_holes() -> None:
    values = (1, 2.5, None, True, "3", math.inf, 10**400)
    assert [number(v) for v in values[:2]] == [1.0, 2.5]
    assert all(math.isnan(number(v)) for v in values[2:])
    nan = math.nan
    assert held(np.array([nan, 1, nan, nan, 4]), 0.0).tolist() == [0, 1, 1, 1, 4]
    assert held(np.empty(0)).size == 0
