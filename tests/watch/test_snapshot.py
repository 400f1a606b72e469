"""What is known of a run at one moment, from files written by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gala.dashboard.run_view import RunView
from gala.watch.snapshot import HISTORY_S, POINTS, Snapshot, Watcher, mean, over_time

Write = Any
NOW = 2000.0


def look(run: Any, now: float = NOW) -> Snapshot:
    return Watcher(RunView("r", run), clock=lambda: now).snapshot()


def test_states_by_the_age_of_the_newest_record(write_run: Write) -> None:
    run = write_run(
        "r",
        {
            0: [{"t": NOW - 1.0}],
            1: [{"t": NOW - 6.0}],
            2: [{"t": NOW - 60.0}],
            3: [{"t": NOW - 60.0}, {"t": NOW - 59.0, "event": "done", "message": "done"}],
            4: [{"t": NOW - 1.0, "event": "start", "message": ""}],
            5: [],
        },
    )
    states = [peer.state for peer in look(run).peers]
    assert states == ["fresh", "stale", "dead", "done", "joining", "absent"]
    assert look(run, NOW + 6).peers[0].state == "stale"


def test_neighbours_know_of_a_death_first(write_run: Write) -> None:
    run = write_run(
        "r",
        {
            0: [{"t": NOW - 6.0}],
            1: [{"t": NOW, "gossip/in/0/state": 3, "gossip/in/0/age_s": 6.5,
                 "gossip/in/2/state": 9}],
            2: [{"t": NOW}],
        },
    )  # fmt: skip
    shot = look(run)
    assert shot.peers[0].state == "dead" and not shot.peers[0].at_work
    assert shot.peers[1].in_neighbours == {0: ("down", 6.5), 2: ("unknown", None)}


def test_values_of_an_agent(write_run: Write) -> None:
    record = {
        "t": NOW, "step": 70, "incarnation": 2, "charts/SPS": 12.5, "gossip/staleness_max": 3,
        "charts/episodic_return": -4.0, "divergence/to_mean": 0.5, "divergence/epsilon_ratio": 0.25,
        "time/collect_ms": 5.0, "time/learn_ms": 3.0, "time/gossip_ms": 2.0,
        "gossip/wait_ms": 1.5, "time/log_ms": 0.25, "time/other_ms": 0.25,
    }  # fmt: skip
    (peer,) = look(write_run("r", {0: [record]})).peers
    assert (peer.incarnation, peer.step, peer.sps, peer.episodic_return) == (2, 70, 12.5, -4.0)
    assert (peer.staleness, peer.distance, peer.ratio) == (3, 0.5, 0.25)
    assert peer.spent == (5.0, 3.0, 0.5, 1.5, 0.5)  # collect, learn, gossip, wait, rest


def test_sums_and_the_end(write_run: Write) -> None:
    done = {"event": "done", "message": "done"}
    first = [{"t": NOW - 1, "step": 30, "charts/SPS": 3.0}]
    second = [{"t": NOW - 3, "step": 12, "charts/SPS": 4.0}, {"t": NOW - 2, "step": 12, **done}]
    run = write_run("r", {0: first, 1: second})
    shot = look(run)
    assert (shot.steps, shot.sps, shot.over) == (42, 3.0, False)
    with open(run / "rank_00" / "metrics.jsonl", "a") as file:
        file.write('{"t": 1999.5, "rank": 0, "step": 30, "event": "stop", "message": ""}\n')
    assert look(run).over


def test_the_run_is_followed(write_run: Write) -> None:
    run = write_run("r", {0: [{"t": NOW, "divergence/total": 1.0, "divergence/step_cosine": 0.5}]})
    now = [NOW]
    watcher = Watcher(RunView("r", run), clock=lambda: now[0])
    shot = watcher.snapshot()
    assert (shot.divergence, shot.agreement) == ([1.0], [0.5])
    with open(run / "rank_00" / "metrics.jsonl", "a") as file:
        file.write('{"t": 2001.0, "rank": 0, "step": 99, "divergence/total": 5.0}\n{"t": 2')
    now[0] = NOW + 1
    shot = watcher.snapshot()
    assert shot.peers[0].step == 99 and shot.divergence == [1.0]  # the history is read now and then
    now[0] = NOW + HISTORY_S + 1
    assert watcher.snapshot().divergence == [1.0, 5.0]


def test_files_vanish_and_come_back(write_run: Write) -> None:
    run = write_run("r", {0: [{"t": NOW, "step": 5}], 1: [{"t": NOW, "step": 6}]})
    now = [NOW]
    watcher = Watcher(RunView("r", run), clock=lambda: now[0])
    watcher.snapshot()
    path = run / "rank_01" / "metrics.jsonl"
    path.unlink()
    (run / "meta.json").write_text("{")
    now[0] += 60
    shot = watcher.snapshot()
    assert {"rank_01: no metrics.jsonl", "meta.json cannot be read"} <= set(shot.problems)
    path.write_text('{"t": 2060.0, "rank": 1, "step": 7}\n\x00\n')
    shot = watcher.snapshot()
    assert [(peer.state, peer.step) for peer in shot.peers] == [("dead", 5), ("fresh", 7)]
    assert any("damaged" in problem for problem in shot.problems)
    shutil.rmtree(run)
    now[0] += 60
    shot = watcher.snapshot()
    assert shot.peers == () and "the run folder is gone" in shot.problems


@pytest.mark.parametrize(("combine", "expected"), [(mean, [2.0, 5.0]), (max, [3.0, 5.0])])
def test_histories_combine_agents(combine: Any, expected: list[float]) -> None:
    agents = [{"t": [0.0, 10.0], "m": [1.0, 5.0]}, {"t": [0.1, 5.0], "m": [3.0, None]}]
    assert over_time(agents, "m", combine) == expected
    assert over_time([], "m", combine) == []
    assert over_time([{"t": [3.0], "m": [2.0]}], "m", combine) == [2.0]


def test_long_histories_are_short_lines() -> None:
    agents = [{"t": [float(i) for i in range(1000)], "m": [float(i) for i in range(1000)]}]
    found = over_time(agents, "m", max)
    assert len(found) == POINTS and found == sorted(found) and found[-1] == 999


@pytest.mark.parametrize("t", [1e18, 1e300, -1e18])
def test_the_age_of_a_broken_clock_is_unknown(tmp_path: Path, t: float) -> None:
    (tmp_path / "rank_00").mkdir()
    record = {"v": 1, "t": t, "rank": 0, "incarnation": 0, "update": 1, "step": 2}
    (tmp_path / "rank_00/metrics.jsonl").write_text(json.dumps(record) + "\n")
    shot = Watcher(RunView("run", tmp_path)).snapshot()
    assert [peer.age_s for peer in shot.peers] == [None]
