"""Recorder: what is written and shown of one agent. It takes values and steers nothing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch

from gala.agent.outputs import Metrics, Outputs
from gala.agent.setting import Setting
from gala.device.choose import usage_on
from gala.experience.source import Source
from gala.telemetry.console import Console
from gala.telemetry.phases import PhaseTimer
from gala.telemetry.reader import RunReader
from gala.telemetry.resources import Resources

if TYPE_CHECKING:
    from gala.telemetry.profiling import Profile


class Counts(Protocol):
    """What an agent has done so far."""

    @property
    def update(self) -> int:
        """Local updates."""
        ...

    @property
    def step(self) -> int:
        """Environment steps."""
        ...

    @property
    def mixes(self) -> int:
        """Mixes with neighbours."""
        ...


class Recorder:
    """Writes the records of one agent and, on rank 0, shows the run.

    Args:
        setting: see :class:`~gala.agent.setting.Setting`.
        reader: the records of all agents.
        console: makes the display of the run; None for agents that show nothing.
        device: where the network computes; None: that of the setting.

    Attributes:
        counts: what the agent has done; set by the agent, whatever is written is stamped with it.
        end_phase: says what the time since the last call was spent on.
    """

    def __init__(
        self,
        setting: Setting,
        reader: RunReader,
        console: Callable[[RunReader], Console] | None = None,
        device: torch.device | None = None,
    ) -> None:
        self._setting, self._reader = setting, reader
        self.counts: Counts
        self._log = setting.config.log
        self._outputs = Outputs(setting, reader, console(reader) if console is not None else None)
        self._outputs.stamp = lambda: (self.counts.update, self.counts.step)
        self._timer, self._resources = PhaseTimer(), Resources()
        self._usage = usage_on(device or setting.device)
        self.end_phase: Callable[[str], None] = self._timer.end_phase
        self._profile: Profile | None = None
        self._last_update = self._last_step = 0
        self._last_time = time.perf_counter()

    def start(self) -> None:
        """Note the start; call right before the first update."""
        counts = self.counts
        if self._setting.config.profile and self._setting.launch.incarnation == 0:
            self._profile = self._profiled()
        self._last_update, self._last_step = counts.update, counts.step
        self._last_time = time.perf_counter()
        self._timer.start()
        self._reader.poll()
        self.event("start", f"update {counts.update}, step {counts.step}")
        self._outputs.start()

    @property
    def due(self) -> bool:
        """Whether ``log.every_s`` have passed since the last record."""
        return time.perf_counter() - self._last_time >= self._log.every_s

    @property
    def updates(self) -> int:
        """Updates since the last record, at least 1."""
        return max(self.counts.update - self._last_update, 1)

    @property
    def unrecorded(self) -> bool:
        """Whether there were updates since the last record."""
        return self.counts.update > self._last_update

    def record(self, more: Metrics) -> Metrics:
        """Write a record: speed and times, and what else there is.

        Returns:
            All of it, by name.
        """
        metrics = self._progress() | more
        self._outputs.record(metrics)
        return metrics

    def event(self, kind: str, message: str) -> None:
        """Write an event of this agent."""
        self._outputs.event(kind, message)

    def tell(self, kind: str, message: str) -> None:
        """An event that the person at the terminal should see, too."""
        self.event(kind, message)
        self._outputs.say(f"{kind}: {message}")

    def warn(self, kind: str, message: str) -> None:
        """An event that the person at the terminal should see, whichever agent it is of."""
        self._outputs.warn(kind, message)

    def finish(self, ending: str, *, unsaved: str | None = None) -> None:
        """The last event and the summary, see :meth:`Outputs.finish`."""
        if self._profile is not None:
            self._profile.close()
        self._outputs.finish(ending, unsaved=unsaved)

    def close(self) -> None:
        """Close all files."""
        if self._profile is not None:
            self._profile.close()
        self._outputs.close()

    def _profiled(self) -> Profile:
        """Let the timer be followed through the window; from its end on it is as ever."""
        from gala.telemetry.profiling import Profile, Window  # a second to load, rarely wanted

        setting, counts = self._setting, self.counts

        def finished(kind: str, message: str) -> None:
            self.end_phase = self._timer.end_phase
            self.tell(kind, message)

        profile = Profile(
            self._timer,
            Window(
                folder=setting.run.rank(setting.launch.rank) / "profile",
                rank=setting.launch.rank,
                updates=self._log.profile_updates,
                begins=setting.started + self._log.profile_after_s,
            ),
            device=setting.device,
            count=lambda: (counts.update, counts.mixes),
            finished=finished,
        )
        self.end_phase = profile.end_phase
        return profile

    def _progress(self) -> Metrics:
        now, counts, updates = time.perf_counter(), self.counts, self.updates
        seconds = max(now - self._last_time, 1e-9)
        metrics: Metrics = {"charts/SPS": (counts.step - self._last_step) / seconds}
        spent = self._timer.take()
        metrics |= {f"time/{phase}_ms": 1e3 * seconds / updates for phase, seconds in spent.items()}
        metrics |= self._resources.take() | self._usage()
        self._last_time, self._last_update, self._last_step = now, counts.update, counts.step
        return metrics


def games_of(source: Source) -> Metrics:
    """What is recorded of the games of ``source``."""
    return {
        "charts/episodic_return": _mean(source.returns),
        "charts/episodic_length": _mean(source.lengths),
        "charts/episodes": source.episodes,
        "charts/return_sum": source.return_sum,
    } | {
        f"charts/task/{task}/episodic_return": _mean(returns)
        for task, returns in source.task_returns.items()
    }


def _mean(values: deque[float] | deque[int]) -> float | None:
    return sum(values) / len(values) if values else None
