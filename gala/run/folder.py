"""The run folder: ``runs/NAME``, the unit that every tool takes."""

from __future__ import annotations

import itertools
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
from gala.config.tasks import name_of
from gala.config.tree import Config
from gala.errors import UserError
from gala.files.atomic import write_atomic
from gala.files.bounded import read_bounded
from gala.files.text_log import log_of
from gala.topology.limits import MAX_AGENTS

MAX_META_BYTES = 2**24

RUNS = Path("runs")
"""Where runs go that nobody named a folder for."""


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

    def log(self, rank: int) -> Path:
        """What one agent said, as text."""
        return log_of(self.path, rank)

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
            meta = json.loads(read_bounded(self.meta, MAX_META_BYTES).decode("utf-8"))
        except (UserError, ValueError, RecursionError):
            meta = None
        if not isinstance(meta, dict):
            raise UserError("is not a run folder: no readable meta.json", file=self.path)
        return meta

    def read_agents(self) -> int:
        """How many agents the run has, as ``meta.json`` says.

        Raises:
            UserError: this is not a run folder, or it does not say.
        """
        agents = self.read_meta().get("agents")
        if type(agents) is not int or not 1 <= agents <= MAX_AGENTS:
            raise UserError("names no number of agents", file=self.meta, field="agents")
        return agents

    @property
    def of_loop(self) -> bool:
        """Whether a loop of its own wrote it (``gala.gossip(..., run_dir=...)``)."""
        try:
            return self.read_meta().get("loop") is True
        except UserError:
            return False

    @property
    def distilled(self) -> bool:
        """Whether it is a student's (``gala distil``): its policy has learned from others'."""
        try:
            return "distilled" in self.read_meta()
        except UserError:
            return False

    def require_trained(self, what: str, hint: str) -> None:
        """Refuse the run of a loop of its own, whose parameters only that loop knows.

        Args:
            what: cannot be done with it.
            hint: what to do instead.

        Raises:
            UserError: it is one.
        """
        if self.of_loop:
            raise UserError(f"is the run of a loop of its own, {what}", file=self.path, hint=hint)

    def told_with_version(self, error: UserError) -> UserError:
        """A mistake in a file of this folder, with the version that wrote it if it is another."""
        wrote = self.read_meta().get("gala") if self.meta.exists() else None
        if not isinstance(wrote, str) or wrote == gala.__version__:
            return error
        who = f"the run was written by gala {wrote[:40]}, this is gala {gala.__version__}"
        return UserError(
            error.rule,
            file=error.file,
            line=error.line,
            field=error.field,
            hint=f"{error.hint}; {who}" if error.hint else who,
        )


def default_path(experiment: Path | None) -> Path:
    """A new folder below ``runs/`` for a run of ``experiment``, made and empty.

    Runs that start within one second, of a sweep for example, each get one of their own.

    Raises:
        UserError: it cannot be made.
    """
    name = experiment.stem if experiment is not None else "run"
    name = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in itertools.count(1):
        path = RUNS / (name if number == 1 else f"{name}-{number}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except FileExistsError:
            if path.parent.is_dir():
                continue
            raise UserError("is no folder", file=path.parent) from None
        except OSError as error:
            raise _cannot_be_written(error, path) from None
        return path
    raise AssertionError  # count() has no end


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
    try:
        path.exists()
    except OSError as error:  # too long a name, a folder that one may not look into
        raise _cannot_be_written(error, path) from None
    taken = UserError(
        "holds another run" if run.meta.exists() else "is not an empty folder",
        file=path,
        hint=f"--resume {path} goes on with it, another --run-dir starts anew",
    )
    if not resume and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise taken
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not resume:
            run.rank(0).mkdir()  # whoever makes it has the folder
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
            "env_id": name_of(config.env),
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
    except FileExistsError:
        raise taken from None
    except OSError as error:
        raise _cannot_be_written(error, path) from None
    return run


def _cannot_be_written(error: OSError, path: Path) -> UserError:
    return UserError(f"cannot be written: {os.strerror(error.errno or 0)}", file=path)


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
