"""From spaces and configuration to a network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from torch import nn

from gala.config.sections import NetworkConfig
from gala.config.tree import Config
from gala.errors import UserError, did_you_mean
from gala.networks.heads import (
    ActionHead,
    SquashedHead,
    build_head,
    build_soft_head,
    build_values_head,
)
from gala.networks.memory import build_memory, require_options
from gala.networks.network import Network
from gala.networks.own import own_trunk
from gala.networks.soft import AnyCritics, ChoiceCritics, QuantityCritics, Soft
from gala.networks.trunks import MLP, NatureCNN, SmallCNN, StateTable
from gala.parameters.statistics import Moments

SMALL = 36
"""Pixels of a side that nature-cnn needs."""
Values = Literal["state", "soft", "dueling"]
Build = Callable[[gymnasium.Space[Any], ActionHead, NetworkConfig, torch.Generator], Network]


def network_of(
    config: Config,
    observation_space: gymnasium.Space[Any],
    action_space: gymnasium.Space[Any],
    *,
    values: Values = "state",
) -> Network:
    """The network of a run, equal on all agents; see :func:`build_network`."""
    soft = values == "soft"
    return build_network(
        observation_space,
        action_space,
        config.network,
        seed=config.seed,
        normalize_observation=config.env.normalize_observation,
        normalize_reward=config.env.normalize_reward,
        values=values,
        temperature=config.learning.temperature if soft else 1.0,
    )


def build_network(
    observation_space: gymnasium.Space[Any],
    action_space: gymnasium.Space[Any],
    config: NetworkConfig,
    *,
    seed: int,
    normalize_observation: bool = False,
    normalize_reward: bool = False,
    values: Values = "state",
    temperature: float = 1.0,
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
        values: what it knows besides a policy: ``state``, the value of an observation; ``soft``,
            those of actions, by critics of their own; ``dueling``, those of choices, which are
            its policy.
        temperature: with which a soft actor-critic begins.

    Raises:
        UserError: a space or ``config.kind`` that does not fit.
    """
    generator = torch.Generator().manual_seed(seed)
    if values == "soft":
        network = _soft(observation_space, action_space, config, generator, temperature)
    else:
        build = build_values_head if values == "dueling" else build_head
        network = _network(observation_space, build(action_space), config, generator)
        network.dueling = values == "dueling"
    if normalize_observation:
        shape, floats = observation_space.shape, observation_space.dtype == np.float32
        if shape is None or len(shape) == 3 or not floats:
            rule = "pictures and numbers of states are not normalised"
            raise UserError(rule, field="env.normalize_observation", hint="false")
        network.observed = Moments(shape)
    network.returns = Moments(()) if normalize_reward else None
    return network


def _network(
    observation_space: gymnasium.Space[Any],
    head: ActionHead,
    config: NetworkConfig,
    generator: torch.Generator,
) -> Network:
    require_options(config)
    if observation_space.shape is None:
        raise UserError(f"observation space {observation_space} is not supported", field="env.id")
    kind = config.kind if config.kind != "auto" else _fitting(observation_space)
    if ":" in kind:
        _refuse(config, "an own trunk", background=True, bfloat16=True, activation=True)
        trunk, features = own_trunk(kind, observation_space, generator)
        return _on(trunk, features, head, config, generator)
    if kind not in BUILDERS:
        hint = did_you_mean(kind, ["auto", *BUILDERS, "MODULE:CALLABLE"])
        raise UserError(f"no network is called {kind!r}", field="network.kind", hint=hint)
    return BUILDERS[kind](observation_space, head, config, generator)


def _soft(
    observation_space: gymnasium.Space[Any],
    action_space: gymnasium.Space[Any],
    config: NetworkConfig,
    generator: torch.Generator,
    temperature: float,
) -> Network:
    """A policy and two critics that share nothing, see :mod:`gala.networks.soft`."""
    _refuse(config, "a soft actor-critic", bfloat16=True)
    head = build_soft_head(action_space)
    made = _network(observation_space, head, config, generator)
    trunk, features = made.actor, made.logits.in_features
    critics: AnyCritics
    if isinstance(head, SquashedHead):
        if not isinstance(trunk, MLP):
            rule = "quantities are learned from vectors only by a soft actor-critic"
            raise UserError(rule, field="network.kind", hint="mlp")
        assert observation_space.shape is not None
        inputs, hidden = math.prod(observation_space.shape) + head.size // 2, _hidden(config)
        trunks = [MLP(inputs, hidden, generator, activation=config.activation) for _ in range(2)]
        scale = _scale(observation_space)
        critics = QuantityCritics(trunks, features if hidden else inputs, head, scale, generator)
    else:
        more = [_network(observation_space, head, config, generator).actor for _ in range(2)]
        critics = ChoiceCritics(more, features, head.size, generator)
    network = Network(trunk, None, features, head, generator, valued=False)
    network.soft = Soft(critics, temperature)
    return network


def describe(network: Network, config: NetworkConfig) -> str:
    """The network in words, for the opening block."""
    parameters = sum(each.numel() for each in network.parameters())
    parts = [getattr(network.actor, "text", config.kind)]
    if network.memory is not None:
        parts.append(network.memory.text)
    return "; ".join([*parts, f"{parameters:,} parameters"])


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
    _refuse(config, "nature-cnn", activation=True)
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
    return _on(trunk, trunk.features, head, config, generator)


def _small_cnn(
    space: gymnasium.Space[Any],
    head: ActionHead,
    config: NetworkConfig,
    generator: torch.Generator,
) -> Network:
    shape = _picture_shape(space, "small-cnn")
    _refuse(config, "small-cnn", background=True, activation=True)
    hidden = config.hidden if config.hidden is not None else (128,)
    trunk = SmallCNN(shape, config.filters or (16,), hidden, generator, _scale(space))
    return _on(trunk, trunk.features, head, config, generator)


def _mlp(
    space: gymnasium.Space[Any],
    head: ActionHead,
    config: NetworkConfig,
    generator: torch.Generator,
) -> Network:
    _refuse(config, "an mlp", background=True, bfloat16=True)
    hidden, activation = _hidden(config), config.activation
    if isinstance(space, gymnasium.spaces.Discrete):
        if not hidden:
            rule = "states that are known by their number need a hidden layer"
            raise UserError(rule, field="network.hidden", hint="null")
        table = StateTable(int(space.n), hidden, generator, activation)
        return _on(table, table.features, head, config, generator)
    assert space.shape is not None
    inputs, scale = math.prod(space.shape), _scale(space)
    if config.remembers:  # what is remembered serves both
        trunk = MLP(inputs, hidden, generator, scale, activation)
        return _on(trunk, trunk.features, head, config, generator)
    actor, critic = (MLP(inputs, hidden, generator, scale, activation) for _ in range(2))
    return Network(actor, critic, actor.features, head, generator)


def _hidden(config: NetworkConfig) -> tuple[int, ...]:
    """Units of the hidden layers of an mlp."""
    return config.hidden if config.hidden is not None else (64, 64)


BUILDERS: dict[str, Build] = {"nature-cnn": _nature_cnn, "small-cnn": _small_cnn, "mlp": _mlp}


def _on(
    trunk: nn.Module,
    features: int,
    head: ActionHead,
    config: NetworkConfig,
    generator: torch.Generator,
) -> Network:
    """Heads on one trunk, with the memory that is asked for between them."""
    memory = build_memory(config, features, generator)
    if memory is not None:
        features = memory.features
    return Network(trunk, None, features, head, generator, memory)


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
    config: NetworkConfig,
    what: str,
    *,
    background: bool = False,
    bfloat16: bool = False,
    activation: bool = False,
) -> None:
    """Options that ``what`` does not have."""
    if background and config.background:
        raise UserError(f"{what} has no background", field="network.background", hint="0")
    if bfloat16 and config.precision == "bfloat16":
        raise UserError(f"{what} computes in float32", field="network.precision", hint="auto")
    if activation and config.activation != NetworkConfig.activation:
        hint = NetworkConfig.activation
        raise UserError(f"is of an mlp, not of {what}", field="network.activation", hint=hint)
