"""The supervisor of one rank: starts its agent, and starts it again when it dies.

torchrun ends all workers when one of them ends badly. Here the worker is this small process of the
standard library alone; the agent is its child, so that a crash costs the run one agent for a few
seconds and nobody else anything. An agent that has said ``done`` decides about the exit code, and
nothing else is believed. Of one that has not, the exit code means:

====== ===========================================================================================
2, 3   bad input, alarm: passed on, starting again would not help
75     "start me again": at once, and it is no crash; not for ever either
other  a crash, 0 as well: started again after a pause that doubles, unless it happens too often;
       of one that was asked to stop: 128 + signal (143), since it has not saved
====== ===========================================================================================

Input that was good enough to train with and is bad for the next incarnation is a crash, too: an
environment's server or file may come back.

The agent may write lines into the pipe ``GALA_SUPERVISOR_FD``: ``training`` once it learns,
``done CODE`` when it has nothing more to do, with its exit code: 0 when all is saved (whatever
happens on its way out), ``remove PATH`` for a file to remove if it
cannot do so itself, ``mortal`` when a crash must end the launch (synchronous coupling, where the
others wait for ever), ``limits FIRST_S ACTING_S`` for how long it may be silent.

An agent that is silent for too long (:mod:`gala.launch.watchdog`) is killed with all its processes.
That is a crash like others, unless it was asked to stop: then it ends the supervisor, too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

from gala.errors import EXIT_CRASH
from gala.files.switches import switched
from gala.launch.environment import EXIT_NOTES_VARIABLE, STORE_VARIABLE
from gala.launch.heartbeat import HEARTBEAT_VARIABLE, new_page, words_of
from gala.launch.processes import bound_to, children, die_with_parent, was_started_with
from gala.launch.signals import take_over
from gala.launch.watchdog import LOOK_S, MAX_PATIENCE, Limits, Watchdog

INCARNATION_VARIABLE = "GALA_INCARNATION"
"""Restarts of the agent so far; set for children of a supervisor only."""
PIPE_VARIABLE = "GALA_SUPERVISOR_FD"
DEATH_VARIABLE = "GALA_LAST_DEATH"
"""How the last incarnation ended, in words."""
STANDBY_VARIABLE = "GALA_STANDBY"
"""Set for an agent in waiting: it loads its libraries, then calls :func:`stand_by`."""

BAD_INPUT = 2
FINAL = frozenset({BAD_INPUT, 3})
AGAIN = 75
ASKED_AGAIN = "it asked to be started again"
"""What is said of an incarnation that ended so."""

SETTLED_S = 5.0
"""An incarnation that trained for so long counts as a good start."""
MAX_FALSE_STARTS = 5
"""Deaths in a row without a good start before giving up."""
MAX_ASKED = 30
"""Wishes in a row to be started again without a good start before giving up: an hour of a store
that is away."""
MAX_DEATHS, WINDOW_S = 40, 300.0
"""Deaths within the window before giving up."""
FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 30.0
LAST_WORDS = 20
"""Lines of standard error that are kept."""
GRACE_S = 2.0
"""Seconds from SIGTERM to SIGKILL for an agent that hangs."""

_LAUNCH_VARIABLE = "TORCHELASTIC_RUN_ID"


def supervises(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether a process with this command line and environment should supervise an agent."""
    return (
        int(environment.get("WORLD_SIZE", "1")) > 1
        and INCARNATION_VARIABLE not in environment
        and not {"--help", "-h"} & set(arguments)
        and switched(arguments, "supervisor", True)
    )


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
        asked: incarnations in a row that asked to be started again and had not got going.
        deaths: when the recent ones happened, in seconds of a monotonic clock.
    """

    false_starts: int = 0
    asked: int = 0
    deaths: deque[float] = field(default_factory=deque)

    def die(self, now: float, trained_s: float) -> None:
        """Note a death after ``trained_s`` seconds of training."""
        self.false_starts = 0 if trained_s >= SETTLED_S else self.false_starts + 1
        self.deaths.append(now)
        while self.deaths and now - self.deaths[0] > WINDOW_S:
            self.deaths.popleft()

    def ask(self, trained_s: float) -> None:
        """Note a wish to be started again after ``trained_s`` seconds of training."""
        self.asked = 0 if trained_s >= SETTLED_S else self.asked + 1

    @property
    def verdict(self) -> str | None:
        """Why to give up; None to go on."""
        if self.asked >= MAX_ASKED:
            return f"it asked {self.asked} times in a row to be started again"
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
        done: the exit code that it has told when it was done; None before.
        ended: set when the process is over.
        watchdog: says when it hangs.
    """

    def __init__(
        self, command: Sequence[str], incarnation: int, death: str | None, last_words: deque[str]
    ) -> None:
        self.training_since: float | None = None
        self.leftovers: set[str] = set()
        self.mortal = False
        self.done: int | None = None
        self.ended, self.watchdog = threading.Event(), Watchdog()
        self._last_words = last_words
        self._page = new_page()
        reader, writer = os.pipe()
        environment = os.environ | {
            INCARNATION_VARIABLE: str(incarnation),
            PIPE_VARIABLE: str(writer),
            HEARTBEAT_VARIABLE: str(self._page),
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
            pass_fds=(writer, self._page),
            process_group=0,  # torchrun signals our group; the agent shall get it once, from us
            preexec_fn=bound_to(os.getpid()),
        )
        os.close(writer)
        self._threads = [
            threading.Thread(target=self._listen, args=(reader,), daemon=True),
            threading.Thread(target=self._echo, daemon=True),
            threading.Thread(target=self._wait, daemon=True),
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
        os.close(self._page)
        return code

    def hangs(self, *, asked: bool) -> str | None:
        """What it has not done for too long; None as long as all is well."""
        return self.watchdog.look(words_of(self._page), time.monotonic(), asked=asked)

    def kill(self, grace_s: float) -> None:
        """End it, and whatever it has started in its process group: an environment may hang in a
        process of its own.
        """
        if grace_s:
            self.process.terminate()
            self.ended.wait(grace_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _wait(self) -> None:
        self.process.wait()
        self.ended.set()

    def _listen(self, pipe: int) -> None:
        with os.fdopen(pipe, "r", errors="replace") as lines:
            for line in lines:
                word, _, rest = line.rstrip("\n").partition(" ")
                if word == "training":
                    self.training_since = time.monotonic()
                elif word == "remove":
                    self.leftovers.add(rest)
                elif word == "done":
                    self.done = int(rest) if rest.isdecimal() else 0
                elif word == "mortal":
                    self.mortal = True
                elif word == "limits":
                    first_s, acting_s = map(float, rest.split())
                    self.watchdog.limits = Limits(first_s=first_s, acting_s=acting_s)

    def _echo(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._last_words.append(line.decode(errors="replace").rstrip())
            _write(line)


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
        self._patience = 1.0
        self._last_words: deque[str] = deque(maxlen=LAST_WORDS)
        self._leftovers: set[str] = set()

    def run(self) -> int:
        """Start the agent until it is done; returns the exit code for torchrun."""
        die_with_parent()
        if _left_behind():
            return EXIT_CRASH
        take_over(self._on_signal)
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
            code, hung = self._watch(agent, incarnation)
            was_good = trained and agent.training_since is None
            trained = trained or agent.training_since is not None
            if hung is None and agent.done is not None:
                return agent.done
            if hung is not None and self._asked is not None:
                return 128 + self._asked
            bad_input = code == BAD_INPUT and was_good and self._asked is None
            if hung is None and code in FINAL and not bad_input:
                return code
            if self._asked is not None:
                return _failed(code or -self._asked)
            if agent.mortal:
                return _failed(code)
            incarnation += 1
            now, since = time.monotonic(), agent.training_since
            trained_s = now - since if since is not None else 0.0
            again = code == AGAIN and hung is None
            if again:
                record.ask(trained_s)
            else:
                record.die(now, trained_s)
            death = ASKED_AGAIN if again else hung or _cause(code)
            verdict = record.verdict
            if verdict is not None:
                self._give_up(death, verdict)
                return _failed(code)
            if again:
                continue
            self._say(f"died ({death}); incarnation {incarnation} begins in {record.pause_s:.1f} s")
            if self._pause(record.pause_s):
                return _failed(-signal.SIGTERM)

    def _begin(self, incarnation: int, death: str) -> Agent:
        waiting, self._next = self._next, None
        if waiting is not None and waiting.wake(death):
            self._agent = waiting
        else:
            self._agent = Agent(self._command, incarnation, death, self._last_words)
        self._agent.watchdog.patience = self._patience
        if self._asked is not None:  # asked between two incarnations
            self._agent.process.send_signal(self._asked)
        return self._agent

    def _watch(self, agent: Agent, incarnation: int) -> tuple[int, str | None]:
        """Wait for the end of an incarnation; once it trains, have the next one in waiting.

        Returns:
            Its exit code, and what it hung in if it had to be killed.
        """
        hung: str | None = None
        while not agent.ended.wait(LOOK_S):
            # Started by this thread: a child is told when the thread that made it ends.
            if self._standby and self._next is None and agent.training_since is not None:
                self._next = Agent(self._command, incarnation + 1, None, self._last_words)
            hung = agent.hangs(asked=self._asked is not None)
            if hung is not None:
                self._say(f"{hung}: it is killed")
                self._patience = min(2 * self._patience, MAX_PATIENCE)
                finished = agent.done is not None  # what it says when it is killed is no end
                agent.kill(GRACE_S if self._asked is None else 0.0)
                hung = None if finished else hung
                break
        code = agent.end()
        self._leftovers |= agent.leftovers
        self._agent = None
        return code, hung

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._asked = signal.SIGTERM
        agent = self._agent
        if agent is not None and agent.process.poll() is None:
            agent.process.send_signal(signal.SIGTERM)

    def _give_up(self, death: str, verdict: str) -> None:
        """Say why, then let the others finish: torchrun ends them all when this process ends."""
        self._say(f"is given up: {verdict}; the last time: {death}. Its last words:")
        for line in self._last_words:
            _write(f"    {line}\n".encode())
        while not self._pause(1.0) and any(map(children, self._siblings())):
            pass

    def _siblings(self) -> list[int]:
        """Supervisors of the other agents that the same torchrun started."""
        run = os.environ.get(_LAUNCH_VARIABLE)
        if run is None or STORE_VARIABLE in os.environ:  # on its own: others have other parents
            return []
        mine = f"{_LAUNCH_VARIABLE}={run}"
        return [
            pid for pid in children(os.getppid())
            if pid != os.getpid() and was_started_with(pid, mine)
        ]  # fmt: skip

    def _pause(self, seconds: float) -> bool:
        """Wait, unless it is asked to stop; whether it was.

        A signal handler must not set an Event: the lock in it may be the one of this very wait.
        """
        until = time.monotonic() + seconds
        while self._asked is None and time.monotonic() < until:
            time.sleep(min(seconds, 0.05))
        return self._asked is not None

    def _say(self, text: str) -> None:
        _write(f"gala: agent {self._rank} {text}\n".encode())


def _left_behind() -> bool:
    """Whether torchrun has gone before this process could ask to be told of it."""
    mine = f"{EXIT_NOTES_VARIABLE}={os.environ.get(EXIT_NOTES_VARIABLE)}"
    return was_started_with(os.getpid(), mine) and not was_started_with(os.getppid(), mine)


def _write(line: bytes) -> None:
    """To standard error, if anybody is there."""
    with contextlib.suppress(OSError):
        os.write(2, line)


def _failed(code: int) -> int:
    """The exit code of a process that has not done what it should; 0 would be a lie."""
    return 128 - code if code < 0 else code or 1


def _cause(code: int) -> str:
    if code == 0:
        return "exit code 0, without a word that it is done"
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def supervise(arguments: Sequence[str]) -> int:
    """Run ``python -m gala.train ARGUMENTS`` as a child until it is done; returns an exit code."""
    rank = int(os.environ.get("RANK", "0"))
    command = [sys.executable, "-m", "gala.train", *arguments]
    return Supervisor(command, rank, standby=switched(arguments, "standby", False)).run()
