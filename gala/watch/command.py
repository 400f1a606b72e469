"""What ``gala watch`` does: draw a run again and again, or once."""

from __future__ import annotations

import json as encoder
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import RenderableType
from rich.live import Live

from gala.config.arguments import Parser, positive
from gala.dashboard.run_index import require_runs
from gala.dashboard.run_view import RunView
from gala.errors import EXIT_OK, UserError
from gala.files.screen import Screen
from gala.watch.frame import frame
from gala.watch.snapshot import Peer, Snapshot, Watcher

PLAIN_WIDTH = 160
"""Columns where there is no terminal."""


def main(arguments: Sequence[str]) -> int:
    """Run ``gala watch``; returns its exit code."""
    parser = Parser(prog="gala watch", description="Show a run in the terminal, live.")
    add = parser.add_argument
    add("run", type=Path, help="run folder")
    add("--once", action="store_true", help="draw one frame and leave")
    add("--every", type=positive, default=1.0, help="seconds between frames (%(default)g)")
    add("--json", action="store_true", help="print one frame as a JSON object")
    given = parser.parse_args(arguments)
    return watch(given.run, once=given.once, every=given.every, json=given.json)


def watch(
    folder: Path,
    *,
    once: bool = False,
    every: float = 1.0,
    json: bool = False,
    console: Screen | None = None,
) -> int:
    """Show one run until it is over or the user has seen enough; returns the exit code.

    Args:
        folder: of the run, or of one that holds a single run.
        once: draw one frame; so it is where there is no terminal, too.
        every: seconds between two frames.
        json: print one frame as a JSON object instead.
        console: where to draw.

    Raises:
        UserError: there is no run, or there are several.
    """
    runs = require_runs(folder)
    if len(runs) > 1:
        names = ", ".join(list(runs)[:4]) + (", ..." if len(runs) > 4 else "")
        raise UserError("holds several runs, one is watched", file=folder, hint=f"it has {names}")
    ((name, path),) = runs.items()
    watcher = Watcher(RunView(name, path))
    shot = watcher.snapshot()
    if json:
        print(encoder.dumps(to_json(shot), allow_nan=False))
        return EXIT_OK
    console = console or Screen(highlight=False)
    if not console.is_terminal:
        # no person looks at it: as wide as it needs to be, and no colours
        console = Screen(highlight=False, width=PLAIN_WIDTH, file=console.file)
    screen, height = console, console.height if console.is_terminal and not once else None

    def draw() -> RenderableType:
        options = screen.options
        return frame(shot, width=options.max_width, height=height, ascii_only=options.ascii_only)

    if once or shot.over or not console.is_terminal:
        console.print(draw())
        return EXIT_OK
    try:
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            over = False
            while not over:
                live.update(draw(), refresh=True)
                time.sleep(every)
                shot = watcher.snapshot()
                over = shot.over
            live.update(draw(), refresh=True)
    except KeyboardInterrupt:
        pass
    return EXIT_OK


def to_json(shot: Snapshot) -> dict[str, object]:
    """Snapshot as plain data: ``facts``, ``agents``, ``events`` (the newest) and ``problems``."""
    return {
        "facts": dict(shot.facts),
        "steps": shot.steps,
        "steps_per_s": shot.sps,
        "over": shot.over,
        "agents": [_agent(peer) for peer in shot.peers],
        "events": list(shot.events)[-100:],
        "problems": list(shot.problems),
    }


def _agent(peer: Peer) -> dict[str, object]:
    """One agent in the output, whose names are fixed: ``life`` is 1 for the first incarnation."""
    data = asdict(peer)
    return data | {"life": data.pop("incarnation") + 1, "hears": data.pop("in_neighbours")}
