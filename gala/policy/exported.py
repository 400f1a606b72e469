"""Exported policies: a folder with ``policy.safetensors`` and ``config.yaml``, and no run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import safetensors
import torch

from gala.errors import UserError
from gala.policy.trained_run import POLICY_FILE, Layout, Snapshot, TrainedRun, read_settings
from gala.run.checkpoint import finite
from gala.run.folder import RunFolder


def is_exported(path: Path) -> bool:
    """Whether ``path`` is the folder of an exported policy."""
    return (path / POLICY_FILE).is_file()


def read_exported(path: Path, step: int | None = None) -> TrainedRun:
    """An exported policy, as a run of one agent.

    Args:
        path: its folder.
        step: must be None: it holds one policy.

    Raises:
        UserError: it is damaged, or another step is asked for.
    """
    if step is not None:
        rule = "is one exported policy, and has no others of earlier steps"
        raise UserError(rule, file=path, field="--step")
    folder = RunFolder(path)
    config = dataclasses.replace(read_settings(folder), agents=1)
    file = path / POLICY_FILE
    try:
        with safetensors.safe_open(file, "pt") as opened:
            facts: dict[str, Any] = opened.metadata() or {}
            layout: Layout = [
                (str(name), tuple(int(n) for n in shape))
                for name, shape in json.loads(facts["layout"])
            ]
            parts = [opened.get_tensor(name) for name, _ in layout]
        shapes = [tuple(part.shape) for part in parts]
        params = torch.cat([part.reshape(-1).to(torch.float32) for part in parts])
        update, steps = max(json.loads(facts["updates"])), int(facts["steps"])
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise UserError(f"is not an exported policy: {reason}", file=file) from None
    if shapes != [shape for _, shape in layout]:
        raise UserError("is not an exported policy: its shapes are not as it says", file=file)
    if not finite(params):
        raise UserError("holds parameters that are not finite", file=file)
    snapshot = Snapshot(agent=0, params=params, update=int(update), step=steps)
    return TrainedRun(
        folder=folder,
        config=config,
        layout=layout,
        snapshots={0: snapshot},
        missing=(),
        exported=True,
    )
