"""Progress: how much of the run is done, counted over all agents, and when it ends."""

from __future__ import annotations

import math
import time

from gala.agent.setting import Setting
from gala.couplings.coupling import Coupling
from gala.launch.signals import StopRequest
from gala.telemetry.reader import RunReader

FIRST_CHECKPOINTS = 20
"""Checkpoints of a run that does not say how many."""


class Progress:
    """Decides when an agent stops and saves; asks the coupling, and writes nothing.

    Args:
        setting: see :class:`~gala.agent.setting.Setting`.
        coupling: knows of others' steps, and agrees on the last update.
        stop: set by a signal.

    Attributes:
        alarmed: whether an alarm is to end the run.
        reader: the records of all agents, as far as they were read.
    """

    def __init__(self, setting: Setting, coupling: Coupling, stop: StopRequest) -> None:
        self._setting, self._coupling, self._stop = setting, coupling, stop
        self.alarmed = False
        self.reader = RunReader(setting.run.path)
        self._polled = -math.inf
        config, agents = setting.config, setting.launch.agents
        every = config.checkpoint.every_steps or max(config.total_steps // FIRST_CHECKPOINTS, 1)
        self._save_every = max(1, every // (setting.steps_per_update * agents))

    def share(self, step: int) -> float:
        """Done share of the run's steps, in [0, 1], when this agent has done ``step``."""
        total = self._setting.config.total_steps
        if self._coupling.lock_step:
            return min(step * self._setting.launch.agents / total, 1.0)
        return min((step + self._steps_of_others()) / total, 1.0)

    def last_update(self, update: int, step: int) -> int:
        """The update after which to stop, as far as is known after ``update``."""
        if self._stop.requested or self.alarmed:
            self._coupling.ask_to_stop(update)
        asked = self._coupling.stops_at()
        if self._coupling.lock_step:
            setting = self._setting
            own = setting.config.total_steps / setting.launch.agents / setting.steps_per_update
            return min(math.ceil(own), asked)
        return update if self.share(step) >= 1.0 else asked

    def saves_after(self, update: int) -> bool:
        """Whether a checkpoint is due."""
        return update % self._save_every == 0

    @property
    def ending(self) -> str:
        """How the run ended, in a word."""
        return "alarm" if self.alarmed else "stopped" if self._stop.requested else "done"

    def _steps_of_others(self) -> int:
        """Environment steps of all other agents, never more than they did.

        Messages tell as it happens; without them the newest records do, at most ``log.every_s``
        old.
        """
        now = time.perf_counter()
        if now - self._polled >= self._setting.config.log.every_s:
            self._polled = now
            self.reader.poll()
        launch, latest = self._setting.launch, self.reader.latest
        return sum(
            max(int(latest.get(rank, {}).get("step") or 0), self._coupling.steps_of(rank))
            for rank in {*range(launch.agents), *latest} - {launch.rank}
        )
