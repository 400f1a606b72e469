"""The policies that a run folder holds: each agent's newest checkpoint, and their average."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor

from gala.config.arguments import OF_POLICIES
from gala.config.tasks import name_of
from gala.config.tree import Config
from gala.errors import UserError, printable
from gala.files import commands
from gala.files.atomic import write_atomic
from gala.files.yaml import load_yaml
from gala.parameters.duals import NAME as DUALS
from gala.parameters.flat import unflatten
from gala.run import checkpoint
from gala.run.config import from_document
from gala.run.folder import RunFolder
from gala.telemetry.reader import NEWEST_BYTES, Tail, number
from gala.telemetry.standing import FAR_BEHIND

Layout = list[tuple[str, tuple[int, ...]]]
AgentName = int | Literal["mean"]

MEAN_FILE, POLICY_FILE = "mean.safetensors", "policy.safetensors"


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
        snapshots: the newest readable checkpoint of each agent, by rank, if its parameters are
            finite; never empty (where a step was asked for: the newest that is not after it).
        missing: ranks without a readable checkpoint.
        spoilt: ranks whose newest readable checkpoint is not finite, and its name.
        exported: whether it is one policy without a run, see :mod:`gala.policy.exported`.
    """

    folder: RunFolder
    config: Config
    layout: Layout
    snapshots: dict[int, Snapshot]
    missing: tuple[int, ...]
    spoilt: dict[int, str] = field(default_factory=dict)
    exported: bool = False

    @property
    def independent(self) -> bool:
        """Whether its agents never shared a parameter: the mean of them is nobody's policy."""
        apart = self.config.coupling in ("none", *OF_POLICIES)
        return apart and (self.config.agents or 1) > 1

    @property
    def duals(self) -> int:
        """How many duals of an algorithm are among the parameters."""
        return sum(shape[0] for name, shape in self.layout if name == DUALS)

    def mean(self) -> Snapshot:
        """The averaged policy: what GALA's agents agree on, without those of :meth:`left_out`."""
        parts = [self.snapshots[rank].params for rank in self.averaged]
        return Snapshot(
            agent="mean",
            params=torch.stack(parts).to(torch.float64).mean(0).to(torch.float32),
            update=max(each.update for each in self.snapshots.values()),
            step=sum(each.step for each in self.snapshots.values()),
        )

    @property
    def averaged(self) -> tuple[int, ...]:
        """The agents that the mean is of."""
        first = max(each.update for each in self.snapshots.values())
        enough = FAR_BEHIND * first
        return tuple(rank for rank, each in self.snapshots.items() if each.update >= enough)

    def left_out(self) -> dict[int, str]:
        """Why agents are not in the mean, by rank: words that follow ``agent 1``."""
        reasons = dict.fromkeys(self.missing, "has no readable checkpoint")
        for rank, name in self.spoilt.items():
            reasons[rank] = f"is not in the mean: its newest checkpoint, {name}, is not finite"
        first = max(each.update for each in self.snapshots.values())
        for rank in self.snapshots.keys() - set(self.averaged):
            done = self.snapshots[rank].update
            reasons[rank] = f"is not in the mean: far behind, {done:,} updates of {first:,}"
        return dict(sorted(reasons.items()))

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
        if name == "mean" and self.independent:
            rule = f"agents of --coupling {self.config.coupling} never shared a parameter, "
            rule += "their mean is no policy"
            ranks = ", ".join(map(str, self.snapshots))
            hint = f"take one with --agent: {ranks}"
            raise UserError(rule, file=self.folder.path, field="--agent", hint=hint)
        if name == "mean":
            return [self.mean()]
        if name == "best":
            return [self.best()]
        if name == "all":
            everybody = list(self.snapshots.values())
            return everybody if self.independent else [self.mean(), *everybody]
        if not (name.isdecimal() and len(name) < 7):
            rule = f"must be mean, best, all or a rank, got {name!r}"
            raise UserError(rule, field="--agent")
        rank = int(name)
        if rank in self.snapshots:
            return [self.snapshots[rank]]
        agents = len(self.snapshots) + len(self.missing) + len(self.spoilt)
        if rank in self.missing:
            rule = f"agent {rank} has no readable checkpoint"
        elif rank in self.spoilt:
            rule = f"the newest checkpoint of agent {rank}, {self.spoilt[rank]}, is not finite"
        else:
            rule = f"there is no agent {rank}, this run has {agents}"
        ranks = ", ".join(map(str, self.snapshots))
        raise UserError(rule, file=self.folder.path, field="--agent", hint=f"known: {ranks}")

    def one(self, agent: str | int) -> Snapshot:
        """The snapshot that ``agent`` names: mean, best or a rank; of a mean says who is not in it.

        Raises:
            UserError: see :meth:`select`; several are named.
        """
        if str(agent) == "all":
            raise UserError("must be mean, best or a rank, got 'all'", field="--agent")
        (found,) = self.select(agent)
        if found.agent == "mean":
            self.tell_left_out()
        return found

    def tell_left_out(self) -> None:
        """Say on standard error who is not in the mean, and why."""
        for rank, reason in self.left_out().items():
            print(printable(f"gala: warning: agent {rank} {reason}"), file=sys.stderr)

    def export(self) -> Path:
        """Write the averaged policy, by parameter name, into the run folder.

        Raises:
            OSError: the file cannot be written.
        """
        return self.write(self.mean(), self.folder.path / MEAN_FILE)

    def write(self, snapshot: Snapshot, path: Path) -> Path:
        """Write a policy, by parameter name, as safetensors.

        Raises:
            OSError: the file cannot be written.
        """
        parts = unflatten(snapshot.params, self.layout)
        mean = snapshot.agent == "mean"
        of = self.averaged if mean else (snapshot.agent,)
        updates = [self.snapshots[rank].update for rank in self.averaged]
        facts = {
            "format": f"gala {'mean ' * mean}policy, version 1",
            "env_id": name_of(self.config.env),
            "network": json.dumps(self.config.to_dict()["network"]),
            "agents": json.dumps(of),
            "updates": json.dumps(updates if mean else [snapshot.update]),
            "steps": str(snapshot.step),
            "layout": json.dumps(self.layout),
        }
        tensors = {name: tensor.contiguous() for name, tensor in parts.items()}
        return write_atomic(path, safetensors.torch.save(tensors, metadata=facts))


def load_run(path: str | Path, step: int | None = None) -> TrainedRun:
    """Read configuration and checkpoints of a run folder.

    Args:
        path: of the folder.
        step: take the newest checkpoint of each agent that is not after so many of its own
            environment steps; None: the newest there is.

    Raises:
        UserError: this is no run folder, its configuration is malformed, it holds no readable
            checkpoint or no finite one, or its agents' networks differ.
    """
    folder = RunFolder(Path(path))
    agents = folder.read_agents()
    folder.require_trained("gala does not know its policy", "evaluate in its program")
    settings = read_settings(folder)
    snapshots: dict[int, Snapshot] = {}
    missing = []
    spoilt = {}
    layout: Layout | None = None
    first = 0
    for rank in range(agents):
        found = _newest(checkpoint.folder_of(folder.path, rank), step)
        if found is None:
            missing.append(rank)
            continue
        file, state = found
        own = _layout(state, file)
        if layout is None:
            layout, first = own, rank
        elif own != layout:
            raise UserError(f"holds another network than agent {first}'s", file=file)
        if not checkpoint.finite(state["params"]):
            spoilt[rank] = file.name
            continue
        snapshots[rank] = Snapshot(
            agent=rank,
            params=state["params"].to(torch.float32),
            update=int(state["update"]),
            step=int(state["step"]),
        )
    if layout is None:
        raise _nothing_yet(folder, agents, step)
    if not snapshots:
        rule = "holds no checkpoint with finite parameters among the newest of its agents"
        raise UserError(
            rule, file=folder.path, hint=commands.gala("train", "--resume", folder.path)
        )
    return TrainedRun(
        folder=folder,
        config=settings,
        layout=layout,
        snapshots=snapshots,
        missing=tuple(missing),
        spoilt=spoilt,
    )


def _newest(folder: Path, step: int | None) -> tuple[Path, dict[str, Any]] | None:
    """The newest readable checkpoint that is not after ``step``, and what it holds; or None."""
    for update in reversed(checkpoint.updates(folder)):
        path = checkpoint.path_of(folder, update)
        try:
            state = checkpoint.load(path)
        except checkpoint.CheckpointError:
            continue
        if step is None or (isinstance(state.get("step"), int) and state["step"] <= step):
            return path, state
    return None


def _nothing_yet(folder: RunFolder, agents: int, step: int | None) -> UserError:
    """That there is no checkpoint, or none so old."""
    hint = "the first one is written after checkpoint.every_steps, or when the run stops"
    if step is None:
        return UserError("holds no readable checkpoint yet", file=folder.path, hint=hint)
    kept = set()
    for rank in range(agents):
        own = checkpoint.folder_of(folder.path, rank)
        for update in checkpoint.updates(own):
            with contextlib.suppress(checkpoint.CheckpointError):
                kept.add(checkpoint.load(checkpoint.path_of(own, update)).get("step"))
    known = sorted(each for each in kept if isinstance(each, int))
    if known:
        hint = f"its agents have kept those of {', '.join(f'{each:,}' for each in known)} steps"
    rule = f"holds no readable checkpoint of {step:,} steps or fewer"
    return UserError(rule, file=folder.path, field="--step", hint=hint)


def read_settings(folder: RunFolder) -> Config:
    """The configuration; what another version has written beside it is passed over, and said.

    Raises:
        UserError: it is missing or malformed.
    """
    unknown: list[str] = []
    try:
        settings: Config = from_document(load_yaml(folder.config), unknown=unknown)
    except UserError as error:
        raise folder.told_with_version(error) from None
    if unknown:
        note = UserError(f"passed over {', '.join(unknown[:8])}", file=folder.config)
        print(f"gala: note: {folder.told_with_version(note)}", file=sys.stderr)
    return settings


def last_return(metrics: Path) -> float | None:
    """``charts/episodic_return`` of the last record that has one, from the end of the file."""
    records = Tail(metrics, last_bytes=NEWEST_BYTES).read()
    found = (number(record.get("charts/episodic_return")) for record in reversed(records))
    return next((value for value in found if value is not None), None)


def _layout(state: dict[str, Any], file: Path) -> Layout:
    """The layout in a checkpoint, checked against its parameters."""
    try:
        layout = [(str(name), tuple(int(n) for n in shape)) for name, shape in state["layout"]]
        sizes = sum(torch.Size(shape).numel() for _, shape in layout)
        fits = state["params"].shape == (sizes,)
        fits &= isinstance(state["update"], int) and isinstance(state["step"], int)
    except (KeyError, TypeError, ValueError, AttributeError):
        fits = False
    if not fits:
        raise UserError("is not a checkpoint of an agent", file=file)
    return layout
