"""The server of the page: static files, the records of a run, and a stream of what is new."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from gala.dashboard.page import STATIC, dumps, type_of
from gala.dashboard.run_index import find_runs
from gala.dashboard.run_table import RunTable
from gala.dashboard.run_view import NEWEST_BYTES, RunView
from gala.dashboard.security import Guard
from gala.dashboard.videos import video_at
from gala.run.wishes import WISHES, ask
from gala.telemetry.prometheus import CONTENT_TYPE, exposition
from gala.telemetry.reader import RunReader

EVERY_S = 0.5
"""Seconds between two looks into the run folder while somebody watches."""

SLOW_S = 5.0
"""Seconds between two rounds of what changes slowly or is dear: distances, problems."""

POINTS = 600
"""Records per agent in one answer, unless the page asks for another number."""

MOST_POINTS = 5_000


QUEUED = 32
"""Messages that a watcher may lag behind."""

Queue = asyncio.Queue[bytes | None]


class Broadcast:
    """One look into the run folder for all who watch it.

    Args:
        view: of the run.
    """

    def __init__(self, view: RunView) -> None:
        self._view = view
        self._watchers: set[Queue] = set()
        self._task: asyncio.Task[None] | None = None
        self._slow_at = -math.inf
        self._scanned = -1.0

    async def watch(self) -> AsyncIterator[bytes]:
        """Server-sent events, until the watcher leaves."""
        queue: Queue = asyncio.Queue()
        self._watchers.add(queue)
        self._slow_at = -math.inf  # a new watcher wants everything soon
        self._scanned = -1.0
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())
        try:
            yield b"retry: 1000\n\n"
            while (message := await queue.get()) is not None:
                yield message
        finally:
            self._watchers.discard(queue)

    async def look(self) -> None:
        """Know what is on file by now, also while nobody watches."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())
            await asyncio.wait([self._task], timeout=SLOW_S)  # goes on if somebody watches by now

    async def _look(self) -> None:
        while True:
            try:
                messages = await run_in_threadpool(self._messages)
            except Exception as error:  # told, and tried again: nobody may watch in vain
                messages = [_message("problems", [f"{type(error).__name__}: {error}"])]
                self._slow_at = time.time()  # stands there until the next round of problems
            for message in messages:
                for queue in list(self._watchers):
                    self._tell(queue, message)
            if not self._watchers:
                return
            await asyncio.sleep(EVERY_S)

    def _tell(self, queue: Queue, message: bytes) -> None:
        if queue.qsize() < QUEUED:
            queue.put_nowait(message)
        else:  # does not read: it may come again, and then reads what it missed from the files
            self._watchers.discard(queue)
            queue.put_nowait(None)

    def _messages(self) -> list[bytes]:
        return [_message(kind, content) for kind, content in self._updates()]

    def _updates(self) -> list[tuple[str, Any]]:
        now = time.time()
        rows, events = self._view.poll()
        updates: list[tuple[str, Any]] = [("peers", {"now": now, "peers": self._view.peers(now)})]
        if rows:
            updates.append(("rows", rows))
        scanned = self._view.scanned()
        if scanned != self._scanned:  # older events were found meanwhile
            self._scanned = scanned
            self._slow_at = -math.inf if scanned == 1.0 else self._slow_at  # damage is known, too
            updates.append(("events", {"share": scanned, "all": self._view.events()}))
        elif events:
            updates.append(("events", {"share": scanned, "new": events}))
        if now - self._slow_at >= SLOW_S:
            self._slow_at = now
            updates.append(("distances", self._view.distances()))
            updates.append(("agreement", self._view.agreement()))
            updates.append(("problems", self._view.problems))
        return updates


class Runs:
    """The runs below a folder, opened when they are first asked for.

    Args:
        folder: a run folder, or one that holds some.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, tuple[RunView, Broadcast]] = {}
        self._readers: dict[str, RunReader] = {}
        self._table = RunTable()
        self._opening, self._scraping = threading.Lock(), threading.Lock()

    def names(self) -> dict[str, Path]:
        """Run folders by name, as they are now."""
        return find_runs(self._folder)

    def view(self, name: str) -> tuple[RunView, Broadcast]:
        """The run of a name.

        Raises:
            HTTPException: there is none; a name is looked up, never joined to a path.
        """
        return self._open.get(name) or self._opened(name, self._path(name))

    def describe(self) -> list[dict[str, Any]]:
        """All runs, as they are now."""
        return self._table.rows(self.names())

    def options(self, name: str) -> dict[str, str]:
        """What the run of a name was asked to do.

        Raises:
            HTTPException: there is none.
        """
        return dict(self._table.options(name, self._path(name)))

    def _path(self, name: str) -> Path:
        path = self.names().get(name)
        if path is None:
            raise HTTPException(404, f"no run is named {name!r}")
        return path

    def _opened(self, name: str, path: Path) -> tuple[RunView, Broadcast]:
        with self._opening:  # once, whoever asks for it
            if name not in self._open:
                view = RunView(name, path)
                self._open[name] = view, Broadcast(view)
            return self._open[name]

    def exposition(self) -> str:
        """All runs as they are now, for Prometheus; events count from when it first asked."""
        with self._scraping:  # readers of their own: a page must not miss what is read here
            self._readers = {
                name: self._readers.get(name) or RunReader(path, last_bytes=NEWEST_BYTES)
                for name, path in self.names().items()
            }
            for reader in self._readers.values():
                reader.poll()
            return exposition(self._readers, time.time())


def create_app(
    folder: Path, *, host: str = "127.0.0.1", token: str | None = None, control: bool = False
) -> Starlette:
    """The ASGI application.

    Args:
        folder: a run folder, or one that holds some.
        host: address that it is served at.
        token: that visitors need; None for nobody.
        control: visitors may ask runs to stop and to save; only with a token.
    """
    runs = Runs(folder)

    async def page(request: Request) -> Response:
        return static("index.html")

    async def file(request: Request) -> Response:
        return static(request.path_params["name"])

    async def metrics(request: Request) -> Response:
        text = await run_in_threadpool(runs.exposition)
        return Response(text, headers={"Content-Type": CONTENT_TYPE})

    async def controls(request: Request) -> Response:
        return _json(list(WISHES) if control and token is not None else [])

    async def health(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    app = Starlette(
        routes=[
            Route("/", page),
            Route("/static/{name}", file),
            Route("/healthz", health),
            Route("/metrics", metrics),
            Route("/api/control", controls),
            Route("/api/control/{wish}/{run:path}", partial(_control, runs), methods=["POST"]),
            *_questions(runs),
        ]
    )
    app.add_middleware(Guard, host=host, token=token, control=control)
    return app


def _questions(runs: Runs) -> list[Route]:
    """What is asked of runs."""

    async def listing(request: Request) -> Response:
        return _json(await run_in_threadpool(runs.describe))

    async def config(request: Request) -> Response:
        return _json(await run_in_threadpool(runs.options, request.path_params["run"]))

    async def history(request: Request) -> Response:
        view, _ = await run_in_threadpool(runs.view, request.path_params["run"])
        points = int(_number(request, "points", POINTS, 1, MOST_POINTS))
        since = _number(request, "since", -math.inf)
        until = _number(request, "until", math.inf)
        read: Callable[[], Any] = lambda: view.history(points, since=since, until=until)  # noqa: E731
        return _json(await run_in_threadpool(read))

    async def log(request: Request) -> Response:
        view, _ = await run_in_threadpool(runs.view, request.path_params["run"])
        agent = int(_number(request, "agent", 0, 0))
        return PlainTextResponse(await run_in_threadpool(view.log, agent))

    async def video(request: Request) -> Response:
        view, _ = await run_in_threadpool(runs.view, request.path_params["run"])
        name = request.query_params.get("name", "")
        path = await run_in_threadpool(video_at, view.path, name)
        if path is None:
            raise HTTPException(404, f"{view.name} has no video {name!r}")
        return FileResponse(path, media_type="video/mp4")

    async def events(request: Request) -> Response:
        view, broadcast = await run_in_threadpool(runs.view, request.path_params["run"])
        await broadcast.look()
        found = await run_in_threadpool(view.events)
        if kinds := request.query_params.get("kinds"):
            found = [event for event in found if event["event"] in kinds.split(",")]
        return _json({"share": view.scanned(), "all": found})

    async def stream(request: Request) -> Response:
        _, broadcast = await run_in_threadpool(runs.view, request.path_params["run"])
        return StreamingResponse(broadcast.watch(), media_type="text/event-stream")

    return [
        Route("/api/runs", listing),
        Route("/api/config/{run:path}", config),
        Route("/api/history/{run:path}", history),
        Route("/api/log/{run:path}", log),
        Route("/api/video/{run:path}", video),
        Route("/api/events/{run:path}", events),
        Route("/api/stream/{run:path}", stream),
    ]


async def _control(runs: Runs, request: Request) -> Response:
    """Ask a run for something; who may, the guard has decided."""
    wish, run = request.path_params["wish"], request.path_params["run"]
    if wish not in WISHES:
        raise HTTPException(404, f"nobody can be asked to {wish!r}")
    view, _ = await run_in_threadpool(runs.view, run)
    try:
        await run_in_threadpool(ask, view.path, wish)
    except OSError as error:
        raise HTTPException(500, f"{view.name}: {error.strerror or error}") from None
    return PlainTextResponse(f"{run}: asked to {wish}\n", status_code=202)


def static(name: str) -> Response:
    """A file of the page.

    Raises:
        HTTPException: it has none of that name.
    """
    if name not in STATIC:
        raise HTTPException(404, "no such file")
    return Response(STATIC[name], media_type=type_of(name))


def _message(kind: str, content: Any) -> bytes:
    return f"event: {kind}\ndata: {dumps(content)}\n\n".encode()


def _json(content: Any) -> Response:
    return Response(dumps(content), media_type="application/json")


def _number(
    request: Request,
    name: str,
    default: float,
    smallest: float = -math.inf,
    largest: float = math.inf,
) -> float:
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise HTTPException(400, f"{name} must be a number, got {text!r}")
    return min(max(value, smallest), largest)
