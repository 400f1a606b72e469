"""The webhook: what is posted, how often, and what happens while nobody answers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest
from made_run import MadeRun

from gala.dashboard.page import STATIC
from gala.dashboard.webhook import AGAIN_S, LOUD, REST_S, Webhook, check_webhook
from gala.errors import UserError


class Posts:
    """Stands in for the address: what was posted, and whether it answers."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        self.answers = True

    def __call__(self, url: str, payload: dict[str, Any]) -> None:
        if not self.answers:
            raise ConnectionRefusedError("nobody there")
        self.found.append(payload)


def tell(made: MadeRun, rank: int, kind: str, message: str) -> None:
    made.append(rank, made.event_line(rank, made.now, kind, message))


def test_loud_events_are_posted_once_and_floods_together(tmp_path: Path) -> None:
    made, posts = MadeRun(tmp_path / "run", agents=3, records=3), Posts()
    tell(made, 0, "alarm", "of before")
    hook = Webhook("http://x", tmp_path, send=posts)
    hook.look(0.0)
    assert posts.found == [], "what is on file is old"
    tell(made, 2, "dead", "agent 1 is down; its weight stays with self")
    tell(made, 2, "checkpoint", "update_000000100.pt")
    hook.look(1.0)
    (first,) = posts.found
    assert first["text"] == "gala: run: dead: agent 2: agent 1 is down; its weight stays with self"
    assert (first["run"], first["event"], first["rank"], first["count"]) == ("run", "dead", 2, 1)
    json.dumps(first)
    for k in range(1000):
        tell(made, 0, "dead", f"number {k}")
        hook.look(1.0 + REST_S * k / 1000)
    assert len(posts.found) == 1
    tell(made, 1, "error", "of another kind")
    hook.look(REST_S)
    assert posts.found[1]["event"] == "error", "kinds do not wait for one another"
    hook.look(1.0 + REST_S)
    text = "gala: run: dead (1000 times, the last): agent 0: number 999"
    assert posts.found[2]["text"] == text and posts.found[2]["count"] == 1000
    hook.look(10 * REST_S)
    assert len(posts.found) == 3


def test_runs_that_begin_later_are_seen_from_their_first_line(tmp_path: Path) -> None:
    posts = Posts()
    MadeRun(tmp_path / "old", records=2)
    hook = Webhook("http://x", tmp_path, send=posts)
    hook.look(0.0)
    made = MadeRun(tmp_path / "new", records=2)
    tell(made, 0, "refused", "8 messages in a row")
    hook.look(1.0)
    assert [each["run"] for each in posts.found] == ["new"]


def test_nothing_is_lost_while_nobody_answers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made, posts = MadeRun(tmp_path / "run", records=2), Posts()
    hook = Webhook("http://user:secret@chat.example/T0/B0", tmp_path, send=posts)
    hook.look(0.0)
    posts.answers = False
    for k, kind in enumerate(("dead", "alarm", "error")):
        tell(made, 0, kind, "first")
        hook.look(AGAIN_S * k)
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "cannot post to chat.example: nobody there" in said
    assert "secret" not in said and "B0" not in said
    posts.answers = True
    hook.look(AGAIN_S * 2 + 0.1)
    assert posts.found == [], "an address that fails is left alone for a while"
    hook.look(AGAIN_S * 3)
    assert [each["event"] for each in posts.found] == ["dead", "alarm", "error"]


def test_what_is_posted_is_what_stands_above_the_page() -> None:
    (listed,) = re.findall(r"Gala.LOUD = (\[.*\]);", STATIC["alerts.js"].decode())
    assert json.loads(listed) == list(LOUD)


@pytest.mark.parametrize("url", ["", "hooks.example.org/x", "ftp://x/y", "http://", "http://[x"])
def test_addresses_that_nothing_can_be_posted_to(url: str) -> None:
    with pytest.raises(UserError, match="--webhook: must be an address of http or https"):
        check_webhook(url)
    check_webhook("https://hooks.example.org:8443/T0")
    check_webhook(None)


@pytest.fixture
def listener() -> Iterator[tuple[str, Queue[bytes]]]:
    """A real server, and what it was sent."""
    sent: Queue[bytes] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", sent
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.process
def test_the_dashboard_posts_while_nobody_looks(
    tmp_path: Path, listener: tuple[str, Queue[bytes]]
) -> None:
    made = MadeRun(tmp_path / "run", records=2)
    url, sent = listener
    command = [sys.executable, "-m", "gala", "dashboard", str(tmp_path), "--port", "0"]
    with subprocess.Popen([*command, "--webhook", url], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            found = None
            while found is None:  # events of before its first look are old
                tell(made, 1, "alarm", "far apart")
                with suppress(Empty):
                    found = json.loads(sent.get(timeout=0.5))
        finally:
            process.kill()
    assert found["text"].startswith("gala: run: alarm") and found["rank"] == 1
