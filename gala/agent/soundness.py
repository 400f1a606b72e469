"""Soundness of an agent: updates that were left out are told, and what is beyond help ends it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from gala.errors import NotFinite
from gala.experience.batch import Batch
from gala.learning.diagnosis import NORM, cause
from gala.learning.learner import Losses
from gala.parameters.flat import FlatParameters, unflatten

MAX_LOST = 32
"""Updates in a row in which finite observations gave nothing finite, before an agent gives up."""


class Soundness:
    """Looks at each update, at numbers that are there already.

    Args:
        flat: parameters of the agent.
        tell: called with kind and text of what the person at the terminal should see.

    Attributes:
        skipped: updates of which at least one optimizer step was left out.
    """

    def __init__(self, flat: FlatParameters, tell: Callable[[str, str], None]) -> None:
        self._flat, self._tell = flat, tell
        self._told: set[str] = set()
        self.skipped = 0
        self._lost = 0

    def examine(
        self, batch: Batch, losses: Losses, faults: Sequence[str], *, update: int, moved: float
    ) -> None:
        """After an update and before anybody hears of it.

        A parameter that is not finite makes the update's norm so, or the next gradient: only then
        all of them are looked at.

        Args:
            batch: what was learned from.
            losses: what came of it; the device was waited for since.
            faults: what the environments gave for it that is not finite, in words.
            update: number of the update.
            moved: L2 norm of the update.

        Raises:
            NotFinite: the parameters are not, or so large that no output is.
        """
        steps = int(losses.skipped)
        if not steps and math.isfinite(moved):
            self._lost = 0
            return
        if not bool(self._flat.data.isfinite().all()):
            name = self._first()
            raise NotFinite(f"its parameters are not finite after update {update}: {name}")
        if not steps:
            return
        self._note(why := cause(batch, losses, faults), update, steps, losses.steps)
        self._lost = 0 if faults or _outputs(batch, losses) else self._lost + 1
        if self._lost >= MAX_LOST:
            raise NotFinite(f"its network has given nothing finite for {MAX_LOST} updates: {why}")

    def _note(self, why: str, update: int, steps: int, of: int) -> None:
        """Tell each kind of cause once, and how many there are at 1, 2, 4, 8, ...: an environment
        that never recovers would fill the records.
        """
        self.skipped += 1
        kind = " ".join(why.split()[:4])
        if kind in self._told and self.skipped & (self.skipped - 1):
            return
        self._told.add(kind)
        part = "" if steps == of else f" ({steps} of its {of} steps)"
        count = f"; {self.skipped} updates so far" if self.skipped > 1 else ""
        self._tell("skipped", f"update {update} was not learned from{part}: {why}{count}")

    def _first(self) -> str:
        """The first tensor that is not finite."""
        tensors = unflatten(self._flat.data, self._flat.layout)
        return next(name for name, t in tensors.items() if not bool(t.isfinite().all()))


def _outputs(batch: Batch, losses: Losses) -> bool:
    """Whether the network gave what is finite for a batch that is.

    What was drawn from a replay is, and says nothing of the network: losses do.
    """
    if losses.lag is None:
        return all(math.isfinite(loss) for name, loss in losses.spoilt.items() if name != NORM)
    return bool(batch.value.isfinite().all() and batch.dist.isfinite().all())
