"""Recorder: what is written and shown of one agent. It takes values and steers nothing."""

from __future__ import annotations

import json
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from gala.agent.setting import Setting
from gala.experience.source import Source
from gala.files.atomic import write_atomic
from gala.telemetry.aggregate import AggregateSink
from gala.telemetry.console import Console
from gala.telemetry.phases import PhaseTimer
from gala.telemetry.reader import RunReader
from gala.telemetry.tensorboard import TensorBoardSink
from gala.telemetry.wandb import WandbSink
from gala.telemetry.writer import MetricsWriter

if TYPE_CHECKING:
    from gala.telemetry.profiling import Profile

Metrics = dict[str, float | None]


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

    Attributes:
        counts: what the agent has done; set by the agent, whatever is written is stamped with it.
        end_phase: says what the time since the last call was spent on.
    """

    def __init__(
        self,
        setting: Setting,
        reader: RunReader,
        console: Callable[[RunReader], Console] | None = None,
    ) -> None:
        self._setting, self._reader = setting, reader
        self.counts: Counts
        self._log = setting.config.log
        rank, run = setting.launch.rank, setting.run
        incarnation = setting.launch.incarnation
        self._writer = MetricsWriter(run.metrics(rank), rank=rank, incarnation=incarnation)
        self._console = console(reader) if console is not None else None
        self._tensorboard = (
            TensorBoardSink(run.path / "tensorboard" / f"rank_{rank:02d}")
            if self._log.tensorboard
            else None
        )
        self._wandb = _wandb(setting)
        self._aggregate = _aggregate(setting, self._console)
        self._timer = PhaseTimer()
        self.end_phase: Callable[[str], None] = self._timer.end_phase
        self._profile: Profile | None = None
        self._last_update = self._last_step = 0
        self._last_time = time.perf_counter()
        facts = {"pid": os.getpid(), "host": socket.gethostname(), "incarnation": incarnation}
        write_atomic(run.rank(rank) / "agent.json", json.dumps({**facts, "started": time.time()}))

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
        if self._console is not None:
            self._console.start()

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

    def record(self, source: Source, more: Metrics) -> Metrics:
        """Write a record: progress and times, returns of ``source``, and what else there is.

        Returns:
            All of it, by name.
        """
        metrics = self._progress(source) | more
        update, step = self.counts.update, self.counts.step
        self._writer.record(metrics, update=update, step=step)
        for sink in (self._tensorboard, self._wandb):
            if sink is not None:
                sink.record(metrics, step=step)
        self._tell_of_wandb()
        if self._aggregate is not None or self._console is not None:
            self._reader.poll()
        if self._aggregate is not None:
            self._aggregate.record(self._reader.latest)
        if self._console is not None:
            self._console.show()
        return metrics

    def event(self, kind: str, message: str) -> None:
        """Write an event of this agent."""
        self._writer.event(kind, message, update=self.counts.update, step=self.counts.step)

    def tell(self, kind: str, message: str) -> None:
        """An event that the person at the terminal should see, too."""
        self.event(kind, message)
        if self._console is not None:
            self._console.say(f"{kind}: {message}")

    def finish(self, ending: str) -> None:
        """The last event and the summary."""
        if self._profile is not None:
            self._profile.close()
        self.event("done" if ending == "done" else "stop", ending)
        if self._console is not None:
            self._console.finish(stopped=ending != "done")

    def close(self) -> None:
        """Close all files."""
        if self._profile is not None:
            self._profile.close()
        for sink in (self._tensorboard, self._aggregate, self._wandb):
            if sink is not None:
                sink.close()
        self._tell_of_wandb()
        self._writer.close()

    def _tell_of_wandb(self) -> None:
        if self._wandb is not None and (problem := self._wandb.problem()) is not None:
            self.tell("error", problem)

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

    def _progress(self, source: Source) -> Metrics:
        now, counts, updates = time.perf_counter(), self.counts, self.updates
        seconds = max(now - self._last_time, 1e-9)
        metrics: Metrics = {
            "charts/SPS": (counts.step - self._last_step) / seconds,
            "charts/episodic_return": _mean(source.returns),
            "charts/episodic_length": _mean(source.lengths),
            "charts/episodes": source.episodes,
            "charts/return_sum": source.return_sum,
        }
        spent = self._timer.take()
        metrics |= {f"time/{phase}_ms": 1e3 * seconds / updates for phase, seconds in spent.items()}
        self._last_time, self._last_update, self._last_step = now, counts.update, counts.step
        return metrics


def _wandb(setting: Setting) -> WandbSink | None:
    if setting.config.log.wandb is None:
        return None
    return WandbSink(
        setting.config.log.wandb,
        group=setting.run_id,
        rank=setting.launch.rank,
        folder=setting.run.path,
        config={**setting.config.to_dict(), "agents": setting.launch.agents},
    )


def _aggregate(setting: Setting, console: Console | None) -> AggregateSink | None:
    if not (setting.config.log.tensorboard and setting.launch.leads):
        return None
    return AggregateSink(
        setting.run.path / "tensorboard" / "aggregate",
        hyperparameters={
            **setting.config.to_dict(),
            "topology": setting.topology.name,
            "agents": setting.launch.agents,
        },
        session=setting.run_id,
        texts={
            "run": console.opening if console is not None else [],
            "topology": setting.topology.draw().splitlines(),
        },
    )


def _mean(values: deque[float] | deque[int]) -> float | None:
    return sum(values) / len(values) if values else None
