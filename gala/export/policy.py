"""``gala export --policy RUN -o DIR``: a policy that needs its run no more."""

from __future__ import annotations

import json as encoder
from collections.abc import Callable
from pathlib import Path

import torch

from gala.errors import UserError, printable
from gala.export import programs
from gala.export.card import card
from gala.files.atomic import write_atomic
from gala.policy.loading import open_run, policy_of
from gala.policy.policy import Policy
from gala.policy.trained_run import POLICY_FILE

PROGRAMS: dict[str, tuple[str, Callable[[Policy], bytes]]] = {
    "torchscript": ("policy.pt", programs.torchscript),
    "onnx": ("policy.onnx", programs.onnx),
}
"""File and writer of each program."""


def export_policy(
    run: str | Path,
    output: str | Path,
    *,
    agent: str | int = "mean",
    step: int | None = None,
    to: str | None = None,
    json: bool = False,
) -> list[Path]:
    """Write parameters, configuration and a model card of a policy, and tell what was written.

    Args:
        run: a run folder, or an exported policy.
        output: a folder that is missing, empty, or holds an exported policy.
        agent: see :func:`gala.load`.
        step: see :func:`gala.load`.
        to: also a program that needs no gala: a name of :data:`PROGRAMS`. It is compared with the
            policy before anything is written.
        json: print one JSON object instead of the paths.

    Returns:
        The files.

    Raises:
        UserError: no such policy, an output that holds something else or cannot be written, or a
            network that makes no such program.
    """
    folder = Path(output)
    trained = open_run(run, step)
    snapshot = trained.one(agent)
    _require_room(folder)
    policy = policy_of(trained, snapshot, seed=0, device=torch.device("cpu"), precision="float32")
    content = None if to is None else PROGRAMS[to][1](policy)
    names = [POLICY_FILE, *([PROGRAMS[to][0]] if to is not None else [])]
    text = card(trained, snapshot, policy, names)
    try:
        written = [
            trained.write(snapshot, folder / POLICY_FILE),
            write_atomic(folder / "config.yaml", trained.config.to_yaml()),
            write_atomic(folder / "README.md", text),
        ]
        if to is not None and content is not None:
            written.append(write_atomic(folder / PROGRAMS[to][0], content))
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", file=folder) from None
    if json:
        facts = {"agent": snapshot.agent, "update": snapshot.update, "step": snapshot.step}
        print(encoder.dumps({"files": [str(each) for each in written], **facts}))
    else:
        print(printable("\n".join(map(str, written))))
    return written


def _require_room(folder: Path) -> None:
    if not folder.exists() or (folder / POLICY_FILE).is_file():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        rule = "is neither an empty folder nor that of an exported policy"
        raise UserError(rule, file=folder, field="-o")
