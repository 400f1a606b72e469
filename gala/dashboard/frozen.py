"""The page as one file that needs no server: scripts, styles and records inside."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gala.dashboard.page import STATIC, dumps
from gala.dashboard.run_table import RunTable
from gala.dashboard.run_view import RunView
from gala.telemetry.selection import name_runs

RECORDS = 3_000
"""Records in one file, of all agents of all runs; about 400 bytes each."""

POINTS = 300
"""Records per agent at most: as many as a chart has room for."""

LOG_BYTES = 4_000
"""End of the text log of each agent."""

_SCRIPT = re.compile(r'<script defer src="static/([\w.]+)"></script>')
_STYLE = re.compile(r'<link rel="stylesheet" href="static/([\w.]+)">')
_ICON = re.compile(r'<link rel="icon"[^>]*>\n')


def freeze(run_dirs: Sequence[Path], *, summary_html: str = "") -> str:
    """One HTML file that shows runs as the dashboard does, for as long as browsers read HTML.

    Args:
        run_dirs: run folders.
        summary_html: shown above the charts; trusted, it becomes a part of the page.
    """
    views = [RunView(name, path) for name, path in name_runs(run_dirs).items()]
    agents = sum(len(view.ranks()) for view in views)
    points = max(20, min(POINTS, RECORDS // max(agents, 1)))
    now = time.time()
    table, paths = RunTable(), {view.name: view.path for view in views}
    data: dict[str, Any] = {"runs": table.rows(paths)}
    data["config"] = {name: table.options(name, path) for name, path in paths.items()}
    for kind in ("history", "peers", "events", "distances", "agreement", "problems", "log"):
        data[kind] = {}
    for view in views:
        view.wait_for_events()
        data["history"][view.name] = view.history(points, whole=math.inf)
        data["peers"][view.name] = {"now": now, "peers": view.peers(now)}
        data["events"][view.name] = {"share": 1, "all": view.events()[-500:]}
        data["distances"][view.name] = view.distances()
        data["agreement"][view.name] = view.agreement()
        data["problems"][view.name] = view.problems
        data["log"][view.name] = {rank: view.log(rank, LOG_BYTES) for rank in view.ranks()}
    page = _ICON.sub("", STATIC["index.html"].decode())
    page = _STYLE.sub(lambda found: f"<style>\n{_text(found[1])}</style>", page)
    scripts = "".join(f"<script>\n{_text(name)}</script>\n" for name in _SCRIPT.findall(page))
    content = (
        f'<template id="frozen-summary">{summary_html}</template>\n'
        f'<script type="application/json" id="frozen">{_inside(dumps(data))}</script>\n'
    )
    return _SCRIPT.sub("", page).replace("</body>", f"{content}{scripts}</body>")


def _text(name: str) -> str:
    text = STATIC[name].decode()
    assert "</script" not in text and "</style" not in text, name
    return text


def _inside(json_text: str) -> str:
    """JSON that no name or message in it can end the script element of."""
    return json_text.replace("<", "\\u003c")
