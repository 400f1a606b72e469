"""Callbacks: the user's own functions, called at a record, a checkpoint and the end.

One that raises is told once and not called again: training goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from gala.errors import UserError
from gala.files.importing import import_object, told
from gala.parameters.flat import FlatParameters, unflatten

Kind = Literal["record", "checkpoint", "end"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """What a callback is called with.

    Attributes:
        kind: ``record``, ``checkpoint`` or ``end``.
        rank: of the agent; each agent calls its own.
        update: its local updates.
        step: its environment steps.
        metrics: what was recorded, by name; empty for other kinds.
        path: of the checkpoint.
        ending: ``done``, ``stopped`` or ``alarm``.
        run: the run folder.
        parameters: makes a copy of the agent's parameters, by name.
    """

    kind: Kind
    rank: int
    update: int
    step: int
    run: Path
    parameters: Callable[[], dict[str, Tensor]]
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    path: Path | None = None
    ending: str | None = None


Callback = Callable[[Event], object]


def load_callbacks(specs: Sequence[str]) -> dict[str, Callback]:
    """The callbacks by their ``MODULE:CALLABLE``.

    Raises:
        UserError: one cannot be imported, or called.
    """
    found: dict[str, Callback] = {}
    for spec in specs:
        callback = import_object(spec, field="callbacks")
        if not callable(callback):
            raise UserError(f"{spec} cannot be called", field="callbacks")
        found[spec] = callback
    return found


class Callbacks:
    """Calls them for one agent.

    Args:
        callbacks: by name.
        rank: of the agent.
        run: the run folder.
        flat: the agent's parameters.
        tell: called with the kind and the text of what went wrong.
    """

    def __init__(
        self,
        callbacks: Mapping[str, Callback],
        *,
        rank: int,
        run: Path,
        flat: FlatParameters,
        tell: Callable[[str, str], None],
    ) -> None:
        self._callbacks = dict(callbacks)
        self._rank, self._run, self._flat, self._tell = rank, run, flat, tell

    def call(self, kind: Kind, *, update: int, step: int, **more: Any) -> None:
        """Call all of them; ``more`` are further fields of :class:`Event`."""
        if not self._callbacks:
            return
        event = Event(
            kind=kind, rank=self._rank, update=update, step=step, run=self._run,
            parameters=self._parameters, **more,
        )  # fmt: skip
        for name, callback in list(self._callbacks.items()):
            try:
                callback(event)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # the user's code raises what it likes
                del self._callbacks[name]
                text = told(error, name, field="callbacks")
                self._tell("error", f"{text} (it is not called again)")

    def _parameters(self) -> dict[str, Tensor]:
        return unflatten(self._flat.data.detach().cpu().clone(), self._flat.layout)
