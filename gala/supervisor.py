"""The supervisor of one rank: starts its agent, and starts it again when it dies.

torchrun ends all workers when one of them ends badly. Here the worker is this small process of the
standard library alone; the agent is its child, so that a crash costs the run one agent for a few
seconds and nobody else anything. What the exit code of an agent means:

====== ===========================================================================================
0      done, or left as it was asked to: so does the supervisor
2, 3   bad input, alarm: passed on, starting again would not help
75     "start me again": at once, and it does not count
other  a crash: started again after a pause that doubles, unless it happens too often
====== ===========================================================================================

The agent may write lines into the pipe ``GALA_SUPERVISOR_FD``: ``training`` once it learns,
``done`` when it has (whatever happens on its way out), ``remove PATH`` for a file to remove if it
cannot do so itself, ``mortal`` when a crash must end the launch (synchronous coupling, where the
others wait for ever).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

LIFE_VARIABLE = "GALA_LIFE"
"""Earlier lives of the agent; set for children of a supervisor only."""
PIPE_VARIABLE = "GALA_SUPERVISOR_FD"
DEATH_VARIABLE = "GALA_LAST_DEATH"
"""How the life before ended, in words."""

FINAL = frozenset({0, 2, 3})
AGAIN = 75

SETTLED_S = 5.0
"""A life that trained for so long counts as a good start."""
MAX_FALSE_STARTS = 5
"""Deaths in a row without a good start before giving up."""
MAX_DEATHS, WINDOW_S = 40, 300.0
"""Deaths within the window before giving up."""
FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 30.0
LAST_WORDS = 20
"""Lines of standard error that are kept."""

_PR_SET_PDEATHSIG = 1


def supervises(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether a process with this command line and environment should supervise an agent."""
    return (
        int(environment.get("WORLD_SIZE", "1")) > 1
        and LIFE_VARIABLE not in environment
        and not {"--no-supervisor", "--help", "-h"} & set(arguments)
    )


def die_with_parent() -> None:
    """No orphans: the kernel sends SIGTERM to this process when its parent dies (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def tell(line: str) -> None:
    """Say ``line`` to the supervisor of this process, if it has one."""
    pipe = os.environ.get(PIPE_VARIABLE)
    if pipe is not None:
        with contextlib.suppress(OSError):
            os.write(int(pipe), line.encode() + b"\n")


@dataclass
class Record:
    """Deaths so far, and whether to go on.

    Attributes:
        false_starts: deaths in a row of lives that did not get going.
        deaths: when the recent ones happened, in seconds of a monotonic clock.
    """

    false_starts: int = 0
    deaths: deque[float] = field(default_factory=deque)

    def die(self, now: float, trained_s: float) -> None:
        """Note a death after ``trained_s`` seconds of training."""
        self.false_starts = 0 if trained_s >= SETTLED_S else self.false_starts + 1
        self.deaths.append(now)
        while self.deaths and now - self.deaths[0] > WINDOW_S:
            self.deaths.popleft()

    @property
    def verdict(self) -> str | None:
        """Why to give up; None to go on."""
        if self.false_starts >= MAX_FALSE_STARTS:
            return f"it died {self.false_starts} times in a row without getting going"
        if len(self.deaths) > MAX_DEATHS:
            return f"it died {len(self.deaths)} times within {WINDOW_S:.0f} s"
        return None

    @property
    def pause_s(self) -> float:
        """How long to wait before the next life."""
        return min(FIRST_PAUSE_S * 4.0 ** max(self.false_starts - 1, 0), MAX_PAUSE_S)


class Supervisor:
    """Keeps one agent alive.

    Args:
        command: starts the agent.
        rank: for messages.
    """

    def __init__(self, command: Sequence[str], rank: int) -> None:
        self._command, self._rank = list(command), rank
        self._child: subprocess.Popen[bytes] | None = None
        self._asked: int | None = None
        self._wake = threading.Event()
        self._last_words: deque[str] = deque(maxlen=LAST_WORDS)
        self._leftovers: set[str] = set()
        self._mortal = self._done = False
        self._training_since: float | None = None

    def run(self) -> int:
        """Start the agent until it is done; returns the exit code for torchrun."""
        die_with_parent()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        record, life, death = Record(), 0, ""
        try:
            while True:
                code = self._live(life, death)
                if code in FINAL:
                    return code
                if self._done or (self._asked is not None and code == -self._asked):
                    return 0
                if self._asked is not None or self._mortal:
                    return code if code > 0 else 128 - code
                life += 1
                if code == AGAIN:
                    death = "it asked to be started again"
                    continue
                now = time.monotonic()
                since = self._training_since
                record.die(now, now - since if since is not None else 0.0)
                death = _cause(code)
                verdict = record.verdict
                if verdict is not None:
                    self._give_up(death, verdict)
                    return code if code > 0 else 128 - code
                self._say(f"died ({death}); life {life + 1} begins in {record.pause_s:.1f} s")
                if self._wake.wait(record.pause_s):
                    return 0
        finally:
            for path in self._leftovers:
                with contextlib.suppress(OSError):
                    os.unlink(path)
                with contextlib.suppress(OSError):
                    os.rmdir(os.path.dirname(path))

    def _live(self, life: int, death: str) -> int:
        reader, writer = os.pipe()
        environment = os.environ | {LIFE_VARIABLE: str(life), PIPE_VARIABLE: str(writer)}
        if death:
            environment[DEATH_VARIABLE] = death
        self._training_since = None
        self._child = subprocess.Popen(
            self._command,
            env=environment,
            stderr=subprocess.PIPE,
            pass_fds=(writer,),
            process_group=0,  # torchrun signals our group; the agent shall hear it once, from us
            preexec_fn=die_with_parent,
        )
        os.close(writer)
        if self._asked is not None:  # asked between two lives
            self._child.send_signal(self._asked)
        threads = [
            threading.Thread(target=self._listen, args=(reader,), daemon=True),
            threading.Thread(target=self._echo, args=(self._child,), daemon=True),
        ]
        for thread in threads:
            thread.start()
        code = self._child.wait()
        for thread in threads:  # simulators of a killed agent may hold the pipes for a moment
            thread.join(timeout=1.0)
        self._child = None
        return code

    def _listen(self, pipe: int) -> None:
        with os.fdopen(pipe, "r", errors="replace") as lines:
            for line in lines:
                word, _, rest = line.rstrip("\n").partition(" ")
                if word == "training":
                    self._training_since = time.monotonic()
                elif word == "remove":
                    self._leftovers.add(rest)
                elif word == "done":
                    self._done = True
                elif word == "mortal":
                    self._mortal = True

    def _echo(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stderr is not None
        for line in child.stderr:
            self._last_words.append(line.decode(errors="replace").rstrip())
            with contextlib.suppress(OSError):
                os.write(2, line)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._asked = signal.SIGTERM
        self._wake.set()
        child = self._child
        if child is not None and child.poll() is None:
            child.send_signal(signal.SIGTERM)

    def _give_up(self, death: str, verdict: str) -> None:
        """Say why, then let the others finish: torchrun ends them all when this process ends."""
        self._say(f"is given up: {verdict}; the last time: {death}. Its last words:")
        for line in self._last_words:
            os.write(2, f"    {line}\n".encode())
        while not self._wake.wait(1.0) and any(
            children(sibling) for sibling in children(os.getppid()) if sibling != os.getpid()
        ):
            pass

    def _say(self, text: str) -> None:
        os.write(2, f"gala: agent {self._rank} {text}\n".encode())


def _cause(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def children(pid: int) -> list[int]:
    """Living processes whose parent is ``pid`` (Linux; elsewhere none are found)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return sorted(found)


def supervise(arguments: Sequence[str]) -> int:
    """Run ``python -m gala.train ARGUMENTS`` as a child until it is done; returns an exit code."""
    rank = int(os.environ.get("RANK", "0"))
    return Supervisor([sys.executable, "-m", "gala.train", *arguments], rank).run()


def serve_store(address: str) -> subprocess.Popen[bytes]:
    """Start a process that serves the store at ``tcp://host:port`` as long as this one lives."""
    code = (
        "import sys; from gala.launch import store_at; "
        f"store = store_at({address!r}, serve=True); sys.stdin.read()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, preexec_fn=die_with_parent
    )
