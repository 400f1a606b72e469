"""Actor pool: the actors of one agent. Starts them, deals out slots, replaces those that fail.

Slots are free, held by an actor that fills them, full, or being copied out. All queues are the
pool's own, and an actor knows of the slots alone that it was sent: whoever dies holds no lock, and
what it had begun is free again.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from gala.actors.assignment import Assignment, Channel
from gala.actors.balance import Balance
from gala.actors.memory import Memory
from gala.actors.restarts import GRACE_S, Restarts, ending
from gala.actors.weights import Publisher
from gala.envs.wire import Gone
from gala.experience.unroll import Unroll
from gala.gossip.message import checksum
from gala.launch.processes import end, end_all
from gala.launch.watchdog import LOOK_S, Limits, Watchdog


@dataclass(kw_only=True)
class Actor:
    """An actor, as its pool sees it.

    Attributes:
        process: it.
        channel: to it.
        watchdog: says when it hangs.
        held: slots that it is to fill, or fills.
        error: what it said that went wrong.
    """

    process: subprocess.Popen[str]
    channel: Channel
    watchdog: Watchdog
    held: set[int] = field(default_factory=set)
    error: str | None = None


class ActorPool:
    """A :class:`~gala.experience.unroll_queue.Feeder`.

    Args:
        assignment: makes that of an actor, from its index, how often it was started before, and
            the descriptor of its channel.
        memory: of all.
        weights: where actors hear their learner.
        parameters: the newest, Float32[P] on the CPU.
        actors: how many.
        limits: of their silence.
    """

    def __init__(
        self,
        assignment: Callable[[int, int, int], Assignment],
        memory: Memory,
        weights: Publisher,
        parameters: Callable[[], Tensor],
        *,
        actors: int,
        limits: Limits,
    ) -> None:
        self._orders, self._memory, self._weights = assignment, memory, weights
        self._parameters, self._limits = parameters, limits
        slots = len(memory.unrolls)
        self._each = -(-slots // actors)
        self._free, self._full = deque(range(slots)), deque[int]()
        self._taken: dict[int, int] = {}
        self._selector = selectors.DefaultSelector()
        self._lives, self._restarts = [0] * actors, Restarts(actors)
        self._actor_pool: dict[int, Actor] = {}
        self._published: int | None = None  # until then there is nothing to act with
        self._closed = False
        self._events: list[tuple[str, str]] = []
        self._torn = 0
        self._balance = Balance(slots)
        self._start_due()

    def learned(self, revision: int) -> None:
        """See :class:`~gala.experience.unroll_queue.Feeder`."""
        if revision != self._published:
            self._weights.publish(self._parameters(), revision)
            self._published = revision
        self._deal()

    def take(self, meanwhile: Callable[[], object]) -> Unroll:
        """See :class:`~gala.experience.unroll_queue.Feeder`.

        Raises:
            UserError: an actor ends again and again before its first unroll.
        """
        began = time.perf_counter()
        self._attend(0.0)
        self._balance.asked(len(self._full))
        while True:
            while not self._full:
                self._attend(LOOK_S)
                if not self._full:
                    meanwhile()
            slot = self._full.popleft()
            unroll = self._memory.unrolls[slot]
            if checksum(unroll.sealed) == int(unroll.checksum[0]):
                break
            self._torn += 1
            self._events.append(("actor", f"an unroll is damaged and dropped ({self._torn})"))
            self._free.append(slot)
            self._deal()
        self._taken[id(unroll)] = slot
        self._balance.waited(time.perf_counter() - began)
        self._balance.acted(*unroll.times)
        return unroll

    def release(self, unroll: Unroll) -> None:
        """See :class:`~gala.experience.unroll_queue.Feeder`."""
        self._free.append(self._taken.pop(id(unroll)))
        self._deal()

    def metrics(self) -> dict[str, float]:
        """See :class:`~gala.experience.unroll_queue.Feeder`."""
        return {
            "actors/alive": float(len(self._actor_pool)),
            "actors/replaced": float(self._restarts.replaced),
        } | self._balance.metrics()

    def events(self) -> list[tuple[str, str]]:
        """See :class:`~gala.experience.unroll_queue.Feeder`."""
        events, self._events = self._events, []
        return events

    def done(self) -> None:
        """Its actors end with it anyway."""

    def close(self) -> None:
        """End all actors; those that do not leave soon are killed."""
        pool, self._actor_pool = list(self._actor_pool.values()), {}
        for actor in pool:
            actor.channel.close()
        end_all((actor.process for actor in pool), GRACE_S)
        if not self._closed:
            self._closed = True
            self._weights.close()
            self._memory.close()
            self._selector.close()

    def _attend(self, timeout_s: float) -> None:
        """Hear what actors say, for at most so long; see who has died or hangs."""
        for key, _ in self._selector.select(timeout_s):
            self._listen(key.data)
        now = time.monotonic()
        for index, actor in list(self._actor_pool.items()):
            if actor.process.poll() is not None:
                self._bury(index)
                continue
            word = self._memory.heartbeats[index]
            hung = actor.watchdog.look([word] if word else [], now) if actor.held else None
            if hung is not None:
                self._bury(index, hung)
        self._start_due()
        self._deal()

    def _listen(self, index: int) -> None:
        """Take in what an actor has said, and whether it is gone."""
        actor = self._actor_pool.get(index)
        if actor is None:
            return
        try:
            self._take_in(index, actor)
        except Gone:
            self._bury(index)

    def _take_in(self, index: int, actor: Actor) -> None:
        """All that an actor has said so far.

        Raises:
            Gone: it will not say more.
        """
        while (said := actor.channel.receive(wait=False)) is not None:
            if isinstance(said, str):
                actor.error = said
            elif said in actor.held:
                actor.held.remove(said)
                self._restarts.delivered(index)
                self._full.append(said)

    def _bury(self, index: int, hung: str | None = None) -> None:
        """Tell of an actor that is over, or hangs; free what it had begun; have it replaced.

        Raises:
            UserError: that was once too often.
        """
        actor = self._actor_pool[index]
        # a channel that is closed says that it is about to end
        code = end(actor.process, GRACE_S if hung is None else 0.0)  # from now on it writes nowhere
        with contextlib.suppress(Gone):  # what it had said before
            self._take_in(index, actor)
        del self._actor_pool[index]
        self._selector.unregister(actor.channel.end)
        actor.channel.close()
        self._free.extend(sorted(actor.held))
        told = self._restarts.over(index, hung or actor.error or ending(code))
        self._events.append(("actor", told))

    def _start_due(self) -> None:
        for index in self._restarts.due():
            self._actor_pool[index] = self._start(index)

    def _start(self, index: int) -> Actor:
        ours, theirs = Channel.pair()
        fd = theirs.end.fileno()
        assignment = self._orders(index, self._lives[index], fd)
        self._lives[index] += 1
        self._memory.heartbeats[index] = 0
        process = subprocess.Popen(
            [sys.executable, "-m", "gala.actors.process"],
            stdin=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            pass_fds=(self._memory.fd, self._weights.fd, fd),
            process_group=0,  # what stops the agent is not for its actors
            text=True,
        )
        theirs.close()
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # it has died: that is seen soon
            process.stdin.write(assignment.to_json())
            process.stdin.close()
        self._selector.register(ours.end, selectors.EVENT_READ, index)
        return Actor(process=process, channel=ours, watchdog=Watchdog(self._limits))

    def _deal(self) -> None:
        """Give free slots to those who have the fewest."""
        while self._free and self._actor_pool and self._published is not None:
            actor = min(self._actor_pool.values(), key=lambda each: len(each.held))
            if len(actor.held) >= self._each:
                return
            slot = self._free.popleft()
            actor.held.add(slot)
            with contextlib.suppress(Gone):  # that is seen soon, and frees the slot
                actor.channel.send(slot)
