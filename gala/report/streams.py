"""The profiled updates of an agent, phase by phase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gala.telemetry.phases import PHASES


@dataclass(frozen=True)
class Span:
    """One phase of one update.

    Attributes:
        update: number of the update.
        phase: one of :data:`gala.telemetry.phases.PHASES`.
        begin: unix seconds.
        end: unix seconds.
        mixed: whether the agent averaged in what neighbours had sent.
    """

    update: int
    phase: str
    begin: float
    end: float
    mixed: bool


@dataclass(frozen=True)
class Stream:
    """The profiled updates of one agent, oldest first.

    Attributes:
        rank: index of the agent.
        spans: at least one.
    """

    rank: int
    spans: tuple[Span, ...]

    @property
    def begin(self) -> float:
        """Unix seconds."""
        return self.spans[0].begin

    @property
    def end(self) -> float:
        """Unix seconds."""
        return self.spans[-1].end

    @property
    def updates(self) -> int:
        """How many of them are whole or begun."""
        return len({span.update for span in self.spans})

    def summary(self) -> dict[str, Any]:
        """Milliseconds per update, in all and by phase, and mixes per update."""
        per_update = 1e3 / self.updates
        return {
            "agent": self.rank,
            "first_update": self.spans[0].update,
            "updates": self.updates,
            "begin": self.begin,
            "end": self.end,
            "update_ms": (self.end - self.begin) * per_update,
            "phases_ms": {
                phase: per_update * sum(s.end - s.begin for s in self.spans if s.phase == phase)
                for phase in PHASES
            },
            "mixes_per_update": sum(span.mixed for span in self.spans) / self.updates,
        }
