"""Agents on several hosts (network namespaces): a cut link stops nobody, and heals."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from launching import experiment

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "bench"))
from hosts import Hosts, LocalGroup, mixes, why_not

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(300)]

CUT_S = 4.0


@pytest.fixture
def pair() -> Iterator[Hosts]:
    reason = why_not()
    if reason is not None:
        pytest.skip(f"SEVERAL HOSTS ARE NOT TESTED: {reason}")
    hosts = Hosts(2)
    yield hosts
    hosts.close()


def test_both_sides_of_a_cut_train_on_and_meet_again(pair: Hosts, tmp_path: Path) -> None:
    faults = (
        () if pair.spoil(delay_ms=5, loss=1) else ("--faults.delay-ms", 5, "--faults.drop", 0.01)
    )
    local_group = LocalGroup(pair, tmp_path, experiment(tmp_path, total_steps=10**9), *faults)
    try:
        local_group.wait_until(lambda rows: min(mixes(rows)) > 20)
        pair.cut(1)
        time.sleep(CUT_S)  # the cut itself
        before = local_group.rows()
        local_group.wait_until(
            lambda rows: all(rows[r][-1]["update"] > before[r][-1]["update"] + 50 for r in rows)
        )
        lonely = mixes(local_group.rows())
        pair.heal(1)
        local_group.wait_until(
            lambda rows: all(now > then + 20 for now, then in zip(mixes(rows), lonely, strict=True))
        )
        local_group.wait_until(
            lambda rows: max(r[-1]["divergence/relative"] for r in rows.values()) < 0.3
        )
        assert local_group.finish() == [0, 0]
    finally:
        local_group.kill()
    assert all(rows[-1]["incarnation"] == 0 for rows in local_group.rows().values())
