"""Events are found among any other lines, without parsing those."""

import json
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gala.dashboard import events
from gala.dashboard.events import EventScan, events_of

LINES = st.one_of(
    st.builds(
        lambda k: {"t": k, "rank": 0, "event": "dead", "message": f"agent {k}"}, st.integers(0, 99)
    ),
    st.builds(lambda k: {"rank": 0, "t": k, "charts/SPS": 1.5}, st.integers(0, 99)),
    st.just({"t": 5, "rank": 0, "event": "error", "message": 'said "event" and "event"'}),
)  # fmt: skip


@given(lines=st.lists(LINES), block=st.integers(40, 400))
def test_all_events_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, lines: list[dict[str, object]], block: int
) -> None:
    path = tmp_path_factory.mktemp("run") / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with mock.patch.object(events, "BLOCK", max(block, 200)):
        found = list(events_of(path))
    assert found == [line for line in lines if "event" in line]


def test_damage_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    good = {"t": 1.5, "rank": 0, "event": "stop", "message": "stop"}
    path.write_bytes(
        b'{"event": \n[{"event": 1}]\n{"event": 3}\n\xff"event"\n{"event": "stop"}\n'
        b'{"t": NaN, "rank": 0, "event": "stop"}\n{"t": 1, "rank": [], "event": "stop"}\n'
        + json.dumps(good | {"v": 1, "step": 3}).encode()
        + b'\n{"event"'
    )
    assert list(events_of(path)) == [good]


def test_the_scan_goes_through_all_files_and_survives_a_lost_one(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "gone", "b")]
    for path, kind in zip(paths[::2], ("start", "stop"), strict=True):
        path.write_text(json.dumps({"t": 1, "rank": 0, "event": kind}) + "\n")
    scan = EventScan(paths)
    scan.join()
    assert [e["event"] for e in scan.found] == ["start", "stop"]
    assert scan.share == 1.0
    assert EventScan([]).share == 1.0
