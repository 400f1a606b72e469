"""The node that ``with gala.gossip(...)`` yields: one agent's part, beside a loop of its own."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import torch

from gala.couplings.coupling import Coupling
from gala.divergence.updates import Updates
from gala.launch.launch import Launch
from gala.library.carrying import Carried
from gala.library.optimizers import Steps
from gala.library.recording import Recording, metrics_of
from gala.topology import Topology

JOIN_TIMEOUT_S = 10.0
"""How long one that comes back waits for the first message of a neighbour."""


class Gossiping:
    """Node of one agent; made by :func:`gala.library.api.gossip`.

    Attributes:
        rank: index of this agent.
        neighbours: agents that this one averages with.
        update: exchanges so far.
        step: environment steps that the loop logged; else steps of its optimizers.
    """

    def __init__(
        self,
        *,
        launch: Launch,
        topology: Topology,
        carried: Carried,
        coupling: Coupling,
        norms: Updates,
    ) -> None:
        self.rank, self.agents = launch.rank, launch.agents
        self.neighbours = tuple(topology.in_neighbours(launch.rank))
        self._carried, self._coupling, self._norms = carried, coupling, norms
        self._pushes = topology.push_sum
        self._recording: Recording | None = None
        self._steps: Steps | None = None
        self._logged_step: int | None = None
        self._counted = 0
        self._seen: tuple[int, ...] = (launch.rank,)
        self._told = self._closed = False
        self.update = 0

    def attach(self, steps: Steps, recording: Recording | None) -> None:
        """Begin: from now on what the loop does is exchanged and recorded."""
        self._steps, self._recording = steps, recording
        if recording is not None:
            recording.start()

    @property
    def step(self) -> int:
        """Environment steps that the loop logged; steps of its optimizers before the first."""
        if self._logged_step is not None:
            return self._logged_step
        return self._counted + (self._steps.total if self._steps is not None else 0)

    @property
    def staleness(self) -> int:
        """Exchanges since the last mix."""
        node = self._coupling.node
        return node.staleness if node is not None else 0

    @property
    def mixes(self) -> int:
        """Mixes so far, as :attr:`mix_count`."""
        return self._coupling.mixes

    @property
    def mix_count(self) -> int:
        """Mixes so far."""
        return self._coupling.mixes

    @property
    def alarmed(self) -> bool:
        """Whether an alarm sounded; with ``options={"exit_on_alarm": True}``, of any agent."""
        return self._recording is not None and self._recording.meter.alarmed

    @property
    def seen(self) -> tuple[int, ...]:
        """The ranks that the last :attr:`divergence` is of."""
        return self._seen

    @property
    def divergence(self) -> float:
        """``||x_i - mean||_2``: of this agent's parameters as they are to the mean of :attr:`seen`.

        Of every other agent the newest parameters count that it published and that can be read:
        within a host all, between hosts those of neighbours. Exact but for the wire format; it
        copies everybody's parameters: ask every few seconds. Under push-sum, where messages are
        sums, it is the newest measurement in the run folder. ``nan`` where nobody else is seen.
        """
        if self.agents == 1:
            return 0.0
        if self._pushes:
            return self._measured()
        found = self._coupling.vectors(everybody=True)
        self._seen = tuple(sorted(found.keys() | {self.rank}))
        if len(self._seen) == 1:
            return math.nan
        own = self._carried.now()
        others = [found[j][: self._carried.learned] for j in self._seen if j != self.rank]
        return float((own - torch.stack([own, *others]).mean(0)).norm())

    @property
    def certificate(self) -> float | None:
        """Bound on ``||X - Xbar||_F``, proven for what happened; None: no run folder, or not yet.

        It is the ``divergence/epsilon`` of records (docs/epsilon-ball.md).
        """
        if self._recording is None:
            return None
        found = self._recording.meter.metrics()
        return found.get("divergence/epsilon") if found.get("divergence/proven") else None

    def log(self, values: Mapping[str, Any], *, step: int | None = None) -> None:
        """Take numbers by name for the records of this agent; without a run folder: nothing.

        ``charts/episodic_return`` is the return that every tool shows. Of several values between
        two records (``log.every_s``) the mean is recorded.

        Args:
            values: numbers, or tensors of one.
            step: environment steps of this agent so far.

        Raises:
            TypeError: a value is no number, or ``step`` no whole number.
            ValueError: a name that records use themselves, or a negative ``step``.
        """
        numbers = metrics_of(values)
        if step is not None:
            if isinstance(step, bool) or int(step) != step:
                raise TypeError(f"log: step must be a whole number, got {step!r}")
            if step < 0:
                raise ValueError(f"log: step must be at least 0, got {step}")
            self._logged_step = int(step)
        if self._recording is not None and not self._closed:
            self._recording.log(numbers)

    def state_dict(self) -> dict[str, Any]:
        """What goes into a checkpoint of the loop, beside its model and optimizer: plain data."""
        return {
            "update": self.update,
            "step": self.step,
            "logged": self._logged_step is not None,
            "coupling": self._coupling.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`; before the first exchange.

        Parameters are the loop's: ``gala.gossip(..., start=state)`` does this and leaves them as
        they are, where the start of rank 0 would take their place.

        Raises:
            ValueError: this is no such state.
        """
        try:
            update, step = int(state["update"]), int(state["step"])
            coupling, logged = state["coupling"], bool(state["logged"])
            if coupling and self._coupling.node is not None:
                self._coupling.load_state_dict(coupling)
        except (KeyError, TypeError, ValueError):
            raise ValueError("start: must be 'rank0', 'own', or a node.state_dict()") from None
        self.update = update
        self._logged_step, self._counted = (step, 0) if logged else (None, step)

    def join(self) -> bool:
        """Take over a living neighbour's parameters; whether there was one."""
        self._carried.collect()
        header = self._coupling.join(JOIN_TIMEOUT_S)
        if header is None:
            return False
        self.update = header.update
        self._carried.distribute()
        return True

    def exchange(self) -> None:
        """After a step of the optimizers: publish, mix, measure."""
        if self._closed or (self._recording is None and self._coupling.node is None):
            self.update += 1
            return
        recording, weights = self._recording, self._carried.weights
        if recording is not None:
            recording.end_phase("other")
        self._norms.before(weights)
        self._carried.collect()
        self._norms.after(weights)
        self.update += 1
        if not math.isfinite(self._norms.latest):
            self._tell_not_finite()
            return
        if recording is not None:
            recording.meter.stepped(self.update)
        if self._coupling.exchange(self.update, self.step):
            self._carried.distribute()
        self.update += self._coupling.jumped
        if recording is not None:
            recording.end_phase("gossip")
            recording.look()
            recording.end_phase("log")

    def close(self) -> None:
        """Stop gossiping; the neighbours go on without this agent. May be called twice."""
        self._close("done")

    def __enter__(self) -> Gossiping:
        """This object."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the gossip, also when the loop raised."""
        self._close("done" if kind is None else "stopped")

    def _close(self, ending: str) -> None:
        if self._closed:
            return
        self._closed = True
        if self._steps is not None:
            self._steps.close()
        with contextlib.ExitStack() as stack:
            stack.callback(self._coupling.close)
            if self._recording is not None:
                self._recording.close("alarm" if self.alarmed else ending)

    def _measured(self) -> float:
        if self._recording is None:
            self._seen = (self.rank,)
            return math.nan
        ball = self._recording.meter.ball
        if ball is None or ball.total is None or self.rank not in ball.to_mean:
            self._seen = (self.rank,)
            return math.nan
        self._seen = tuple(sorted(ball.to_mean))
        return ball.to_mean[self.rank]

    def _tell_not_finite(self) -> None:
        """Once: neighbours would refuse it, and a mix cannot mend it."""
        if self._told:
            return
        self._told = True
        text = f"parameters are not finite after update {self.update}: nothing is exchanged"
        if self._recording is not None:
            self._recording.warn("error", text)
        else:
            print(f"gala: agent {self.rank}: error: {text}", file=sys.stderr, flush=True)
