"""How agents are tied together: gossip (the product), averaged gradients, or not at all.

Each coupling has the same three moments in the loop: ``reduce`` sees the gradient before the
optimizer step, ``exchange`` comes after it, ``stop`` agrees on the last update.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from gala.couplings.pace import Pace
from gala.gossip import GossipNode
from gala.gossip.message import NEVER
from gala.launch.launch import Launch


class Coupling(Protocol):
    """What the training loop needs of the other agents."""

    lock_step: bool
    """Whether all agents do equal updates, so that each does its share of the total steps."""

    def reduce(self, gradient: Tensor) -> None:
        """See, and maybe change, the flat gradient before clipping and optimizer step."""
        ...

    def exchange(self, update: int, step: int) -> bool:
        """After update number ``update``: give and take parameters; True if they changed."""
        ...

    def ask_to_stop(self, update: int) -> None:
        """This agent was asked to stop during or before update ``update + 1``."""
        ...

    def stops_at(self) -> int:
        """The update after which to stop."""
        ...

    def close(self) -> None:
        """Leave."""
        ...


class Independent:
    """``--coupling none``: agents that share nothing."""

    lock_step = False

    def __init__(self) -> None:
        self._stop = NEVER

    def reduce(self, gradient: Tensor) -> None:
        """Nothing to average."""

    def exchange(self, update: int, step: int) -> bool:
        """Nothing to exchange."""
        return False

    def ask_to_stop(self, update: int) -> None:
        """Stop now."""
        self._stop = min(self._stop, update)

    def stops_at(self) -> int:
        """See :class:`Coupling`."""
        return self._stop

    def close(self) -> None:
        """Nothing to leave."""


class Gossip:
    """``--coupling gossip``: publish, then mix what has arrived.

    Args:
        node: does it.
        on_first: called once, when the first update is published.
        pace: decides which updates are published, and to how many; None: all, to all.
    """

    def __init__(
        self,
        node: GossipNode,
        on_first: Callable[[], None] = lambda: None,
        pace: Pace | None = None,
    ) -> None:
        self.node, self.pace = node, pace
        self.lock_step = node.lock_step
        self._on_first: Callable[[], None] | None = on_first

    def reduce(self, gradient: Tensor) -> None:
        """Gossip averages parameters, not gradients."""

    def exchange(self, update: int, step: int) -> bool:
        """Publish and mix (paper, Algorithm 1)."""
        if self._on_first is not None:  # from now on, who comes late must join
            self._on_first()
            self._on_first = None
        if self.pace is None:
            self.node.publish(update=update, step=step)
        elif copies := self.pace.due(len(self.node.copies)):
            self.node.publish(update=update, step=step, copies=copies)
            self.pace.sent(copies)
        else:
            self.node.rest()
        return self.node.mix()

    def ask_to_stop(self, update: int) -> None:
        """Stop now; in lock-step, at the smallest update that everybody can have heard of.

        News travels one hop per round, and no path is longer than the number of agents; so an
        agent that is asked at update k proposes ``k + agents``, and everybody stops at the
        smallest proposal.
        """
        delay = self.node.topology.agents if self.lock_step else 0
        self.node.stop_at = min(self.node.stop_at, update + delay)

    def stops_at(self) -> int:
        """See :class:`Coupling`."""
        return self.node.stop_at

    def close(self) -> None:
        """Leave the gossip; neighbours go on without."""
        self.node.close()


class AllReduce:
    """``--coupling allreduce``: gradients averaged over all agents at each update.

    The synchronous A2C that the paper compares with: every agent waits for the slowest. The wish to
    stop rides on the same collective, as one more element, so that all stop at the same update.
    """

    lock_step = True

    def __init__(self, launch: Launch, parameters: int) -> None:
        self._agents = launch.agents
        self._stop = NEVER
        self._update = 0
        self._asked = False
        self._buffer = torch.zeros(parameters + 1)
        if launch.rendezvous is not None:
            dist.init_process_group(
                "gloo",
                store=launch.rendezvous.fresh(),
                rank=launch.rank,
                world_size=launch.agents,
                timeout=timedelta(minutes=10),
            )

    def reduce(self, gradient: Tensor) -> None:
        """Replace the gradient by its mean over the agents. Waits for all of them."""
        if self._agents == 1:
            return
        self._buffer[:-1].copy_(gradient)
        self._buffer[-1] = float(self._asked)
        dist.all_reduce(self._buffer)
        gradient.copy_(self._buffer[:-1]).div_(self._agents)
        if self._buffer[-1] > 0:
            self._stop = min(self._stop, self._update + 1)

    def exchange(self, update: int, step: int) -> bool:
        """Parameters are equal already."""
        self._update = update
        return False

    def ask_to_stop(self, update: int) -> None:
        """Say so at the next reduction; alone, stop now."""
        self._asked = True
        if self._agents == 1:
            self._stop = min(self._stop, update)

    def stops_at(self) -> int:
        """See :class:`Coupling`."""
        return self._stop

    def close(self) -> None:
        """Leave the process group."""
        if dist.is_initialized():
            dist.destroy_process_group()
