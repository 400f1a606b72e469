"""Push-sum with running sums: averages that are exact on directed graphs and lossy links.

Each agent holds a mass ``x`` and a weight ``w``; its parameters are ``z = x / w``. At each update
it splits both over itself and its out-neighbours, so that columns sum to one: nothing is lost or
doubled, and weighted by ``w`` the mean of all agents is kept on any strongly connected graph
(Kempe, Dobra, Gehrke 2003; Assran et al. 2019, "Stochastic gradient push").

What an agent learns enters its mass as ``w`` times the step, so that its parameters move by exactly
that step, however little weight it holds: entered undivided, the step would be amplified by
``1 / w``. All parameters are therefore convex combinations of parameters that were, plus steps.

A message carries not the share but the sum of all shares sent so far; the receiver uses what was
added since the last one that it saw. A lost or overwritten message therefore delays a share and
does not lose it (Hadjicostis, Vaidya, Dominguez-Garcia 2016). The sums grow without end, hence
float64. Who publishes often and hears little gives less as it grows poor: its weight falls like one
over the number of its messages, not like a power of two, and no further than ``LEAST``.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = 2.0**-13
"""Weight below which nothing is given away: beside sums that grew it would be rounding."""


class PushSum:
    """Mass, weight and running sums of one agent.

    Args:
        vector: Float32[P], the parameters; learned on by others, written by :meth:`settle`.

    Attributes:
        mass: x, Float64[P].
        weight: w, above 0.
        given: how many got a share of the last :meth:`push`, and the share of each.
    """

    def __init__(self, vector: Tensor) -> None:
        self._vector = vector
        self._sent = torch.zeros(vector.numel() + 1, dtype=torch.float64, device=vector.device)
        self._seen: dict[int, Tensor] = {}
        self.given = 0, 0.0
        self.restart()

    def restart(self) -> None:
        """Begin with the parameters as they are and weight one."""
        self.mass = self._vector.double()
        self._known = self._vector.clone()
        self.weight = 1.0

    def push(self, out_neighbours: int) -> Tensor:
        """Take up what was learned since the last call, and give each out-neighbour its share.

        Returns:
            Float64[P + 1]: running sums of the shares, mass then weight; valid until the next call.
        """
        self._take_up()
        self.given = 0, 0.0
        held = torch.cat([self.mass, self.mass.new_tensor([self.weight])])
        if not out_neighbours:  # one that joins reads parameters from what is added: no one's share
            self._sent.add_(held, alpha=LEAST)
        elif self.weight >= LEAST:
            share = min(self.weight, 1.0) / (1 + out_neighbours)
            self.given = out_neighbours, share
            before = self._sent.clone()
            self._sent.add_(held, alpha=share)
            # what receivers will see added, sums being rounded, is what is given: nothing is lost
            held.sub_(before.sub_(self._sent).neg_(), alpha=out_neighbours)
            self.mass, self.weight = held[:-1], float(held[-1])
        return self._sent

    def meet(self, peer: int, sums: Tensor) -> None:
        """Shares of ``peer`` count from here on: one of us is new, and earlier ones were not ours.

        Args:
            peer: the sender.
            sums: Float64[P + 1] of its message.
        """
        self._seen[peer] = sums.to(self._sent.device, copy=True)

    def adopt(self, peer: int, sums: Tensor) -> bool:
        """Take over the parameters of ``peer``: what it added since :meth:`meet`, by its weight.

        Returns:
            False, and nothing is changed, when we have not met or nothing was added since.
        """
        found = self.parameters_in(peer, sums)
        if peer not in self._seen or found is None:
            return False
        self._vector.copy_(found)
        self.meet(peer, sums)
        self.restart()
        return True

    def parameters_in(self, peer: int, sums: Tensor) -> Tensor | None:
        """Parameters that a message of ``peer`` stands for: what it added, by its weight.

        Returns:
            Float64[P]; None when nothing was added, or less than nothing.
        """
        new = self._added(peer, sums)
        weight = float(new[-1])
        return new[:-1] / weight if weight > 0.0 else None

    def pull(self, peer: int, sums: Tensor) -> bool:
        """Take the shares that ``peer`` added since its last message that was seen.

        Sums that shrank are none of ours and change nothing: weights are only added.

        Returns:
            Whether there was something to take.
        """
        new = self._added(peer, sums)
        if not float(new[-1]) > 0.0:
            return False
        self._take_up()
        self.mass = self.mass + new[:-1]
        self.weight += float(new[-1])
        self.meet(peer, sums)
        return True

    def settle(self) -> None:
        """Parameters become ``z = x / w``; call after the pulls of one mix."""
        self._take_up()
        torch.div(self.mass, self.weight, out=self._known)
        self._vector.copy_(self._known)

    def _take_up(self) -> None:
        """Let the steps since the last call enter, by the weight at which they were made."""
        self.mass.add_(self._vector - self._known, alpha=self.weight)
        self._known.copy_(self._vector)

    def _added(self, peer: int, sums: Tensor) -> Tensor:
        sums = sums.to(self._sent.device)
        seen = self._seen.get(peer)
        return sums if seen is None else sums - seen
