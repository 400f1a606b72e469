"""Webhook: what should not be missed is posted to an address, also while nobody looks."""

from __future__ import annotations

import json
import sys
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gala.dashboard.events import event_of
from gala.dashboard.run_index import find_runs
from gala.errors import UserError
from gala.telemetry.reader import NEWEST_BYTES, Record, RunReader

LOUD = ("alarm", "dead", "error", "refused")
"""Events that are posted: those that stand above the page until they were seen."""

EVERY_S = 2.0
"""Seconds between two looks into the run folders."""

REST_S = 60.0
"""Seconds for which events of one run and kind are gathered after one was posted."""

AGAIN_S = 30.0
"""Seconds after a post that failed."""

MOST_WAITING = 1_000
"""Posts that are kept while the address does not answer; the oldest are dropped."""

TIMEOUT_S = 10.0


def check_webhook(url: str | None) -> None:
    """Refuse an address that nothing can be posted to.

    Raises:
        UserError: it is none of http or https.
    """
    if url is None:
        return
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise UserError(
            f"must be an address of http or https, got {url!r}",
            field="--webhook",
            hint="https://hooks.example.org/services/T0/B0",
        )


def post(url: str, payload: dict[str, Any]) -> None:
    """Post JSON.

    Raises:
        OSError: nobody answers, or not with success.
        HTTPException: what answers speaks no HTTP.
    """
    body = json.dumps(payload).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "gala"}
    request = urllib.request.Request(url, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        answer.read(1024)


def payload_of(run: str, event: Record, count: int) -> dict[str, Any]:
    """What is posted: ``text`` is what chat programs show, the rest is for others.

    Args:
        run: name of the run.
        event: the newest of its kind.
        count: of that kind since the last post.
    """
    kind, rank, message = event["event"], event["rank"], event["message"]
    times = f" ({count} times, the last)" if count > 1 else ""
    text = f"gala: {run}: {kind}{times}: agent {rank}: {message}"
    return {"text": text, "run": run, "count": count, **event}


class Gathering:
    """Events of one kind of one run: the first is told at once, later ones together."""

    def __init__(self) -> None:
        self._newest: Record = {}
        self._count = 0
        self._told_at = float("-inf")

    def add(self, event: Record) -> None:
        """One more."""
        self._newest = event
        self._count += 1

    def due(self, now: float) -> tuple[Record, int] | None:
        """The newest event and how many there were, if it is time to tell; they are told then."""
        if not self._count or now - self._told_at < REST_S:
            return None
        found = self._newest, self._count
        self._count, self._told_at = 0, now
        return found


class Webhook:
    """Looks into the runs below a folder, and posts their loud events.

    What is on file when it looks first is old: who starts it again is not told twice.

    Args:
        url: to post to.
        folder: as of ``gala dashboard``.
        send: posts; tests replace it.
    """

    def __init__(
        self, url: str, folder: Path, *, send: Callable[[str, dict[str, Any]], None] = post
    ) -> None:
        self._url, self._folder, self._send = url, folder, send
        self._readers: dict[str, RunReader] | None = None
        self._gatherings: dict[tuple[str, str], Gathering] = {}
        self._posts: deque[dict[str, Any]] = deque(maxlen=MOST_WAITING)
        self._again_at = float("-inf")
        self._failed = False

    def start(self) -> None:
        """Look and post in a thread, until the program ends."""
        threading.Thread(target=self._run, name="webhook", daemon=True).start()

    def look(self, now: float) -> None:
        """Gather what is new, and post what is due at ``now``, seconds of a monotonic clock."""
        first, readers = self._readers is None, self._readers or {}
        self._readers = readers
        for name, path in find_runs(self._folder).items():
            if name not in readers:
                readers[name] = RunReader(path, last_bytes=NEWEST_BYTES)
                if first:
                    readers[name].poll()  # what was there before is old
            for record in readers[name].poll():
                event = event_of(record)
                if event is not None and event["event"] in LOUD:
                    self._gatherings.setdefault((name, event["event"]), Gathering()).add(event)
        for (run, _), gathering in self._gatherings.items():
            if (due := gathering.due(now)) is not None:
                self._posts.append(payload_of(run, *due))
        while self._posts and now >= self._again_at:
            try:
                self._send(self._url, self._posts[0])
            except (OSError, HTTPException) as error:
                self._again_at = now + AGAIN_S
                self._tell(f"cannot post to {urlsplit(self._url).hostname}: {error}; tries again")
                return
            self._posts.popleft()
            self._failed = False

    def _tell(self, text: str) -> None:
        """Once, until a post succeeds."""
        if not self._failed:
            print(f"gala dashboard: webhook: {text}", file=sys.stderr, flush=True)
        self._failed = True

    def _run(self) -> None:
        while True:
            try:
                self.look(time.monotonic())
            except Exception as error:  # files may hold what nobody has thought of
                self._tell(f"{type(error).__name__}: {error}")
            time.sleep(EVERY_S)
