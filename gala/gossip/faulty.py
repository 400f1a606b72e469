"""Faults on purpose: a transport that shows what a set-up does on a bad network.

Faults happen where messages leave an agent. Late messages are delivered by a thread of their own,
so that the agent itself is as fast as ever; a freeze stops the agent inside ``publish``, as a hung
process would stop.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import threading
import time
from collections.abc import Collection, Sequence

from torch import Tensor

from gala.config.sections import FaultsConfig
from gala.gossip.membership import PeerState
from gala.gossip.message import Header
from gala.gossip.transport import Transport

_Message = tuple[Header, Tensor, Collection[int] | None]


class FaultyTransport:
    """A transport with faults around ``inner``.

    Args:
        inner: carries what gets through.
        faults: what goes wrong.
        seed: of the dice.
    """

    def __init__(self, inner: Transport, faults: FaultsConfig, *, seed: int) -> None:
        self._inner, self._faults = inner, faults
        self._dice = random.Random(seed)
        self._under_way: list[tuple[float, int, _Message]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._thawed = time.monotonic()
        self._cut_until = -math.inf
        self._versions: dict[int, int] = {}
        self._taken: dict[int, int] = {}
        self._owed: dict[int, int] = {}
        self._courier = threading.Thread(target=self._deliver, name="faults", daemon=True)
        self._courier.start()

    @property
    def copies_sent(self) -> int:
        """See :class:`~gala.gossip.transport.Transport`; what is lost was not sent."""
        return self._inner.copies_sent

    def cut(self, seconds: float) -> None:
        """From now on and for so long no message leaves and none arrives.

        Messages that do not leave are lost; what was acknowledged is told when the network is back.
        """
        self._cut_until = time.monotonic() + seconds

    @property
    def _is_cut(self) -> bool:
        return time.monotonic() < self._cut_until

    def publish(self, header: Header, payload: Tensor, to: Collection[int] | None = None) -> None:
        """See :class:`~gala.gossip.transport.Transport`."""
        if self._is_cut:
            return
        faults, dice = self._faults, self._dice
        now = time.monotonic()
        if faults.freeze_every_s and now - self._thawed >= faults.freeze_every_s:
            time.sleep(faults.freeze_s)
            self._thawed = now = time.monotonic()
        if dice.random() < faults.drop:
            return
        payload = payload.clone()
        if dice.random() < faults.corrupt:
            payload[dice.randrange(payload.numel())] ^= 1 << dice.randrange(8)
        delay = faults.delay_ms / 1e3
        if dice.random() < faults.reorder:
            delay = max(2 * delay, 0.01)
        self._send(now + delay, (header, payload, to))
        if dice.random() < faults.duplicate:
            self._send(now + delay + max(faults.delay_ms / 1e3, 0.01), (header, payload, to))

    def copies(self, peers: Sequence[int]) -> list[tuple[int, ...]]:
        """See :class:`~gala.gossip.transport.Transport`."""
        return self._inner.copies(peers)

    def version(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`."""
        if not self._is_cut:
            self._tell_what_is_owed()
            self._versions[peer] = self._inner.version(peer)
        return self._versions.get(peer, 0)

    def latest(self, peer: int) -> tuple[Header, Tensor] | None:
        """See :class:`~gala.gossip.transport.Transport`."""
        return None if self._is_cut else self._inner.latest(peer)

    def steps(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`."""
        return self._inner.steps(peer)

    def acknowledge(self, peer: int, version: int) -> None:
        """See :class:`~gala.gossip.transport.Transport`."""
        self._owed[peer] = version
        if not self._is_cut:
            self._tell_what_is_owed()

    def acknowledged(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`."""
        if not self._is_cut:
            self._taken[peer] = self._inner.acknowledged(peer)
        return self._taken.get(peer, 0)

    def state(self, peer: int) -> PeerState:
        """See :class:`~gala.gossip.transport.Transport`."""
        return self._inner.state(peer)

    def close(self) -> None:
        """Leave; messages under way are lost."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._courier.join()
        self._inner.close()

    def _tell_what_is_owed(self) -> None:
        while self._owed:
            self._inner.acknowledge(*self._owed.popitem())

    def _send(self, due: float, message: _Message) -> None:
        with self._changed:
            heapq.heappush(self._under_way, (due, next(self._order), message))
            self._changed.notify()

    def _deliver(self) -> None:
        while True:
            with self._changed:
                while not self._closed:
                    wait = self._under_way[0][0] - time.monotonic() if self._under_way else None
                    if wait is not None and wait <= 0:
                        break
                    self._changed.wait(wait)
                if self._closed:
                    return
                _, _, message = heapq.heappop(self._under_way)
            self._inner.publish(*message)
