"""Gossip coupling: publish parameters, then mix what has arrived."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from gala.couplings.coupling import Coupling, Metrics
from gala.couplings.pace import Pace
from gala.gossip import GossipNode
from gala.gossip.message import Header


class Gossip(Coupling):
    """``--coupling gossip``.

    Args:
        node: does it.
        on_first: called once, when the first update is published.
        pace: decides which updates are published, and to how many; None: all, to all.
    """

    node: GossipNode

    def __init__(
        self,
        node: GossipNode,
        on_first: Callable[[], None] = lambda: None,
        pace: Pace | None = None,
    ) -> None:
        super().__init__()
        self.node, self._pace = node, pace
        self.lock_step = node.lock_step
        self.topology = node.topology
        self.unbound = "messages are mixed one by one, as they come" if node.partial else None
        if pace is not None:
            node.before_mix = pace.before_mix
        self._on_first: Callable[[], None] | None = on_first
        self._staleness_max = 0
        self._waited_s = 0.0
        self._jumped = 0
        self._steps: tuple[int, int] | None = None

    def exchange(self, update: int, step: int) -> bool:
        """Publish and mix (paper, Algorithm 1), after every ``gossip.every``-th update."""
        self._jumped = 0
        self._steps = (step if self._steps is None else self._steps[0], step)
        if update % self.node.every:
            self.node.rest()
            return False
        if self._on_first is not None:  # from now on, who comes late must join
            self._on_first()
            self._on_first = None
        if self._pace is None:
            self.node.publish(update=update, step=step)
        elif copies := self._pace.due(len(self.node.copies)):
            self.node.publish(update=update, step=step, copies=copies)
            self._pace.sent(copies)
        else:
            self.node.rest()
        changed = self.node.mix()
        self._jumped = self.node.jumped
        self._staleness_max = max(self._staleness_max, self.node.staleness)
        return changed

    @property
    def jumped(self) -> int:
        """See :class:`Coupling`."""
        return self._jumped

    def ask_to_stop(self, update: int) -> None:
        """Stop now; in lock-step, at the smallest update that everybody can have heard of.

        News travels one hop per round, and no path is longer than the number of agents; so an
        agent that is asked at update k proposes ``k + agents`` rounds, and everybody stops at the
        smallest proposal.
        """
        delay = self.node.topology.agents * self.node.every if self.lock_step else 0
        self.node.stop_at = min(self.node.stop_at, update + delay)

    def stops_at(self) -> int:
        """See :class:`Coupling`."""
        return self.node.stop_at

    def join(self, timeout_s: float) -> Header | None:
        """See :class:`Coupling`."""
        return self.node.adopt(timeout_s=timeout_s)

    def steps_of(self, rank: int) -> int:
        """See :class:`Coupling`."""
        return self.node.steps_of(rank)

    @property
    def mixes(self) -> int:
        """See :class:`Coupling`."""
        return self.node.counters.mixes

    @property
    def mix_every(self) -> int:
        """See :class:`Coupling`."""
        return self.node.mix_every

    @property
    def delay(self) -> int:
        """See :class:`Coupling`."""
        return self.node.delay

    @property
    def current(self) -> bool:
        """Not where a pace leaves in mailboxes what was sent long ago."""
        return self._pace is None

    def metrics(self, updates: int) -> Metrics:
        """See :class:`Coupling`."""
        node, counters = self.node, self.node.counters
        refused = dict(node.refused)  # connections count in threads of their own
        found: Metrics = {
            "gossip/staleness": node.staleness,
            "gossip/staleness_max": max(self._staleness_max, node.staleness),
            "gossip/mixes": counters.mixes,
            "gossip/messages_sent": counters.sent,
            "gossip/messages_refused": sum(refused.values()),
            **{f"gossip/refused/{r.name.lower()}": n for r, n in refused.items()},
            "gossip/bytes_sent": node.bytes_sent,
            "gossip/bytes_received": counters.bytes_received,
            "gossip/bytes_per_step": node.bytes_sent / self._steps_done(),
            "gossip/wait_ms": 1e3 * (node.patience.waited_s - self._waited_s) / updates,
        }
        for j in node.neighbours:
            header = node.messages.get(j)
            found[f"gossip/in/{j}/age_s"] = node.age_s(j)
            found[f"gossip/in/{j}/version"] = header.version if header else None
            found[f"gossip/in/{j}/state"] = int(node.peer_state(j))
        self._staleness_max, self._waited_s = 0, node.patience.waited_s
        return found | (self._pace.metrics() if self._pace is not None else {})

    def _steps_done(self) -> int:
        """Environment steps of this incarnation since its first update, at least 1."""
        return max(self._steps[1] - self._steps[0], 1) if self._steps is not None else 1

    def events(self) -> Iterator[tuple[str, str]]:
        """See :class:`Coupling`."""
        while self.node.events:
            yield self.node.events.popleft()

    def vectors(self, *, everybody: bool) -> dict[int, Tensor]:
        """See :class:`Coupling`."""
        return self.node.snapshot(None if everybody else self.node.neighbours)

    def measured(self, relative: float) -> None:
        """See :class:`Coupling`."""
        if self._pace is not None:
            self._pace.measured(relative)

    def state_dict(self) -> dict[str, Any]:
        """See :class:`Coupling`."""
        return self.node.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :class:`Coupling`."""
        self.node.load_state_dict(state)

    def close(self) -> None:
        """Leave the gossip; neighbours go on without."""
        self.node.close()
