"""The server over real run folders, as browsers and programs ask it."""

import asyncio
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import httpx2
import pytest
from made_run import MadeRun
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from gala.dashboard import server
from gala.dashboard.run_view import RunView
from gala.dashboard.server import QUEUED, Broadcast, create_app
from gala.telemetry.prometheus import CONTENT_TYPE

Serve = Callable[..., str]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    MadeRun(tmp_path / "one", agents=2, records=30)
    MadeRun(tmp_path / "seeds" / "two", agents=1, records=5, ended=True)
    return tmp_path


@pytest.fixture
def client(runs: Path) -> TestClient:
    return TestClient(create_app(runs), base_url="http://127.0.0.1")


def test_runs_are_listed(client: TestClient) -> None:
    assert [run["name"] for run in client.get("/api/runs").json()] == ["one", "seeds/two"]


def test_a_run_that_begins_later_is_there_too(client: TestClient, runs: Path) -> None:
    MadeRun(runs / "three", records=2)
    assert "three" in [run["name"] for run in client.get("/api/runs").json()]
    assert client.get("/api/history/three").status_code == 200


def test_events_of_a_kind(client: TestClient) -> None:
    while (told := client.get("/api/events/one").json())["share"] < 1:
        pass  # they are looked for in the background
    every = told["all"]
    assert [event["event"] for event in every].count("start") == len(every) > 0
    assert client.get("/api/events/one?kinds=start,dead").json()["all"] == every
    assert client.get("/api/events/one?kinds=dead").json()["all"] == []


def test_events_are_known_while_nobody_watches(client: TestClient, runs: Path) -> None:
    client.get("/api/events/one")
    run = runs / "one" / "rank_01" / "metrics.jsonl"
    alarm = {"t": time.time(), "rank": 1, "event": "alarm", "message": "far apart"}
    with open(run, "a") as file:
        file.write(json.dumps(alarm) + "\n")
    assert client.get("/api/events/one?kinds=alarm").json()["all"] == [alarm]


def test_history_of_a_run_with_a_slash_in_its_name(client: TestClient) -> None:
    columns = client.get("/api/history/seeds/two").json()["agents"]["0"]
    assert columns["step"] == [0, 250, 500, 750, 1000]


def test_history_of_a_range_and_a_resolution(client: TestClient) -> None:
    t = client.get("/api/history/one").json()["agents"]["1"]["t"]
    asked = {"since": t[10] - 0.1, "until": t[12] + 0.1}
    some = client.get("/api/history/one", params=asked).json()
    assert some["agents"]["1"]["t"] == t[10:13]
    assert len(client.get("/api/history/one?points=3").json()["agents"]["1"]["t"]) <= 5


@pytest.mark.parametrize("query", ["points=many", "since=nan", "until=", "since=inf"])
def test_bad_questions_are_answered_in_a_line(client: TestClient, query: str) -> None:
    answer = client.get(f"/api/history/one?{query}")
    assert answer.status_code == 400 and "must be a number" in answer.text


def test_metrics_for_prometheus(client: TestClient, runs: Path) -> None:
    def scrape() -> dict[tuple[str, str], float]:
        answer = client.get("/metrics")
        assert answer.headers["content-type"] == CONTENT_TYPE
        families = text_string_to_metric_families(answer.text)
        steps = [s for f in families for s in f.samples if s.name == "gala_steps_total"]
        return {(s.labels["run"], s.labels["rank"]): s.value for s in steps}

    first = scrape()
    assert first.keys() == {("one", "0"), ("one", "1"), ("seeds/two", "0")}
    assert first["one", "0"] == first["one", "1"] == 7250
    with open(runs / "one" / "rank_01" / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"rank": 1, "step": 8000}) + "\n")
    assert scrape()["one", "1"] == 8000
    shutil.rmtree(runs / "one")
    assert scrape().keys() == {("seeds/two", "0")}


def test_an_unknown_run(client: TestClient) -> None:
    answer = client.get("/api/history/nine")
    assert answer.status_code == 404 and answer.text == "no run is named 'nine'"


def test_the_page_and_its_parts(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for name in ("uPlot.js", "page.js", "style.css", "icon.svg"):
        assert f"static/{name}" in page.text
        assert client.get(f"/static/{name}").status_code == 200
    assert client.get("/healthz").text == "ok\n"


def follow(address: str, run: str) -> Iterator[tuple[str, Any]]:
    """Server-sent events of a run: kind and content."""
    with httpx2.stream("GET", f"{address}api/stream/{run}", timeout=20) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        kind = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))


def until(stream: Iterator[tuple[str, Any]], wanted: Callable[[str, Any], bool]) -> Any:
    return next(content for kind, content in stream if wanted(kind, content))


def test_the_stream_tells_how_all_stand_and_then_what_is_new(runs: Path, serve: Serve) -> None:
    made = MadeRun(runs / "live", agents=2, records=10)
    stream = follow(serve(runs), "live")
    seen = {}
    while not {"peers", "events", "distances", "problems"} <= seen.keys():
        kind, content = next(stream)
        seen[kind] = content
    assert seen["peers"]["peers"]["1"]["status"] == "active"
    assert seen["distances"]["ranks"] == [0, 1] and seen["problems"] == []
    until(stream, lambda kind, content: kind == "peers")
    made.append(1, made.line(1, 10), made.event_line(1, made.now, "alarm", "left the ball"))
    rows = until(stream, lambda kind, content: kind == "rows")
    assert [row[0] for row in rows] == [1] and rows[0][2] == 2500
    events = until(stream, lambda kind, content: kind == "events" and "new" in content)
    assert [e["message"] for e in events["new"]] == ["left the ball"]


def test_all_who_watch_are_told(runs: Path, serve: Serve) -> None:
    made = MadeRun(runs / "live", agents=1, records=3)
    address = serve(runs)
    streams = [follow(address, "live") for _ in range(5)]
    for stream in streams:
        until(stream, lambda kind, content: kind == "distances")
    made.append(0, made.line(0, 3))
    for stream in streams:
        assert until(stream, lambda kind, content: kind == "rows")[0][2] == 750


def test_a_stream_survives_damage_deletion_and_rotation(runs: Path, serve: Serve) -> None:
    made = MadeRun(runs / "live", agents=1, records=3)
    stream = follow(serve(runs), "live")
    until(stream, lambda kind, content: kind == "distances")
    made.append(0, "nonsense\n", made.line(0, 3)[:-20])
    problems = until(stream, lambda kind, content: kind == "problems" and content)
    assert problems == [
        "rank_00/metrics.jsonl: 1 damaged line skipped",
        "rank_00/metrics.jsonl: the last line is half written",
    ]
    made.metrics(0).unlink()
    until(stream, lambda kind, content: kind == "problems" and "no metrics.jsonl" in str(content))
    made.append(0, made.line(0, 7))
    assert until(stream, lambda kind, content: kind == "rows")[0][2] == 1750


def test_one_odd_run_hides_no_other(runs: Path) -> None:
    odd = {
        "nan": ("meta.json", '{"started": NaN}'),
        "five": ("topology.json", '{"edges": 5}'),
        "long": ("rank_00/metrics.jsonl", f'{{"rank": 0, "t": {10**400}}}\n'),
        "text": ("rank_00/metrics.jsonl", '{"rank": 0, "t": 1, "divergence/kl/1": "far"}\n'),
    }
    for name, (file, content) in odd.items():
        made = MadeRun(runs / name, agents=2, records=3)
        (made.path / file).write_text(content)
    with TestClient(create_app(runs), base_url="http://127.0.0.1") as client:
        listed = client.get("/api/runs")
        assert listed.status_code == 200
        assert {run["name"] for run in listed.json()} == {"one", "seeds/two", *odd}
        for name in odd:
            assert len(client.get(f"/api/history/{name}").json()["agents"]["1"]["t"]) == 3
        assert client.get("/metrics").status_code == 200


def test_a_run_that_vanishes_while_all_are_listed_hides_no_other(runs: Path) -> None:
    found = server.find_runs(runs)
    with (
        mock.patch.object(server, "find_runs", side_effect=[found, {}]),
        TestClient(create_app(runs), base_url="http://127.0.0.1") as client,
    ):
        assert len(client.get("/api/runs").json()) == 2


def test_a_stream_says_what_went_wrong_and_goes_on(runs: Path) -> None:
    view = RunView("one", runs / "one")
    bad = mock.patch.object(view, "peers", side_effect=[ArithmeticError("odd"), {0: math.nan}, {}])

    async def watch() -> list[bytes]:
        stream = Broadcast(view).watch()
        messages = [await asyncio.wait_for(anext(stream), 60) for _ in range(4)]
        await stream.aclose()
        return messages

    with mock.patch.object(server, "EVERY_S", 0.001), bad:
        _, first, second, third = asyncio.run(watch())
    assert first == b'event: problems\ndata: ["ArithmeticError: odd"]\n\n'
    assert b"problems" in second and b"ValueError" in second and b"event: peers" in third


def test_a_watcher_that_does_not_read_is_let_go_and_others_stay(runs: Path) -> None:
    view = RunView("one", runs / "one")

    async def watch() -> tuple[int, int]:
        broadcast = Broadcast(view)
        lazy, keen = broadcast.watch(), broadcast.watch()
        await anext(lazy), await anext(keen)
        seen = 0
        while seen < QUEUED + 5:
            await asyncio.wait_for(anext(keen), 60)
            seen += 1
        got = [message async for message in lazy]  # ends, with what was waiting for it
        await anext(keen)
        return seen, len(got)

    with mock.patch.object(server, "EVERY_S", 0.001):
        assert asyncio.run(watch()) == (QUEUED + 5, QUEUED)
