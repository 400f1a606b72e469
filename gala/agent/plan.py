"""Plan of a run: rank 0 makes the run folder, and tells the others what it holds."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import torch

from gala.errors import EXIT_BAD_INPUT, UserError
from gala.files.atomic import write_atomic
from gala.gossip import shared_memory
from gala.launch.environment import restarted_by_torchrun
from gala.launch.launch import Launch
from gala.networks import Network
from gala.run.folder import RUNS, RunFolder, default_path, prepare
from gala.run.request import Request
from gala.telemetry.reader import number, read_json

RUN_ID = re.compile("[0-9a-f]{16}")

PLAN = "plan"


def make_plan(
    request: Request,
    launch: Launch,
    *,
    parameters: int,
    elements: int,
    name: str = PLAN,
    **more: Any,
) -> dict[str, Any]:
    """Make the run folder and tell all agents about it; rank 0 only.

    Args:
        request: what was asked for.
        launch: of the agent.
        parameters: of the network.
        elements: of messages: those, and the statistics behind them.
        name: under which the others find the plan.
        more: what else ``meta.json`` is to say, or to say otherwise.

    Raises:
        UserError: the folder is taken or cannot be written, or memory is full.
    """
    config = request.config
    if config.publishes or config.coupling == "shared":
        shared_memory.sweep()
    if config.publishes and launch.agents > 1:
        shared_memory.check_room(elements * 4, launch.local_agents)
    run_dir = request.run_dir or default_path(request.experiment)
    facts = {
        "torch": torch.__version__,
        "parameters": parameters,
        **more,
    }
    run = prepare(
        run_dir,
        config=dataclasses.replace(config, agents=launch.agents),
        agents=launch.agents,
        topology=request.topology.to_json(),
        facts=facts,
        # an earlier incarnation, or torchrun's restart, may have got as far as the folder
        resume=request.resume or launch.incarnation > 0 or restarted_by_torchrun(),
    )
    meta = run.read_meta()
    plan = {
        "run_dir": str(run.path),
        "run_id": meta["run_id"],
        "meta": meta,
        "config": run.config.read_text(encoding="utf-8"),
        "topology": request.topology.to_json(),
        "agents_before": request.agents_before,
    }
    launch.share(name, plan)
    return plan


def vector_size(network: Network) -> int:
    """P: elements of all parameters, and of the statistics behind them."""
    tensors: list[torch.Tensor] = [*network.parameters()]
    if network.statistics:
        tensors += [each for each in network.buffers() if each.is_floating_point()]
    return sum(each.numel() for each in tensors)


def find_plan(launch: Launch, run_dir: Path | None, name: str = PLAN) -> dict[str, Any] | None:
    """Plan of rank 0; None for rank 0 itself if its last incarnation did not get that far.

    Args:
        launch: of this agent.
        run_dir: the run folder that the user named: whatever a plan says, it is this one.
        name: under which rank 0 told it.

    Raises:
        UserError: it is no plan, or one for a folder that is not for runs.
    """
    plan = launch.shared(name) if launch.leads else launch.share(name)
    if plan is None:
        return None
    if isinstance(plan, dict) and plan.get("failed"):
        raise SystemExit(EXIT_BAD_INPUT)
    return _checked(plan, run_dir)


def _checked(plan: Any, run_dir: Path | None) -> dict[str, Any]:
    """A plan from the store, which says where to write: nowhere but where this agent would.

    Raises:
        UserError: see :func:`find_plan`.
    """
    kinds = {"run_dir": str, "run_id": str, "meta": dict, "config": str, "topology": dict}
    found: dict[str, Any] = plan if isinstance(plan, dict) else {}
    whole = all(isinstance(found.get(name), kind) for name, kind in kinds.items())
    if not whole or not RUN_ID.fullmatch(found["run_id"]):
        raise UserError("the store holds no plan of a run", field="--store", hint="another store")
    if run_dir is not None:
        return found | {"run_dir": str(run_dir)}
    path = Path(found["run_dir"])
    if path.parent != RUNS or path.name in ("", ".."):
        rule = f"the plan in the store names {path}, which is no folder below {RUNS}"
        raise UserError(rule, field="--run-dir", hint="say the same --run-dir to all agents")
    return found


def last_incarnation(plan: dict[str, Any], ranks: tuple[int, ...]) -> int:
    """The last incarnation of these agents that this run folder knows of; -1 for none."""
    run, found = RunFolder(Path(plan["run_dir"])), [-1]
    for rank in ranks:
        facts = read_json(run.rank(rank) / "agent.json")
        count = number(facts.get("incarnation"))
        if facts.get("run_id") == plan["run_id"] and count is not None and 0 <= count < 2**20:
            found.append(int(count))
    return max(found)


def open_folder(plan: dict[str, Any], ranks: tuple[int, ...]) -> RunFolder:
    """The run folder as this host sees it: shared with rank 0's host, or one of its own.

    Raises:
        UserError: it cannot be written.
    """
    run = RunFolder(Path(plan["run_dir"]))
    try:
        for rank in ranks:
            (run.rank(rank) / "checkpoints").mkdir(parents=True, exist_ok=True)
        if not run.meta.exists() or run.read_meta().get("run_id") != plan["run_id"]:
            write_atomic(run.config, plan["config"])
            write_atomic(run.topology, json.dumps(plan["topology"], indent=1))
            write_atomic(run.meta, json.dumps(plan["meta"], indent=1))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise UserError(f"cannot be written: {reason}", file=run.path) from None
    return run
