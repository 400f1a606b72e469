"""Made-up runs are certified as real ones are, and the tables say what was measured."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "bench"))
import certificate as bench

from gala.divergence import certifier
from gala.telemetry.sketches import read_sketches


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certifier, "SHARE", certifier.SHARE)  # the bench changes it
    monkeypatch.setattr(bench, "SKETCH", 16)
    monkeypatch.setattr(bench, "EVERY_S", 1.0)


@pytest.mark.parametrize("name", ["ring", "exponential"])
def test_a_certificate_of_a_made_up_run(name: str) -> None:
    row = bench.certificate(name, 4, 8.0)
    assert row["seconds"] > 0 and row["share"] == row["seconds"]
    assert row["steps"] >= 4 * 15 and 0 <= row["beginning"] < certifier.FADED


def test_agents_are_cut_once_at_each_tick_at_their_rate(tmp_path: Path) -> None:
    cuts = bench.make_up(tmp_path, "ring", 3, 4.5)
    assert [sorted(each) for each in cuts] == [[0, 1, 2]] * 4
    for rank in range(3):
        found = read_sketches(tmp_path / f"rank_{rank:02d}" / "sketches.bin")
        assert found["tick"].tolist() == [-1, 1, 2, 3, 4]
        assert found["t"][1:].tolist() == [each[rank] for each in cuts]
        assert np.all(np.abs(np.diff(found["update"][1:]) - bench.RATE) < 8)


def test_records_take_time_and_tables_say_so() -> None:
    us = bench.record_us(2, updates=50)
    assert 0 < us < 10_000
    walk = {"topology": "ring", "agents": 64, "seconds": 0.1, "share": 0.02, "steps": 1000,
            "beginning": 0.03}  # fmt: skip
    text = bench.markdown([{"neighbours": 2, "us": 4.0}], 8000.0, [walk])
    assert "| 2 | 4.0 us | 0.05 % |" in text and "takes 8,000 us" in text
    assert "| ring | 64 | 100 ms | 2.0 % | 1,000 | 3.0 % |" in text
