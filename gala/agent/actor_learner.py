"""Actor-learner: one agent's loop, as the paper's Algorithm 1: act, learn, publish, mix."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gala.agent.acting import Acting
from gala.agent.callbacks import Callbacks
from gala.agent.measuring import DivergenceMeter
from gala.agent.progress import Progress
from gala.agent.recorder import Recorder, games_of
from gala.agent.setting import Setting
from gala.agent.soundness import Soundness
from gala.couplings.coupling import Coupling, Metrics
from gala.device.streams import Stream
from gala.divergence.updates import Updates
from gala.errors import NotFinite
from gala.experience.source import Source
from gala.launch import supervisor
from gala.launch.heartbeat import Heartbeat
from gala.learning.learner import Learner, Losses
from gala.learning.replay_learner import ReplayLearner
from gala.networks.model import Model
from gala.run import checkpoint
from gala.telemetry.guard import Guard
from gala.telemetry.reader import steps_recorded

TOLD = frozenset({"insecure", "store"})
"""Events of gossip that whoever started an agent should see at its terminal, too."""

JOIN_TIMEOUT_S = 10.0
"""How long a joiner waits for the first message of a neighbour."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What an actor-learner is made of; see :mod:`gala.agent.building`."""

    setting: Setting
    stream: Stream
    model: Model
    acting: Acting
    source: Source
    learner: Learner | ReplayLearner
    coupling: Coupling
    norms: Updates
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
        unsaved: why the newest parameters lie in no checkpoint; None when they do.
        stream: the order of this agent's work on its device; enter it around :meth:`run`.
    """

    def __init__(self, parts: Parts) -> None:
        self.setting, self.stream, self.model = parts.setting, parts.stream, parts.model
        self.source, self.learner, self.coupling = parts.source, parts.learner, parts.coupling
        self.acting = parts.acting
        self.norms, self.meter = parts.norms, parts.meter
        self.progress, self.recorder = parts.progress, parts.recorder
        self.recorder.counts = self
        self._callbacks = parts.callbacks
        self._soundness = Soundness(self.model.flat, self.recorder.warn)
        self.update = 0
        self.unsaved: str | None = "no checkpoint was written"
        self._checkpoints = Guard(
            "checkpoint",
            lambda: None,
            tell=partial(self.recorder.warn, "error"),
            passes=(NotFinite, TypeError),
        )
        faults, launch = self.setting.config.faults, self.setting.launch
        at_fault = faults.concern(launch.rank)
        self._heart = Heartbeat(launch.rank - launch.local_group[0])
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
        """Train until the steps of the run are done, or until asked to stop.

        Raises:
            NotFinite: parameters or optimizer are not; nothing of them was saved or mixed.
        """
        recorder, vector = self.recorder, self.model.flat.weights
        recorder.start()
        self.source.meanwhile = self._meanwhile
        if self.coupling.begin():
            self.model.refresh()
            self.acting.restart(self.update)
            self.learner.begin_anew(self.update)
        self.meter.begin(self.update, self.step)
        self.source.learned(self.acting.revision)
        self.learner.schedule(self.progress.share(self.step))
        supervisor.tell("training")
        with suppress(_Asked):
            while self.update < self.progress.last_update(self.update, self.step):
                recorder.end_phase("other")
                self._heart.act()
                if self.source.elsewhere:
                    self._heart.rest()  # it looks after those who act
                batch = self.source.next()
                self._heart.rest()
                recorder.end_phase("collect")

                self.norms.before(vector)
                losses = self.learner.update(batch, self.coupling)
                self.norms.after(vector)
                self.update += 1
                self._soundness.examine(
                    batch, losses, self.source.faults, update=self.update, moved=self.norms.latest
                )
                self.meter.stepped(self.update)
                recorder.end_phase("learn")

                mixed = self.coupling.exchange(self.update, self.step)
                self.learner.follow(self.update, mixed=mixed)
                self._follow(self.coupling.jumped)
                recorder.end_phase("gossip")

                self.source.learned(self.acting.follow(self.update), losses.priority)
                self.learner.schedule(self.progress.share(self.step))
                if self.progress.saves_after(self.update):
                    self.save()
                self._observe(losses)
                recorder.end_phase("log")
                self._straggler.lag()
        self.save()
        self.source.done()
        self._finish()

    def save(self) -> None:
        """Write a checkpoint; a full disk or a lost folder is told and survived.

        Raises:
            NotFinite: parameters or optimizer are not; the checkpoints stay as they are.
        """
        folder = checkpoint.folder_of(self.setting.run.path, self.setting.launch.rank)
        path = checkpoint.path_of(folder, self.update)
        state, keep = self.state_dict(), self.setting.config.checkpoint.keep

        def write(_: object) -> None:
            self.setting.restore()
            checkpoint.save(folder, self.update, state, keep)

        self._checkpoints.use(write, now=True)
        self.unsaved = self._checkpoints.error
        self.progress.saved()
        if self.unsaved is None:
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
            "acting": self.acting.state_dict(),
            "update": self.update,
            "step": self.step,
            "source": self.source.state_dict(),
            "agents": self.setting.launch.agents,
            "run_steps": self.progress.run_steps(self.step) if self.coupling.lock_step else None,
            "coupling": self.coupling.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`; an optimizer state that is not finite is left out."""
        self._take_parameters(state["params"])
        self.learner.load_state_dict(state["learner"])
        if not checkpoint.finite(state["learner"]):
            self.learner.forget(state["update"])
            self.recorder.warn("optimizer", "its saved state is not finite, it begins anew")
        self.update = int(state["update"])
        self.acting.load_state_dict(state["acting"], self.update)
        self.source.load_state_dict(state["source"])
        self._count_from(state)
        if state["coupling"]:
            self.coupling.load_state_dict(state["coupling"])

    def take_place(self, state: dict[str, Any], update: int, step: int) -> None:
        """Begin as another agent was in ``state``, in a run that goes on with more agents.

        Args:
            state: of :meth:`state_dict`.
            update: to count from; in lock-step that of ``state``.
            step: environment steps that this agent has done before, if it was here once.
        """
        self._take_parameters(state["params"])
        self.learner.optimizer.load_state_dict(state["learner"]["optimizer"])
        self.learner.begin_anew(update)
        self.update, self.source.steps = update, step
        self.acting.load_state_dict(state["acting"], update)
        self._count_from(state)
        if state["coupling"]:
            self.coupling.load_state_dict(state["coupling"])

    def _take_parameters(self, params: torch.Tensor) -> None:
        own = self.model.flat.data
        if params.shape != own.shape:  # a copy would spread a single number over all
            raise ValueError(f"it holds {params.numel()} parameters, the network {own.numel()}")
        own.copy_(params)
        self.model.refresh()

    def _count_from(self, state: dict[str, Any]) -> None:
        """Count the run's steps on, as all do that go on from the same update."""
        known = state.get("run_steps")
        if known is None:
            known = state["agents"] * state["update"] * self.setting.steps_per_update
        self.progress.resume(known, self.step)

    def join(self, *, fresh: bool = False) -> str | None:
        """Come into a running group: with the parameters and the progress of a neighbour.

        What this agent's last incarnation left behind is used too: its newest checkpoint for the
        state of the optimizer, and the environment steps that it had done.

        Args:
            fresh: a neighbour's parameters are not for the optimizer that was left behind.

        Returns:
            What was done, in words; None when nobody is there and nothing was left behind.
        """
        done = []
        run, rank = self.setting.run, self.setting.launch.rank
        path = checkpoint.newest_finite(run.rank(rank) / "checkpoints", self.pass_over)
        if path is not None:
            state = checkpoint.load(path)
            if state.get("layout_hash") == self.model.flat.layout_hash:
                with checkpoint.going_on_from(path):
                    self.load_state_dict(state)
                done.append(f"optimizer of {path.name}")
        update, step = self.update, self.step
        known = max(self.coupling.steps_of(rank), steps_recorded(run.metrics(rank)))
        self.source.steps = max(self.step, known)
        header = self.coupling.join(JOIN_TIMEOUT_S)
        if header is not None:
            self.update = header.update
            if fresh:
                self.learner.forget(self.update)
                done = ["a fresh optimizer"]
            if self.coupling.lock_step:
                self.source.steps = step + (self.update - update) * self.setting.steps_per_update
            self.model.refresh()
            self.acting.restart(self.update)
            self.learner.begin_anew(self.update)
            done.insert(0, f"parameters of agent {header.rank} after update {header.update}")
        elif done:
            done.insert(0, "parameters")
        return ", ".join(done) or None

    def pass_over(self, path: Path, reason: str) -> None:
        """Say that a checkpoint is not gone on from."""
        self.recorder.warn("checkpoint", f"{path.name} is passed over: {reason}")

    def close(self) -> None:
        """Leave the gossip, close environments and files; all of it even if one fails."""
        with ExitStack() as stack:  # closes the last one first
            stack.callback(self.recorder.close)
            stack.callback(self.meter.close)
            stack.callback(self.source.close)
            stack.callback(self.coupling.close)

    def _meanwhile(self) -> None:
        """While others act and nothing comes: tell what happens there, and do not wait for ever.

        Raises:
            _Asked: this agent was asked to stop, and nobody needs its next update.
        """
        self._tell_of_source()
        self.progress.attend()
        if self.progress.ending == "stopped" and not self.coupling.lock_step:
            raise _Asked

    def _tell_of_source(self) -> None:
        for kind, message in self.source.events():
            self.recorder.warn(kind, message)

    def _follow(self, updates: int) -> None:
        """Count ``updates`` that others went through without this agent as done."""
        self.update += updates
        self.source.steps += updates * self.setting.steps_per_update
        if updates:
            self.learner.begin_anew(self.update)

    def _observe(self, losses: Losses) -> None:
        """Measure and record what the update was like."""
        for kind, message in self.meter.observe(self.update, self.step):
            self.recorder.tell(kind, message)
        self._tell_of_source()
        for kind, message in self.coupling.events():
            (self.recorder.warn if kind in TOLD else self.recorder.event)(kind, message)
        for kind, message in self.progress.events():
            self.recorder.event(kind, message)
        self.progress.alarmed |= self.meter.alarmed
        if self.recorder.due:
            self._record(losses.numbers())

    def _record(self, losses: dict[str, float]) -> None:
        more: Metrics = games_of(self.source)
        more |= {"charts/lr": self.learner.optimizer.lr, **losses}
        more["losses/skipped_updates"] = self._soundness.skipped
        more |= self.coupling.metrics(self.recorder.updates) | self.meter.metrics()
        more |= self.source.metrics()
        metrics = self.recorder.record(more)
        self._callbacks.call("record", update=self.update, step=self.step, metrics=metrics)

    def _finish(self) -> None:
        if self.recorder.unrecorded:
            self._record({})
        ending = self.progress.ending
        self._callbacks.call("end", update=self.update, step=self.step, ending=ending)
        self.recorder.finish(ending, unsaved=self.unsaved)


class _Asked(Exception):
    """The agent was asked to stop while it waited for those who act."""


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
