"""What is read out of runs for the page about the ball. No training."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))
import epsilon_ball


def record(t: float, update: int, relative: float | None, **more: object) -> dict[str, object]:
    total = None if relative is None else 10 * relative
    return {
        "t": t, "update": update, "charts/episodic_return": 5.0, "gossip/messages_sent": update,
        "gossip/bytes_sent": 100 * update, "gossip/staleness": 1.0,
        "divergence/relative": relative, "divergence/total": total,
        "divergence/epsilon_ratio": None if relative is None else relative / 2,
        "divergence/expected_ratio": relative, "divergence/step_cosine": relative,
        "divergence/epsilon": None if relative is None else 20 + relative,
        "divergence/proven": None if relative is None else 1.0,
    } | more  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = [
        record(1, 0, None), record(2, 2, 0.9), record(3, 3, 0.5), record(4, 4, 0.5),
        record(5, 20, 0.1), record(6, 40, 0.2),
    ]  # fmt: skip
    for rank in range(2):
        folder = tmp_path / f"rank_{rank:02d}"
        folder.mkdir()
        text = "".join(json.dumps(row | {"rank": rank}) + "\n" for row in rows)
        (folder / "metrics.jsonl").write_text(text)
    return tmp_path


def test_distances_count_from_the_second_measurement_on(run: Path) -> None:
    found = epsilon_ball.summary(run)
    assert found["measurements"] == 3  # 0.5 was repeated, 0.9 was the first
    assert found["relative"] == 0.5
    assert found["relative_late"] == 0.2  # from update 4 on
    assert found["step_cosine"] == 0.2
    assert found["bytes"] == 8000 and found["messages_per_update"] == 1.0


def test_certificates_count_once_whoever_made_them(run: Path) -> None:
    found = epsilon_ball.summary(run)
    assert found["certified"] == 4 and found["largest_ratio"] == 0.45
    assert found["ratio"] == 0.175 and found["expected_ratio"] == 0.35
    assert found["epsilon"] == 20.35
    assert found["measured"] == pytest.approx((20.5 * 0.25 + 20.2 * 0.1) / 2)
    assert found["expected"] == pytest.approx((20.9 / 2 + 20.5 / 2) / 2, rel=0.02)
    path = run / "rank_00" / "metrics.jsonl"
    path.write_text(path.read_text().replace('"divergence/proven": 1.0', '"divergence/proven": 0'))
    (run / "rank_01" / "metrics.jsonl").write_text(path.read_text())
    modelled = epsilon_ball.summary(run)
    assert modelled["certified"] == 0 and modelled["epsilon"] is modelled["ratio"] is None


def test_the_table_of_certificates_says_what_was_wanted(run: Path) -> None:
    row = {"topology": "ring", "agents": 4} | epsilon_ball.summary(run)
    text = epsilon_ball.bound_table([row], [row | {"ratio": None}])
    assert "| CartPole | ring | 4 | 3.57 | 10.2 | 20.4 | 0.17 | 0.45 | 0.35 | 0.20 | 4 |" in text
    assert "| Pong | ring | 4 | 3.57 | 10.2 | 20.4 | - |" in text
    assert "epsilon-ball-bound.png" in text and "Wanted: never above 1" in text


def test_only_the_records_since_a_time(run: Path) -> None:
    found = epsilon_ball.summary(run, since=4.5)
    assert found["measurements"] == 1 and found["relative"] == 0.2


def test_the_table_tells_seeds_and_shares() -> None:
    base = {"relative": 0.02, "relative_late": 0.01, "relative_mean": 0.005, "seed": 1}
    rows = [
        base | {"name": "after every update", "bytes": 2e6, "return": 300.0},
        base | {"name": "after every update", "bytes": 4e6, "return": 200.0, "seed": 2},
        base | {"name": "radius 0.01", "bytes": 1.5e6, "return": 100.0, "relative_late": 0.009},
    ]
    text = epsilon_ball.steering_table(rows, [])
    assert "| after every update | 3 | 100 % | 0.02 | 0.01 | 0.005 | 250 (200 to 300) |" in text
    assert "| radius 0.01 | 2 | 50 % | 0.02 | 0.009 | 0.005 | 100 |" in text
