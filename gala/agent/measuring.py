"""Measuring divergence while an agent trains: sketches, the ball, policies, the alarm."""

from __future__ import annotations

import time
from collections.abc import Callable

from torch import Tensor

from gala.agent.setting import Setting
from gala.couplings.coupling import Coupling
from gala.divergence.alarm import Alarm
from gala.divergence.ball import Ball, exact_total
from gala.divergence.layers import LayerTracker
from gala.divergence.mixing_effect import MixingEffect
from gala.divergence.policy import PolicyDivergence
from gala.divergence.tracker import DivergenceTracker
from gala.divergence.updates import Updates
from gala.files.atomic import write_atomic
from gala.parameters.flat import FlatVector
from gala.telemetry.guard import Guard
from gala.telemetry.history import NAME, History

Metrics = dict[str, float | None]
Events = list[tuple[str, str]]


def open_history(setting: Setting) -> History | None:
    """Where what a certificate needs is recorded; None: there is nothing, or no room for it."""
    launch = setting.launch
    if setting.config.coupling != "gossip" or launch.agents < 2:
        return None
    try:
        path = setting.run.rank(launch.rank) / NAME
        number = int(setting.run_id, 16) >> 1  # of the launch, within 63 bits
        return History(path, incarnation=launch.incarnation, launch=number)
    except OSError:  # the event "bound" says that there are no records
        return None


class DivergenceMeter:
    """Looks at the parameters after each update, and around at the others at each tick.

    Args:
        setting: see :class:`~gala.agent.setting.Setting`.
        flat: parameters of the agent.
        norms: norms of its updates.
        coupling: reads the parameters of others.
        behaviour: compares policies on this agent's observations.
        history: where what happens to the parameters is recorded; None: nowhere.
        tell: is told when something cannot be written, and when it can again.

    Attributes:
        alarmed: whether an alarm, of this or another agent, is to end the run.
    """

    def __init__(
        self,
        setting: Setting,
        flat: FlatVector,
        norms: Updates,
        coupling: Coupling,
        behaviour: PolicyDivergence,
        history: History | None = None,
        tell: Callable[[str], object] = lambda text: None,
    ) -> None:
        self._setting, self._flat, self._norms = setting, flat, norms
        self._coupling, self._behaviour, self._history = coupling, behaviour, history
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
            history=history,
            unbound=coupling.unbound,
            incarnation=launch.incarnation,
            tell=tell,
        )
        self._layers = (
            LayerTracker(
                run.path,
                rank=launch.rank,
                agents=launch.agents,
                layout=flat.layout,
                incarnation=launch.incarnation,
                tell=tell,
            )
            if config.per_layer
            else None
        )
        self._effect = (
            MixingEffect(flat.data, flat.learned, behaviour) if coupling.topology else None
        )
        self._alarm_file = Guard(str(run.alarm), lambda: run.alarm, tell=tell)
        self._alarm = Alarm(config.alarm_ticks, config.alarm_limit)
        self._began = time.time()
        self._kl: Metrics = {}
        self._exact: tuple[int, float] | None = None
        self._exact_next: tuple[int, float] | None = None

    @property
    def ball(self) -> Ball | None:
        """The newest measurement."""
        return self._tracker.ball

    def begin(self, update: int, step: int) -> None:
        """Before the first update of this incarnation."""
        self._tracker.begin(self._flat.weights, update=update, step=step)

    def stepped(self, update: int) -> None:
        """After each step of the learner, before the mix: record its length; when a tick is due
        its direction, and keep what the mix is compared with.
        """
        if self._history is not None:
            self._history.step(update, self._norms.latest)
        due = self._tracker.tick(update) is not None
        if due:
            self._tracker.stepped(self._norms.step(self._flat.weights), update=update)
        if self._effect is not None:
            if due:
                self._effect.want()
            self._effect.before(self._coupling.mixes, self._norms.latest)

    def observe(self, update: int, step: int) -> Events:
        """After each update: sketch, and look around, when a tick is due.

        Returns:
            Kind and text of what the person at the terminal should see.
        """
        if self._effect is not None:
            self._effect.after(self._coupling.mixes)
        if self._tracker.tick(update) is None:
            return []
        self._tracker.observe(
            self._flat.weights,
            update=update,
            step=step,
            update_norm=self._norms.supremum,
            mix_every=self._coupling.mix_every,
            delay=self._coupling.delay,
        )
        return self._look_around(update, step)

    def metrics(self) -> Metrics:
        """What to record."""
        found = self._tracker.metrics(self._norms.supremum) | self._kl
        if self._layers is not None:
            found |= self._layers.metrics()
        if self._effect is not None:
            found |= self._effect.metrics()
        ball = self._tracker.ball
        if self._exact is not None and ball is not None and self._exact[0] == ball.tick:
            found["divergence/total_exact"] = self._exact[1]
        return found

    def close(self) -> None:
        """Close all files."""
        self._tracker.close()
        if self._history is not None:
            self._history.close()
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
        ball = self._tracker.fresh
        wrong = None
        if ball is not None:
            mine = ball.to_mean.get(self._setting.launch.rank)
            if mine is not None and ball.total is not None and ball.mean_norm:
                self._coupling.measured(mine / ball.mean_norm)
            wrong = self._alarm.look(
                ball.ratio, ball.relative, bounded=not ball.skipped and ball.total is not None
            )
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
            self._alarm_file.use(lambda path: write_atomic(path, wrong), now=True)
            return True
        try:
            return self._setting.run.alarm.stat().st_mtime >= self._began
        except OSError:
            return False
