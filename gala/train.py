"""``python -m gala.train``: one agent of a training run, alone or as a worker of torchrun.

torchrun --standalone --nproc-per-node=4 -m gala.train experiments/pong.yaml
"""

from __future__ import annotations

import os

# Spinning OpenMP threads steal the cores that simulators need; read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gala import presets
from gala.config import Config, from_document, parse_options, print_help
from gala.errors import EXIT_BAD_INPUT, EXIT_OK, UserError
from gala.topology import Topology, load_topology
from gala.yaml_file import load_yaml, parse_yaml

LAUNCH_OPTIONS = {"run_dir": str, "resume": str}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for, checked as far as it can be without the other agents.

    Attributes:
        config: every choice.
        topology: loaded for the number of agents.
        run_dir: the folder to create or to go on with.
        resume: whether to go on.
    """

    config: Config
    topology: Topology
    run_dir: Path | None
    resume: bool
    experiment: Path | None


def read_request(arguments: Sequence[str], agents: int) -> Request:
    """Read the command line, the experiment file and the topology of a run of ``agents``.

    Raises:
        UserError: the first mistake found.
    """
    positional, options = parse_options(arguments, LAUNCH_OPTIONS)
    launch: dict[str, Any] = {name: value for name, value in options if name in LAUNCH_OPTIONS}
    options = [(name, value) for name, value in options if name not in LAUNCH_OPTIONS]
    if len(positional) > 1:
        raise UserError(f"one experiment file at a time, got {' and '.join(positional)}")
    experiment = presets.resolve("experiments", positional[0]) if positional else None
    resume = launch.get("resume")
    if resume is not None and launch.get("run_dir") is not None:
        raise UserError("--resume names the run folder already", field="--run-dir")
    if resume is not None:
        config = _resumed(Path(str(resume)), experiment, options, agents)
    elif experiment is not None:
        config = from_document(load_yaml(experiment), options)
    else:
        config = from_document(parse_yaml("{}", "command line"), options)
    topology = load_topology(config.topology, agents)
    folder = resume if resume is not None else launch.get("run_dir")
    return Request(
        config=config,
        topology=topology,
        run_dir=Path(str(folder)) if folder is not None else None,
        resume=resume is not None,
        experiment=experiment,
    )


def _resumed(
    run_dir: Path, experiment: Path | None, options: list[tuple[str, Any]], agents: int
) -> Config:
    """The configuration to go on with; what defines the learner cannot change."""
    from gala.run_folder import RunFolder

    run = RunFolder(run_dir)
    meta = run.read_meta()
    if meta["agents"] != agents:
        raise UserError(
            f"is a run of {meta['agents']} agents, this launch has {agents}",
            file=run_dir,
            hint=f"--agents {meta['agents']}",
        )
    before = from_document(load_yaml(run.config))
    document = load_yaml(run.config if experiment is None else experiment)
    config = from_document(document, options)
    for name in ("env.id", "network"):
        old, new = _field(before, name), _field(config, name)
        if old != new:
            raise UserError(
                f"the run was trained with {_short(old)}, cannot go on with {_short(new)}",
                file=run_dir,
                field=name,
                hint="resume with the same one, or start a new run",
            )
    return config


def _field(config: Config, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _short(value: Any) -> str:
    return str(value).replace("NetworkConfig", "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one agent; returns the exit code."""
    from gala.launch import rank_from_environment

    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if "--help" in arguments or "-h" in arguments:
        print_help("gala train")
        return EXIT_OK
    rank, agents = rank_from_environment()
    try:
        request = read_request(arguments, agents)
    except UserError as error:  # all agents read the same: one of them says it
        return _complain(error) if rank == 0 else EXIT_BAD_INPUT
    from gala.training import train

    try:
        train(request)
    except UserError as error:
        return _complain(error)
    return EXIT_OK


def _complain(error: UserError) -> int:
    print(f"gala: error: {error}", file=sys.stderr)
    return EXIT_BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
