"""Measures the epsilon-ball while training runs, without any collective operation.

Each agent appends a sketch of its parameters to its own file, at ticks that all agents share, and
looks at what the others appended. Distances and certificates come from those records alone, so the
measurement needs nothing but the run folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from gala.divergence.agreement import Agreement
from gala.divergence.ball import Ball, measure
from gala.divergence.certifier import Certifier
from gala.divergence.sketch import Sketcher, relative_error
from gala.telemetry.history import History, begin_tick
from gala.telemetry.sketches import guard_sketches
from gala.topology import Topology

LOCK_STEP_TICK = 50
"""Updates between two sketches where all agents do equal updates (lock-step, allreduce)."""

MANY = 16
"""Agents beyond which distances are recorded to the neighbours alone."""

Metrics = dict[str, float | None]


class DivergenceTracker:
    """Writes this agent's sketches and measures the ball from everybody's.

    Args:
        run_dir: the run folder.
        rank: index of this agent.
        agents: number of agents.
        parameters: P.
        every_s: seconds between ticks.
        sketch_size: buckets of a sketch.
        topology: for the bound; None when agents do not gossip (no bound applies).
        lock_step: ticks count updates instead of seconds, so that equal updates are compared.
        history: where what happens to the parameters is recorded; None: it is not, and nothing can
            be certified.
        unbound: why no model tells of this gossip; None where one may.
        incarnation: restarts of this agent so far.
        tell: is told when sketches cannot be written, and when they can again.

    Attributes:
        ball: the newest measurement.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        rank: int,
        agents: int,
        parameters: int,
        every_s: float,
        sketch_size: int,
        topology: Topology | None,
        lock_step: bool,
        history: History | None = None,
        unbound: str | None = None,
        incarnation: int = 0,
        tell: Callable[[str], object] = lambda text: None,
    ) -> None:
        self._files = [run_dir / f"rank_{i:02d}" / "sketches.bin" for i in range(agents)]
        self._rank, self._every_s, self._lock_step = rank, every_s, lock_step
        self._topology, self._unbound = topology, unbound
        self._incarnation, self._history = incarnation, history
        self._sketcher = Sketcher(parameters, sketch_size)
        self._writer = guard_sketches(self._files[rank], sketch_size, tell)
        self._certifier = Certifier(run_dir, agents, sketch_size) if history is not None else None
        self._agreement = Agreement(
            run_dir, rank=rank, agents=agents, sketch=self._sketcher, tell=tell
        )
        # Sketches are taken where a tick begins; one taken in the middle of the first would be
        # compared with those of agents that started earlier or later.
        self._last_tick = self._tick_of(0)
        self._looked = (0, self._last_tick)  # an update, and the tick in which it ended
        self.ball: Ball | None = None
        self._bounded: Ball | None = None  # the newest one with a certificate, or a model's bound
        self._known: tuple[frozenset[int], str] | None = None
        self._rumour: tuple[frozenset[int], str] | None = None

    @property
    def fresh(self) -> Ball | None:
        """The ball of the tick before the one that is on; None where nobody measured it.

        What watches or steers takes this one: :attr:`ball` stays when measurements cease.
        """
        ball = self.ball
        return ball if ball is not None and ball.tick == self._last_tick - 1 else None

    @property
    def last_tick(self) -> int:
        """The tick that is on."""
        return self._last_tick

    def event(self) -> str | None:
        """Text of an event: what became of the bound when an agent died or came back.

        Call it once at every tick: what two ticks in a row say is believed, as an agent can be late
        for one. None when nothing changed. The first time it also says why there is no bound, or
        which model it comes from; of a certificate for everybody there is nothing to say.
        """
        ball, agents = self.ball, len(self._files)
        if ball is None or agents < 2 or ball.skipped:
            return None
        kind = "none" if ball.epsilon is None else "proven" if ball.proven else "model"
        now = frozenset(ball.to_mean), kind
        rumoured, self._rumour = self._rumour, now
        if now != rumoured:
            return None
        before, self._known = self._known, now
        everybody = len(now[0]) == agents
        if now == before or (before is None and everybody and ball.proven):
            return None
        if ball.epsilon is None:
            return ball.reason
        beta = "" if ball.beta is None else f"beta {ball.beta:.3f}, "
        return (
            f"{len(now[0])} of {agents} agents are measured: "
            f"{beta}epsilon {ball.epsilon:.3g} ({ball.reason})"
        )

    def tick(self, update: int) -> int | None:
        """The tick that is due at ``update``, or None when the last one is still on.

        The same before and after the mix, so that the step and the parameters of a tick are of one
        update, wherever the clock goes on to the next tick.
        """
        if self._looked[0] != update:
            self._looked = (update, self._tick_of(update))
        tick = self._looked[1]
        return tick if tick != self._last_tick else None

    def _tick_of(self, update: int) -> int:
        return update // LOCK_STEP_TICK if self._lock_step else int(time.time() / self._every_s)

    def begin(self, vector: Tensor, *, update: int, step: int) -> None:
        """Sketch the parameters that this incarnation begins with.

        For one that adopted nobody's: what it has is not in the records of others.
        """
        self._sketch(vector, begin_tick(self._incarnation), update=update, step=step)

    def stepped(self, step: Tensor, *, update: int) -> None:
        """Sketch an update, before the mix that follows; for the tick that is due.

        Args:
            step: Float[P], what the learner added.
            update: local updates done.
        """
        tick = self.tick(update)
        if tick is not None:
            self._agreement.write(step, tick, update=update, incarnation=self._incarnation)

    def observe(
        self,
        vector: Tensor,
        *,
        update: int,
        step: int,
        update_norm: float,
        mix_every: int = 1,
        delay: int = 0,
    ) -> bool:
        """At a new tick: append the sketch of ``vector``, then measure the previous tick.

        The previous one, because by now every living agent has written its sketch of it.

        Returns:
            Whether a tick began.
        """
        tick = self.tick(update)
        if tick is None:
            return False
        self._last_tick = tick
        self._sketch(
            vector,
            tick,
            update=update,
            step=step,
            update_norm=update_norm,
            mix_every=mix_every,
            delay=delay,
        )
        certify = self._certifier.certify if self._certifier is not None else None
        ball = measure(
            self._files,
            tick - 1,
            self._topology,
            certify,
            lock_step=self._lock_step,
            unbound=self._unbound,
        )
        if ball is not None:
            self.ball = ball
            if not ball.skipped:
                self._bounded = ball
        self._agreement.measure(tick - 1)
        return True

    def _sketch(
        self,
        vector: Tensor,
        tick: int,
        *,
        update: int,
        step: int,
        update_norm: float = 0.0,
        mix_every: int = 1,
        delay: int = 0,
    ) -> None:
        sketch, t = self._sketcher(vector), time.time()
        if self._history is not None:
            self._history.cut(tick, t)  # first: who sees the sketch finds its place in the records
        self._writer.use(
            lambda file: file.append(
                t=t,
                tick=tick,
                update=update,
                step=step,
                incarnation=self._incarnation,
                norm=float(vector.norm()),
                update_norm=update_norm,
                mix_every=mix_every,
                delay=delay,
                sketch=sketch,
            )
        )

    def metrics(self, update_norm: float) -> Metrics:
        """The newest measurement as records of ``metrics.jsonl``."""
        result: Metrics = {"divergence/update_norm": update_norm}
        ball = self.ball
        if ball is None:
            return result
        mine = ball.to_mean.get(self._rank) if ball.total is not None else None
        relative = mine / ball.mean_norm if mine is not None and ball.mean_norm else None
        bounded = self._bounded or ball
        proven = None if bounded.epsilon is None else float(bounded.proven)
        return (
            result
            | {
                "divergence/to_mean": mine,
                "divergence/total": ball.total,
                "divergence/relative": relative,
                "divergence/sketch_error": relative_error(self._sketcher.size),
                "divergence/epsilon": bounded.epsilon,
                "divergence/expected": bounded.expected,
                "divergence/epsilon_ratio": bounded.ratio,
                "divergence/expected_ratio": bounded.agreement,
                "divergence/proven": proven,
                "divergence/mean_drift": bounded.drift,
                "divergence/beta": ball.beta,
                "divergence/agents": len(ball.to_mean),
            }
            | self._apart(ball)
            | self._agreement.metrics()
        )

    def _apart(self, ball: Ball) -> Metrics:
        """Distances to all others, or to the in-neighbours where there are many."""
        ranks = list(ball.to_mean)
        if self._rank not in ball.to_mean:
            return {}
        if len(ranks) > MANY and self._topology is not None:
            shown = set(self._topology.in_neighbours(self._rank)) & set(ranks)
        else:
            shown = set(ranks[:MANY]) - {self._rank}
        row = ball.apart[ranks.index(self._rank)]
        return {f"divergence/to/{j}": float(row[ranks.index(j)]) for j in sorted(shown)}

    def close(self) -> None:
        """Close the own files."""
        self._writer.close()
        self._agreement.close()
