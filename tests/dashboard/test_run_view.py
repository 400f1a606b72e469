"""What the page is told of a run."""

import json
import math
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from made_run import SKETCH, MadeRun

from gala.dashboard import run_view
from gala.dashboard.run_view import METRICS, MOST_OF_A_RUN, NEWEST_BYTES, RunView
from gala.telemetry import reader
from gala.telemetry.sketches import SketchWriter
from gala.telemetry.standing import SILENT_S


@pytest.fixture
def run(tmp_path: Path) -> MadeRun:
    return MadeRun(tmp_path / "run", agents=4, records=30)


def view_of(run: MadeRun) -> RunView:
    return RunView("run", run.path)


def test_facts_come_from_meta_and_topology(run: MadeRun) -> None:
    facts = view_of(run).describe()
    assert facts["env_id"] == "CartPole-v1" and facts["agents"] == 4
    assert facts["topology"] == "ring" and [0, 1] in facts["edges"] and len(facts["edges"]) == 8


@pytest.mark.parametrize(("coupling", "edges"), [("distil", 8), ("repel", 8), ("none", 0)])
def test_edges_are_those_of_agents_that_hear_one_another(
    tmp_path: Path, coupling: str, edges: int
) -> None:
    facts = view_of(MadeRun(tmp_path / "run", agents=4, records=1, coupling=coupling)).describe()
    assert (facts["topology"], len(facts["edges"])) == ("ring" if edges else None, edges)


def test_history_is_columns_of_each_agent(run: MadeRun) -> None:
    history = view_of(run).history(1000)
    assert history["share"] == 1.0 and list(history["agents"]) == [0, 1, 2, 3]
    columns = history["agents"][2]
    losses = {"losses/policy_loss", "losses/value_loss", "losses/entropy"}
    assert set(columns) == {"t", "step", "update", *METRICS, *losses}
    assert {len(column) for column in columns.values()} == {30}
    assert columns["charts/SPS"] == [1002.0] * 30
    assert columns["step"] == [250 * k for k in range(30)]
    assert columns["divergence/kl"] == [pytest.approx(0.004)] * 30  # the larger of two


def test_losses_come_before_tasks_of_which_there_may_be_many(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "run", agents=1, records=1)
    tasks = {f"charts/task/{task}/episodic_return": float(task) for task in range(40)}
    run.append(0, run.line(0, 1, **tasks))
    columns = view_of(run).history(1000)["agents"][0]
    assert columns["losses/entropy"] == [0.6, 0.6]
    assert columns["charts/task/0/episodic_return"] == [None, 0.0]
    assert sum(name.startswith("charts/task/") for name in columns) == MOST_OF_A_RUN - 3


def test_a_short_excursion_is_in_every_history(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "run", agents=2, records=300)
    odd = {"divergence/epsilon_ratio": 1.7, "gossip/staleness_max": 91}
    run.append(1, run.line(1, 300, **odd), *(run.line(1, k) for k in range(301, 600)))
    view = view_of(run)
    columns = view.history(20)["agents"][1]
    assert len(columns["t"]) == 21
    assert sum(value == 1.7 for value in columns["divergence/epsilon_ratio"]) == 1
    assert sum(value == 91 for value in columns["gossip/staleness_max"]) == 1
    assert columns["step"][-1] == 250 * 599
    assert 91 not in view.history(20, whole=0)["agents"][1]["gossip/staleness_max"]


def test_history_of_a_range(run: MadeRun) -> None:
    columns = view_of(run).history(1000, since=run.start + 9.5, until=run.start + 20.5)["agents"][0]
    assert columns["step"] == [250 * k for k in range(10, 21)]


def test_a_poll_tells_only_what_is_new(run: MadeRun) -> None:
    view = view_of(run)
    assert view.poll() == ([], [])
    run.append(1, run.line(1, 30), run.event_line(1, run.now, "dead", "agent 2 is dead"))
    rows, events = view.poll()
    assert [row[0] for row in rows] == [1] and len(rows[0]) == 4 + len(METRICS) + 1
    assert rows[0][-1] == {
        "losses/entropy": 0.6,
        "losses/policy_loss": -0.01,
        "losses/value_loss": 0.2,
    }
    assert [e["event"] for e in events] == ["dead"]
    assert view.poll() == ([], [])


def test_who_is_active_dead_joining_done_or_absent(run: MadeRun) -> None:
    run.append(1, run.event_line(1, run.now, "done", "done"))
    run.append(2, run.event_line(2, run.now, "start", "again"))
    (run.path / "rank_09").mkdir()
    view = view_of(run)
    status = {rank: peer["status"] for rank, peer in view.peers(run.now).items()}
    assert status == {0: "active", 1: "done", 2: "joining", 3: "active", 9: "absent"}
    later = {rank: peer["status"] for rank, peer in view.peers(run.now + SILENT_S + 1).items()}
    assert later == {0: "dead", 1: "done", 2: "dead", 3: "dead", 9: "absent"}


def test_a_neighbours_word_tells_of_a_death_before_silence_does(run: MadeRun) -> None:
    run.append(0, run.line(0, 30, **{"gossip/in/1/state": 3}))
    peers = view_of(run).peers(run.now)
    assert peers[1]["status"] == "dead" and peers[3]["status"] == "active"
    assert peers[0]["hears"] == {1: [0.05, 3], 3: [0.05, 1]}


def test_a_stopped_agent_that_goes_on_is_active(run: MadeRun) -> None:
    run.append(0, run.event_line(0, run.now - 0.5, "stop", "stop"), run.line(0, 30, t=run.now))
    assert view_of(run).peers(run.now)[0]["status"] == "active"


def test_events_are_told_once_in_the_order_of_time(run: MadeRun) -> None:
    run.append(3, run.event_line(3, run.start - 9, "join", "early"))
    view = view_of(run)
    view.wait_for_events()
    run.append(0, run.event_line(0, run.now, "alarm", "left the ball"))
    view.poll()
    kinds = [(e["event"], e["rank"]) for e in view.events()]
    assert kinds == [("join", 3), *(("start", rank) for rank in range(4)), ("alarm", 0)]
    assert view.scanned() == 1.0


def test_after_a_long_time_unseen_the_files_are_searched_again(
    run: MadeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "FAR_BEHIND", 100_000)
    view = view_of(run)
    view.wait_for_events()
    run.append(0, "damage\n")
    view.poll()
    run.append(0, run.event_line(0, run.now, "alarm", "left the ball"), "damage\n")
    run.append(0, *(run.line(0, k) for k in range(30, 200)))
    rows, events = view.poll()
    assert 0 < len(rows) < 20 and events == [] and rows[-1][2] == 250 * 199
    view.wait_for_events()
    assert [e["event"] for e in view.events()] == [*["start"] * 4, "alarm"]
    assert view.problems == ["rank_00/metrics.jsonl: 2 damaged lines skipped"]


def test_distances_of_all_pairs(run: MadeRun) -> None:
    found = view_of(run).distances()
    assert found["ranks"] == [0, 1, 2, 3]
    expected = [[float(abs(i - j)) for j in range(4)] for i in range(4)]
    assert found["matrix"] == [pytest.approx(row, abs=1e-5) for row in expected]
    assert found["error"] == pytest.approx((1 / 128) ** 0.5)


def test_distances_are_of_one_tick(run: MadeRun) -> None:
    run.agents = 3  # the fourth is late
    run.sketch(int(run.now) + 5)
    found = view_of(run).distances()
    assert found["ranks"] == [0, 1, 2, 3] and found["t"] == int(run.now)
    for k in range(3):  # the fourth is dead
        run.sketch(int(run.now) + 10 + k)
    found = view_of(run).distances()
    assert found["ranks"] == [0, 1, 2] and found["t"] == int(run.now) + 12
    (run.path / "rank_01" / "sketches.bin").write_bytes(b"nonsense")
    assert 1 not in view_of(run).distances()["ranks"]


def test_cosines_of_all_pairs(run: MadeRun) -> None:
    found = view_of(run).agreement()
    assert found["ranks"] == [0, 1, 2, 3] and found["error"] == pytest.approx(1 / 8)
    angles = math.pi / 6 * np.subtract.outer(np.arange(4), np.arange(4))
    assert np.allclose(found["matrix"], np.cos(angles), atol=1e-4)
    assert found["mean"] == pytest.approx(float((np.cos(angles).sum() - 4) / 12), abs=1e-4)


def test_an_agent_that_did_not_move_agrees_with_nobody(run: MadeRun) -> None:
    writer = SketchWriter(run.path / "rank_01" / "steps.bin", SKETCH)
    writer.append(
        t=run.now, tick=int(run.now), update=0, step=0, incarnation=0, norm=0.0,
        update_norm=0.0, mix_every=1, delay=1, sketch=np.zeros(SKETCH, np.float32),
    )  # fmt: skip
    writer.close()
    assert view_of(run).agreement()["ranks"] == [0, 2, 3]
    (run.path / "rank_02" / "steps.bin").write_bytes(b"nonsense")
    view = view_of(run)
    assert view.agreement()["ranks"] == [0, 3]
    assert any("rank_02/steps.bin" in problem for problem in view.problems)


def test_one_agent_has_no_distances(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "run", agents=1, records=2)
    assert view_of(run).distances()["ranks"] == []


def test_what_cannot_be_read_is_said_and_the_rest_is_shown(run: MadeRun) -> None:
    (run.path / "meta.json").write_text("{half")
    (run.path / "topology.json").unlink()
    run.metrics(1).unlink()
    run.append(0, "nonsense\n")
    view = view_of(run)
    assert view.problems == [
        "meta.json cannot be read",
        "topology.json cannot be read",
        "rank_00/metrics.jsonl: 1 damaged line skipped",
        "rank_01: no metrics.jsonl",
    ]
    assert view.describe()["agents"] == 4 and view.describe()["edges"] == []
    assert len(view.history(100)["agents"][0]["t"]) == 30
    assert view.history(100)["agents"][1]["t"] == []


def test_damage_far_from_the_end_is_found(run: MadeRun) -> None:
    half = run.line(2, 5)[:-40] + "\n"
    run.append(2, half, "nonsense\n", *(run.line(2, k) for k in range(100)), half)
    assert run.metrics(2).stat().st_size > 2 * NEWEST_BYTES
    view = view_of(run)
    view.wait_for_events()
    assert view.problems == ["rank_02/metrics.jsonl: 3 damaged lines skipped"]
    run.append(2, half)
    view.poll()
    assert view.problems == ["rank_02/metrics.jsonl: 4 damaged lines skipped"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("meta.json", '{"started": NaN}', "meta.json: started is no number"),
        ("meta.json", '{"seed": 1.5}', "meta.json: seed is no whole number"),
        ("meta.json", '{"env_id": {}}', "meta.json: env_id is no text"),
        ("meta.json", '{"hostnames": [1]}', "meta.json: hostnames is no list"),
        ("meta.json", '{"agents": 1e9}', "meta.json: agents is no whole number"),
        ("meta.json", '{"agents": 1000000000}', "meta.json: there cannot be so many agents"),
        ("meta.json", '{"agents": 6}', "no folder of agent 4, 5"),
        ("meta.json", "[" * 100_000, "meta.json cannot be read"),
        ("topology.json", '{"edges": 5}', "topology.json: the edges are no list of sources and"),
        ("topology.json", '{"edges": [{"source": "a", "target": 1}]}', "topology.json: the edges"),
        ("topology.json", '{"edges": [{"source": 0, "target": -1}]}', "topology.json: the edges"),
    ],
)
def test_odd_facts_are_told_and_left_out(
    run: MadeRun, name: str, content: str, problem: str
) -> None:
    (run.path / name).write_text(content)
    view = view_of(run)
    facts = view.describe()
    assert json.loads(json.dumps(facts, allow_nan=False))["agents"] in (4, 6)
    if name == "topology.json":
        assert facts["edges"] == []
    assert [told for told in view.problems if told.startswith(problem)], view.problems


def test_sketches_that_cannot_be_read_are_told(run: MadeRun) -> None:
    whole = (run.path / "rank_00" / "sketches.bin").read_bytes()
    (run.path / "rank_00" / "sketches.bin").write_bytes(b"nonsense" * 100)
    (run.path / "rank_01" / "sketches.bin").write_bytes(whole[:-5])
    nan = np.full(SKETCH, np.nan, "<f4").tobytes()
    (run.path / "rank_02" / "sketches.bin").write_bytes(whole[: -4 * SKETCH] + nan)
    (run.path / "rank_03" / "sketches.bin").write_bytes(b"")
    view = view_of(run)
    assert view.distances()["matrix"] == []
    assert view.problems == [
        "rank_00/sketches.bin: is not a file of sketches",
        "rank_01/sketches.bin: the last sketch is half written",
        "rank_03/sketches.bin: has no header",
        "rank_02/sketches.bin: values that are no numbers",
    ]


def test_whatever_nobody_thought_of_is_told(run: MadeRun) -> None:
    view = view_of(run)
    with mock.patch.object(run_view, "sample", side_effect=ZeroDivisionError("odd")):
        assert view.history(10) == {"share": 1.0, "agents": {}}
    assert view.problems == ["the history cannot be shown: ZeroDivisionError: odd"]
    view.history(10)
    assert view.problems == []


def test_a_folder_that_vanishes_is_a_problem_not_a_crash(run: MadeRun) -> None:
    view = view_of(run)
    run.path.rename(run.path.with_name("moved"))
    assert view.problems[0] == "the run folder is gone"
    assert view.poll() == ([], []) and view.history(10)["agents"] == {}


def test_values_that_are_no_numbers_are_null(run: MadeRun) -> None:
    line = json.loads(run.line(0, 30))
    line |= {"charts/SPS": "fast", "step": 7, "gossip/staleness_max": True}
    run.append(0, json.dumps(line) + "\n")
    peer = view_of(run).peers(run.now)[0]
    assert peer["values"]["charts/SPS"] is None and peer["values"]["gossip/staleness_max"] is None
    assert peer["step"] == 7


def test_nothing_in_a_record_can_break_the_stream(run: MadeRun) -> None:
    view = view_of(run)
    odd = ('{"rank": 0, "t": NaN, "step": NaN}', '{"rank": 0, "t": Infinity, "event": "x"}',
           '{"rank": 1, "t": 1e400}', '{"rank": 1, "t": 3, "step": "x", "update": [], "a": {}}',
           '{"rank": 2, "t": 3, "event": ["x"]}', '{"rank": 2, "t": [], "event": "x"}',
           '{"rank": 1e9, "t": 5}', '{"rank": -7, "t": 5}',
           f'{{"rank": 0, "t": {10**400}, "event": "x"}}', f'{{"rank": 0, "step": {10**400}}}',
           '{"rank": 0, "t": 4, "divergence/kl/1": "far", "gossip/in/x/state": 3}',
           '{"rank": 0, "t": 4, "gossip/in/\u00b2/state": 3, "gossip/in/1/state": {}}',
           '{"rank": 0, "t": 6, "event": "x", "message": {"a": NaN}}')  # fmt: skip
    run.append(0, *(line + "\n" for line in odd))
    rows, events = view.poll()
    sent = [rows, events, view.peers(run.now), view.events(), view.history(9), view.problems]
    assert json.loads(json.dumps(sent, allow_nan=False))
    assert [e["message"] for e in events] == ["{'a': nan}"]
    assert view.trouble == {}


def test_values_before_a_flood_of_events_are_known(run: MadeRun) -> None:
    run.append(0, *(run.event_line(0, run.now, "suspect", f"agent {k}") for k in range(2_000)))
    peer = view_of(run).peers(run.now)[0]
    assert peer["values"]["charts/SPS"] == 1000.0 and peer["hears"] == {1: [0.05, 1], 3: [0.05, 1]}
