"""Exploration by chance: each environment of each agent has an epsilon of its own.

So has each actor of Ape-X (Horgan et al. 2018, arXiv 1803.00933).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gala.networks.heads import ActionHead, draw_choice, epsilon_greedy


def epsilons(agents: int, rank: int, envs: int, *, base: float, spread: float) -> tuple[float, ...]:
    """Probabilities of an action by chance in the B environments of an agent.

    ``base^(1 + spread i / (N - 1))`` for i = 0 ... N - 1 over the N environments of all agents,
    dealt out in turns: each agent has some that explore and some that do not.

    Args:
        agents: how many there are.
        rank: of this one.
        envs: B.
        base: epsilon of the first one.
        spread: see above.
    """
    last = max(agents * envs - 1, 1)
    return tuple(base ** (1 + spread * (k * agents + rank) / last) for k in range(envs))


class Exploration:
    """How the B environments of an agent, or of an actor, draw actions.

    Args:
        head: turns distributions into actions.
        epsilon: of each environment, with which any action is taken instead of the best one; None:
            actions are drawn from the distributions as they are.
        device: of the distributions.
    """

    def __init__(
        self, head: ActionHead, epsilon: Sequence[float] | None, device: torch.device | None = None
    ) -> None:
        self.sample, self._epsilon = head.sample, None
        if epsilon is not None:
            self.sample = draw_choice
            self._epsilon = torch.tensor(epsilon, device=device)

    def policy(self, dist: Tensor, envs: slice | Tensor) -> Tensor:
        """What ``sample`` draws from in some of the environments, of Float[n, K] for each."""
        return dist if self._epsilon is None else epsilon_greedy(dist, self._epsilon[envs])
