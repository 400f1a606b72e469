"""A run that was, as the conditions of a simulation: what its folder tells of updates and times.

Divergence is in proportion to the length of updates, so that all there is to know of training is
that length, how much updates agree, and when they happen:

- lengths: root mean square of each tick's steps (``history.bin``);
- agreement: cosine between the agents' steps at the ticks, and in how many directions the rest of
  them goes (``steps.bin``);
- times: of an update of each agent, in the mean (``sketches.bin``). How they vary from update to
  update nobody records; it is found from what it does: simulated agents must be as stale as those
  of the run (``history.bin``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gala.errors import UserError
from gala.files.yaml import load_yaml
from gala.simulation.prediction import simulate
from gala.simulation.scenario import Scenario
from gala.telemetry.history import NAME, Kind, read_history
from gala.telemetry.reader import number, rank_folders, read_json
from gala.telemetry.sketches import read_sketches
from gala.topology import Topology, load_topology

FEWEST_TICKS = 3
"""Moments at which the whole run must have been measured."""
MOST_UPDATES = 4000
"""Of each agent, that are simulated: enough for a mean."""
MOST_JITTER = 2.0
HALVINGS = 7
MOST_DIMENSIONS = 64
"""Beyond so many directions a sum of updates has about the length that is to be expected."""

Records = NDArray[np.void]


@dataclass(frozen=True, kw_only=True)
class PastRun:
    """What a run was like.

    Attributes:
        topology: who listened to whom.
        updates: of each agent, in the mean.
        update_s: mean time of an update of all agents.
        factors: of each agent: its time of an update over that.
        staleness: mean number of updates since the last mix, after each exchange.
        step_cosine: cosine between the agents' updates, mean weighted by their lengths.
        dimension: directions that what is each agent's own in them goes to, about.
        update_norm: root mean square of an update's length, in the middle of the run (median).
        update_size: the same over the length of the parameters.
        divergence: ``||X - Xbar||_F`` as it was measured (median).
        parameters: of the network.
        wire: format of messages.
        max_staleness: updates without a mix before an agent waited; None: never.
        policy: what it did then.
        ticks: moments at which all agents were measured.
    """

    topology: Topology
    updates: int
    update_s: float
    factors: tuple[float, ...]
    staleness: float
    step_cosine: float
    dimension: int
    update_size: float
    update_norm: float
    divergence: float
    parameters: int
    wire: str
    max_staleness: int | None
    policy: str
    ticks: int

    def scenario(self, seed: int = 1) -> Scenario:
        """The conditions under which the run took place."""
        rough = Scenario(
            updates=min(self.updates, MOST_UPDATES),
            update_s=self.update_s,
            speed="each:" + ":".join(f"{factor:.6g}" for factor in self.factors),
            max_staleness=self.max_staleness,
            policy="skip" if self.policy == "skip" else "wait",
            parameters=self.parameters,
            wire=self.wire,
            update_size=self.update_size,
            correlation=min(max(self.step_cosine, 0.0), 0.999),
            dimension=self.dimension,
            seed=seed,
        )
        return replace(rough, update_jitter=self._jitter(rough))

    def _jitter(self, rough: Scenario) -> float:
        """Variation of times with which agents are as stale as those of the run."""
        if rough.lock_step:
            return 0.0
        low, high = 0.0, MOST_JITTER
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            found = simulate(self.topology, replace(rough, update_jitter=middle))
            if found.tally.seen.mean < self.staleness:
                low = middle
            else:
                high = middle
        return (low + high) / 2


def read_past_run(path: Path) -> PastRun:
    """What the folder of a run tells.

    Raises:
        UserError: it is no run of agents that gossip, or too short to tell.
    """
    folders = rank_folders(path)
    meta = read_json(path / "meta.json")
    agents = meta.get("agents")
    if not folders or not isinstance(agents, int):
        raise UserError("is no run folder", field="--from-run", file=path)
    gossip = _gossip_of(path)
    if meta.get("coupling") != "gossip" or agents < 2:
        raise _cannot(path, "its agents did not gossip")
    if gossip.get("epsilon_target") is not None or gossip.get("trigger", "none") != "none":
        raise _cannot(path, "agents that publish seldom are not simulated")
    everybody = {rank: folders[rank] for rank in range(agents) if rank in folders}
    if len(everybody) < agents:
        raise _cannot(path, "the folders of some agents are missing")
    sketches = {r: read_sketches(folder / "sketches.bin") for r, folder in everybody.items()}
    steps = {rank: read_sketches(folder / "steps.bin") for rank, folder in everybody.items()}
    for files in (sketches, steps):
        sizes = {each.dtype for each in files.values() if len(each)}
        if len(sizes) > 1 or not all(np.isfinite(each["sketch"]).all() for each in files.values()):
            raise _cannot(path, "its sketches are damaged")
    ticks = _common(sketches)
    histories = {rank: read_history(folder / NAME) for rank, folder in everybody.items()}
    lengths = _lengths(histories, ticks)
    if len(lengths) < FEWEST_TICKS:
        raise _cannot(path, f"all agents were measured at {len(lengths)} moments only")
    cosine, dimension = _agreement(steps)
    paces = np.array([_pace(records) for records in sketches.values()])
    mean_s = float(1 / np.mean(1 / paces))
    update_norm = float(np.median(list(lengths.values())))
    length = float(np.median(np.concatenate([records["norm"] for records in sketches.values()])))
    waits = gossip.get("max_staleness")
    return PastRun(
        topology=load_topology(path / "topology.json", agents),
        updates=max(int(np.mean([records["update"].max() for records in sketches.values()])), 1),
        update_s=mean_s,
        factors=tuple(float(pace) for pace in paces / mean_s),
        staleness=float(np.mean([_staleness(log) for log in histories.values()])),
        step_cosine=cosine,
        dimension=dimension,
        update_size=update_norm / max(length, 1e-12),
        update_norm=update_norm,
        divergence=float(np.median([_divergence(sketches, tick) for tick in lengths])),
        parameters=max(int(number(meta.get("parameters")) or 0), 1),
        wire=str(gossip.get("wire_format", "float32")),
        max_staleness=waits if isinstance(waits, int) else None,
        policy=str(gossip.get("staleness_policy", "wait")),
        ticks=len(lengths),
    )


def _cannot(path: Path, why: str) -> UserError:
    return UserError(f"cannot be simulated: {why}", field="--from-run", file=path)


def _gossip_of(path: Path) -> Mapping[str, Any]:
    """The section of the run's configuration."""
    found = load_yaml(path / "config.yaml").data
    gossip = found.get("gossip") if isinstance(found, dict) else None
    return gossip if isinstance(gossip, dict) else {}


def _common(sketches: Mapping[int, Records]) -> list[int]:
    """Ticks of which all agents have a sketch, in order."""
    ticks = [set(records["tick"][records["tick"] >= 0].tolist()) for records in sketches.values()]
    return sorted(set.intersection(*ticks))


def _pace(records: Records) -> float:
    """Seconds of an update, in the mean; pauses between launches count, where there were any."""
    done = int(records["update"][-1] - records["update"][0])
    return max(float(records["t"][-1] - records["t"][0]), 1e-9) / max(done, 1)


def _lengths(histories: Mapping[int, Records], ticks: Sequence[int]) -> dict[int, float]:
    """Root mean square of all agents' steps since the tick before, by tick, where all have some."""
    found: dict[int, list[float]] = {tick: [] for tick in ticks}
    for log in histories.values():
        before = 0
        for at in np.flatnonzero(log["kind"] == Kind.CUT).tolist():
            part = log[before:at]
            before = at
            steps = part["value"][part["kind"] == Kind.STEP]
            if (tick := int(log["number"][at])) in found and len(steps):
                found[tick].append(float(np.mean(steps**2)))
    whole = {tick: each for tick, each in found.items() if len(each) == len(histories)}
    return {tick: float(np.sqrt(np.mean(each))) for tick, each in whole.items()}


def _staleness(log: Records) -> float:
    """Mean number of updates since the last mix, right before each update but the first."""
    kinds = log["kind"][(log["kind"] == Kind.STEP) | (log["kind"] == Kind.MIX)]
    seen, since = [], 0
    for kind in kinds.tolist():
        if kind == Kind.STEP:
            seen.append(since)
            since += 1
        else:
            since = 0
    return float(np.mean(seen[1:])) if len(seen) > 1 else 0.0


def _agreement(steps: Mapping[int, Records]) -> tuple[float, int]:
    """Cosine between the steps of all pairs of agents, and dimension of the rest.

    Independent directions of D dimensions have a mean squared cosine of 1 / D.
    """
    ticks = _common(steps)
    if not ticks:
        return 0.0, MOST_DIMENSIONS
    rows = np.stack([[_row(records, tick) for records in steps.values()] for tick in ticks])
    lengths = np.linalg.norm(rows, axis=2)
    pairs = ~np.eye(rows.shape[1], dtype=bool)
    products = np.einsum("tim,tjm->tij", rows, rows)[:, pairs].sum()
    weights = np.einsum("ti,tj->tij", lengths, lengths)[:, pairs].sum()
    own = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(own, axis=2, keepdims=True)
    unit = (own / np.where(length > 0, length, 1.0)).reshape(-1, rows.shape[2])
    tick = np.repeat(np.arange(len(ticks)), rows.shape[1])
    apart = tick[:, None] != tick[None, :]
    squared = float(np.mean(((unit @ unit.T) ** 2)[apart])) if apart.any() else 0.0
    squared -= 1.0 / rows.shape[2]  # what sketches add
    dimension = MOST_DIMENSIONS if squared <= 1 / MOST_DIMENSIONS else max(round(1 / squared), 2)
    return float(products / weights) if weights else 0.0, dimension


def _divergence(sketches: Mapping[int, Records], tick: int) -> float:
    rows = np.stack([_row(records, tick) for records in sketches.values()])
    return float(np.linalg.norm(rows - rows.mean(axis=0)))


def _row(records: Records, tick: int) -> NDArray[np.float64]:
    return np.asarray(records[records["tick"] == tick][-1]["sketch"], np.float64)
