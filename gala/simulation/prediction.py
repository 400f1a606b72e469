"""From a scenario to what it would be like."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gala.divergence.bound import Contraction, NoBound, contraction
from gala.divergence.certificate import Certificate
from gala.errors import UserError
from gala.simulation.asynchronous import Asynchronous
from gala.simulation.links import Links, Wiring
from gala.simulation.lock_step import LockStep
from gala.simulation.scenario import Durations, Scenario, Steps, draw_factors
from gala.simulation.tally import Tally, squares_to_mean
from gala.simulation.trace import Trace
from gala.topology import Topology
from gala.topology.analysis import advice, spectrum
from gala.topology.limits import MAX_AGENTS, count

LOOKS = 400
"""Moments at which the divergence is looked at, about."""
MOST_NUMBERS = 400_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What came out.

    Distances are multiples of the norm of one update of one agent.

    Attributes:
        topology: who talked to whom.
        scenario: under which conditions.
        wall_clock_s: virtual time of the whole run.
        times, divergence: ``||X - Xbar||_F`` over time.
        tally: everything counted.
        bytes_per_agent: sent by an agent, on average.
        model: the bound for the delays that occurred, or why there is none.
        factors: Float64[N], time of an update of each agent over the mean.
        notes: what a user should know.
        final_divergence: ``||X - Xbar||_F`` at the very end.
        certificate: of that moment, where it was asked for and can be told.
    """

    topology: Topology
    scenario: Scenario
    wall_clock_s: float
    tally: Tally
    bytes_per_agent: float
    model: Contraction | NoBound
    factors: np.ndarray[Any, np.dtype[np.float64]]
    notes: list[str]
    final_divergence: float = 0.0
    certificate: Certificate | None = None

    @property
    def epsilon(self) -> float | None:
        """Worst-case bound on the divergence; None when no bound applies."""
        return self._times_updates(self.model.factor)

    @property
    def expected(self) -> float | None:
        """Expectation for independent updates; None when no bound applies."""
        return self._times_updates(self.model.noise_factor)

    def _times_updates(self, factor: float | None) -> float | None:
        return None if factor is None else factor * math.sqrt(self.topology.agents)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data; the names are fixed."""
        tally, agents = self.tally, self.topology.agents
        series = tally.divergence
        return {
            "agents": agents,
            "updates": self.scenario.updates,
            "beta": spectrum.beta(self.topology),
            "epsilon": self.epsilon,
            "divergence": {
                "mean": float(np.mean(series)),
                "max": float(np.max(series)),
                "final": series[-1],
                "to_mean_rms": float(np.mean(series)) / math.sqrt(agents),
            },
            "staleness": {
                "mean": tally.seen.mean,
                "p50": tally.seen.percentile(50),
                "p99": tally.seen.percentile(99),
                "max": tally.seen.largest,
                "shares": tally.seen.shares(),
            },
            "bytes_per_agent": self.bytes_per_agent,
            "wall_clock_s": self.wall_clock_s,
            "expected": self.expected,
            "bound": self.model.reason,
            "topology": self.topology.name,
            "mixes": tally.between.total,
            "mix_every": {
                "mean": tally.between.mean,
                "p99": tally.between.percentile(99),
                "max": tally.between.largest,
            },
            "message_age": {
                "mean": tally.age.mean,
                "p99": tally.age.percentile(99),
                "max": tally.age.largest,
                "mean_s": tally.mean_age_s,
            },
            "waited_share": tally.waited_s / max(self.wall_clock_s * agents, 1e-12),
            "deaths": tally.deaths,
            "series": {"time_s": tally.times, "divergence": series},
            "notes": self.notes,
        }


def check_size(agents: int, scenario: Scenario) -> None:
    """Whether it fits into memory; to be asked before the topology is built.

    Raises:
        UserError: it does not.
    """
    if agents > MAX_AGENTS:
        rule = f"{agents:,} agents are too many, the limit is {MAX_AGENTS:,}"
        raise UserError(rule, field="--agents", hint=f"--agents {MAX_AGENTS}")
    most = MOST_NUMBERS // agents
    if scenario.dimension > most:
        rule = f"{scenario.dimension:,} are too many, the limit for {count(agents)} is {most:,}"
        raise UserError(rule, field="--dimension", hint=f"--dimension {most}")


def simulate(topology: Topology, scenario: Scenario, *, certified: bool = False) -> Prediction:
    """Run ``scenario`` over ``topology`` under virtual time.

    Args:
        topology: who listens to whom.
        scenario: the conditions.
        certified: also certify how far apart the agents are at the end, from what happened; not for
            lock-step, whose bound needs no records, and not for thousands of agents.

    Raises:
        UserError: conditions that are not simulated, or too large for memory.
    """
    agents = topology.agents
    check_size(agents, scenario)
    _require_simulated(topology, scenario)
    generator = np.random.Generator(np.random.SFC64(scenario.seed))
    factors = draw_factors(scenario.speed, agents, generator)
    durations = Durations(scenario.update_s * factors, scenario.update_jitter, generator)
    steps = Steps(scenario.dimension, scenario.correlation, generator)
    wiring = Wiring.of(topology)
    expected_s = scenario.updates * scenario.update_s / float(np.mean(1 / factors))
    tally = Tally(expected_s / LOOKS)
    trace = Trace(agents, scenario.rounding) if certified and not scenario.lock_step else None
    if scenario.lock_step:
        lock_step = LockStep(
            topology, scenario, wiring=wiring, durations=durations, steps=steps, tally=tally,
            generator=generator,
        )  # fmt: skip
        wall_clock_s, sends = lock_step.run(), float(lock_step.sends)
        x = lock_step.x
    else:
        links = Links(wiring, scenario, shortest_s=durations.shortest_s, generator=generator)
        # no two agents begin at the same moment
        start_s = scenario.update_s * generator.random(agents)
        run = Asynchronous(
            topology, scenario, wiring=wiring, durations=durations, steps=steps, links=links,
            tally=tally, generator=generator, start_s=start_s, trace=trace,
        )  # fmt: skip
        wall_clock_s, sends = run.run(), float(links.sends.sum())
        x = run.agents.x
    found = trace.certificate() if trace is not None else None
    model = contraction(
        topology,
        delay=0 if scenario.lock_step else tally.age.largest,
        mix_every=max(tally.between.largest, tally.seen.largest, 1),
    )
    return Prediction(
        topology=topology,
        scenario=scenario,
        wall_clock_s=wall_clock_s,
        tally=tally,
        bytes_per_agent=sends / agents * scenario.message_bytes,
        model=model,
        factors=factors,
        notes=_notes(topology, scenario, wiring, tally),
        final_divergence=float(np.sqrt(squares_to_mean(x).sum())),
        certificate=found if isinstance(found, Certificate) else None,
    )


def _require_simulated(topology: Topology, scenario: Scenario) -> None:
    if scenario.lock_step and scenario.every > 1:
        raise UserError("in lock-step agents publish every update", field="--every", hint="1")
    if topology.push_sum or topology.robust:
        raise UserError(
            f"{topology.weights} weights are not simulated",
            field="--topology",
            hint="weights: uniform",
        )


def _notes(topology: Topology, scenario: Scenario, wiring: Wiring, tally: Tally) -> list[str]:
    notes = list(advice.warnings(topology, spectrum.beta(topology)))
    degree = float(np.diff(wiring.out_starts).mean())
    busy_s = degree * scenario.send_s
    if busy_s > scenario.update_s:
        needed = scenario.bandwidth_mbit or 0.0
        needed *= busy_s / scenario.update_s
        notes.append(
            f"the links are saturated: sending one update to {degree:.3g} out-neighbours takes "
            f"{busy_s:.3g} s and computing it {scenario.update_s:.3g} s, so that most versions are "
            f"never sent; {needed:.3g} Mbit/s, or fewer out-neighbours, would be enough"
        )
    if tally.seen.largest > 10 * max(tally.seen.mean, 1):
        notes.append(
            f"the stalest agent went {tally.seen.largest} updates without a mix, the mean is "
            f"{tally.seen.mean:.2g}; --max-staleness bounds it, at the price of waiting"
        )
    return notes
