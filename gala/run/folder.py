"""The run folder: ``runs/NAME``, the unit that every tool takes."""

from __future__ import annotations

import json
import os
import platform
import secrets
import shlex
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gala
from gala.config.tree import Config
from gala.errors import UserError
from gala.files.atomic import write_atomic


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run folder.

    Attributes:
        path: ``runs/NAME``.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration; reruns the run."""
        return self.path / "config.yaml"

    @property
    def topology(self) -> Path:
        """Nodes, edges and weights."""
        return self.path / "topology.json"

    @property
    def meta(self) -> Path:
        """What started when, where, with which versions."""
        return self.path / "meta.json"

    @property
    def alarm(self) -> Path:
        """Written by an agent whose alarm ends the run."""
        return self.path / "alarm"

    def rank(self, rank: int) -> Path:
        """The folder of one agent."""
        return self.path / f"rank_{rank:02d}"

    def metrics(self, rank: int) -> Path:
        """Records of one agent."""
        return self.rank(rank) / "metrics.jsonl"

    def read_meta(self) -> dict[str, Any]:
        """The content of ``meta.json``.

        Raises:
            UserError: this is not a run folder.
        """
        if not self.path.is_dir():
            raise UserError("no such run folder", file=self.path)
        try:
            meta: dict[str, Any] = json.loads(self.meta.read_text())
        except (OSError, ValueError):
            raise UserError("is not a run folder: no readable meta.json", file=self.path) from None
        return meta


def default_path(experiment: Path | None) -> Path:
    """A new name below ``runs/`` for a run of ``experiment``."""
    name = experiment.stem if experiment is not None else "run"
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def prepare(
    path: Path,
    *,
    config: Config,
    agents: int,
    topology: dict[str, Any],
    facts: dict[str, Any],
    resume: bool,
) -> RunFolder:
    """Create a run folder, or open one to go on; writes config, topology and meta files.

    Raises:
        UserError: the folder cannot be written, or holds another run (without ``resume``), or
            holds none (with ``resume``).
    """
    run = RunFolder(path)
    if not resume and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(
            "holds another run" if run.meta.exists() else "is not an empty folder",
            file=path,
            hint=f"--resume {path} goes on with it, another --run-dir starts anew",
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        for rank in range(agents):
            (run.rank(rank) / "checkpoints").mkdir(parents=True, exist_ok=True)
        (path / "logs").mkdir(exist_ok=True)
        write_atomic(run.config, config.to_yaml())
        write_atomic(run.topology, json.dumps(topology, indent=1))
        meta = {
            "run_id": secrets.token_hex(8),
            "started": time.time(),
            "command": command_line(agents),
            "agents": agents,
            "env_id": config.env.id,
            "seed": config.seed,
            "coupling": config.coupling,
            "total_steps": config.total_steps,
            "gala": gala.__version__,
            "python": platform.python_version(),
            "commit": commit_of_package(),
            "hostnames": [socket.gethostname()],
            **facts,
        }
        write_atomic(run.meta, json.dumps(meta, indent=1))
    except OSError as error:
        raise UserError(f"cannot be written: {os.strerror(error.errno or 0)}", file=path) from None
    return run


def command_line(agents: int) -> str:
    """The ``gala train`` command that does what this process was told to do."""
    arguments = [each for each in sys.argv[1:] if each != "train"]
    count = ["--agents", str(agents)] if agents > 1 and "--agents" not in arguments else []
    return shlex.join(["gala", "train", *arguments, *count])


def commit_of_package() -> str | None:
    """Commit of the checkout that gala runs from, None when it is installed elsewhere."""
    package = Path(gala.__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(package.parent), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    tracked = (package.parent / "setup.cfg").is_file()
    return done.stdout.strip() if tracked else None
