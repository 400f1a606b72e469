"""The bench of a liar: who lies, and the table of what the others learn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "bench"))

import robust

BENCH = Path(robust.__file__).parent


def result(weights: str, lies: bool, seed: int, mean_return: float) -> dict[str, object]:
    return {"weights": weights, "lies": lies, "seed": seed, "mean_return": mean_return,
            "norm": 10.0 + seed, "furthest": 0.1 * seed}  # fmt: skip


def test_a_row_is_a_rule_with_or_without_the_liar() -> None:
    results = [result("clipped", lies, seed, 480.0 - 20 * lies * seed)
               for lies in (False, True) for seed in (1, 2)]  # fmt: skip
    assert robust.rows_of(results) == [
        ["clipped", "nobody", "480 480", "2 of 2", "12", "0.2"],
        ["clipped", "one of five", "460 440", "0 of 2", "12", "0.2"],
    ]


@pytest.mark.process
@pytest.mark.parametrize(("rank", "factor"), [("4", robust.LIE), ("3", 1.0)])
def test_only_the_last_agent_lies(rank: str, factor: float) -> None:
    code = """
import robust, torch
from types import SimpleNamespace
from gala.gossip.mixing import Averaging
mixing = SimpleNamespace(_staging=SimpleNamespace(fetch=lambda: torch.ones(3)))
print(Averaging.outgoing(mixing, lambda: 1).tolist())
"""
    environment = os.environ | {"RANK": rank, "ROBUST_LIE": "1", "PYTHONPATH": str(BENCH)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [factor] * 3
