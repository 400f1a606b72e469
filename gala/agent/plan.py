"""Plan of a run: rank 0 makes the run folder, and tells the others what it holds."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import torch

from gala.errors import EXIT_BAD_INPUT, UserError
from gala.files.atomic import write_atomic
from gala.gossip import shared_memory
from gala.launch.environment import restarted_by_torchrun
from gala.launch.launch import Launch
from gala.run.folder import RunFolder, default_path, prepare
from gala.run.request import Request


def make_plan(
    request: Request, launch: Launch, parameters: int, frames_per_step: int
) -> dict[str, Any]:
    """Make the run folder and tell all agents about it; rank 0 only."""
    config = request.config
    if config.coupling == "gossip" and launch.agents > 1:
        shared_memory.sweep()
        shared_memory.check_room(parameters * 4, launch.local_agents)
    run_dir = request.run_dir or default_path(request.experiment)
    facts = {
        "torch": torch.__version__,
        "parameters": parameters,
        "frames_per_step": frames_per_step,
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
    plan = {"run_dir": str(run.path), "run_id": meta["run_id"], "meta": meta,
            "config": run.config.read_text(), "topology": request.topology.to_json()}  # fmt: skip
    launch.share("plan", plan)
    return plan


def find_plan(launch: Launch) -> dict[str, Any] | None:
    """Plan of rank 0; None for rank 0 itself if its last incarnation did not get that far."""
    plan: dict[str, Any] | None = launch.shared("plan") if launch.leads else launch.share("plan")
    if plan is not None and plan.get("failed"):
        raise SystemExit(EXIT_BAD_INPUT)
    return plan


def open_folder(plan: dict[str, Any], ranks: tuple[int, ...]) -> RunFolder:
    """The run folder as this host sees it: shared with rank 0's host, or one of its own.

    Raises:
        UserError: it cannot be written.
    """
    run = RunFolder(Path(plan["run_dir"]))
    try:
        for rank in ranks:
            (run.rank(rank) / "checkpoints").mkdir(parents=True, exist_ok=True)
        if not run.meta.exists():
            write_atomic(run.config, plan["config"])
            write_atomic(run.topology, json.dumps(plan["topology"], indent=1))
            write_atomic(run.meta, json.dumps(plan["meta"], indent=1))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise UserError(f"cannot be written: {reason}", file=run.path) from None
    return run
