"""Reading run folders while they grow, break and vanish."""

import json
import os
import shutil
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gala.telemetry import reader
from gala.telemetry.reader import RunReader, Tail, number, rank_folders
from gala.telemetry.sampling import sample


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


def test_who_has_not_looked_for_long_reads_the_end_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "FAR_BEHIND", 1_000)
    path = tmp_path / "m.jsonl"
    path.write_text(line(a=0) + "damage\n")
    tail, everything = Tail(path, last_bytes=100), Tail(path)
    assert len(tail.read()) == len(everything.read()) == 1
    with open(path, "a") as file:
        file.write("".join(line(a=k) for k in range(1, 500)))
    found = [r["a"] for r in tail.read()]
    assert found == list(range(500 - len(found), 500)) and 0 < len(found) < 10
    assert (tail.jumps, tail.restarts, tail.corrupt) == (1, 0, 0)
    assert tail.began == path.stat().st_size - 100
    assert len(everything.read()) == 499 and everything.jumps == 0


def test_what_happens_to_a_file_is_told(tmp_path: Path) -> None:
    paths = [tmp_path / f"rank_{rank:02d}" / "metrics.jsonl" for rank in range(6)]
    for rank, path in enumerate(paths):
        path.parent.mkdir()
        path.write_text(line(rank=rank, a=1) * 3)
    reader = RunReader(tmp_path)
    assert len(reader.poll()) == 18 and reader.problems == []
    paths[0].rename(paths[0].with_name("metrics.jsonl.1"))
    paths[0].write_text(line(rank=0, a=2))
    paths[1].write_text("")
    with open(paths[2], "a") as file:
        file.write(line(rank=2, a=2)[:-9])
    paths[3].unlink()
    shutil.rmtree(paths[4].parent)
    paths[5].unlink()
    paths[5].mkdir()
    assert [record["a"] for record in reader.poll()] == [2]
    was = "truncated, replaced or deleted once while it was read"
    assert reader.problems == [
        f"rank_00/metrics.jsonl: {was}",
        f"rank_01/metrics.jsonl: {was}",
        "rank_02/metrics.jsonl: the last line is half written",
        "rank_03: no metrics.jsonl",
        f"rank_03/metrics.jsonl: {was}",
        "rank_04: the folder is gone",
        f"rank_04/metrics.jsonl: {was}",
        "rank_05/metrics.jsonl: not a file",
        f"rank_05/metrics.jsonl: {was}",
    ]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "metrics.jsonl")
    assert Tail(tmp_path / "metrics.jsonl").read() == []
    assert sample(tmp_path / "metrics.jsonl", 5).records == []
    os.mkfifo(tmp_path / "meta.json")
    assert RunReader(tmp_path).meta == {}


def test_a_record_of_another_agent_is_damage(tmp_path: Path) -> None:
    (tmp_path / "rank_01").mkdir()
    good = line(rank=1, a=1)
    bad = [line(rank=rank) for rank in (0, -7, True, 1e9, 10**400, None)]
    (tmp_path / "rank_01" / "metrics.jsonl").write_text(good + "".join(bad))
    reader = RunReader(tmp_path)
    assert [record["a"] for record in reader.poll()] == [1] and reader.latest.keys() == {1}
    assert reader.problems == ["rank_01/metrics.jsonl: 6 damaged lines skipped"]


def test_folders_of_agents(tmp_path: Path) -> None:
    for name in ("rank_10", "rank_9", "rank_x", "rank_²", "rank_", "rank_99999999999", "rank_02"):
        (tmp_path / name).mkdir()
    assert list(rank_folders(tmp_path)) == [2, 9, 10]
    assert rank_folders(tmp_path)[9].name == "rank_9" and rank_folders(tmp_path / "no") == {}


def test_numbers_are_finite() -> None:
    assert (number(3), number(-0.5)) == (3.0, -0.5)
    odd = (True, "3", None, [], float("nan"), float("inf"), 10**400, -(10**400))
    assert [number(each) for each in odd] == [None] * len(odd)


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


@pytest.mark.parametrize(
    "stamp",
    [{"step": "abc"}, {"step": -1}, {"update": [1]}, {"step": 1e300}, {"incarnation": {}},
     {"step": True}, {"update": 2**60}],
)  # fmt: skip
def test_a_record_that_cannot_be_counted_with_is_damaged(
    tmp_path: Path, stamp: dict[str, object]
) -> None:
    path = tmp_path / "rank_00" / "metrics.jsonl"
    path.parent.mkdir()
    path.write_text(line(step=5, update=1) + line(**{"step": 6, "update": 2, **stamp}))
    runs = RunReader(tmp_path)
    assert len(runs.poll()) == 1 and runs.latest[0]["step"] == 5
    assert runs.problems == ["rank_00/metrics.jsonl: 1 damaged line skipped"]
    assert reader.steps_recorded(path) == 5


def test_the_steps_of_a_long_history_are_found_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    assert reader.steps_recorded(path) == 0
    with open(path, "w") as file:
        for step in range(5000):
            file.write(line(step=step, filler="x" * 1000))
    read: list[int] = []
    stored = Tail.read

    def counted(tail: Tail, at_most: int | None = None) -> list[reader.Record]:
        records = stored(tail, at_most)
        read.append(tail.offset - tail.began)
        return records

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tail, "read", counted)
        assert reader.steps_recorded(path) == 4999
    assert 0 < sum(read) <= reader.NEWEST_BYTES < path.stat().st_size / 10


@pytest.mark.parametrize("name", ["t", "update", "step", "incarnation"])
@pytest.mark.parametrize("value", ["abc", None, True, [1], {}, 10**400, float("nan")])
def test_a_stamp_that_is_no_number_is_damage(tmp_path: Path, name: str, value: object) -> None:
    (tmp_path / "rank_00").mkdir()
    path = tmp_path / "rank_00/metrics.jsonl"
    path.write_text(line(t=1.0, update=1, step=7) + line(t=2.0, update=2, step=8) + line())
    with open(path, "a") as file:
        file.write(line(**({"t": 3.0, "update": 3, "step": 9} | {name: value})))
    run = RunReader(tmp_path)
    run.poll()
    assert run.latest[0]["step"] == 8 and run.tails[0].corrupt == 1


def test_a_metric_that_is_no_number_is_null(tmp_path: Path) -> None:
    (tmp_path / "rank_00").mkdir()
    (tmp_path / "rank_00/metrics.jsonl").write_text(line(t=1.0, a="fast", b=[1], c=2, d=True))
    run = RunReader(tmp_path)
    run.poll()
    assert run.latest[0] == {"rank": 0, "t": 1.0, "a": None, "b": None, "c": 2, "d": None}


def test_steps_are_found_without_reading_a_long_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with open(path, "w") as file:
        file.writelines(line(t=float(k), step=k, pad="x" * 1000) for k in range(20_000))
        file.write(line(step="abc"))
    tracemalloc.start()
    assert reader.steps_recorded(path) == 19_999
    assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    tracemalloc.stop()
