"""Push-sum with running sums: averages that are exact on directed graphs and lossy links.

Each agent holds a mass ``x`` and a weight ``w``; its parameters are ``z = x / w``. At each update
it splits both over itself and its out-neighbours, so that columns sum to one: nothing is lost or
doubled, and weighted by ``w`` the mean of all agents is kept on any strongly connected graph
(Kempe, Dobra, Gehrke 2003; Assran et al. 2019, "Stochastic gradient push").

A message carries not the share but the sum of all shares sent so far; the receiver uses what was
added since the last one that it saw. A lost or overwritten message therefore delays a share and
does not lose it (Hadjicostis, Vaidya, Dominguez-Garcia 2016). The sums grow without end, hence
float64.
"""

from __future__ import annotations

import torch
from torch import Tensor


class PushSum:
    """Mass, weight and running sums of one agent.

    Args:
        vector: Float32[P], the parameters; learned on by others, written by :meth:`settle`.

    Attributes:
        weight: w.
    """

    def __init__(self, vector: Tensor) -> None:
        self._vector = vector
        self._sent = torch.zeros(vector.numel() + 1, dtype=torch.float64, device=vector.device)
        self._seen: dict[int, Tensor] = {}
        self.restart()

    def restart(self) -> None:
        """Begin with the parameters as they are and weight one."""
        self._mass = self._vector.double()
        self._known = self._vector.clone()
        self.weight = 1.0

    def push(self, out_neighbours: int) -> Tensor:
        """Take up what was learned since the last call, and give each out-neighbour its share.

        Returns:
            Float64[P + 1]: running sums of the shares, mass then weight; valid until the next call.
        """
        self._mass += self._vector - self._known
        self._known.copy_(self._vector)
        share = 1.0 / (1 + out_neighbours)
        if out_neighbours:
            self._sent[:-1].add_(self._mass, alpha=share)
            self._sent[-1] += share * self.weight
            self._mass *= share
            self.weight *= share
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
        seen = self._seen.get(peer)
        if seen is None:
            return False
        new = sums.to(seen.device) - seen
        if not float(new[-1]) > 0.0:
            return False
        self._vector.copy_(new[:-1] / new[-1])
        self._seen[peer] = sums.clone()
        self.restart()
        return True

    def pull(self, peer: int, sums: Tensor) -> None:
        """Take the shares that ``peer`` added since its last message that was seen."""
        sums = sums.to(self._sent.device)
        seen = self._seen.get(peer)
        new = sums if seen is None else sums - seen
        self._mass += new[:-1]
        self.weight += float(new[-1])
        if seen is None:
            self._seen[peer] = sums.clone()
        else:
            seen.copy_(sums)

    def settle(self) -> None:
        """Parameters become ``z = x / w``; call after the pulls of one mix."""
        self._mass += self._vector - self._known
        torch.div(self._mass, self.weight, out=self._mass)
        self._vector.copy_(self._mass)
        self._mass *= self.weight
        self._known.copy_(self._vector)
