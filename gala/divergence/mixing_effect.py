"""What a mix does: how far it moves the parameters, and how much it changes behaviour.

Looked at once a tick, at the first mix after it: the parameters just before are kept for as long as
that mix has not come, which costs one copy an update.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gala.divergence.policy import PolicyDivergence

Metrics = dict[str, float | None]


class MixingEffect:
    """Compares an agent's parameters just before a mix with those just after.

    Args:
        data: parameters and the statistics behind them, Float[Q]; read, never changed.
        learned: P, of them the parameters.
        behaviour: compares policies on this agent's recent observations.
    """

    def __init__(self, data: Tensor, learned: int, behaviour: PolicyDivergence) -> None:
        self._data, self._learned, self._behaviour = data, learned, behaviour
        self._before: Tensor | None = None
        self._wanted = self._kept = False
        self._mixes = 0
        self._step_norm = 0.0
        self._metrics: Metrics = {}

    def want(self) -> None:
        """Look at the next mix; called at every tick."""
        self._wanted = True

    def before(self, mixes: int, step_norm: float) -> None:
        """Right before a mix that may come.

        Args:
            mixes: so far.
            step_norm: of the update that was just done.
        """
        self._kept = self._wanted
        if not self._wanted:
            return
        if self._before is None:
            self._before = torch.empty_like(self._data)
        self._before.copy_(self._data)
        self._mixes, self._step_norm = mixes, step_norm

    def after(self, mixes: int) -> None:
        """Right after it; nothing happens where there was none."""
        if not self._kept or mixes == self._mixes or self._before is None:
            return
        self._wanted = self._kept = False
        moved = torch.dist(self._data[: self._learned], self._before[: self._learned])
        self._metrics = {
            "divergence/mix_norm": float(moved),
            "divergence/step_norm": self._step_norm,
            "divergence/mix_kl": self._behaviour.between(self._before, self._data),
        }

    def metrics(self) -> Metrics:
        """Of the newest mix that was looked at; empty before the first.

        ``divergence/mix_norm`` and ``divergence/step_norm`` (L2, of the mix and of the update right
        before it), and ``divergence/mix_kl``: ``KL(before || after)`` in nats.
        """
        return self._metrics
