"""One row for each run: what it is, how it stands, and what a person has noted about it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gala.dashboard.run_view import RunView
from gala.errors import UserError
from gala.files.bounded import read_bounded
from gala.telemetry.arms import Options, hash_of, options_of
from gala.telemetry.reader import Record

NOTES = "notes.txt"
"""What a person writes about a run, in its folder; words that begin with ``#`` are tags."""

LONGEST_NOTES = 20_000
"""Bytes of :data:`NOTES` that are read."""

TAG = re.compile(r"(?<!\S)#([\w.+-]+)")


class RunTable:
    """The rows of all runs, read anew at each question; what did not change costs little.

    It looks with eyes of its own: what it has seen is news to who watches a run all the same.
    """

    def __init__(self) -> None:
        self._views: dict[str, RunView] = {}
        self._options: dict[str, tuple[Any, Options]] = {}
        self._lock = threading.Lock()

    def rows(self, runs: Mapping[str, Path]) -> list[dict[str, Any]]:
        """Facts, standing, ``arm``, ``notes`` and ``tags`` of each run.

        Args:
            runs: folders by name; what is known of others is forgotten.
        """
        now = time.time()
        with self._lock:
            for name in [name for name in self._views if name not in runs]:
                del self._views[name]
                self._options.pop(name, None)
            return [self._row(name, path, now) for name, path in runs.items()]

    def options(self, name: str, path: Path) -> Options:
        """What a run was asked to do, by dotted name; seeds and names are left out."""
        with self._lock:
            return self._known(self._view(name, path))

    def _view(self, name: str, path: Path) -> RunView:
        if name not in self._views:
            self._views[name] = RunView(name, path)
        return self._views[name]

    def _row(self, name: str, path: Path, now: float) -> dict[str, Any]:
        view = self._view(name, path)
        view.poll()
        notes, facts = notes_of(path), view.describe()
        return {
            **facts,
            **standing_of(view.peers(now), independent=facts["coupling"] == "none"),
            "arm": hash_of(self._known(view)),
            "notes": notes,
            "tags": list(dict.fromkeys(TAG.findall(notes))),
        }

    def _known(self, view: RunView) -> Options:
        """Options as they are on file; read again when a file is another."""
        files = [view.path / name for name in ("config.yaml", "topology.json")]
        stamp = [_stamp(file) for file in files]
        if view.name not in self._options or self._options[view.name][0] != stamp:
            self._options[view.name] = stamp, options_of(view.path, view.topology)
        return self._options[view.name][1]


def standing_of(peers: Mapping[int, Record], *, independent: bool) -> dict[str, Any]:
    """How a run stands in a few numbers; null for what is not known.

    Args:
        peers: its agents, see :meth:`gala.dashboard.run_view.RunView.peers`.
        independent: they never gossip, and several of them have no mean.

    Returns:
        ``standing`` (waiting, live, silent or ended), ``taking_part`` (agents that count),
        ``steps`` of all agents, newest record ``t``; of those that count ``return`` (mean), or of
        independent agents ``returns`` (lowest and highest), ``sps`` (sum; null when it ended),
        ``ratio`` (largest).
    """
    states = {peer["status"] for peer in peers.values()} - {"absent"}
    ended = states <= {"done", "stopped"}
    standing = "live" if states & {"active", "joining"} else "ended" if ended else "silent"
    standing = standing if states else "waiting"
    counted = [peer for peer in peers.values() if peer["left_out"] is None]

    def known(metric: str) -> list[float]:
        found = (peer["values"].get(metric) for peer in counted)
        return [value for value in found if value is not None]

    returns, speeds = known("charts/episodic_return"), known("charts/SPS")
    independent = independent and len(peers) > 1 and bool(returns)
    return {
        "standing": standing,
        "taking_part": len(counted),
        "steps": sum(peer["step"] or 0 for peer in peers.values()),
        "t": max((peer["t"] for peer in peers.values()), default=0) or None,
        "return": sum(returns) / len(returns) if returns and not independent else None,
        "returns": [min(returns), max(returns)] if independent else None,
        "sps": sum(speeds) if speeds and standing == "live" else None,
        "ratio": max(known("divergence/epsilon_ratio"), default=None),
    }


def notes_of(run: Path) -> str:
    """The text of :data:`NOTES`; empty where there is none that can be read."""
    try:
        return read_bounded(run / NOTES, LONGEST_NOTES).decode("utf-8", "replace").strip()
    except UserError:
        return ""


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
