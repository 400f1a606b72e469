"""Measuring divergence while an agent trains: sketches, the ball, policies, the alarm."""

from __future__ import annotations

import time

from torch import Tensor

from gala.agent.setting import Setting
from gala.couplings.coupling import Coupling
from gala.divergence.alarm import Alarm
from gala.divergence.layers import LayerTracker
from gala.divergence.policy import PolicyDivergence
from gala.divergence.tracker import DivergenceTracker, UpdateNorms, exact_total
from gala.files.atomic import write_atomic
from gala.parameters.flat import FlatParameters

Metrics = dict[str, float | None]
Events = list[tuple[str, str]]


class DivergenceMeter:
    """Looks at the parameters after each update, and around at the others at each tick.

    Args:
        setting: see :class:`~gala.agent.setting.Setting`.
        flat: parameters of the agent.
        norms: norms of its updates.
        coupling: reads the parameters of others.
        behaviour: compares policies on this agent's observations.

    Attributes:
        alarmed: whether an alarm, of this or another agent, is to end the run.
    """

    def __init__(
        self,
        setting: Setting,
        flat: FlatParameters,
        norms: UpdateNorms,
        coupling: Coupling,
        behaviour: PolicyDivergence,
    ) -> None:
        self._setting, self._flat, self._norms = setting, flat, norms
        self._coupling, self._behaviour = coupling, behaviour
        self.alarmed = False
        config, launch, run = setting.config.divergence, setting.launch, setting.run
        self._tracker = DivergenceTracker(
            run.path,
            rank=launch.rank,
            agents=launch.agents,
            parameters=flat.learned,
            every_s=config.every_s,
            sketch_size=config.sketch_size,
            topology=coupling.topology,
            lock_step=coupling.lock_step,
            unbound=coupling.unbound,
            incarnation=launch.incarnation,
        )
        self._layers = (
            LayerTracker(
                run.path,
                rank=launch.rank,
                agents=launch.agents,
                layout=flat.layout,
                incarnation=launch.incarnation,
            )
            if config.per_layer
            else None
        )
        self._alarm = Alarm(config.alarm_ticks, config.alarm_limit)
        self._began = time.time()
        self._kl: Metrics = {}
        self._exact: tuple[int, float] | None = None
        self._exact_next: tuple[int, float] | None = None

    def observe(self, update: int, step: int) -> Events:
        """After each update: sketch, and look around, when a tick is due.

        Returns:
            Kind and text of what the person at the terminal should see.
        """
        ticked = self._tracker.observe(
            self._flat.weights,
            update=update,
            step=step,
            update_norm=self._norms.supremum,
            mix_every=self._coupling.mix_every,
            delay=self._coupling.delay,
        )
        return self._look_around(update, step) if ticked else []

    def metrics(self) -> Metrics:
        """What to record."""
        found = self._tracker.metrics(self._norms.supremum) | self._kl
        if self._layers is not None:
            found |= self._layers.metrics()
        ball = self._tracker.ball
        if self._exact is not None and ball is not None and self._exact[0] == ball.tick:
            found["divergence/total_exact"] = self._exact[1]
        return found

    def close(self) -> None:
        """Close all files."""
        self._tracker.close()
        if self._layers is not None:
            self._layers.close()

    def _look_around(self, update: int, step: int) -> Events:
        """At a tick: everything about the ball that takes more than a sketch."""
        if self._layers is not None:
            tick = self._tracker.last_tick
            self._layers.observe(self._flat.data, tick=tick, update=update, step=step)
        self._compare(self._flat.data)
        told: Events = []
        if (event := self._tracker.event()) is not None:
            told.append(("bound", event))
        ball = self._tracker.ball
        wrong = None
        if ball is not None:
            mine = ball.to_mean.get(self._setting.launch.rank)
            if mine is not None and ball.total is not None and ball.mean_norm:
                self._coupling.measured(mine / ball.mean_norm)
            wrong = self._alarm.look(ball.ratio, ball.relative)
        if wrong is not None:
            told.append(("alarm", wrong))
        self.alarmed |= self._ends_here(wrong)
        return told

    def _compare(self, own: Tensor) -> None:
        """Parameters and policies of the others with one's own: what sketches only estimate."""
        leads = self._setting.launch.leads
        found = self._coupling.vectors(everybody=leads)
        if not found:
            return
        if leads and self._coupling.current:
            weights = [vector[: self._flat.learned] for vector in found.values()]
            # the ball of this tick is known at the next one
            self._exact, self._exact_next = (
                self._exact_next,
                (
                    self._tracker.last_tick,
                    exact_total(weights),
                ),
            )
        neighbours = self._setting.topology.in_neighbours(self._setting.launch.rank)
        self._kl = self._behaviour.from_others(own, {j: found[j] for j in neighbours if j in found})

    def _ends_here(self, wrong: str | None) -> bool:
        """Whether an alarm, of this or another agent, is to end the run."""
        if not self._setting.config.exit_on_alarm:
            return False
        if wrong is not None:
            write_atomic(self._setting.run.alarm, wrong)
            return True
        try:
            return self._setting.run.alarm.stat().st_mtime >= self._began
        except OSError:
            return False
