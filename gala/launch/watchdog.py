"""Watchdog: when an agent that says nothing any more is taken for hung.

How long is too long depends on what the agent does, see :mod:`gala.launch.heartbeat`:

=================== ================================================================================
before its second   ``first_s``: libraries, environments, compilation, the first update
update
acting              ``acting_s``, or 20 times its slowest recent update, or twice what it took to
                    get going: environments that are slow to make are slow to reset
anything else       ``first_s``, or 20 times its slowest recent update
=================== ================================================================================

Once it was asked to stop, it shall come out of its environments within :data:`STOP_ACTING_S` (or 20
updates), and has :data:`STOP_S` to save. Time counts while the watchdog itself runs: a laptop that
slept, or a job that was stopped as a whole, makes nobody hung.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gala.launch.heartbeat import HEARTBEAT_VARIABLE, own_page

LOOK_S = 0.2
"""Seconds between two looks."""
SLOW = 20.0
"""Times its slowest recent update that an agent may take."""
HALF_LIFE_S = 600.0
"""In so much time a slow update counts half."""
STOP_ACTING_S, STOP_STARTING_S, STOP_S = 5.0, 10.0, 60.0
SAID_AGAIN = 4.0
"""Times as long an agent that nobody supervises must have been silent to be told of once more."""
MAX_PATIENCE = 8.0
"""Limits grow up to so many times when agents were taken for hung before: it may be their way."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of an agent's silence, in seconds; see the table of the module.

    Attributes:
        first_s: until its second update, and of everything that is not acting.
        acting_s: of acting, at least.
    """

    first_s: float = 600.0
    acting_s: float = 20.0


class Watchdog:
    """Watches over the agents of one process.

    Args:
        limits: of their silence; None: the usual ones.

    Attributes:
        limits: see above.
        patience: factor on those limits.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits, self.patience = limits or Limits(), 1.0
        self._looked: float | None = None
        self._asked = False
        self._starting_s = 0.0
        self._seen: list[_Seen] = []

    def look(self, words: Sequence[int], now: float, *, asked: bool = False) -> str | None:
        """Look at the heartbeats.

        Args:
            words: of the agents, see :func:`gala.launch.heartbeat.words_of`.
            now: seconds of a monotonic clock.
            asked: whether they were asked to stop.

        Returns:
            What was waited for, and for how long; None as long as all is well.
        """
        passed = 0.0 if self._looked is None else min(now - self._looked, 5 * LOOK_S)
        self._looked = now
        if asked and not self._asked:
            self._asked = True
            self._starting_s = 0.0
            for each in self._seen:
                each.silent_s = 0.0
        while len(self._seen) < len(words):
            self._seen.append(_Seen(began_s=self._starting_s))
        if not words:
            self._starting_s += passed
            limit = STOP_STARTING_S if asked else self.limits.first_s * self.patience
            return _sentence("not begun to train", self._starting_s, limit)
        for word, each in zip(words, self._seen, strict=True):
            each.note(word, passed)
        return next(filter(None, (self._judge(each) for each in self._seen)), None)

    def _judge(self, each: _Seen) -> str | None:
        if each.beats == 0:  # another agent of this process has begun, this one is about to
            return None
        slow = SLOW * each.slowest_s
        if self._asked:
            if each.acting:
                limit = max(STOP_ACTING_S, slow)
                return _sentence("not come back from its environments", each.silent_s, limit)
            return _sentence("not saved and left", each.silent_s, max(STOP_S, slow))
        if each.beats == 1:
            limit = self.limits.first_s * self.patience
            return _sentence("not finished its first update", each.silent_s, limit)
        if each.acting:
            limit = max(self.limits.acting_s, slow, 2 * each.began_s) * self.patience
            return _sentence("not come back from its environments", each.silent_s, limit)
        limit = max(self.limits.first_s, slow) * self.patience
        return _sentence("made no update", each.silent_s, limit)


@contextlib.contextmanager
def ends_when_asked(asked: Callable[[], bool], limits: Limits | None = None) -> Iterator[None]:
    """See that the agents of this process end soon after they were asked to, also where nobody
    supervises them any more: one that hangs is left as it is, with a sentence and code 143.

    Before that it is the supervisor who ends agents that hang. Where there is none they are told of
    and go on waiting: somebody may be looking at them with a debugger.

    Args:
        asked: whether they were.
        limits: of silence before they are told of; None: the usual ones.
    """
    dog, over = Watchdog(limits), threading.Event()
    if HEARTBEAT_VARIABLE in os.environ:
        dog.limits = Limits(first_s=float("inf"), acting_s=float("inf"))

    def watch() -> None:
        while not over.wait(LOOK_S):
            words = own_page().tolist()
            while words and not words[-1]:
                words.pop()
            ends = asked()
            hung = dog.look(words, time.monotonic(), asked=ends)
            if hung is not None and ends:
                os.write(2, f"gala: asked to stop, this agent {hung}: it ends unsaved\n".encode())
                os._exit(128 + signal.SIGTERM)
            if hung is not None:
                dog.patience *= SAID_AGAIN
                os.write(2, f"gala: this agent {hung}; Ctrl-C or SIGTERM ends it\n".encode())

    thread = threading.Thread(target=watch, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def ends_within(seconds: float, code: int, closed: threading.Event) -> threading.Thread:
    """End this process, with a sentence, if it is not ``closed`` in time.

    Args:
        seconds: from now on.
        code: its exit code then.
        closed: set when nothing is left that may hang.

    Returns:
        Who waits for that; to be joined then, lest it is taken for a thread that hangs.
    """

    def end() -> None:
        if closed.wait(seconds):
            return
        sys.stdout.flush()
        text = f"done, but something (an environment?) has not closed for {seconds:.0f} s"
        os.write(2, f"gala: {text}: it is left\n".encode())
        os._exit(code)

    thread = threading.Thread(target=end, name="end", daemon=True)
    thread.start()
    return thread


@dataclass
class _Seen:
    """What is known of one agent.

    Attributes:
        began_s: seconds that it took to begin, its first update included.
        word: its newest heartbeat.
        silent_s: seconds since that was new.
        update_s: seconds since the last update was.
        slowest_s: its slowest recent update.
    """

    began_s: float
    word: int = 0
    silent_s: float = 0.0
    update_s: float = 0.0
    slowest_s: float = 0.0

    @property
    def beats(self) -> int:
        """Updates begun."""
        return self.word >> 1

    @property
    def acting(self) -> bool:
        """Whether it is in its environments."""
        return not self.word & 1

    def note(self, word: int, passed: float) -> None:
        """The heartbeat is ``word`` now, ``passed`` seconds after the last look."""
        self.silent_s += passed
        self.update_s += passed
        self.slowest_s *= 0.5 ** (passed / HALF_LIFE_S)
        if word == self.word:
            return
        if word >> 1 != self.beats:
            if self.beats == 1:
                self.began_s += self.update_s
            elif self.beats > 1:
                self.slowest_s = max(self.slowest_s, self.update_s)
            self.update_s = 0.0
        self.word, self.silent_s = word, 0.0


def _sentence(what: str, silent_s: float, limit: float) -> str | None:
    return f"has {what} for {silent_s:.0f} s" if silent_s > limit else None
