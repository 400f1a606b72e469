"""Events are found among any other lines, without parsing those."""

import json
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gala.dashboard import events
from gala.dashboard.events import EventScan
from gala.telemetry.reader import Tail

LINES = st.one_of(
    st.builds(
        lambda k: {"t": k, "rank": 0, "event": "dead", "message": f"agent {k}"}, st.integers(0, 99)
    ),
    st.builds(lambda k: {"rank": 0, "t": k, "charts/SPS": 1.5}, st.integers(0, 99)),
    st.just({"t": 5, "rank": 0, "event": "error", "message": 'said "event" and "event"'}),
)  # fmt: skip


def scanned(path: Path, until: int | None = None) -> EventScan:
    scan = EventScan({0: (path, path.stat().st_size if until is None else until)})
    scan.join()
    return scan


@given(lines=st.lists(LINES), block=st.integers(40, 400))
def test_all_events_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, lines: list[dict[str, object]], block: int
) -> None:
    path = tmp_path_factory.mktemp("run") / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with mock.patch.object(events, "BLOCK", max(block, 200)):
        scan = scanned(path)
    assert list(scan.found) == [line for line in lines if "event" in line]
    assert not scan.damaged


def test_damage_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    good = {"t": 1.5, "rank": 0, "event": "stop", "message": "stop"}
    path.write_bytes(
        b'{"event": \n[{"event": 1}]\n{"event": 3}\n\xff"event"\n{"event": "stop"}\n'
        b'{"t": NaN, "rank": 0, "event": "stop"}\n{"t": 1, "rank": [], "event": "stop"}\n'
        + json.dumps(good | {"v": 1, "step": 3}).encode()
        + b'\n{"event"'
    )
    scan = scanned(path)
    assert list(scan.found) == [good] and scan.damaged == {0: 6}


@given(until=st.integers(0, 400))
def test_what_begins_up_to_a_byte_and_the_rest_is_all(
    tmp_path_factory: pytest.TempPathFactory, until: int
) -> None:
    path = tmp_path_factory.mktemp("run") / "metrics.jsonl"
    lines = [json.dumps({"t": k, "rank": 0, "event": "x" * k, "message": ""}) for k in range(6)]
    path.write_text("\n".join([*lines[:3], "nonsense", *lines[3:], ""]))
    until = min(until, path.stat().st_size)
    before = scanned(path, until)
    tail = Tail(path, last_bytes=path.stat().st_size - until)
    after = tail.read() if until else Tail(path).read()
    assert [e["t"] for e in [*before.found, *after]] == list(range(6))
    assert before.damaged[0] + (tail.corrupt if until else 1) == 1


def test_a_line_without_an_end_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    good = json.dumps({"t": 1, "rank": 0, "event": "stop", "message": ""}) + "\n"
    path.write_text(good + "x" * 5_000 + "\n" + good)
    with (
        mock.patch.object(events, "BLOCK", 300),
        mock.patch.object(events, "LONGEST_LINE", 300),
    ):
        scan = scanned(path)
    assert len(scan.found) == 2 and scan.damaged == {0: 1}


def test_half_a_record_before_a_whole_one_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"t": 1, "rank": 0, "charts/S{"t": 1, "rank": 0}\n{"t": 1, "rank": 0}\n\0\0\n{"t": oops}\n'
    )
    assert scanned(path).damaged == {0: 3}


def test_the_scan_goes_through_all_files_and_survives_a_lost_one(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "gone", "b")]
    for rank, kind in ((0, "start"), (2, "stop")):
        paths[rank].write_text(json.dumps({"t": 1, "rank": rank, "event": kind}) + "\n")
    scan = EventScan({rank: (path, 1) for rank, path in enumerate(paths)})
    scan.join()
    assert [e["event"] for e in scan.found] == ["start", "stop"]
    assert scan.share == 1.0
    assert EventScan({}).share == 1.0
