"""Mean returns of all agents' newest games, by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "bench"))
import learning
import recording


def record(t: float, step: int, games: int, total: float) -> learning.Record:
    return {"t": t, "step": step, "charts/episodes": games, "charts/return_sum": total}


ROWS = {
    0: [record(10, 100, 0, 0.0), record(12, 200, 2, -40.0), record(14, 300, 4, -20.0)],
    1: [record(11, 90, 1, -21.0), record(13, 190, 2, -22.0)],
}


def test_the_window_is_the_shortest_that_holds_the_games() -> None:
    curve = learning.mean_curve(ROWS, games=2)
    assert curve.seconds.tolist() == [0, 1, 2, 3, 4]
    assert curve.steps.tolist() == [100, 190, 290, 390, 490]
    # games so far 0, 1, 3, 4, 6 with sums 0, -21, -61, -62, -42
    expected = [np.nan, np.nan, (-61 + 21) / 2, (-62 + 21) / 3, (-42 + 62) / 2]
    np.testing.assert_allclose(curve.returns, expected)


def test_when_a_goal_was_reached() -> None:
    curve = learning.mean_curve(ROWS, games=2)
    assert learning.reached(curve, -15.0) == (3.0, 390.0)
    assert learning.reached(curve, 10.5) is None


def test_the_return_at_some_step() -> None:
    curve = learning.mean_curve(ROWS, games=2)
    assert learning.at_steps(curve, 291) == pytest.approx(-41 / 3)
    assert learning.at_steps(curve, 120) is None  # too few games
    assert learning.at_steps(curve, 500) is None  # never came so far


def test_an_agent_that_came_too_late_to_record_is_left_out(tmp_path: Path) -> None:
    told = {"event": "start", "message": "begins"}
    for rank, rows in enumerate([[told, ROWS[0][0]], [told], []]):
        folder = tmp_path / f"rank_{rank:02d}"
        folder.mkdir()
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert recording.records(tmp_path) == {0: [ROWS[0][0]]}
