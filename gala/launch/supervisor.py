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

Input that was good enough to train with and is bad for the next incarnation is a crash, too: an
environment's server or file may come back.

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

INCARNATION_VARIABLE = "GALA_INCARNATION"
"""Restarts of the agent so far; set for children of a supervisor only."""
PIPE_VARIABLE = "GALA_SUPERVISOR_FD"
DEATH_VARIABLE = "GALA_LAST_DEATH"
"""How the last incarnation ended, in words."""
STANDBY_VARIABLE = "GALA_STANDBY"
"""Set for an agent in waiting: it loads its libraries, then calls :func:`stand_by`."""

BAD_INPUT = 2
FINAL = frozenset({0, BAD_INPUT, 3})
AGAIN = 75

SETTLED_S = 5.0
"""An incarnation that trained for so long counts as a good start."""
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
        and INCARNATION_VARIABLE not in environment
        and not {"--no-supervisor", "--help", "-h"} & set(arguments)
    )


def die_with_parent() -> None:
    """Leave no orphans: the kernel sends SIGTERM to this process when its parent dies (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def tell(line: str) -> None:
    """Send ``line`` to the supervisor of this process, if it has one."""
    pipe = os.environ.get(PIPE_VARIABLE)
    if pipe is not None:
        with contextlib.suppress(OSError):
            os.write(int(pipe), line.encode() + b"\n")


def stand_by() -> None:
    """Wait for the last incarnation to end; how it ended is in ``GALA_LAST_DEATH`` then.

    Raises:
        SystemExit: the supervisor needs no further incarnation.
    """
    line = sys.stdin.readline()
    if not line:
        raise SystemExit(0)
    os.environ[DEATH_VARIABLE] = line.rstrip("\n")


@dataclass
class Record:
    """Record of the deaths so far, and whether to go on.

    Attributes:
        false_starts: deaths in a row of incarnations that did not get going.
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
        """Seconds to wait before the next incarnation."""
        return min(FIRST_PAUSE_S * 4.0 ** max(self.false_starts - 1, 0), MAX_PAUSE_S)


class Agent:
    """One incarnation of an agent, as its supervisor sees it.

    Args:
        command: starts it.
        incarnation: restarts before it.
        death: how the one before ended; None: it is not over, be in waiting.
        last_words: where lines of standard error are kept.

    Attributes:
        process: the child.
        training_since: when it began to train, in seconds of a monotonic clock.
        leftovers: files to remove after it.
        mortal: whether its crash ends the launch.
        done: whether it has told that it is done.
    """

    def __init__(
        self, command: Sequence[str], incarnation: int, death: str | None, last_words: deque[str]
    ) -> None:
        self.training_since: float | None = None
        self.leftovers: set[str] = set()
        self.mortal = self.done = False
        self._last_words = last_words
        reader, writer = os.pipe()
        environment = os.environ | {
            INCARNATION_VARIABLE: str(incarnation),
            PIPE_VARIABLE: str(writer),
        }
        if death is None:
            environment[STANDBY_VARIABLE] = "1"
        elif death:
            environment[DEATH_VARIABLE] = death
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE if death is None else None,
            stderr=subprocess.PIPE,
            pass_fds=(writer,),
            process_group=0,  # torchrun signals our group; the agent shall get it once, from us
            preexec_fn=die_with_parent,
        )
        os.close(writer)
        self._threads = [
            threading.Thread(target=self._listen, args=(reader,), daemon=True),
            threading.Thread(target=self._echo, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def wake(self, death: str) -> bool:
        """End the waiting; False when it has died meanwhile."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(death.encode() + b"\n")
            self.process.stdin.close()
        except OSError:
            return False
        return self.process.poll() is None

    def dismiss(self) -> None:
        """It is not needed; it ends by itself."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.end()

    def end(self) -> int:
        """Wait for the end; returns its code."""
        code = self.process.wait()
        for thread in self._threads:  # environments of a killed agent may hold the pipes a moment
            thread.join(timeout=1.0)
        return code

    def _listen(self, pipe: int) -> None:
        with os.fdopen(pipe, "r", errors="replace") as lines:
            for line in lines:
                word, _, rest = line.rstrip("\n").partition(" ")
                if word == "training":
                    self.training_since = time.monotonic()
                elif word == "remove":
                    self.leftovers.add(rest)
                elif word == "done":
                    self.done = True
                elif word == "mortal":
                    self.mortal = True

    def _echo(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._last_words.append(line.decode(errors="replace").rstrip())
            with contextlib.suppress(OSError):
                os.write(2, line)


class Supervisor:
    """Supervisor that keeps one agent alive.

    Args:
        command: starts the agent.
        rank: for messages.
        standby: keep the next incarnation in waiting, its libraries loaded.
    """

    def __init__(self, command: Sequence[str], rank: int, *, standby: bool = False) -> None:
        self._command, self._rank, self._standby = list(command), rank, standby
        self._agent: Agent | None = None
        self._next: Agent | None = None
        self._asked: int | None = None
        self._wake = threading.Event()
        self._last_words: deque[str] = deque(maxlen=LAST_WORDS)
        self._leftovers: set[str] = set()

    def run(self) -> int:
        """Start the agent until it is done; returns the exit code for torchrun."""
        die_with_parent()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        try:
            return self._supervise()
        finally:
            if self._next is not None:
                self._next.dismiss()
            for path in self._leftovers:
                with contextlib.suppress(OSError):
                    os.unlink(path)
                with contextlib.suppress(OSError):
                    os.rmdir(os.path.dirname(path))

    def _supervise(self) -> int:
        record, incarnation, death, trained = Record(), 0, "", False
        while True:
            agent = self._begin(incarnation, death)
            code = self._watch(agent, incarnation)
            was_good = trained and agent.training_since is None
            trained = trained or agent.training_since is not None
            if code in FINAL and not (code == BAD_INPUT and was_good and self._asked is None):
                return code
            if agent.done or (self._asked is not None and code == -self._asked):
                return 0
            if self._asked is not None or agent.mortal:
                return code if code > 0 else 128 - code
            incarnation += 1
            if code == AGAIN:
                death = "it asked to be started again"
                continue
            now = time.monotonic()
            since = agent.training_since
            record.die(now, now - since if since is not None else 0.0)
            death = _cause(code)
            verdict = record.verdict
            if verdict is not None:
                self._give_up(death, verdict)
                return code if code > 0 else 128 - code
            self._say(f"died ({death}); incarnation {incarnation} begins in {record.pause_s:.1f} s")
            if self._wake.wait(record.pause_s):
                return 0

    def _begin(self, incarnation: int, death: str) -> Agent:
        waiting, self._next = self._next, None
        if waiting is not None and waiting.wake(death):
            self._agent = waiting
        else:
            self._agent = Agent(self._command, incarnation, death, self._last_words)
        if self._asked is not None:  # asked between two incarnations
            self._agent.process.send_signal(self._asked)
        return self._agent

    def _watch(self, agent: Agent, incarnation: int) -> int:
        """Wait for the end of an incarnation; once it trains, have the next one in waiting."""
        # Started by this thread: a child is told when the thread that made it ends.
        while self._standby and self._next is None and agent.process.poll() is None:
            if agent.training_since is not None:
                self._next = Agent(self._command, incarnation + 1, None, self._last_words)
            else:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    agent.process.wait(timeout=0.2)
        code = agent.end()
        self._leftovers |= agent.leftovers
        self._agent = None
        return code

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._asked = signal.SIGTERM
        self._wake.set()
        agent = self._agent
        if agent is not None and agent.process.poll() is None:
            agent.process.send_signal(signal.SIGTERM)

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
    command = [sys.executable, "-m", "gala.train", *arguments]
    return Supervisor(command, rank, standby="--standby" in arguments).run()


class StoreServer:
    """Serves the store at ``tcp://host:port`` from a process of its own, and again when that dies.

    Args:
        address: where.
    """

    def __init__(self, address: str) -> None:
        code = (
            "import sys; from gala.launch.launch import store_at; "
            f"store = store_at({address!r}, serve=True); sys.stdin.read()"
        )
        self._command = [sys.executable, "-c", code]
        self._closing = threading.Event()
        self._process = self._serve()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def close(self) -> None:
        """Serve no longer."""
        self._closing.set()
        self._process.terminate()
        self._keeper.join()

    def _serve(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdin=subprocess.PIPE, preexec_fn=die_with_parent)

    def _keep(self) -> None:
        while True:
            self._process.wait()
            if self._closing.wait(1.0):
                return
            self._process = self._serve()
