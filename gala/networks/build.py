"""From spaces and configuration to a network."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch

from gala.config.sections import NetworkConfig
from gala.errors import UserError
from gala.networks.heads import build_head
from gala.networks.network import Network
from gala.networks.trunks import MLP, NatureCNN


def build_network(
    observation_space: gymnasium.Space[Any],
    action_space: gymnasium.Space[Any],
    config: NetworkConfig,
    *,
    seed: int,
) -> Network:
    """The network for the two spaces; the same ``seed`` gives bit-identical parameters.

    Raises:
        UserError: a space or ``config.kind`` that does not fit.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = observation_space.shape
    if shape is None:
        raise UserError(f"observation space {observation_space} is not supported", field="env.id")
    head = build_head(action_space)
    is_image = len(shape) == 3 and observation_space.dtype == np.uint8
    kind = ("nature-cnn" if is_image else "mlp") if config.kind == "auto" else config.kind
    if kind == "nature-cnn":
        if not is_image:
            raise UserError(
                f"nature-cnn needs images (uint8, channels x height x width), got {shape}",
                field="network.kind",
                hint="use mlp",
            )
        hidden = config.hidden if config.hidden is not None else (512,)
        trunk = NatureCNN(shape, config.filters, hidden, generator, config.background)
        return Network(trunk, None, trunk.features, head, generator)
    if config.background:
        raise UserError("an mlp has no background", field="network.background", hint="0")
    if config.precision == "bfloat16":
        raise UserError("an mlp computes in float32", field="network.precision", hint="auto")
    hidden = config.hidden if config.hidden is not None else (64, 64)
    inputs = int(np.prod(shape))
    actor, critic = (MLP(inputs, hidden, generator) for _ in range(2))
    return Network(actor, critic, actor.features, head, generator)
