"""Shared coupling: A3C's, all agents of a host step one vector without locks (Hogwild).

Mnih et al. 2016, arXiv 1602.01783, after Niu et al. 2011, arXiv 1106.5730. An agent acts and takes
its gradient with a copy of the parameters that it made after its last step, and steps the shared
ones, and the shared mean of squared gradients of RMSProp, with it. Two agents that step the same
number at the same time may lose one of both steps.
"""

from __future__ import annotations

import torch

from gala.couplings.coupling import Coupling
from gala.couplings.segment import Segment
from gala.errors import UserError
from gala.launch.launch import Launch
from gala.parameters.optimizer import Optimizer


class Shared(Coupling):
    """``--coupling shared``.

    Args:
        segment: what is shared.
        optimizer: of this agent, whose steps go there.
    """

    unbound = "there is one vector of parameters, of which agents hold stale copies"

    def __init__(self, segment: Segment, optimizer: Optimizer) -> None:
        super().__init__()
        self._segment, self._optimizer = segment, optimizer

    def begin(self) -> bool:
        """Share: bring one's own parameters where nobody is in, else copy those that are there."""
        return self._optimizer.share(self._segment.attach)

    def exchange(self, update: int, step: int) -> bool:
        """The optimizer has stepped and copied the shared parameters; the others hear of steps."""
        self._segment.count(step)
        return False

    def steps_of(self, rank: int) -> int:
        """See :class:`Coupling`."""
        return self._segment.steps_of(rank)

    def close(self) -> None:
        """Leave; the others go on."""
        self._segment.close()


def require_shareable(coupling: str, launch: Launch, device: torch.device) -> None:
    """Refuse to share parameters where there is no memory to share them in.

    Raises:
        UserError: agents are on several hosts, or compute on another device than the CPU.
    """
    if coupling != "shared":
        return
    if launch.local_agents != launch.agents:
        rule = f"shares memory, but {launch.agents - launch.local_agents} agents are on other hosts"
        raise UserError(rule, field="--coupling", hint="gossip")
    if device.type != "cpu":
        raise UserError("shares memory of the CPU", field="--device", hint="cpu")
