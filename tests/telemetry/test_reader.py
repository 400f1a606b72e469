"""Reading run folders while they grow, break and vanish."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gala.telemetry import reader
from gala.telemetry.reader import RunReader, Tail


def line(**fields: object) -> str:
    return json.dumps({"rank": 0} | fields) + "\n"


def test_only_complete_new_lines(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    tail = Tail(path)
    assert tail.read() == []
    path.write_text(line(a=1) + line(a=2) + '{"rank": 0, "a"')
    assert [r["a"] for r in tail.read()] == [1, 2]
    assert tail.read() == []
    with open(path, "a") as file:
        file.write(": 3}\n")
    assert [r["a"] for r in tail.read()] == [3] and tail.corrupt == 0


def test_damaged_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"rank": 0}\nnonsense\n[1]\n\xff\xfe\n\n' + line(a=1).encode())
    tail = Tail(path)
    assert [r.get("a") for r in tail.read()] == [None, 1]
    assert tail.corrupt == 3


def test_a_truncated_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(line(a=1) * 5)
    tail = Tail(path)
    assert len(tail.read()) == 5
    path.write_text(line(a=9))
    assert [r["a"] for r in tail.read()] == [9]


def test_a_replaced_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(line(a=1))
    tail = Tail(path)
    tail.read()
    other = tmp_path / "new"
    other.write_text(line(a=2) * 3)
    os.replace(other, path)
    assert len(tail.read()) == 3


def test_a_deleted_file_may_come_back(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(line(a=1))
    tail = Tail(path)
    tail.read()
    path.unlink()
    assert tail.read() == []
    path.write_text(line(a=2))
    assert [r["a"] for r in tail.read()] == [2]


@given(st.lists(st.integers(1, 40), max_size=30))
@settings(max_examples=40, deadline=None)
def test_any_chunking_of_the_writes_gives_the_same_records(
    tmp_path_factory: object, sizes: list[int]
) -> None:
    path = tmp_path_factory.mktemp("tail") / "m.jsonl"  # type: ignore[attr-defined]
    data = "".join(line(a=i, text="ü" * (i % 5)) for i in range(12)).encode()
    tail, found = Tail(path), []
    for size in [*sizes, len(data)]:
        with open(path, "ab") as file:
            done = file.tell()
            file.write(data[done : done + size])
        found += tail.read()
    assert [r["a"] for r in found] == list(range(12)) and tail.corrupt == 0


def test_a_run_is_merged_by_rank(tmp_path: Path) -> None:
    for rank in (0, 1):
        (tmp_path / f"rank_{rank:02d}").mkdir()
    first, second = (tmp_path / f"rank_{rank:02d}" / "metrics.jsonl" for rank in (0, 1))
    first.write_text(line(rank=0, step=1, a=1, b=5) + line(rank=0, event="start", message="x"))
    reader = RunReader(tmp_path)
    assert len(reader.poll()) == 2
    second.write_text(line(rank=1, step=3, a=7))
    with open(first, "a") as file:
        file.write(line(rank=0, step=2, a=2))
    assert len(reader.poll()) == 2
    assert (reader.latest[0]["a"], reader.latest[0]["b"], reader.latest[0]["step"]) == (2, 5, 2)
    assert reader.latest[1]["a"] == 7 and "event" not in reader.latest[0]
    assert [event["event"] for event in reader.events] == ["start"]
    assert reader.event_counts == {(0, "start"): 1}
    assert reader.problems == []


def test_problems_are_told(tmp_path: Path) -> None:
    (tmp_path / "rank_00").mkdir()
    (tmp_path / "rank_00" / "metrics.jsonl").write_text('oops\n{"no": "rank"}\n')
    reader = RunReader(tmp_path)
    assert reader.poll() == []
    assert reader.problems == ["rank_00/metrics.jsonl: 2 damaged lines skipped"]
    assert reader.meta == {} and reader.topology == {}
    (tmp_path / "meta.json").write_text('{"agents": 4}')
    assert reader.meta == {"agents": 4}


def test_a_stream_gives_the_same_in_small_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "STREAM_BYTES", 7)
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"rank": 0, "step": 1}\nnot json\n\n{"rank": 0, "step": 2}\n{"half')
    tail = Tail(path)
    assert [record["step"] for record in tail.stream()] == [1, 2]
    assert tail.corrupt == 1
    with open(path, "a") as file:
        file.write('": 3}\n')
    assert list(tail.stream()) == [{"half": 3}] and list(tail.stream()) == []
    assert list(Tail(tmp_path / "missing").stream()) == []


def test_only_the_end_of_a_long_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text("".join(line(a=k) for k in range(1000)))
    tail = Tail(path, last_bytes=100)
    found = [r["a"] for r in tail.read()]
    assert found and found == list(range(1000 - len(found), 1000)) and len(found) < 10
    assert tail.corrupt == 0
    with open(path, "a") as file:
        file.write(line(a=1000))
    assert [r["a"] for r in tail.read()] == [1000]
    path.write_text(line(a=1))
    assert [r["a"] for r in tail.read()] == [1]


def test_the_end_of_a_file_may_lie_within_one_line(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({"rank": 0, "x": "y" * 500}))
    tail = Tail(path, last_bytes=100)
    assert tail.read() == []
    with open(path, "a") as file:
        file.write("\n" + line(a=7))
    assert [r["a"] for r in tail.read()] == [7] and tail.corrupt == 0
