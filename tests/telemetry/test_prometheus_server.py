"""A real Prometheus scrapes runs, answers questions about the ball, and sounds the alarms."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

import gala
from gala.telemetry.prometheus import CONTENT_TYPE, exposition
from gala.telemetry.reader import RunReader

GRAFANA = Path(gala.__file__).resolve().parents[1] / "experiments" / "grafana"
PROMETHEUS = shutil.which("prometheus")
INTERVAL = "200ms"
PATIENCE_S = 40.0

if PROMETHEUS is None:
    pytest.skip(
        "PROMETHEUS IS NOT INSTALLED, nothing here is tested: apt-get install prometheus",
        allow_module_level=True,
    )
if not GRAFANA.is_dir():
    pytest.skip("gala is installed, this is not a checkout", allow_module_level=True)


@dataclass(frozen=True)
class Watched:
    """A Prometheus that scrapes the runs below a folder.

    Attributes:
        url: of Prometheus.
        runs: what a test may write to, by name.
    """

    url: str
    runs: dict[str, Any]

    def ready(self) -> bool:
        """Whether it answers questions yet."""
        try:
            with urlopen(f"{self.url}/-/ready", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:  # an HTTP error is one, too
            return False

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its HTTP interface."""
        with urlopen(f"{self.url}{path}?{urlencode(parameters)}", timeout=10) as answer:
            content = json.loads(answer.read())
        assert content["status"] == "success", content
        return content["data"]

    def ask(self, query: str) -> dict[str, float]:
        """The answer to a PromQL query, by run and (where it has one) rank."""
        found = {}
        for each in self.get("/api/v1/query", query=query)["result"]:
            labels = [each["metric"].get(name) for name in ("run", "rank")]
            found["/".join(label for label in labels if label)] = float(each["value"][1])
        return found

    def health(self) -> dict[str, tuple[str | None, str]]:
        """Health of each job's target (None: not asked yet), and what was wrong."""
        return {
            each["labels"]["job"]: (
                each["health"].replace("unknown", "") or None,
                each["lastError"],
            )
            for each in self.get("/api/v1/targets")["activeTargets"]
        }

    def firing(self) -> dict[str, set[str]]:
        """The names of the alerts that fire, by run."""
        found: dict[str, set[str]] = {name: set() for name in self.runs}
        for alert in self.get("/api/v1/alerts")["alerts"]:
            if alert["state"] == "firing":
                found[alert["labels"]["run"]].add(alert["labels"]["alertname"])
        return found


def wait_for(what: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    """Ask again until the answer is the wanted one; fail with the last one."""
    deadline = time.monotonic() + PATIENCE_S
    while not wanted(found := what()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def serve(folder: Path) -> ThreadingHTTPServer:
    """``/metrics`` of the runs below ``folder``, at a free port; ages are those of this moment."""
    readers = {path.name: RunReader(path) for path in folder.iterdir()}
    now, lock = time.time(), threading.Lock()

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with lock:
                for reader in readers.values():
                    reader.poll()
                body = exposition(readers, now).encode()
            self.send_response(200 if self.path == "/metrics" else 404)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Metrics)


def settings(folder: Path, target: str, token: str | None = None) -> Path:
    """The shipped configuration and rules, hastened: fast scrapes, alarms without a wait.

    With a token, a second job asks without it.
    """
    rules = yaml.safe_load((GRAFANA / "alerts.yaml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["for"] = "0s"
    (folder / "alerts.yaml").write_text(yaml.safe_dump(rules))
    config = yaml.safe_load((GRAFANA / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL}
    (scrape,) = config["scrape_configs"]
    scrape["static_configs"] = [{"targets": [target]}]
    if token is not None:
        config["scrape_configs"].append(scrape | {"job_name": "stranger"})
        scrape["authorization"] = {"credentials": token}
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


@contextmanager
def prometheus(home: Path, config: Path) -> Iterator[str]:
    """The address of a server that keeps its data in ``home``."""
    log = home / "log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [str(PROMETHEUS), f"--config.file={config}", f"--storage.tsdb.path={home / 'data'}",
             "--web.listen-address=127.0.0.1:0"],
            stdout=output, stderr=output, env={**os.environ, "GOMAXPROCS": "1"},
        )  # fmt: skip
    try:
        address = wait_for(
            lambda: re.findall(r'"Listening on" address=(\S+)', log.read_text()),
            lambda found: bool(found) or process.poll() is not None,
        )
        assert address, log.read_text()
        url = f"http://{address[0]}"
        wait_for(Watched(url, {}).ready, bool)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def dashboard(folder: Path, *options: str) -> Iterator[str]:
    """Where ``gala dashboard`` listens."""
    command = [sys.executable, "-m", "gala", "dashboard", str(folder), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline(), process.stdout.readline()]
        yield re.findall(r"http://([^/]+)/", lines[1])[0]
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


@pytest.fixture(scope="module")
def watched(
    tmp_path_factory: pytest.TempPathFactory, start_run: Callable[..., Any]
) -> Iterator[Watched]:
    home, folder = tmp_path_factory.mktemp("prometheus"), tmp_path_factory.mktemp("runs")
    names = ("well", "away", "returning", "bereft", "lonely", "finished")
    runs = {name: start_run(folder / name) for name in names}
    for name in ("away", "returning"):
        for rank in range(4):
            runs[name].record(rank, divergence__total=41.8, divergence__epsilon_ratio=1.7)
    runs["bereft"].record(2, ago_s=60.0)
    runs["lonely"].record(1, gossip__staleness=180, gossip__staleness_max=200)
    for rank in range(4):
        runs["finished"].event(rank, "done", ago_s=3600.0)
    server = serve(folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with prometheus(home, settings(home, f"127.0.0.1:{server.server_port}")) as url:
            watched = Watched(url, runs)
            wait_for(lambda: watched.ask("count by (run) (gala_up)"), lambda found: len(found) == 6)
            yield watched
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def test_the_scrape_is_without_fault(watched: Watched) -> None:
    (target,) = watched.get("/api/v1/targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    kinds = {name: each[0] for name, each in watched.get("/api/v1/metadata").items()}
    assert kinds["gala_steps_total"]["type"] == "counter"
    assert kinds["gala_divergence_epsilon"]["type"] == "gauge"
    assert "absent where neither is" in kinds["gala_divergence_epsilon"]["help"]


def test_it_answers_about_divergence(watched: Watched) -> None:
    total = watched.ask("max by (run) (gala_divergence_frobenius)")
    assert (total["well"], total["away"]) == (0.58, 41.8)
    outside = watched.ask("max by (run) (gala_divergence_epsilon_ratio) > 1")
    assert outside["away"] == 1.7 and "well" not in outside
    assert watched.ask('avg(gala_episodic_return{run="well"})') == {"": pytest.approx(18.18)}


def test_it_answers_about_staleness(watched: Watched) -> None:
    assert watched.ask('gala_staleness_updates{run="lonely"} > 100') == {"lonely/1": 180}
    worst = watched.ask("max by (run) (gala_staleness_max_updates)")
    assert (worst["lonely"], worst["well"]) == (200, 4)
    assert watched.ask("gala_heartbeat_age_seconds > 30 unless gala_finished == 1").keys() == {
        "bereft/2"
    }


def test_alarms_are_sounded_for_those_in_trouble_alone(watched: Watched) -> None:
    expected = {
        "well": set(),
        "away": {"GalaLeftTheBall"},
        "bereft": {"GalaAgentDead"},
        "lonely": {"GalaStalenessHigh"},
        "finished": set(),
    }
    found = wait_for(
        watched.firing, lambda alerts: all(alerts[name] == expected[name] for name in expected)
    )
    assert found["well"] == set()
    for group in watched.get("/api/v1/rules")["groups"]:
        assert [rule["health"] for rule in group["rules"]] == ["ok"] * 3


def test_an_alarm_ends_when_the_agents_are_back(watched: Watched) -> None:
    wait_for(lambda: watched.firing()["returning"], lambda found: found == {"GalaLeftTheBall"})
    for rank in range(4):
        watched.runs["returning"].record(rank)
    wait_for(lambda: watched.firing()["returning"], lambda found: found == set())
    assert watched.ask('max by (run) (gala_divergence_frobenius{run="returning"})') == {
        "returning": 0.58
    }


def test_every_panel_of_the_board_is_answered(watched: Watched) -> None:
    board = json.loads((GRAFANA / "gala.json").read_text())

    def query(text: str) -> str:
        return text.replace("$run", "well").replace("$__rate_interval", "1m")

    for panel in board["panels"]:
        for target in panel["targets"]:
            wait_for(
                lambda text=target["expr"]: watched.get("/api/v1/query", query=query(text))[
                    "result"
                ],
                bool,
            )
    for mark in board["annotations"]["list"]:
        assert watched.get("/api/v1/query", query=query(mark["expr"]))["result"] == []


def test_the_questions_of_the_docs_are_understood(watched: Watched) -> None:
    text = (GRAFANA.parents[1] / "docs" / "tools.md").read_text()
    (block,) = [each for each in text.split("```") if "topk(" in each]
    questions = [line.split("   ")[0] for line in block.strip().splitlines()]
    assert len(questions) >= 5
    for question in questions:
        watched.get("/api/v1/query", query=question)
    assert watched.ask("gala_up == 0 and gala_finished == 0").keys() == {"bereft/2"}


@pytest.mark.parametrize("token", [None, "nobody knows it"])
def test_it_scrapes_the_dashboard(
    tmp_path: Path, start_run: Callable[..., Any], token: str | None
) -> None:
    runs = {name: start_run(tmp_path / "runs" / name) for name in ("one", "two")}
    for _ in range(40):  # more than is read of a file at first
        runs["two"].record(3)
    options = () if token is None else ("--token", token)
    with (
        dashboard(tmp_path / "runs", *options) as target,
        prometheus(tmp_path, settings(tmp_path, target, token)) as url,
    ):
        watched = Watched(url, runs)
        total = "max by (run) (gala_divergence_frobenius)"
        assert wait_for(lambda: watched.ask(total), lambda found: len(found) == 2) == {
            "one": 0.58,
            "two": 0.58,
        }
        assert len(watched.ask("gala_staleness_max_updates")) == 8
        runs["two"].record(3, divergence__total=41.8, divergence__epsilon_ratio=1.7)
        runs["two"].event(3, "alarm", "left the ball")
        wait_for(lambda: watched.ask(total), lambda found: found["two"] == 41.8)
        wait_for(watched.firing, lambda alerts: "GalaLeftTheBall" in alerts["two"])
        assert watched.ask('gala_alarms_total{run="two", rank="3"}') == {"two/3": 1}
        health = wait_for(watched.health, lambda found: all(state for state, _ in found.values()))
    assert health.pop("gala") == ("up", "")
    if token is not None:
        state, error = health.pop("stranger")
        assert state == "down" and "401" in error
