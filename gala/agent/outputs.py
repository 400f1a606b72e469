"""What one agent writes to: files, TensorBoard, W&B, the terminal. Each of them fails alone."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from gala.agent.setting import Setting
from gala.errors import printable
from gala.files import standard_streams, text_log
from gala.files.atomic import write_atomic
from gala.telemetry.aggregate import AggregateSink
from gala.telemetry.console import Console
from gala.telemetry.guard import Guard
from gala.telemetry.reader import RunReader
from gala.telemetry.standing import standing_of
from gala.telemetry.tensorboard import TensorBoardSink, event_file_name
from gala.telemetry.wandb import WandbSink
from gala.telemetry.writer import MetricsWriter

Metrics = dict[str, float | None]
T = TypeVar("T")


class Outputs:
    """Writes whatever is to be written, wherever it is to go; raises nothing.

    Args:
        setting: see :class:`~gala.agent.setting.Setting`.
        reader: the records of all agents.
        console: the display of the run; None for agents that show nothing.

    Attributes:
        stamp: update and step of the agent now.
    """

    def __init__(self, setting: Setting, reader: RunReader, console: Console | None) -> None:
        self._setting, self._reader = setting, reader
        self._guards: list[Guard[object]] = []
        self.stamp: Callable[[], tuple[int, int]] = lambda: (0, 0)
        rank, run = setting.launch.rank, setting.run
        incarnation = setting.launch.incarnation
        self._rank, self._started, self._identified = rank, time.time(), False
        self._records = self._guard(
            run.metrics(rank),
            partial(MetricsWriter, run.metrics(rank), rank=rank, incarnation=incarnation),
            MetricsWriter.close,
        )
        self._identity = self._guard(run.rank(rank) / "agent.json", lambda: None)
        self._console = None if console is None else self._guard("console", lambda: console)
        self._tensorboard, self._aggregate = self._event_files(console)
        self._wandb = _wandb(setting)
        standard_streams.copy_errors(run.log(rank))
        self._identify()  # before anything else is told of this agent

    def _guard(
        self,
        name: str | Path,
        open: Callable[[], T],
        close: Callable[[T], object] = lambda output: None,
    ) -> Guard[T]:
        """A guard whose failures are told here, at once and in the closing lines."""
        made = Guard(str(name), open, tell=partial(self.warn, "error"), close=close)
        self._guards.append(made)  # type: ignore[arg-type]
        return made

    def start(self) -> None:
        """Show what will run."""
        self._identify()
        if self._console is not None:
            self._console.use(Console.start)

    def record(self, metrics: Metrics) -> None:
        """Write one record, and show the newest of all agents."""
        update, step = self.stamp()
        self._identify()
        self._records.use(lambda file: file.record(metrics, update=update, step=step))
        if self._tensorboard is not None:
            self._tensorboard.use(lambda sink: sink.record(metrics, step=step))
        if self._wandb is not None:
            self._wandb.record(metrics, step=step)
            self._hear_of_wandb()
        if self._aggregate is not None or self._console is not None:
            self._reader.poll()
        if self._aggregate is not None:
            standing = standing_of(self._reader, time.time())
            self._aggregate.use(lambda sink: sink.record(self._reader.latest, standing))
        if self._console is not None:
            self._console.use(Console.show)

    def event(self, kind: str, message: str, *, now: bool = False) -> None:
        """Write an event."""
        update, step = self.stamp()
        self._records.use(lambda file: file.event(kind, message, update=update, step=step), now=now)
        when = time.strftime("%Y-%m-%d %H:%M:%S")
        line = printable(f"{when}  update {update}  step {step}  {kind}: {message}\n")
        text_log.append(self._setting.run.log(self._rank), line.encode("utf-8", "backslashreplace"))

    def say(self, text: str) -> bool:
        """A line for the person at the terminal; whether it was shown."""
        return self._console is not None and self._console.use(lambda shown: shown.say(text))

    def warn(self, kind: str, message: str) -> None:
        """An event, and a line on the terminal whichever agent this is."""
        self.event(kind, message)
        if not self.say(f"{kind}: {message}"):
            self._complain(kind, message)

    def finish(self, ending: str, *, unsaved: str | None) -> None:
        """The last event and the summary, with all that was lost.

        Args:
            ending: ``done``, ``stopped`` or ``alarm``.
            unsaved: why the last checkpoint is missing; None when it is not.
        """
        self.event("done" if ending == "done" else "stop", ending, now=True)
        lost = [f"{g.name}: {g.lost} left out" for g in self._guards if g.lost and g.error is None]
        lost += [f"{g.name}: {g.lost} left out: {g.error}" for g in self._guards if g.error]
        if unsaved is not None:
            lost.insert(0, f"the last checkpoint is missing: {unsaved}")
        shown = self._console is not None and self._console.use(
            lambda shown: shown.finish(
                stopped=ending != "done", lost=lost, unsaved=unsaved is not None
            ),
            now=True,
        )
        if not shown:
            for line in lost:
                self._complain("error", line)

    def close(self) -> None:
        """Close all of them."""
        for guard in self._guards:
            guard.close()
        if self._wandb is not None:
            self._wandb.close()
            self._hear_of_wandb()
            self._records.close()

    def _complain(self, kind: str, message: str) -> None:
        agent = f"agent {self._rank}: " if self._setting.launch.agents > 1 else ""
        with contextlib.suppress(OSError, ValueError):
            line = printable(f"gala: {agent}{kind}: {message}")
            print(line, file=sys.stderr, flush=True)

    def _identify(self) -> None:
        """Say once which process this agent is."""
        if self._identified:
            return
        facts = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "incarnation": self._setting.launch.incarnation,
            "run_id": self._setting.run_id,
            "started": self._started,
        }
        path = self._setting.run.rank(self._rank) / "agent.json"
        self._identified = self._identity.use(lambda _: write_atomic(path, json.dumps(facts)))

    def _hear_of_wandb(self) -> None:
        if self._wandb is not None and (problem := self._wandb.problem()) is not None:
            self.event("error", problem)
            self.say(f"error: {problem}")

    def _event_files(
        self, console: Console | None
    ) -> tuple[Guard[TensorBoardSink] | None, Guard[AggregateSink] | None]:
        """TensorBoard's, of this agent and of the run; opened again they go on where they were."""
        setting, name = self._setting, event_file_name()
        if not setting.config.log.tensorboard:
            return None, None
        folder = setting.run.path / "tensorboard"
        mine, whole = folder / f"rank_{self._rank:02d}", folder / "aggregate"
        own = self._guard(mine, lambda: TensorBoardSink(mine, name), TensorBoardSink.close)
        if not setting.launch.leads:
            return own, None

        def aggregate() -> AggregateSink:
            return AggregateSink(
                whole,
                name,
                hyperparameters={
                    **setting.config.to_dict(),
                    "topology": setting.topology.name,
                    "agents": setting.launch.agents,
                },
                session=setting.run_id,
                independent=setting.config.coupling == "none",
                texts={
                    "run": console.opening if console is not None else [],
                    "topology": setting.topology.draw().splitlines(),
                },
            )

        return own, self._guard(whole, aggregate, AggregateSink.close)


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
