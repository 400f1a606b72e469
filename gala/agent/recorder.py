"""What one agent notices while it trains: times, metrics, divergence, and the others' reports."""

from __future__ import annotations

import json
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from gala.couplings.coupling import Gossip
from gala.couplings.pace import EpsilonPace
from gala.divergence.alarm import Alarm
from gala.divergence.layers import LayerTracker
from gala.divergence.tracker import DivergenceTracker, UpdateNorms, exact_total
from gala.files.atomic import write_atomic
from gala.gossip import GossipNode
from gala.learning.a2c import statistics
from gala.telemetry.aggregate import AggregateSink
from gala.telemetry.console import Console
from gala.telemetry.phases import PhaseTimer
from gala.telemetry.reader import RunReader, steps_recorded
from gala.telemetry.tensorboard import TensorBoardSink
from gala.telemetry.wandb import WandbSink
from gala.telemetry.writer import MetricsWriter

if TYPE_CHECKING:
    from gala.agent.actor_learner import ActorLearner
    from gala.telemetry.profiling import Profile

Metrics = dict[str, float | None]


class Observer:
    """Writes the records of one agent and, on rank 0, shows the run.

    Attributes:
        norms: norms of the local updates.
        end_phase: says what the time since the last call was spent on.
        steps_before: environment steps that earlier lives of this agent recorded.
    """

    def __init__(
        self, agent: ActorLearner, console: Callable[[RunReader], Console] | None = None
    ) -> None:
        self._agent = agent
        setting = agent.setting
        self._log = setting.config.log
        rank, run = setting.launch.rank, setting.run
        self.norms = UpdateNorms(
            agent.flat.data, exact=agent.coupling.lock_step, stream=agent.stream
        )
        self.steps_before = steps_recorded(run.metrics(rank))
        life = setting.launch.life
        self._writer = MetricsWriter(run.metrics(rank), rank=rank, incarnation=life)
        self._reader = RunReader(run.path)
        self._tensorboard = (
            TensorBoardSink(run.path / "tensorboard" / f"rank_{rank:02d}")
            if self._log.tensorboard
            else None
        )
        self._wandb = (
            WandbSink(
                self._log.wandb,
                group=setting.run_id,
                rank=rank,
                folder=run.path,
                config={**setting.config.to_dict(), "agents": setting.launch.agents},
            )
            if self._log.wandb is not None
            else None
        )
        node = self._node
        self._tracker = DivergenceTracker(
            run.path,
            rank=rank,
            agents=setting.launch.agents,
            parameters=agent.flat.data.numel(),
            every_s=setting.config.divergence.every_s,
            sketch_size=setting.config.divergence.sketch_size,
            topology=setting.topology if node is not None else None,
            lock_step=agent.coupling.lock_step,
            unbound=(
                "messages are mixed one by one, as they come"
                if node is not None and node.partial
                else None
            ),
            incarnation=life,
        )
        divergence = setting.config.divergence
        self._layers = (
            LayerTracker(
                run.path,
                rank=rank,
                agents=setting.launch.agents,
                layout=agent.flat.layout,
                incarnation=life,
            )
            if divergence.per_layer
            else None
        )
        self._alarm = Alarm(divergence.alarm_ticks, divergence.alarm_limit)
        self._kl: Metrics = {}
        self._began = time.time()
        self._console = console(self._reader) if console is not None else None
        self._aggregate = (
            AggregateSink(
                run.path / "tensorboard" / "aggregate",
                hyperparameters={
                    **setting.config.to_dict(),
                    "topology": setting.topology.name,
                    "agents": setting.launch.agents,
                },
                session=setting.run_id,
                texts={
                    "run": self._console.opening if self._console is not None else [],
                    "topology": setting.topology.draw().splitlines(),
                },
            )
            if self._log.tensorboard and setting.launch.leads
            else None
        )
        self._timer = PhaseTimer()
        self.end_phase: Callable[[str], None] = self._timer.end_phase
        self._profile = self._profiled() if setting.config.profile and life == 0 else None
        self._others: dict[int, int] = {}
        self._exact: tuple[int, float] | None = None
        self._exact_next: tuple[int, float] | None = None
        self._staleness_max = 0
        self._waited_s = 0.0
        self._last_update = self._last_step = 0
        self._last_time = time.perf_counter()
        write_atomic(
            run.rank(rank) / "agent.json",
            json.dumps(
                {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "incarnation": life,
                    "started": time.time(),
                }
            ),
        )

    @property
    def _node(self) -> GossipNode | None:
        coupling = self._agent.coupling
        return coupling.node if isinstance(coupling, Gossip) else None

    @property
    def _paced(self) -> bool:
        coupling = self._agent.coupling
        return isinstance(coupling, Gossip) and coupling.pace is not None

    def start(self) -> None:
        """Note the start; call right before the first update."""
        self._last_update, self._last_step = self._agent.update, self._agent.step
        self._last_time = time.perf_counter()
        self._timer.start()
        self._poll()
        self.event("start", f"update {self._agent.update}, step {self._agent.step}")
        if self._console is not None:
            self._console.start()

    def observe(self, losses: dict[str, Tensor]) -> bool:
        """After each update: sketch when a tick is due, record when ``log.every_s`` have passed.

        Returns:
            Whether an alarm is to end the run.
        """
        agent, node = self._agent, self._node
        if node is not None:
            self._staleness_max = max(self._staleness_max, node.staleness)
        ticked = self._tracker.observe(
            agent.flat.data,
            update=agent.update,
            step=agent.step,
            update_norm=self.norms.supremum,
            mix_every=node.mix_every if node is not None else 1,
            delay=node.delay if node is not None else 0,
        )
        while node is not None and node.news:
            self.event(*node.news.popleft())
        alarm = self._look_around() if ticked else False
        if time.perf_counter() - self._last_time >= self._log.every_s:
            self._record(losses)
        return alarm

    def _look_around(self) -> bool:
        """At a tick: everything about the ball that takes more than a sketch."""
        agent, node, ball = self._agent, self._node, self._tracker.ball
        if self._layers is not None:
            self._layers.observe(
                agent.flat.data, tick=self._tracker.last_tick, update=agent.update, step=agent.step
            )
        if node is not None:
            # one host, one look into all mailboxes: what the sketches only estimate
            leads = agent.setting.launch.leads
            found = node.snapshot(None if leads else node.neighbours)
            if leads and not self._paced:  # else mailboxes hold what was sent long ago
                # the ball of this tick is known at the next one
                self._exact, self._exact_next = (
                    self._exact_next,
                    (self._tracker.last_tick, exact_total(found.values())),
                )
            others = {j: found[j] for j in node.neighbours if j in found}
            self._kl = agent.behaviour.from_others(agent.flat.data, others)
        if (news := self._tracker.news()) is not None:
            self._tell("bound", news)
        if ball is None:
            return self._ends_here(None)
        coupling = agent.coupling
        if isinstance(coupling, Gossip) and isinstance(coupling.pace, EpsilonPace):
            mine = ball.to_mean.get(agent.setting.launch.rank)
            if mine is not None and ball.total is not None and ball.mean_norm:
                coupling.pace.controller.measured(mine / ball.mean_norm)
        wrong = self._alarm.look(ball.ratio, ball.relative)
        if wrong is not None:
            self._tell("alarm", wrong)
        return self._ends_here(wrong)

    def _tell(self, kind: str, message: str) -> None:
        """An event that the person at the terminal should see, too."""
        self.event(kind, message)
        if self._console is not None:
            self._console.say(f"{kind}: {message}")

    def _tell_of_wandb(self) -> None:
        if self._wandb is not None and (problem := self._wandb.problem()) is not None:
            self._tell("error", problem)

    def _ends_here(self, wrong: str | None) -> bool:
        """Whether an alarm, of this or another agent, is to end the run."""
        setting = self._agent.setting
        if not setting.config.exit_on_alarm:
            return False
        if wrong is not None:
            write_atomic(setting.run.alarm, wrong)
            return True
        try:
            return setting.run.alarm.stat().st_mtime >= self._began
        except OSError:
            return False

    def steps_of_others(self) -> int:
        """Environment steps of all other agents, never more than they did.

        Messages tell as it happens; without them the newest records do, at most ``log.every_s``
        old.
        """
        node, setting = self._node, self._agent.setting
        if node is None:
            return sum(self._others.values())
        return sum(
            max(self._others.get(rank, 0), node.transport.steps(rank))
            for rank in range(setting.launch.agents)
            if rank != node.rank
        )

    def event(self, kind: str, message: str) -> None:
        """Write an event of this agent."""
        self._writer.event(kind, message, update=self._agent.update, step=self._agent.step)

    def finish(self, kind: str) -> None:
        """The last record and the summary."""
        if self._profile is not None:
            self._profile.close()
        if self._agent.update > self._last_update:
            self._record({})
        self.event("done" if kind == "done" else "stop", kind)
        if self._console is not None:
            self._console.finish(stopped=kind != "done")

    def close(self) -> None:
        """Close all files."""
        if self._profile is not None:
            self._profile.close()
        self._tracker.close()
        if self._layers is not None:
            self._layers.close()
        for sink in (self._tensorboard, self._aggregate, self._wandb):
            if sink is not None:
                sink.close()
        self._tell_of_wandb()
        self._writer.close()

    def _profiled(self) -> Profile:
        """Let the timer be followed through the window; from its end on they are as ever."""
        from gala.telemetry.profiling import Profile, Window

        agent, setting = self._agent, self._agent.setting
        rank = setting.launch.rank

        def finished(kind: str, message: str) -> None:
            self.end_phase = self._timer.end_phase
            self._tell(kind, message)

        profile = Profile(
            self._timer,
            Window(
                folder=setting.run.rank(rank) / "profile",
                rank=rank,
                updates=self._log.profile_updates,
                begins=setting.started + self._log.profile_after_s,
            ),
            device=setting.device,
            count=lambda: (
                agent.update,
                agent.coupling.node.counters.mixes if isinstance(agent.coupling, Gossip) else 0,
            ),
            finished=finished,
        )
        self.end_phase = profile.end_phase
        return profile

    def _record(self, losses: dict[str, Tensor]) -> None:
        agent = self._agent
        metrics = self._progress_metrics()
        if losses:
            metrics |= statistics(losses)
        metrics |= self._gossip_metrics()
        metrics |= self._tracker.metrics(self.norms.supremum) | self._kl
        if self._layers is not None:
            metrics |= self._layers.metrics()
        ball = self._tracker.ball
        if self._exact is not None and ball is not None and self._exact[0] == ball.tick:
            metrics["divergence/total_exact"] = self._exact[1]
        self._writer.record(metrics, update=agent.update, step=agent.step)
        for sink in (self._tensorboard, self._wandb):
            if sink is not None:
                sink.record(metrics, step=agent.step)
        self._tell_of_wandb()
        self._poll()
        if self._aggregate is not None:
            self._aggregate.record(self._reader.latest)
        if self._console is not None:
            self._console.show()

    def _progress_metrics(self) -> Metrics:
        agent, now = self._agent, time.perf_counter()
        seconds = max(now - self._last_time, 1e-9)
        updates = max(agent.update - self._last_update, 1)
        metrics: Metrics = {
            "charts/SPS": (agent.step - self._last_step) / seconds,
            "charts/episodic_return": _mean(agent.collector.returns),
            "charts/episodic_length": _mean(agent.collector.lengths),
            "charts/episodes": agent.collector.episodes,
            "charts/return_sum": agent.collector.return_sum,
            "charts/lr": agent.algorithm.optimizer.lr,
        }
        metrics |= {
            f"time/{phase}_ms": 1e3 * spent / updates for phase, spent in self._timer.take().items()
        }
        self._updates_since = updates
        self._last_time, self._last_update, self._last_step = now, agent.update, agent.step
        return metrics

    def _gossip_metrics(self) -> Metrics:
        node = self._node
        if node is None:
            return {}
        counters, now = node.counters, time.time()
        metrics: Metrics = {
            "gossip/staleness": node.staleness,
            "gossip/staleness_max": max(self._staleness_max, node.staleness),
            "gossip/mixes": counters.mixes,
            "gossip/messages_sent": counters.sent,
            "gossip/messages_refused": sum(node.refused.values()),
            **{f"gossip/refused/{r.name.lower()}": n for r, n in node.refused.items()},
            "gossip/bytes_sent": node.bytes_sent,
            "gossip/bytes_received": counters.bytes_received,
            "gossip/wait_ms": 1e3 * (counters.waited_s - self._waited_s) / self._updates_since,
        }
        for j in node.neighbours:
            header = node.messages.get(j)
            metrics[f"gossip/in/{j}/age_s"] = now - header.time if header else None
            metrics[f"gossip/in/{j}/version"] = header.version if header else None
            metrics[f"gossip/in/{j}/state"] = int(node.peer_state(j))
        coupling = self._agent.coupling
        if isinstance(coupling, Gossip) and isinstance(coupling.pace, EpsilonPace):
            metrics["gossip/period"] = coupling.pace.period
            metrics["gossip/degree"] = coupling.pace.degree
        self._staleness_max, self._waited_s = 0, counters.waited_s
        return metrics

    def _poll(self) -> None:
        self._reader.poll()
        rank = self._agent.setting.launch.rank
        self._others = {
            each: int(record.get("step") or 0)
            for each, record in self._reader.latest.items()
            if each != rank
        }


def _mean(values: deque[float] | deque[int]) -> float | None:
    return sum(values) / len(values) if values else None
