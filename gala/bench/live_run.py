"""A run that is watched and disturbed while it trains."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gala.launch.processes import bound_to
from gala.telemetry.reader import RunReader

Record = dict[str, Any]


class LiveRun:
    """``gala train ARGUMENTS --agents N`` in the background; it ends when its watcher dies.

    Args:
        run: the run folder to make.
        agents: N.
        arguments: of ``gala train``.
    """

    def __init__(self, run: Path, agents: int, *arguments: object) -> None:
        self.run, self.agents = run, agents
        self.command = ["gala", "train", *map(str, arguments), "--agents", str(agents)]
        self._log = open(run.with_suffix(".log"), "w")
        self._launched = time.time()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gala", *self.command[1:], "--run-dir", str(run)],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=bound_to(os.getpid()),  # it trains for this process's sake
        )
        self.records: dict[int, list[Record]] = {rank: [] for rank in range(agents)}
        self.events: list[Record] = []
        self._reader = RunReader(run)

    def poll(self) -> None:
        """Read what is new."""
        for record in self._reader.poll():
            if "event" in record:
                self.events.append(record)
            else:
                self.records[record["rank"]].append(record)

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 180.0) -> float:
        """Poll until ``condition``; returns the seconds that it took."""
        began = time.monotonic()
        self.poll()
        while not condition():
            if self.process.poll() is not None or time.monotonic() - began > timeout_s:
                raise RuntimeError(f"the run ended or hangs, see {self._log.name}")
            time.sleep(0.02)
            self.poll()
        return time.monotonic() - began

    def began(self) -> float:
        """Seconds from the launch until the last agent was about to do its first update."""
        starts = {event["rank"]: event["t"] for event in self.events if event["event"] == "start"}
        return float(max(starts.values()) - self._launched)

    def all_train(self) -> bool:
        """Whether every agent has written records."""
        return all(len(rows) > 2 for rows in self.records.values())

    def watch(self, seconds: float) -> None:
        """Let it train for a while."""
        end = time.monotonic() + seconds
        self.wait_until(lambda: time.monotonic() >= end, timeout_s=seconds + 60)

    def pid(self, rank: int) -> int:
        """Process of an agent."""
        agent = self.run / f"rank_{rank:02d}" / "agent.json"
        return int(json.loads(agent.read_text())["pid"])

    def signal(self, rank: int, number: int) -> float:
        """Send a signal to an agent; returns unix seconds."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid(rank), number)
        return time.time()

    def rate(self, ranks: list[int], start: float, end: float) -> float:
        """Environment steps per second of ``ranks`` together between two unix times."""
        total = 0.0
        for rank in ranks:
            rows = [row for row in self.records[rank] if start <= row["t"] <= end]
            if len(rows) > 1:
                total += (rows[-1]["step"] - rows[0]["step"]) / (rows[-1]["t"] - rows[0]["t"])
        return total

    def last_words(self) -> str:
        """The last line that the run printed."""
        lines = [
            x for x in Path(self._log.name).read_text(errors="replace").splitlines() if x.strip()
        ]
        return lines[-1] if lines else "it printed nothing"

    def finish(self, stop: bool = True) -> int:
        """Stop it (or let it end); returns its exit code."""
        if stop and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=1800)
        self.poll()
        self._log.close()
        return code
