"""The one way to a policy of a run: for evaluation, videos, exports, and ``gala.load``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from gala.config.tree import Config
from gala.envs import Translation, translation_of
from gala.envs.translation import difference
from gala.errors import UserError
from gala.files import commands
from gala.learning.table import values_of
from gala.networks import Network
from gala.networks.build import network_of
from gala.networks.model import Model, choose_precision
from gala.parameters.flat import FlatParameters, layout_hash
from gala.policy.acting import Acting
from gala.policy.exported import is_exported, read_exported
from gala.policy.policy import Policy
from gala.policy.trained_run import Snapshot, TrainedRun, load_run


def load(
    run: str | Path,
    agent: str | int = "mean",
    step: int | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
) -> Policy:
    """A trained policy, ready to act; ``gala.load``.

    ::

        policy = gala.load("runs/pong")
        action, state = policy.predict(observation, deterministic=True)

    Args:
        run: a run folder, or what ``gala export --policy`` wrote.
        agent: "mean" (the averaged parameters, without agents that are far behind or not finite,
            which are named on standard error), "best" (by training returns), or a rank.
        step: take the newest checkpoint of each agent that is not after so many of its own
            environment steps; None: the newest there is.
        seed: of the actions that are drawn.
        device: "auto" (the first GPU where there is one), or a device of torch.

    Raises:
        UserError: no run, no readable checkpoint, no such agent, no mean (agents of ``--coupling
            none``, ``distil``, ``repel``), an environment that cannot be made, or no such device.
    """
    trained = open_run(run, step)
    return policy_of(trained, trained.one(agent), seed=seed, device=device_of(device))


def open_run(path: str | Path, step: int | None = None) -> TrainedRun:
    """A run folder, or an exported policy, which reads as a run of one agent.

    Raises:
        UserError: see :func:`~gala.policy.trained_run.load_run`.
    """
    if is_exported(Path(path)):
        return read_exported(Path(path), step)
    return load_run(path, step)


def mean_of(path: str | Path) -> tuple[TrainedRun, Snapshot]:
    """A run and its mean policy, for whoever learns from it or begins with it; says who is not in.

    Raises:
        UserError: see :func:`open_run`; its agents have no mean.
    """
    trained = open_run(path)
    if trained.independent:
        rank = min(trained.snapshots)
        coupling = trained.config.coupling
        rule = f"agents of --coupling {coupling} never shared a parameter, their mean is no policy"
        one = commands.gala("export", Path(path), "--policy", "--agent", rank, "-o", "DIR")
        raise UserError(rule, file=path, hint=f"take one of them: {one}")
    return trained, trained.one("mean")


def in_env_of(trained: TrainedRun, other: str | Path) -> TrainedRun:
    """A run as if it had been trained in the environments of another one.

    Args:
        trained: the run; the channels that its pictures have are kept.
        other: a run folder, or an exported policy.

    Raises:
        UserError: there is no such run, or its environments are not for this network.
    """
    own, env = trained.config.env, open_run(other).config.env
    if own.pad_channels is not None:
        env = replace(env, pad_channels=own.pad_channels)
    mine, there = translation_of(own), translation_of(env)
    differs = difference(there, mine)
    if differs is None and there.observations.space.shape != mine.observations.space.shape:
        differs = f"observes {there.observations.text}", f"observes {mine.observations.text}"
    if differs is not None:
        rule = f"{differs[0]}, and {trained.folder.path} {differs[1]}"
        raise UserError(rule, file=other, field="--env-of")
    return replace(trained, config=replace(trained.config, env=env))


def device_of(name: str = "auto") -> torch.device:
    """The device that a policy computes on.

    Raises:
        UserError: there is none of that name.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):  # torch asserts that it was built with cuda
        rule = f"there is no device {name!r}"
        raise UserError(rule, field="device", hint="auto, cpu or cuda:0") from None
    return device


def policy_of(
    trained: TrainedRun,
    snapshot: Snapshot,
    *,
    seed: int,
    device: torch.device,
    precision: str | None = None,
) -> Policy:
    """The policy of a snapshot.

    Args:
        trained: the run.
        snapshot: one of its policies.
        seed: of the actions that are drawn.
        device: where it computes.
        precision: ``network.precision``; None: as in training, so that it is the policy that was
            trained.

    Raises:
        UserError: the environment cannot be made, or the configuration describes another network.
    """
    config, translation = trained.config, translation_of(trained.config.env)
    network = _network(config, translation, trained.duals).to(device)
    flat = FlatParameters(network, buffers=network.statistics)
    if flat.layout_hash != layout_hash(trained.layout):
        raise UserError(
            "describes another network than the checkpoints hold",
            file=trained.folder.config,
            field="network",
        )
    flat.data.copy_(snapshot.params)
    dtype = choose_precision(precision or config.network.precision, network, device)
    module = Model(network, flat, dtype).module.eval()
    return Policy(Acting(module, seed=seed, device=device), translation, config, snapshot)


def _network(config: Config, translation: Translation, duals: int) -> Network:
    """The network of a run, with parameters that are to be replaced."""
    network = network_of(
        config,
        translation.observations.space,
        translation.actions.space,
        values=values_of(config.algorithm),
    )
    network.hold((1.0,) * duals)
    return network
