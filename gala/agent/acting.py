"""Acting: which parameters act, the newest ones or a copy that trails them."""

from __future__ import annotations

from typing import Any

from gala.networks.model import Model
from gala.parameters.lagging import Lagging


class Acting:
    """The model that acts for the one that learns.

    Args:
        model: that learns.
        every: updates after which a copy of its parameters is taken that acts; 1: it acts itself.

    Attributes:
        model: that acts.
        newest: that learns.
    """

    def __init__(self, model: Model, *, every: int) -> None:
        self.model = self.newest = model
        self._lagging: Lagging | None = None
        if every > 1:
            self.model = model.twin()
            self._lagging = Lagging(model.flat.data, self.model.flat.data, every=every)
            self._taken_over()

    @property
    def revision(self) -> int:
        """Of the parameters that act, in the count of those that learn."""
        return self.model.revision

    def follow(self, update: int) -> int:
        """Let who acts take the newest parameters over, if it is time; call after each mix.

        Args:
            update: that has been done.

        Returns:
            The revision that acts.
        """
        if self._lagging is not None and self._lagging.follow(update):
            self._taken_over()
        return self.revision

    def restart(self, update: int) -> None:
        """The newest parameters act, which are at ``update``; call where they were replaced."""
        if self._lagging is not None:
            self._lagging.restart(update)
            self._taken_over()

    def state_dict(self) -> dict[str, Any]:
        """Everything from which :meth:`load_state_dict` goes on; nothing where nothing trails."""
        if self._lagging is None:
            return {}
        return {**self._lagging.state_dict(), "lag": self.newest.revision - self.revision}

    def load_state_dict(self, state: dict[str, Any], update: int) -> None:
        """Go on from :meth:`state_dict`, after the newest parameters did; else as if begun."""
        if self._lagging is None or not state:
            self.restart(update)
            return
        self._lagging.load_state_dict(state)
        self._taken_over()
        self.model.revision -= state["lag"]

    def _taken_over(self) -> None:
        self.model.refresh()
        self.model.revision = self.newest.revision
