"""Progress: how much of the run is done, counted over all agents, and when it ends."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from gala.agent.setting import Setting
from gala.couplings.coupling import Coupling
from gala.launch.signals import StopRequest
from gala.run.wishes import Wishes
from gala.telemetry.sampling import reader_of_ends

FIRST_CHECKPOINTS = 20
"""Checkpoints of a run that does not say how many."""


class Progress:
    """Decides when an agent stops and saves; asks the coupling, and writes nothing.

    Args:
        setting: see :class:`~gala.agent.setting.Setting`.
        coupling: knows of others' steps, and agrees on the last update.
        stop: set by a signal.
        clock: seconds of a monotonic clock.

    Attributes:
        alarmed: whether an alarm is to end the run.
        reader: the records of all agents, as far as they were read.
    """

    def __init__(
        self,
        setting: Setting,
        coupling: Coupling,
        stop: StopRequest,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._setting, self._coupling, self._stop = setting, coupling, stop
        self.alarmed = self._save_asked = False
        self._wishes = Wishes(setting.run.path, setting.started, clock)
        self.reader = reader_of_ends(setting.run.path)
        self._before, self._since = 0, 0
        self._polled = -math.inf
        config, agents = setting.config, setting.launch.agents
        every = config.checkpoint.every_steps or max(config.total_steps // FIRST_CHECKPOINTS, 1)
        self._save_every = max(1, every // (setting.steps_per_update * agents))
        self._clock = clock
        self._pace: tuple[int, float] | None = None
        self._saved = clock()

    def resume(self, run_steps: int, step: int) -> None:
        """Go on where all agents together had done ``run_steps`` and this one ``step``.

        With another number of agents these are no multiples of one another.
        """
        self._before, self._since = run_steps, step

    def run_steps(self, step: int) -> int:
        """Steps of all agents together when this one has done ``step``."""
        if self._coupling.lock_step:
            return self._before + (step - self._since) * self._setting.launch.agents
        return step + self._steps_of_others()

    def share(self, step: int) -> float:
        """Done share of the run's steps, in [0, 1], when this agent has done ``step``."""
        return min(self.run_steps(step) / self._setting.config.total_steps, 1.0)

    def last_update(self, update: int, step: int) -> int:
        """The update after which to stop, as far as is known after ``update``."""
        self.attend()
        if self._stop.requested or self.alarmed:
            self._coupling.ask_to_stop(update)
        asked = self._coupling.stops_at()
        if self._coupling.lock_step:
            setting = self._setting
            left = max(setting.config.total_steps - self.run_steps(step), 0)
            own = update + -(-left // (setting.launch.agents * setting.steps_per_update))
            return min(own, asked)
        return update if self.share(step) >= 1.0 else asked

    def attend(self) -> None:
        """Hear what was asked of the run in its folder: to stop is as good as a signal."""
        for wish in self._wishes.new():
            self._stop.count += wish == "stop"
            self._save_asked |= wish == "checkpoint"

    def events(self) -> list[tuple[str, str]]:
        """What became of wishes, as kind and message: agents in lock-step save at their own times.

        That one has heard a wish after an update does not say that the others have.
        """
        if not (self._save_asked and self._coupling.lock_step):
            return []
        self._save_asked = False
        return [("asked", "to save now: agents in lock-step save together, at their next time")]

    def saves_after(self, update: int) -> bool:
        """Whether a checkpoint is due: by the count of steps, by time, or because it was asked for.

        Agents that move together keep checkpoints of equal updates, or they could not go on
        together. Their clocks differ: they save at multiples of a power of two of updates, which
        take at most ``checkpoint.every_s``, whoever asks for more. Where one takes it for twice as
        many as another, the multiples of the larger one are those of both.
        """
        every_s, now = self._setting.config.checkpoint.every_s, self._clock()
        if update % self._save_every == 0:
            return True
        if not self._coupling.lock_step:
            return self._save_asked or now - self._saved >= every_s
        if self._pace is None:
            self._pace = update, now
            return False
        since, began = self._pace
        affordable = every_s * (update - since) / max(now - began, 1e-9)
        return update % (1 << int(math.log2(max(affordable, 1.0)))) == 0

    def saved(self) -> None:
        """A checkpoint was written, or could not be: the next one is due in a while."""
        self._saved, self._save_asked = self._clock(), False

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
        recorded = sum(
            int(record.get("step") or 0) for rank, record in latest.items() if rank >= launch.agents
        )  # of agents that stay away since the run was resumed without them
        return recorded + sum(
            max(int(latest.get(rank, {}).get("step") or 0), self._coupling.steps_of(rank))
            for rank in {*range(launch.agents)} - {launch.rank}
        )
