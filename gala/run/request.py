"""What the user asks of a training run: command line, experiment file and topology, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gala.config.options import parse_options
from gala.config.tree import Config, section_of
from gala.errors import UserError
from gala.files import shipped
from gala.files.yaml import Document, load_yaml, parse_yaml
from gala.run.config import algorithm_of, config_type, from_document
from gala.run.folder import RunFolder
from gala.topology import Topology, load_topology

LAUNCH_OPTIONS = {
    "run_dir": str,
    "resume": str,
    "agents_per_process": int,
    "supervisor": bool,
    "standby": bool,
}
"""Options that are of the launch and not of the run; ``--no-supervisor`` is read in gala.train."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for, checked as far as it can be without the other agents.

    Attributes:
        config: every choice.
        topology: loaded for the number of agents.
        run_dir: the folder to create or to go on with.
        resume: whether to go on.
        experiment: the experiment file, None when options say it all.
        agents_per_process: agents that are threads of one process.
    """

    config: Config
    topology: Topology
    run_dir: Path | None
    resume: bool
    experiment: Path | None
    agents_per_process: int = 1


def read_request(
    arguments: Sequence[str], processes: int = 1, *, agents: int | None = None
) -> Request:
    """Read the command line, the experiment file and the topology of a run.

    Args:
        arguments: the command line of ``gala train``.
        processes: number of processes of the launch.
        agents: number of agents, where it is known instead.

    Raises:
        UserError: the first mistake found.
    """
    positional, options = parse_options(_tree_of(arguments), arguments, LAUNCH_OPTIONS)
    launch: dict[str, Any] = {name: value for name, value in options if name in LAUNCH_OPTIONS}
    options = [(name, value) for name, value in options if name not in LAUNCH_OPTIONS]
    k = launch.get("agents_per_process", 1)
    if not isinstance(k, int) or k < 1:
        raise UserError(
            f"must be a whole number of at least 1, got {k!r}", field="--agents-per-process"
        )
    if agents is None:
        agents = processes * k
    elif agents % k:
        raise UserError(
            f"{agents} agents cannot be shared equally among processes of {k}",
            field="--agents-per-process",
        )
    if len(positional) > 1:
        raise UserError(f"one experiment file at a time, got {' and '.join(positional)}")
    experiment = shipped.resolve("experiments", positional[0]) if positional else None
    resume = launch.get("resume")
    if resume is not None and launch.get("run_dir") is not None:
        raise UserError("--resume names the run folder already", field="--run-dir")
    if resume is not None:
        config = _resumed(Path(str(resume)), experiment, options, agents)
    elif experiment is not None:
        config = from_document(load_yaml(experiment), options)
    else:
        config = from_document(parse_yaml("{}", "command line"), options)
    if config.coupling == "allreduce" and k > 1:
        raise UserError(
            "allreduce needs a process for each agent", field="--agents-per-process", hint="1"
        )
    topology = load_topology(config.topology, agents)
    _require_steerable(config, topology)
    _require_learnable(config)
    folder = resume if resume is not None else launch.get("run_dir")
    return Request(
        config=config,
        topology=topology,
        run_dir=Path(str(folder)) if folder is not None else None,
        resume=resume is not None,
        experiment=experiment,
        agents_per_process=k,
    )


def configured_agents(arguments: Sequence[str]) -> int:
    """How many agents the experiment file, or the run to go on with, names; else 1."""
    document, _ = _first_look(arguments)
    named = document.data.get("agents") if isinstance(document.data, dict) else None
    return named if isinstance(named, int) and named > 0 else 1  # else it is refused later


def _first_look(arguments: Sequence[str]) -> tuple[Document, list[tuple[str, Any]]]:
    """The file and the options of a command line, before it is known which sections there are."""
    positional, options = parse_options(config_type(), arguments, LAUNCH_OPTIONS, strict=False)
    given = dict(options)
    if len(positional) == 1:
        return load_yaml(shipped.resolve("experiments", positional[0])), options
    resumed = RunFolder(Path(str(given["resume"]))) if given.get("resume") is not None else None
    if resumed is not None and resumed.config.is_file():  # else that is said when it is resumed
        return load_yaml(resumed.config), options
    return parse_yaml("{}", "command line"), options


def _tree_of(arguments: Sequence[str]) -> Any:
    """The configuration's tree, for the algorithm that a command line or its files name."""
    document, options = _first_look(arguments)
    algorithm = algorithm_of(document, options)
    try:
        return config_type(algorithm)
    except UserError:  # told with its file and line when the whole is read
        return config_type()


def _require_learnable(config: Config) -> None:
    """Refuse what contradicts itself in what is learned from.

    Raises:
        UserError: naming the option to change.
    """
    env, learning = config.env, config.learning
    statistics = env.normalize_observation or env.normalize_reward
    if env.reward_clip and env.normalize_reward:
        rule = "scales rewards, of which --env.reward-clip leaves the sign"
        raise UserError(rule, field="--env.normalize-reward", hint="take one")
    if statistics and config.coupling == "gossip" and config.gossip.wire_format != "float32":
        rule = "rounds the moments of --env.normalize-observation and --env.normalize-reward"
        raise UserError(rule, field="--gossip.wire-format", hint="float32")
    rows, parts = learning.n_step * env.num_envs, getattr(learning, "minibatches", 1)
    if rows % parts:
        near = min((n for n in range(1, rows + 1) if rows % n == 0), key=lambda n: abs(n - parts))
        raise UserError(
            f"must divide n_step x num_envs = {rows}, got {parts}",
            field=f"--{section_of(config.algorithm)}.minibatches",
            hint=str(near),
        )


def _require_steerable(config: Config, topology: Topology) -> None:
    """Refuse combinations of steering that contradict each other.

    Raises:
        UserError: naming the option to change.
    """
    gossip = config.gossip
    name = "--gossip.epsilon-target" if gossip.epsilon_target is not None else "--gossip.trigger"
    if gossip.epsilon_target is None and gossip.trigger == "none":
        return
    if gossip.epsilon_target is not None and gossip.trigger != "none":
        raise UserError(
            "decides when to publish, and so does --gossip.trigger", field=name, hint="take one"
        )
    if config.coupling != "gossip":
        raise UserError(f"needs gossip, the coupling is {config.coupling}", field=name)
    waits = gossip.max_staleness == 0 or gossip.staleness_policy == "wait"
    if gossip.max_staleness is not None and waits:
        raise UserError(
            "agents would wait for messages that are not sent",
            field=name,
            hint="--gossip.max-staleness null",
        )
    if topology.push_sum:
        raise UserError("push-sum messages cannot be left out", field=name, hint="weights: uniform")


def _resumed(
    run_dir: Path, experiment: Path | None, options: list[tuple[str, Any]], agents: int
) -> Config:
    """The configuration to go on with; what defines the learner cannot change."""
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
    config: Config = from_document(document, options)
    for name in ("env.id", "env.kwargs", "env.wrappers", "network", "algorithm"):
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
