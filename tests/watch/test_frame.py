"""One screen of text: everything in its place, on wide, narrow, short and plain terminals."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gala.watch.frame import BAR, BLOCKS, bar, frame, sparkline
from gala.watch.snapshot import Peer, Snapshot

FACTS = {
    "name": "pong", "env_id": "ALE/Pong-v5", "agents": 2, "coupling": "gossip", "seed": 7,
    "topology": "ring", "total_steps": 1000, "edges": [[1, 0], [0, 1]],
}  # fmt: skip


def peer(rank: int, state: str = "fresh", **changes: Any) -> Peer:
    values: dict[str, Any] = {
        "rank": rank, "state": state, "age_s": 0.5, "incarnation": 0, "step": 100, "sps": 25.0,
        "episodic_return": 3.25, "staleness": 2, "distance": 0.125, "ratio": 0.5,
        "spent": (6.0, 2.0, 1.0, 0.5, 0.5), "in_neighbours": {1 - rank: ("active", 0.25)},
    }  # fmt: skip
    return Peer(**(values | changes))


def shot(*peers: Peer, facts: dict[str, Any] | None = None, **changes: Any) -> Snapshot:
    values: dict[str, Any] = {
        "facts": FACTS | (facts or {}), "peers": peers, "returns": [0.0, 1.0, 4.0],
        "divergence": [2.0, 1.0], "agreement": [], "events": [], "problems": [],
    }  # fmt: skip
    return Snapshot(**(values | changes))


def text(snapshot: Snapshot, width: int = 160, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(frame(snapshot, width=width, **options))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_frame_by_hand() -> None:
    events = [{"t": 0.0, "rank": 1, "event": "alarm", "message": "left\nthe ball"}]
    shown = text(shot(peer(0), peer(1, "dead", incarnation=2, ratio=None), events=events,
                      problems=["meta.json cannot be read"]))  # fmt: skip
    head, graph, *_ = shown.splitlines()
    assert head.rstrip() == (
        "pong  ALE/Pong-v5, 2 agents, gossip, seed 7  20.0 %  200/1,000 steps  0:32 left  "
        "25 steps/s"
    )
    assert graph.rstrip() == "ring: 0<-1  1<-0"
    rows = {
        line.split()[0]: line.split() for line in shown.splitlines() if line[:2] in ("0 ", "1 ")
    }
    assert rows["0"][1:9] == ["fresh", "0.5", "s", "100", "25", "3.25", "2", "0.125"]
    assert "█████····· 0.5" in shown and "no bound" in shown
    assert "cccccccclllggr 10 ms" in shown and "1 incarnation 2  dead" in shown
    assert "alarm      left the ball" in shown and "! meta.json cannot be read" in shown
    assert "return      ▁▃█  4.00  (0.00 to 4.00)" in shown


def test_agreement_of_updates_is_a_line_of_its_own() -> None:
    shown = text(shot(peer(0), agreement=[0.25, 0.75, 0.5]))
    assert "updates agree  ▁█▅  0.50  (0.25 to 0.75)" in shown
    assert "updates agree" not in text(shot(peer(0)))


def test_a_model_and_the_error_of_sketches_are_named() -> None:
    plain = text(shot(peer(0)))
    assert "of bound" in plain and "±" not in plain
    shown = text(shot(peer(0, proven=0.0, sketch_error=0.0442)))
    assert "of model bound" in shown and "distance ± 4.4 %" in shown
    assert "of bound" in text(shot(peer(0, proven=1.0, sketch_error=0.0442)))


def test_a_run_that_is_over_has_no_time_left() -> None:
    head = text(shot(peer(0, "done"), peer(1, "stopped"))).splitlines()[0]
    assert head.rstrip().endswith("200/1,000 steps  over")


def test_a_run_that_has_not_begun() -> None:
    facts = {"env_id": None, "seed": None, "total_steps": None, "coupling": None, "agents": 1}
    shown = text(shot(facts=facts, returns=[], divergence=[]))
    assert "no agent has begun" in shown and shown.startswith("pong  1 agent  0 steps")


def test_checkpoints_do_not_hide_what_happened() -> None:
    saved = [{"t": 1.0, "rank": 0, "event": "checkpoint", "message": f"{i}.pt"} for i in range(20)]
    death = {"t": 0.5, "rank": 1, "event": "dead", "message": "agent 0 is down"}
    assert "19.pt" in text(shot(peer(0), events=saved))
    shown = text(shot(peer(0), events=[death, *saved]))
    assert "agent 0 is down" in shown and ".pt" not in shown


@pytest.mark.parametrize("width", [30, 60, 80, 100, 120, 160])
def test_narrow_terminals_get_whole_columns(width: int) -> None:
    message = {"t": 0.0, "rank": 0, "event": "alive", "message": "x " * 200}
    when = time.strftime("%H:%M:%S", time.localtime(0.0))
    shown = text(shot(peer(0), peer(1), events=[message]), width)
    lines = shown.splitlines()
    assert all(len(line) <= width for line in lines)
    if width >= 60:
        header = next(line for line in lines if line.startswith("agent "))
        assert "…" not in header and {"agent", "state", "return"} <= set(header.split())
    assert sum(line.startswith(when) for line in lines) == 1  # an event is a line


def test_short_terminals_show_who_needs_a_look() -> None:
    local_group = [
        peer(rank, "dead" if rank in (40, 63) else "fresh", in_neighbours={}) for rank in range(64)
    ]
    shown = text(shot(*local_group), height=30)
    assert len(shown.splitlines()) <= 30
    ranks = [
        int(line.split()[0]) for line in shown.splitlines() if " s " in line and " 100 " in line
    ]
    assert {40, 63} <= set(ranks) and ranks == sorted(ranks)
    assert f"and {64 - len(ranks)} more agents" in shown
    assert "more agents" not in text(shot(*local_group))


def test_plain_terminals_get_ascii() -> None:
    assert text(shot(peer(0), peer(1, "dead")), ascii_only=True).isascii()


@pytest.mark.parametrize(
    ("share", "cells"), [(0.0, 0), (0.5, 5), (1.0, BAR), (7.5, BAR), (1e-4, 0)]
)
def test_bars(share: float, cells: int) -> None:
    assert bar(share).plain.count("█") == cells


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_sparklines_follow_their_values(values: list[float]) -> None:
    line = sparkline(values)
    heights = [BLOCKS.index(block) for block in line]
    assert len(heights) == len(values)
    assert heights[values.index(min(values))] == 0
    if max(values) > min(values):
        assert heights[values.index(max(values))] == len(BLOCKS) - 1
    order = sorted(range(len(values)), key=values.__getitem__)
    assert [heights[i] for i in order] == sorted(heights)


@pytest.mark.parametrize("t", [1e18, -1e18, 1e300, None, "noon", float("inf")])
def test_a_broken_clock_is_shown_as_a_dash(t: object) -> None:
    event = {"t": t, "rank": 0, "event": "start", "message": "update 0"}
    line = next(row for row in text(shot(peer(0), events=[event])).splitlines() if "start" in row)
    assert line.startswith("-")
