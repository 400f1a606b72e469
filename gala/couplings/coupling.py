"""Coupling: how an agent is tied to the others.

It has five moments in the loop: ``begin`` comes before the first update, ``reduce`` sees each
gradient before the optimizer step, ``exchange`` comes after an update, ``ask_to_stop`` and
``stops_at`` agree on the last one. For the rest it answers questions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from gala.gossip import GossipNode
from gala.gossip.message import NEVER, Header
from gala.learning.auxiliary import Auxiliary
from gala.topology import Topology

Metrics = dict[str, float | None]


class Coupling:
    """An agent that shares nothing; what a coupling shares it overrides.

    Attributes:
        lock_step: whether all agents do equal updates, so that each does its share of the total.
        topology: whom it averages parameters with; None where it averages none.
        unbound: why no bound on the divergence applies whatever the topology; None if one may.
        node: publishes and mixes; None where :meth:`exchange` is all there is.
        auxiliary: what it adds to the loss of each update; None: nothing.
    """

    lock_step = False
    topology: Topology | None = None
    unbound: str | None = None
    node: GossipNode | None = None
    auxiliary: Auxiliary | None = None

    def __init__(self) -> None:
        self._stop = NEVER

    def begin(self) -> bool:
        """Before the first update, from where the agent goes on; True if parameters changed."""
        return False

    def reduce(self, gradient: Tensor) -> None:
        """See, and maybe change, a gradient before clipping and step: Float[P], or of a part."""

    def agree(self, number: float) -> float:
        """A number that all agents whose gradients are reduced together decide by."""
        return number

    def exchange(self, update: int, step: int) -> bool:
        """After update number ``update``: give and take parameters; True if they changed."""
        return False

    @property
    def jumped(self) -> int:
        """Updates that the last exchange left out to join the others, who had gone on without."""
        return 0

    def ask_to_stop(self, update: int) -> None:
        """This agent was asked to stop during or before update ``update + 1``."""
        self._stop = min(self._stop, update)

    def stops_at(self) -> int:
        """The update after which to stop."""
        return self._stop

    def join(self, timeout_s: float) -> Header | None:
        """Adopt the parameters of a neighbour; its header, None where there is none to hear."""
        return None

    def steps_of(self, rank: int) -> int:
        """Environment steps of an agent as far as messages tell, never more than it did."""
        return 0

    @property
    def mixes(self) -> int:
        """Mixes so far."""
        return 0

    @property
    def mix_every(self) -> int:
        """Largest recent number of updates from one mix to the next (at least 1)."""
        return 1

    @property
    def delay(self) -> int:
        """Largest recent age of a message when it was mixed, in own updates."""
        return 0

    @property
    def current(self) -> bool:
        """Whether what :meth:`vectors` reads is at most some updates old."""
        return True

    def metrics(self, updates: int) -> Metrics:
        """What to record; ``updates`` were done since the last call."""
        return {}

    def events(self) -> Iterator[tuple[str, str]]:
        """Kind and text of what happened since the last call."""
        yield from ()

    def vectors(self, *, everybody: bool) -> dict[int, Tensor]:
        """Newest parameters Float[P] by rank: own first, of neighbours or of all within reach."""
        return {}

    def measured(self, relative: float) -> None:
        """This agent's distance to the mean, relative to the mean's norm, was measured."""

    def state_dict(self) -> dict[str, Any]:
        """Plain data to go on from."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""

    def close(self) -> None:
        """Leave."""


class Independent(Coupling):
    """``--coupling none``: agents that share nothing."""
