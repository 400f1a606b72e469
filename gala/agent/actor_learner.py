"""Actor-learner: one agent's loop, as the paper's Algorithm 1: act, learn, publish, mix."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from gala.agent.callbacks import Callbacks
from gala.agent.measuring import DivergenceMeter
from gala.agent.progress import Progress
from gala.agent.recorder import Recorder
from gala.agent.setting import Setting
from gala.couplings.coupling import Coupling, Metrics
from gala.device.streams import Stream
from gala.divergence.tracker import UpdateNorms
from gala.experience.source import Source
from gala.launch import supervisor
from gala.learning.learner import Learner, Losses
from gala.networks.model import Model
from gala.run import checkpoint
from gala.telemetry.reader import steps_recorded

JOIN_TIMEOUT_S = 10.0
"""How long a joiner waits for the first message of a neighbour."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What an actor-learner is made of; see :mod:`gala.agent.building`."""

    setting: Setting
    stream: Stream
    model: Model
    source: Source
    learner: Learner
    coupling: Coupling
    norms: UpdateNorms
    meter: DivergenceMeter
    progress: Progress
    recorder: Recorder
    callbacks: Callbacks


class ActorLearner:
    """Acts, learns, publishes and mixes until the run is done.

    Args:
        parts: of this agent; closed by :meth:`close`.

    Attributes:
        update: local updates done.
        stream: the order of this agent's work on its device; enter it around :meth:`run`.
    """

    def __init__(self, parts: Parts) -> None:
        self.setting, self.stream, self.model = parts.setting, parts.stream, parts.model
        self.source, self.learner, self.coupling = parts.source, parts.learner, parts.coupling
        self.norms, self.meter = parts.norms, parts.meter
        self.progress, self.recorder = parts.progress, parts.recorder
        self.recorder.counts = self
        self._callbacks = parts.callbacks
        self.update = 0
        faults = self.setting.config.faults
        at_fault = faults.concern(self.setting.launch.rank)
        self._straggler = Straggler(faults.slowdown if at_fault else 1.0)

    @property
    def step(self) -> int:
        """Environment steps done by this agent."""
        return self.source.steps

    @property
    def mixes(self) -> int:
        """Mixes with neighbours so far."""
        return self.coupling.mixes

    @property
    def alarmed(self) -> bool:
        """Whether an alarm ended the run."""
        return self.progress.alarmed

    def run(self) -> None:
        """Train until the steps of the run are done, or until asked to stop."""
        recorder, vector = self.recorder, self.model.flat.weights
        recorder.start()
        self.source.learned(self.model.revision)
        self.learner.schedule(self.progress.share(self.step))
        supervisor.tell("training")
        while self.update < self.progress.last_update(self.update, self.step):
            recorder.end_phase("other")
            batch = self.source.next()
            recorder.end_phase("collect")

            self.norms.before(vector)
            losses = self.learner.update(batch, self.coupling)
            self.norms.after(vector)
            self.update += 1
            recorder.end_phase("learn")

            if self.coupling.exchange(self.update, self.step):
                self.model.refresh()
            recorder.end_phase("gossip")

            self.source.learned(self.model.revision)
            self.learner.schedule(self.progress.share(self.step))
            if self.progress.saves_after(self.update):
                self.save()
            self._observe(losses)
            recorder.end_phase("log")
            self._straggler.lag()
        self.save()
        self._finish()

    def save(self) -> None:
        """Write a checkpoint; a full disk is reported and survived."""
        folder = self.setting.run.rank(self.setting.launch.rank) / "checkpoints"
        try:
            path = checkpoint.save(
                folder, self.update, self.state_dict(), self.setting.config.checkpoint.keep
            )
        except checkpoint.CheckpointError as error:
            self.recorder.event("error", f"checkpoint not written: {error}")
        else:
            self.recorder.event("checkpoint", path.name)
            self._callbacks.call("checkpoint", update=self.update, step=self.step, path=path)

    def state_dict(self) -> dict[str, Any]:
        """Everything from which the run goes on, as plain data and tensors."""
        flat = self.model.flat
        return {
            "params": flat.data.detach().cpu().clone(),
            "layout": [[name, list(shape)] for name, shape in flat.layout],
            "layout_hash": flat.layout_hash,
            "learner": self.learner.state_dict(),
            "update": self.update,
            "step": self.step,
            "source": self.source.state_dict(),
            "agents": self.setting.launch.agents,
            "coupling": self.coupling.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.model.flat.data.copy_(state["params"])
        self.model.refresh()
        self.learner.load_state_dict(state["learner"])
        self.update = state["update"]
        self.source.load_state_dict(state["source"])
        if state["coupling"]:
            self.coupling.load_state_dict(state["coupling"])

    def join(self) -> str | None:
        """Come into a running group: with the parameters and the progress of a neighbour.

        What this agent's last incarnation left behind is used too: its newest checkpoint for the
        state of the optimizer, and the environment steps that it had done.

        Returns:
            What was done, in words; None when nobody is there and nothing was left behind.
        """
        done = []
        run, rank = self.setting.run, self.setting.launch.rank
        path = checkpoint.newest(run.rank(rank) / "checkpoints")
        if path is not None:
            state = checkpoint.load(path)
            if state["layout_hash"] == self.model.flat.layout_hash:
                self.load_state_dict(state)
                done.append(f"optimizer of {path.name}")
        known = max(self.coupling.steps_of(rank), steps_recorded(run.metrics(rank)))
        self.source.steps = max(self.step, known)
        header = self.coupling.join(JOIN_TIMEOUT_S)
        if header is not None:
            self.update = header.update
            if self.coupling.lock_step:
                self.source.steps = self.update * self.setting.steps_per_update
            self.model.refresh()
            done.insert(0, f"parameters of agent {header.rank} after update {header.update}")
        return ", ".join(done) or None

    def close(self) -> None:
        """Leave the gossip, close environments and files; all of it even if one fails."""
        with ExitStack() as stack:  # closes the last one first
            stack.callback(self.recorder.close)
            stack.callback(self.meter.close)
            stack.callback(self.source.close)
            stack.callback(self.coupling.close)

    def _observe(self, losses: Losses) -> None:
        """Measure and record what the update was like."""
        for kind, message in self.meter.observe(self.update, self.step):
            self.recorder.tell(kind, message)
        for kind, message in self.coupling.events():
            self.recorder.event(kind, message)
        self.progress.alarmed |= self.meter.alarmed
        if self.recorder.due:
            self._record(losses.numbers())

    def _record(self, losses: dict[str, float]) -> None:
        more: Metrics = {"charts/lr": self.learner.optimizer.lr, **losses}
        more |= self.coupling.metrics(self.recorder.updates) | self.meter.metrics()
        metrics = self.recorder.record(self.source, more)
        self._callbacks.call("record", update=self.update, step=self.step, metrics=metrics)

    def _finish(self) -> None:
        if self.recorder.unrecorded:
            self._record({})
        ending = self.progress.ending
        self._callbacks.call("end", update=self.update, step=self.step, ending=ending)
        self.recorder.finish(ending)


class Straggler:
    """Makes this process slower than it is (``faults.slowdown``).

    Args:
        slowdown: factor on the time of an update.
    """

    def __init__(self, slowdown: float) -> None:
        self._more = slowdown - 1.0
        self._since = time.perf_counter()

    def lag(self) -> None:
        """Waste what a slower machine would have needed on top since the last call."""
        if self._more:
            time.sleep(self._more * (time.perf_counter() - self._since))
            self._since = time.perf_counter()
