"""One measured run: speed, the split of the time, memory, and how long it took to begin."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from gala.bench.live_run import LiveRun
from gala.errors import UserError
from gala.telemetry.phases import PHASES

WARM_UP_S = 3.0
"""Training before anything is measured: caches, allocators, the first mixes."""

ENDLESS = 10**9


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is run.

    Attributes:
        name: of the row.
        agents: number of agents.
        arguments: of ``gala train``.
        prepare: called when all agents train, before the warm-up.
    """

    name: str
    agents: int
    arguments: tuple[object, ...]
    prepare: Callable[[LiveRun], object] = lambda run: None


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What was found.

    Attributes:
        case: name of the case.
        steps_per_second: environment steps of all agents.
        phases_ms: by phase, milliseconds per update, mean of the agents.
        overhead: share of the time that is neither environments and inference nor the update.
        memory_mb: largest resident memory of an agent's process, mean; None where unknown.
        start_s: from the command until the last agent begins its first update.
    """

    case: str
    steps_per_second: float
    phases_ms: dict[str, float]
    overhead: float
    memory_mb: float | None
    start_s: float


def _pong(agents: int, envs: int) -> Case:
    return Case(
        name=f"Pong, {agents} agent{'s' * (agents > 1)} x {envs}",
        agents=agents,
        arguments=("pong-paper", "--env.num-envs", envs),
    )


CASES = (
    _pong(2, 16),
    Case(name="CartPole, 4 agents x 8", agents=4, arguments=("cartpole",)),
    _pong(4, 4),
    _pong(1, 16),
    _pong(4, 16),
    _pong(8, 16),
)
"""Environments are counted per agent."""

QUICK = CASES[:2]


def measure(
    case: Case, seconds: float, beside: AbstractContextManager[object] | None = None
) -> Measurement:
    """Train for ``seconds`` after a warm-up, with everything on that a run has on.

    Args:
        case: what to run.
        seconds: of the measured time.
        beside: entered for that time, to measure something else.

    Raises:
        UserError: the run did not come to train.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = LiveRun(
            Path(folder) / "run", case.agents, *case.arguments, "--total-steps", ENDLESS
        )  # fmt: skip
        try:
            run.wait_until(run.all_train)
            case.prepare(run)
            run.watch(WARM_UP_S)
            with beside or nullcontext():
                start = time.time()
                run.watch(seconds)
                end = time.time()
            memory = [peak_mb(run.pid(rank)) for rank in range(case.agents)]
        except RuntimeError:
            raise UserError(f"{case.name}: {run.last_words()}") from None
        finally:
            run.finish()
    rows = [r for each in run.records.values() for r in each if start <= r["t"] <= end]
    if not rows:
        raise UserError(f"{case.name}: no update within {seconds:g} s")
    phases = {phase: statistics.fmean(r[f"time/{phase}_ms"] for r in rows) for phase in PHASES}
    known = [each for each in memory if each is not None]
    return Measurement(
        case=case.name,
        steps_per_second=run.rate(list(range(case.agents)), start, end),
        phases_ms=phases,
        overhead=1.0 - (phases["collect"] + phases["learn"]) / sum(phases.values()),
        memory_mb=statistics.fmean(known) if known else None,
        start_s=run.began(),
    )


def peak_mb(pid: int) -> float | None:
    """Largest resident memory of a process so far; None where the system does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    line = next((each for each in status.splitlines() if each.startswith("VmHWM:")), None)
    return int(line.split()[1]) / 1024 if line is not None else None
