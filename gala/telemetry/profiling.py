"""A close look at a few updates of one agent: a trace of the operators, and when each phase was.

Agents count their windows from the same moment, so that their phases can be drawn above one another
(``gala profile``). ``rank_RR/profile/`` gets

- ``trace.json``: the operators as torch's profiler saw them, in Chrome's format, which
  https://ui.perfetto.dev shows; the phases are in it under their names;
- ``phases.jsonl``: a line for each phase of each update: ``{"v": 1, "rank", "update", "phase",
  "begin": unix seconds, "end", "mixed": bool or null}``; ``mixed`` belongs to ``gossip``.

An agent that is not profiled never loads this module, and one whose window is over pays nothing.

``torch.profiler.profile`` would load torch's compiler when it starts, seconds in the middle of
training; the backend that it stands on starts in a millisecond and writes the same trace.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from torch.autograd.profiler import profile
from torch.profiler import record_function

from gala.device.choose import apart_on
from gala.files import commands
from gala.files.atomic import TEMPORARY_SUFFIX
from gala.telemetry.phases import PHASES, PhaseTimer

PHASES_VERSION = 1

MIN_WARM_UP = 10
"""Updates before the window, however late it is: allocators, caches, the first mixes."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """What is looked at.

    Attributes:
        folder: ``rank_RR/profile``.
        rank: index of the agent.
        updates: how many.
        begins: unix seconds before which it does not begin.
    """

    folder: Path
    rank: int
    updates: int
    begins: float


class Profile:
    """Follows the timer of one agent through a window; whatever fails here ends the profile only.

    Args:
        timer: what measures anyway.
        window: what is looked at.
        device: where the network computes.
        count: update and mixes of this agent so far.
        finished: called once, with the kind and the text of an event.
    """

    def __init__(
        self,
        timer: PhaseTimer,
        window: Window,
        *,
        device: torch.device,
        count: Callable[[], tuple[int, int]],
        finished: Callable[[str, str], None],
    ) -> None:
        self._timer, self._window, self._count, self._finished = timer, window, count, finished
        self._device = "cuda" if device.type == "cuda" else None
        self._warm_up = MIN_WARM_UP
        self._left = window.updates
        self._open = False
        self._over = False
        self._trace: Trace | None = None
        self._no_trace = ""
        self._span = ExitStack()
        self._file: TextIO | None = None

    def end_phase(self, phase: str) -> None:
        """As :meth:`gala.telemetry.phases.PhaseTimer.end_phase`."""
        self._timer.end_phase(phase)
        try:
            self._follow(phase)
        except Exception as error:  # a profile is never worth a run
            self._fail(error)

    def close(self) -> None:
        """The agent has ended: keep what there is."""
        if self._over:
            return
        try:
            if self._open:
                self._end()
            else:
                self._finish("profile", "the run ended before its window")
        except Exception as error:
            self._fail(error)

    def _follow(self, phase: str) -> None:
        if self._open:
            self._note(phase)
            self._left -= phase == "log"
            if self._left == 0:
                self._end()
            else:
                self._enter(PHASES[(PHASES.index(phase) + 1) % len(PHASES)])
        elif phase == "other" and not self._over:  # an update is about to begin
            self._warm_up -= 1
            if self._warm_up < 0 and time.time() >= self._window.begins:
                self._begin()

    def _begin(self) -> None:
        folder = self._window.folder
        folder.mkdir(parents=True, exist_ok=True)
        self._file = open(folder / "phases.jsonl", "w", buffering=1)
        try:
            self._trace = Trace(folder / "trace.json", self._device)
        except RuntimeError as error:
            self._no_trace = _short(error)
        self._update, self._mixes = self._count()
        self._clock = time.time() - time.perf_counter()
        self._open = True
        self._enter(PHASES[0])

    def _enter(self, phase: str) -> None:
        self._span.enter_context(record_function(phase))
        self._since = time.perf_counter()

    def _note(self, phase: str) -> None:
        """The phase that was open is over."""
        now = time.perf_counter()
        self._span.close()
        update, mixes = self._count()
        row: dict[str, Any] = {
            "v": PHASES_VERSION,
            "rank": self._window.rank,
            # the count rises within `learn`; what lies between two updates belongs to the next
            "update": update + (phase in ("collect", "other")),
            "phase": phase,
            "begin": self._clock + self._since,
            "end": self._clock + now,
            "mixed": mixes > self._mixes if phase == "gossip" else None,
        }
        self._mixes = mixes
        assert self._file is not None
        self._file.write(json.dumps(row) + "\n")  # line by line: a kill loses no more than one

    def _end(self) -> None:
        self._open = False
        assert self._file is not None
        self._file.close()
        problem = self._stop_trace()
        folder = self._window.folder
        text = [
            f"updates {self._update + 1} to {self._count()[0]} in {folder}",
            *([f"no trace: {problem}"] if problem else []),
            f"{commands.gala('profile', folder.parents[1], '-o', 'gantt.png')} draws all agents",
        ]
        self._finish("profile", "; ".join(text))

    def _stop_trace(self) -> str:
        """Write the trace; returns why there is none, if there is none."""
        trace, self._trace = self._trace, None
        if trace is None:
            return self._no_trace
        try:
            self._span.close()
            trace.write()
        except Exception as error:
            return _short(error)
        return ""

    def _fail(self, error: Exception) -> None:
        self._open = False
        if self._trace is not None:
            self._stop_trace()
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        self._finish("error", f"profile: {_short(error)}")

    def _finish(self, kind: str, text: str) -> None:
        self._over = True
        self._finished(kind, text)


class Trace:
    """What torch does on this thread, from now until :meth:`write`.

    Args:
        path: where to write it.
        device: kind of an accelerator to trace as well.

    Raises:
        RuntimeError: another thread of this process is being traced, or something else is tracing.
    """

    _busy = threading.Lock()

    def __init__(self, path: Path, device: str | None = None) -> None:
        if not self._busy.acquire(blocking=False):
            raise RuntimeError("another agent of this process is being traced")
        self._path, self._thread = path, threading.get_ident()
        self._apart = apart_on(torch.device(device or "cpu"))
        self._stop = ExitStack()
        self._stop.callback(self._busy.release)
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would tell everybody when it starts
        try:
            self._profile = profile(use_kineto=True, use_device=device)
            self._stop.enter_context(self._profile)
        except BaseException:
            self._close()
            raise

    def write(self) -> None:
        """Stop and write; the file appears in one piece.

        Raises:
            RuntimeError: called by another thread.
            OSError: it could not be written.
        """
        if self._thread != threading.get_ident():
            raise RuntimeError("the thread that was traced has ended")
        self._close()
        temporary = self._path.with_name(
            f".{self._path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
        )
        self._profile.export_chrome_trace(str(temporary))  # type: ignore[no-untyped-call]
        os.replace(temporary, self._path)

    def _close(self) -> None:
        with self._apart:  # the profiler waits for the whole device
            self._stop.close()


def _short(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines and lines[0] else type(error).__name__
