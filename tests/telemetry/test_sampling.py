"""Some records of a long file: the right ones, whatever the file looks like."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gala.telemetry import sampling
from gala.telemetry.reader import Record
from gala.telemetry.sampling import BLOCK, newest, sample


def record(t: float, width: int = 10) -> Record:
    return {"rank": 0, "t": t, "update": int(t), "x": "y" * width}


def write(path: Path, records: list[Record]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return path


@given(
    times=st.lists(st.integers(0, 500), unique=True).map(sorted),
    width=st.integers(0, 3000),
    since=st.one_of(st.integers(-1, 501), st.just(float("-inf"))),
    until=st.one_of(st.integers(-1, 501), st.just(float("inf"))),
    points=st.integers(1, 1000),
    whole=st.sampled_from([0.0, 20_000.0, float("inf")]),
)
def test_a_range_is_what_a_filter_gives(
    tmp_path_factory: pytest.TempPathFactory,
    times: list[int], width: int, since: float, until: float, points: int,
    whole: float,
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("s") / "m"
    write(path, [record(t, width) for t in times])
    wanted = [t for t in times if since <= t <= until]
    found = sample(path, points, since=since, until=until, whole=whole)
    got = [r["t"] for r in found.records]
    assert got == sorted(set(got)) and set(got) <= set(wanted)
    if found.share == 1.0:
        assert got == wanted
    else:
        assert got[0] == wanted[0] and got[-1] == wanted[-1]
        assert len(got) <= points + 1


@given(
    values=st.lists(
        st.one_of(st.none(), st.floats(-9, 9), st.integers(-9, 9)), min_size=1, max_size=60
    ),
    points=st.integers(1, 70),
)
def test_no_peak_is_lost(
    tmp_path_factory: pytest.TempPathFactory, values: list[float | None], points: int
) -> None:
    path = tmp_path_factory.mktemp("s") / "m"
    event = json.dumps(record(0) | {"event": "x"}) + "\n"
    lines = [json.dumps(record(t) | {"peak": v, "last": v}) for t, v in enumerate(values)]
    path.write_text("nonsense\n".join(line + "\n" + event for line in lines))
    found = sample(path, points, peaks=["peak", "last"], whole=math.inf).records
    before = -1
    for each in found:
        skipped = [v for v in values[before + 1 : int(each["t"]) + 1] if v is not None]
        assert each["peak"] == each["last"] == max(skipped, default=None)
        before = int(each["t"])
    assert before == len(values) - 1


def test_few_of_many_are_evenly_spread(tmp_path: Path) -> None:
    path = write(tmp_path / "m", [record(t, 300) for t in range(10_000)])
    found = sample(path, 100)
    times = [r["t"] for r in found.records]
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    assert len(times) == 101 and times[0] == 0 and times[-1] == 9_999
    assert 90 <= min(gaps[:-1]) and max(gaps) <= 110
    assert found.share == pytest.approx(0.01, rel=0.1)


def test_few_of_many_reads_few_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    path = write(tmp_path / "m", [record(t, 300) for t in range(20_000)])
    read, real = [0], os.pread
    monkeypatch.setattr(
        os, "pread", lambda fd, n, at: (read.__setitem__(0, read[0] + n), real(fd, n, at))[1]
    )
    sample(path, 50, since=5_000, until=15_000)
    assert read[0] < 0.2 * path.stat().st_size


def test_events_damage_and_half_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "m"
    good = json.dumps(record(2)) + "\n"
    path.write_text(
        '{"rank": 0, "t": 1, "event": "start"}\nnonsense\n[1]\n{"t": 1}\n{"rank": 0, "t": "late"}\n'
        + f'{{"rank": 0, "t": {10**400}}}\n'
        + good + '{"rank": 0, "t": 3'
    )  # fmt: skip
    assert [r["t"] for r in sample(path, 10).records] == [2]
    path.write_bytes(b"\0" * 3 * BLOCK + b"\n" + good.encode())
    assert [r["t"] for r in sample(path, 10).records] == [2]


def test_a_line_without_an_end_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "m"
    good = json.dumps(record(2)) + "\n"
    path.write_bytes(
        good.encode() + b"x" * 9_000_000 + b"\n" + json.dumps(record(3)).encode() + b"\n"
    )
    assert [r["t"] for r in sample(path, 10).records] == [2, 3]


def test_no_file_no_records(tmp_path: Path) -> None:
    assert sample(tmp_path / "none", 10).records == []
    assert sample(write(tmp_path / "empty", []), 10).records == []
    assert sample(tmp_path, 10).records == []


def test_the_newest_record_stands_before_any_flood_of_events(tmp_path: Path) -> None:
    path = tmp_path / "m"
    event = json.dumps(record(9) | {"event": "suspect"}) + "\n"
    path.write_text("".join(json.dumps(record(t)) + "\n" for t in range(5)) + 5_000 * event)
    assert path.stat().st_size > 32 * BLOCK
    found = newest(path)
    assert found is not None and found["t"] == 4
    path.write_text(event)
    assert newest(path) is None and newest(tmp_path / "none") is None


def test_the_newest_record_is_found_from_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "m", [record(t, 300) for t in range(1_000)])
    parsed, real = [0], sampling.parse_line
    monkeypatch.setattr(
        sampling, "parse_line", lambda line: (parsed.__setitem__(0, parsed[0] + 1), real(line))[1]
    )
    found = newest(path)
    assert found is not None and found["t"] == 999 and parsed == [1]
    long = write(tmp_path / "long", [record(t, 50_000) for t in range(5)])
    found = newest(long)
    assert found is not None and found["t"] == 4
