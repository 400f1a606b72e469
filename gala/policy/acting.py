"""A network that acts: what it sees as numpy, what it does as numpy; whoever asks keeps its memory.

Evaluation, videos and :class:`~gala.policy.policy.Policy` all act through here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala.networks import Network

Array = NDArray[Any]


class Acting:
    """Chooses actions with a network.

    Args:
        network: on ``device``.
        seed: of what is drawn.
        device: where the network computes.

    Attributes:
        network: as given.
    """

    def __init__(self, network: Network, *, seed: int, device: torch.device) -> None:
        self.network = network
        self._device = device
        self._generator = torch.Generator(device)
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Begin the draws anew."""
        self._generator.manual_seed(seed)

    def state(self, envs: int, given: Array | None = None) -> Tensor | None:
        """Float[B, ...], what is remembered of B games: ``given``, or nothing; None: no memory."""
        if self.network.memory is None:
            return None
        nothing = self.network.initial(envs)
        return nothing if given is None else torch.from_numpy(given).to(nothing)

    @torch.no_grad()
    def act(
        self,
        obs: Array,
        mask: NDArray[np.bool_] | None = None,
        state: Tensor | None = None,
        begin: NDArray[np.bool_] | None = None,
        *,
        greedy: bool,
    ) -> tuple[Array, Tensor | None]:
        """Actions of B observations.

        Args:
            obs: [B, ...], as the network sees them.
            mask: Bool[B, K], the actions that are allowed; None: all.
            state: Float[B, ...] of :meth:`state`; None: the network has no memory.
            begin: Bool[B], which observations are the first of a game; None: none of them.
            greedy: take the most likely action; else draw from the distribution.

        Returns:
            [B, ...] of the policy's action space, and what is remembered now.
        """
        network, seen = self.network, torch.from_numpy(obs).to(self._device)
        if state is None:
            dist, _ = network(seen)
        else:
            first = np.zeros(len(obs), np.bool_) if begin is None else begin
            begins = torch.from_numpy(first).to(self._device)
            dist, _, state = network.unroll(seen.unsqueeze(0), state, begins.unsqueeze(0))
        if mask is not None:
            dist = network.head.masked(dist, torch.from_numpy(mask).to(self._device))
        chosen = network.head.mode(dist) if greedy else network.head.sample(dist, self._generator)
        return network.head.to_env(chosen), state
