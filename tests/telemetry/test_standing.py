"""Who counts: the same answer for console, watch, report and page."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from gala.dashboard.run_view import RunView
from gala.report.command import read_report
from gala.report.tables import tables_of
from gala.telemetry.console import Console, plain_line, progress_of
from gala.telemetry.prometheus import exposition
from gala.telemetry.reader import MAX_EVENTS, NEWEST_BYTES, RunReader
from gala.telemetry.standing import SILENT_S, standing_from, standing_of, without
from gala.watch.snapshot import Watcher

NOW = 1000.0


def states_of(*agents: tuple[float | None, str | None, float], **more: Any) -> list[str]:
    """States of agents, each with the time of its record, its newest event and when that was."""
    latest = {k: {"t": t, **more} for k, (t, _, _) in enumerate(agents) if t is not None}
    events = {k: {"event": e, "t": at} for k, (_, e, at) in enumerate(agents) if e is not None}
    return list(standing_from(latest, events, NOW, list(range(len(agents)))).states.values())


def test_states() -> None:
    late = NOW - SILENT_S - 1
    assert states_of(
        (NOW, None, 0), (late, None, 0), (late, "done", late), (late, "stop", late + 1),
        (NOW - 1, "start", NOW), (None, "start", NOW), (None, None, 0), (NOW, "done", late),
        (None, "start", late),
    ) == [
        "active", "dead", "done", "stopped", "joining", "joining", "absent", "active", "dead",
    ]  # fmt: skip


def test_neighbours_know_first_who_is_dead() -> None:
    agents = [(NOW, None, 0.0), (NOW, None, 0.0)]
    assert states_of(*agents, **{"gossip/in/1/state": 3})[1] == "dead"
    assert states_of(*agents, **{"gossip/in/1/state": 2, "gossip/in/1/age_s": 3})[1] == "active"


@pytest.mark.parametrize(
    ("updates", "left_out"),
    [
        ([100, 50, 100], {}),
        ([100, 49, 100], {1: "far behind, 49 updates of 100"}),
        ([None, 0, 0], {}),
    ],
)
def test_who_is_far_behind_is_in_no_mean(updates: list[int], left_out: dict[int, str]) -> None:
    latest = {k: {"t": NOW, "update": update} for k, update in enumerate(updates)}
    assert standing_from(latest, {}, NOW, [0, 1, 2]).left_out == left_out


def test_a_flood_of_events_of_one_agent_hides_no_goodbye_of_another(tmp_path: Path) -> None:
    for rank, kinds in enumerate([["start", "done"], ["start", *["refused"] * (MAX_EVENTS + 1)]]):
        stamp = {"v": 1, "rank": rank, "incarnation": 0, "update": 9, "step": 9}
        late = rank * 2 * SILENT_S
        lines = [stamp | {"t": late, "charts/SPS": 1.0}]
        lines += [stamp | {"t": late, "event": kind, "message": ""} for kind in kinds]
        path = tmp_path / f"rank_{rank:02d}" / "metrics.jsonl"
        path.parent.mkdir()
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    reader = RunReader(tmp_path)
    reader.poll()
    standing = standing_of(reader, 2 * SILENT_S)
    assert standing.states == {0: "done", 1: "active"} and standing.left_out == {}
    assert 'gala_up{run="x",rank="0"} 1.0' in exposition({"x": reader}, 9 * SILENT_S)


def test_a_report_sees_what_was_measured_before_a_flood_of_events(write_run: Any) -> None:
    knows = {"t": NOW, "charts/episodic_return": 5.0, "gossip/in/1/state": 3}
    flood = [{"t": NOW, "event": "refused", "message": "x" * 1000}] * 400
    run = write_run("run", {0: [knows, *flood], 1: [{"t": NOW, "charts/episodic_return": 9.0}]})
    assert sum(path.stat().st_size > NEWEST_BYTES for path in run.glob("rank_00/*")) == 1
    (entry,) = read_report({"run": run}).entries
    assert entry.summary.left_out == {1: "dead"} and entry.summary.final_return == 5.0


def test_who_never_recorded_anything_is_named(
    tmp_path: Path, write_run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"t": time.time(), "charts/SPS": 5.0, "charts/episodic_return": 10.0}
    run = write_run("run", {0: [row, row], 2: [row, row]})
    (run / "meta.json").write_text(json.dumps({"agents": 4, "coupling": "gossip"}))
    (entry,) = read_report({"run": run}).entries
    assert entry.summary.left_out == {1: "absent", 3: "absent"}
    reader = RunReader(run)
    reader.poll()
    console = Console(
        reader, run_dir=run, opening=[], agents=4, total_steps=1000, every_s=1e9
    )  # fmt: skip
    console.start()
    console.show()
    assert "absent" not in capsys.readouterr().out, "it may be on its way"
    console.finish(stopped=True)
    assert {"1 (absent)", "3 (absent)"} <= {*re.findall(r"\d \(\w+\)", capsys.readouterr().out)}


def test_where_all_are_gone_all_count() -> None:
    latest = {k: {"t": 1.0, "update": 10 * k} for k in range(2)}
    standing = standing_from(latest, {}, NOW, [0, 1])
    assert set(standing.states.values()) == {"dead"} and standing.left_out == {}


def test_who_is_left_out_is_told_shortly() -> None:
    assert without({}) == ""
    assert without({2: "dead", 1: "absent"}) == "agent 1 (absent), agent 2 (dead)"
    assert without(dict.fromkeys(range(5), "dead")).endswith("agent 2 (dead) and 2 more")


def test_everybody_tells_the_same_mean(tmp_path: Path) -> None:
    """Of four agents one is dead and one far behind: the mean is of the other two."""
    path = tmp_path / "run"
    for rank, value in enumerate([10.0, 20.0, 1e6, -1e6]):
        folder = path / f"rank_{rank:02d}"
        folder.mkdir(parents=True)
        end = 940.0 if rank == 2 else NOW
        lines = [
            {"v": 1, "t": end - 1 + k, "rank": rank, "incarnation": 0, "step": 10 * (k + 1),
             "update": 3 if rank == 3 else 90 + k, "charts/episodic_return": value,
             "charts/SPS": 5.0}
            for k in range(2)
        ]  # fmt: skip
        (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    (path / "meta.json").write_text(json.dumps({"agents": 4, "coupling": "gossip"}))
    reader = RunReader(path)
    reader.poll()
    standing = standing_of(reader, NOW)
    p = progress_of(reader.latest, 100, since_steps=0, seconds=1.0, standing=standing)
    assert p.episodic_return == 15.0 and p.sps == {0: 5.0, 1: 5.0, 3: 5.0} and p.steps == 80
    assert "without agent 2 (dead), agent 3 (far behind, 3 updates of 91)" in plain_line(p)
    shot = Watcher(RunView("run", path), clock=lambda: NOW).snapshot()
    assert shot.returns[-1] == 15.0
    assert {peer.rank for peer in shot.peers if peer.left_out} == {2, 3}
    (entry,) = read_report({"run": path}).entries
    assert entry.summary.final_return == 15.0
    assert set(entry.summary.left_out) == {2, 3}
    (learning, *_) = tables_of([entry.summary], [], [])
    assert "run: without agent 2 (dead), agent 3 (far behind, 3 updates of 91)." in learning.note


def test_independent_agents_have_no_mean() -> None:
    latest = {k: {"step": 1, "charts/episodic_return": 10.0 * k} for k in (1, 2)}
    p = progress_of(latest, 100, since_steps=0, seconds=1.0, independent=True)
    assert p.episodic_return is None and "return 10.00 to 20.00" in plain_line(p)
    alone = progress_of({1: latest[1]}, 100, since_steps=0, seconds=1.0, independent=True)
    assert alone.episodic_return == 10.0
