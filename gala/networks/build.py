"""From spaces and configuration to a network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch

from gala.config.sections import NetworkConfig
from gala.errors import UserError, did_you_mean
from gala.networks.heads import ActionHead, build_head
from gala.networks.network import Network
from gala.networks.own import own_trunk
from gala.networks.trunks import MLP, NatureCNN, SmallCNN, StateTable
from gala.parameters.statistics import Moments

SMALL = 36
"""Pixels of a side that nature-cnn needs."""
Build = Callable[[gymnasium.Space[Any], ActionHead, NetworkConfig, torch.Generator], Network]


def build_network(
    observation_space: gymnasium.Space[Any],
    action_space: gymnasium.Space[Any],
    config: NetworkConfig,
    *,
    seed: int,
    normalize_observation: bool = False,
    normalize_reward: bool = False,
) -> Network:
    """The network for the two spaces; the same ``seed`` gives bit-identical parameters.

    Args:
        observation_space: what the network sees: UInt8 or Float32 of three axes is a picture
            (channels x height x width), Discrete the number of a state, all else a vector.
        action_space: as the policy acts.
        config: the user's choices.
        seed: of the parameters.
        normalize_observation: let it keep moments of what it sees, and see it normalised.
        normalize_reward: let it keep moments of returns, for whoever scales rewards.

    Raises:
        UserError: a space or ``config.kind`` that does not fit.
    """
    network = _network(observation_space, action_space, config, seed)
    if normalize_observation:
        shape, floats = observation_space.shape, observation_space.dtype == np.float32
        if shape is None or len(shape) == 3 or not floats:
            rule = "pictures and numbers of states have one scale already"
            raise UserError(rule, field="env.normalize_observation", hint="false")
        network.observed = Moments(shape)
    network.returns = Moments(()) if normalize_reward else None
    return network


def _network(
    observation_space: gymnasium.Space[Any],
    action_space: gymnasium.Space[Any],
    config: NetworkConfig,
    seed: int,
) -> Network:
    if observation_space.shape is None:
        raise UserError(f"observation space {observation_space} is not supported", field="env.id")
    generator = torch.Generator().manual_seed(seed)
    head = build_head(action_space)
    kind = config.kind if config.kind != "auto" else _fitting(observation_space)
    if ":" in kind:
        _refuse(config, "an own trunk", background=True, bfloat16=True)
        trunk, features = own_trunk(kind, observation_space, generator)
        return Network(trunk, None, features, head, generator)
    if kind not in BUILDERS:
        hint = did_you_mean(kind, ["auto", *BUILDERS, "MODULE:CALLABLE"])
        raise UserError(f"no network is called {kind!r}", field="network.kind", hint=hint)
    return BUILDERS[kind](observation_space, head, config, generator)


def describe(network: Network, config: NetworkConfig) -> str:
    """The network in words, for the opening block."""
    parameters = sum(each.numel() for each in network.parameters())
    return f"{getattr(network.actor, 'text', config.kind)}; {parameters:,} parameters"


def _fitting(space: gymnasium.Space[Any]) -> str:
    if not _is_picture(space):
        return "mlp"
    assert space.shape is not None
    return "small-cnn" if min(space.shape[1:]) < SMALL else "nature-cnn"


def _nature_cnn(
    space: gymnasium.Space[Any],
    head: ActionHead,
    config: NetworkConfig,
    generator: torch.Generator,
) -> Network:
    shape = _picture_shape(space, "nature-cnn")
    if space.dtype != np.uint8:
        _refuse(config, "a picture of floats", background=True)
    filters = config.filters or (32, 64, 32)
    if len(filters) != 3:
        rule = f"nature-cnn has 3 convolutions, got {len(filters)} numbers of filters"
        raise UserError(rule, field="network.filters", hint="[32, 64, 32]")
    hidden = config.hidden if config.hidden is not None else (512,)
    trunk = NatureCNN(
        shape,
        (filters[0], filters[1], filters[2]),
        hidden,
        generator,
        config.background,
        _scale(space),
    )
    return Network(trunk, None, trunk.features, head, generator)


def _small_cnn(
    space: gymnasium.Space[Any],
    head: ActionHead,
    config: NetworkConfig,
    generator: torch.Generator,
) -> Network:
    shape = _picture_shape(space, "small-cnn")
    _refuse(config, "small-cnn", background=True)
    hidden = config.hidden if config.hidden is not None else (128,)
    trunk = SmallCNN(shape, config.filters or (16,), hidden, generator, _scale(space))
    return Network(trunk, None, trunk.features, head, generator)


def _mlp(
    space: gymnasium.Space[Any],
    head: ActionHead,
    config: NetworkConfig,
    generator: torch.Generator,
) -> Network:
    _refuse(config, "an mlp", background=True, bfloat16=True)
    hidden = config.hidden if config.hidden is not None else (64, 64)
    if isinstance(space, gymnasium.spaces.Discrete):
        if not hidden:
            rule = "states that are known by their number need a hidden layer"
            raise UserError(rule, field="network.hidden", hint="null")
        table = StateTable(int(space.n), hidden, generator)
        return Network(table, None, table.features, head, generator)
    assert space.shape is not None
    inputs, scale = math.prod(space.shape), _scale(space)
    actor, critic = (MLP(inputs, hidden, generator, scale) for _ in range(2))
    return Network(actor, critic, actor.features, head, generator)


BUILDERS: dict[str, Build] = {"nature-cnn": _nature_cnn, "small-cnn": _small_cnn, "mlp": _mlp}


def _is_picture(space: gymnasium.Space[Any]) -> bool:
    return space.shape is not None and len(space.shape) == 3


def _picture_shape(space: gymnasium.Space[Any], kind: str) -> tuple[int, ...]:
    assert space.shape is not None
    if not _is_picture(space):
        raise UserError(
            f"{kind} needs images (channels x height x width), got {space.shape}",
            field="network.kind",
            hint="use mlp",
        )
    return space.shape


def _scale(space: gymnasium.Space[Any]) -> float:
    """What the numbers of an observation are multiplied by: bytes say in ``high`` what means 1."""
    if isinstance(space, gymnasium.spaces.Box) and space.dtype == np.uint8:
        return 1 / max(int(space.high.max()), 1)
    return 1.0


def _refuse(
    config: NetworkConfig, what: str, *, background: bool = False, bfloat16: bool = False
) -> None:
    """Options that ``what`` does not have."""
    if background and config.background:
        raise UserError(f"{what} has no background", field="network.background", hint="0")
    if bfloat16 and config.precision == "bfloat16":
        raise UserError(f"{what} computes in float32", field="network.precision", hint="auto")
