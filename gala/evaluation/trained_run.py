"""The policies that a run folder holds: each agent's newest checkpoint, and their average."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor

from gala.config.tree import Config
from gala.errors import UserError
from gala.files.atomic import write_atomic
from gala.parameters.flat import unflatten
from gala.run import checkpoint
from gala.run.config import load
from gala.run.folder import RunFolder

Layout = list[tuple[str, tuple[int, ...]]]
AgentName = int | Literal["mean"]

MEAN_FILE = "mean.safetensors"
_TAIL_BYTES = 2**18


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Parameters to evaluate.

    Attributes:
        agent: rank, or "mean" for the average of all agents.
        params: Float32[P].
        update: local updates done; of the mean: by its most advanced agent.
        step: environment steps done by this agent; of the mean: by all agents together.
    """

    agent: AgentName
    params: Tensor
    update: int
    step: int


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """What :func:`load_run` found in a run folder.

    Attributes:
        folder: its paths.
        config: the resolved configuration that trained it.
        layout: name and shape of each tensor in the flat parameters, in order.
        snapshots: the newest readable checkpoint of each agent, by rank; never empty.
        missing: ranks without a readable checkpoint.
    """

    folder: RunFolder
    config: Config
    layout: Layout
    snapshots: dict[int, Snapshot]
    missing: tuple[int, ...]

    def mean(self) -> Snapshot:
        """The averaged policy: what GALA's agents agree on."""
        parts = [each.params for each in self.snapshots.values()]
        return Snapshot(
            agent="mean",
            params=torch.stack(parts).to(torch.float64).mean(0).to(torch.float32),
            update=max(each.update for each in self.snapshots.values()),
            step=sum(each.step for each in self.snapshots.values()),
        )

    def best(self) -> Snapshot:
        """The agent whose last recorded training return is the highest.

        Chosen by training records, not by evaluation episodes, so that evaluating it is not
        biased by the choice.

        Raises:
            UserError: no agent recorded a finished episode.
        """
        returns = {rank: last_return(self.folder.metrics(rank)) for rank in self.snapshots}
        known = {rank: value for rank, value in returns.items() if value is not None}
        if not known:
            raise UserError(
                "no agent of this run recorded a finished episode",
                file=self.folder.path,
                field="--agent best",
                hint="--agent all",
            )
        return self.snapshots[max(known, key=lambda rank: known[rank])]

    def select(self, agent: str | int) -> list[Snapshot]:
        """The snapshots that ``--agent`` names: mean, best, all (mean and every agent), a rank.

        Raises:
            UserError: there is no such agent, or it has no checkpoint.
        """
        name = str(agent)
        if name == "mean":
            return [self.mean()]
        if name == "best":
            return [self.best()]
        if name == "all":
            return [self.mean(), *self.snapshots.values()]
        if not name.isdecimal():
            rule = f"must be mean, best, all or a rank, got {name!r}"
            raise UserError(rule, field="--agent")
        rank = int(name)
        if rank in self.snapshots:
            return [self.snapshots[rank]]
        agents = len(self.snapshots) + len(self.missing)
        if rank in self.missing:
            rule = f"agent {rank} has no readable checkpoint"
        else:
            rule = f"there is no agent {rank}, this run has {agents}"
        ranks = ", ".join(map(str, self.snapshots))
        raise UserError(rule, file=self.folder.path, field="--agent", hint=f"known: {ranks}")

    def export(self, path: Path | None = None) -> Path:
        """Write the averaged policy, by parameter name, as safetensors.

        Args:
            path: the file to write; None: ``mean.safetensors`` of the run folder.

        Raises:
            OSError: the file cannot be written.
        """
        mean = self.mean()
        tensors = {name: t.contiguous() for name, t in unflatten(mean.params, self.layout).items()}
        facts = {
            "format": "gala mean policy, version 1",
            "env_id": self.config.env.id,
            "network": json.dumps(self.config.to_dict()["network"]),
            "agents": json.dumps(sorted(self.snapshots)),
            "updates": json.dumps([each.update for each in self.snapshots.values()]),
            "steps": str(mean.step),
        }
        target = path if path is not None else self.folder.path / MEAN_FILE
        return write_atomic(target, safetensors.torch.save(tensors, metadata=facts))


def load_run(path: str | Path) -> TrainedRun:
    """Read configuration and newest checkpoints of a run folder.

    Raises:
        UserError: this is no run folder, its configuration is malformed, it holds no readable
            checkpoint, or its agents' networks differ.
    """
    folder = RunFolder(Path(path))
    meta = folder.read_meta()
    agents = meta.get("agents")
    if not isinstance(agents, int) or agents < 1:
        raise UserError("names no number of agents", file=folder.meta, field="agents")
    settings = load(folder.config)
    snapshots: dict[int, Snapshot] = {}
    missing = []
    layout: Layout | None = None
    for rank in range(agents):
        file = checkpoint.newest(checkpoint.folder_of(folder.path, rank))
        if file is None:
            missing.append(rank)
            continue
        state = checkpoint.load(file)
        own = _layout(state, file)
        if layout is None:
            layout = own
        elif own != layout:
            raise UserError("holds another network than agent 0's", file=file)
        snapshots[rank] = Snapshot(
            agent=rank,
            params=state["params"].to(torch.float32),
            update=int(state["update"]),
            step=int(state["step"]),
        )
    if layout is None:
        raise UserError(
            "holds no readable checkpoint yet",
            file=folder.path,
            hint="the first one is written after checkpoint.every_steps, or when the run stops",
        )
    return TrainedRun(
        folder=folder,
        config=settings,
        layout=layout,
        snapshots=snapshots,
        missing=tuple(missing),
    )


def last_return(metrics: Path) -> float | None:
    """``charts/episodic_return`` of the last record that has one, from the end of the file."""
    try:
        with open(metrics, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            record = json.loads(line)
        except ValueError:  # cut by the start of the tail, or half-written
            continue
        value = record.get("charts/episodic_return") if isinstance(record, dict) else None
        if value is not None:
            return float(value)
    return None


def _layout(state: dict[str, Any], file: Path) -> Layout:
    """The layout in a checkpoint, checked against its parameters."""
    try:
        layout = [(str(name), tuple(int(n) for n in shape)) for name, shape in state["layout"]]
        sizes = sum(torch.Size(shape).numel() for _, shape in layout)
        fits = state["params"].shape == (sizes,) and {"update", "step"} <= state.keys()
    except (KeyError, TypeError, ValueError, AttributeError):
        fits = False
    if not fits:
        raise UserError("is not a checkpoint of an agent", file=file)
    return layout
