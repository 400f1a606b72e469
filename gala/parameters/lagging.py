"""Lagging: a copy of a vector that trails it, taken every n updates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Lagging:
    """Follows Float[P] in Float[P] of its own.

    Args:
        source: what is followed.
        copy: where the copy lies; equal to ``source`` from now on.
        every: updates between two copies.

    Attributes:
        copied: update of the newest copy.
    """

    def __init__(self, source: Tensor, copy: Tensor, *, every: int) -> None:
        assert every > 0, every
        self._source, self._copy, self._every = source, copy, every
        self.restart(0)

    @torch.no_grad()
    def restart(self, update: int) -> None:
        """Be equal to the source, which is at ``update``."""
        self._copy.copy_(self._source)
        self.copied = update

    @torch.no_grad()
    def follow(self, update: int) -> bool:
        """Copy if it is time; returns whether it was.

        Args:
            update: of the source; may skip some, also those at which a copy was due.
        """
        if update - self.copied < self._every:
            return False
        self.restart(update)
        return True

    def state_dict(self) -> dict[str, Any]:
        """Everything from which :meth:`load_state_dict` goes on."""
        return {"copy": self._copy.detach().cpu().clone(), "copied": self.copied}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self._copy.copy_(state["copy"])
        self.copied = state["copied"]
