"""Batches and learners for tests, without environments."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gala.device.streams import Stream
from gala.experience import Batch
from gala.learning.learner import Learner
from gala.learning.table import ALGORITHMS, make_algorithm
from gala.networks import Network
from gala.networks.heads import CategoricalHead
from gala.networks.model import Model
from gala.parameters.flat import FlatParameters

T, B, N, ACTIONS = 3, 2, 4, 3


class Raw(nn.Module):
    """A trunk that changes nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def filled(obs: Tensor, action: Tensor, size: int, **columns: Any) -> Batch:
    """A batch with zeros where nothing is given."""
    shape = action.shape[:2]
    zeros: dict[str, Any] = {
        name: torch.zeros(shape) for name in ("reward", "discount", "value", "next_value")
    }
    zeros |= {name: torch.zeros(shape, dtype=torch.bool) for name in ("cut", "final")}
    zeros["valid"] = torch.ones(shape, dtype=torch.bool)
    zeros["dist"] = torch.zeros((*shape, size))
    zeros["version"] = np.zeros(shape, np.int64)
    return Batch(obs=obs, action=action, **(zeros | columns))


def random_batch(seed: int = 0, t: int = T, b: int = B) -> Batch:
    """T x B steps of vectors and discrete actions, of no policy in particular."""
    g = torch.Generator().manual_seed(seed)
    return filled(
        torch.randn(t + 1, b, N, generator=g),
        torch.randint(0, ACTIONS, (t, b), generator=g),
        ACTIONS,
        reward=torch.randn(t, b, generator=g),
        discount=torch.full((t, b), 0.9),
        value=torch.randn(t, b, generator=g),
        next_value=torch.randn(t, b, generator=g),
    )


def linear_learner(
    algorithm: str = "a2c", stream: Stream | None = None, **changes: Any
) -> tuple[Learner, Network, Model]:
    """A learner of a network without a trunk: everything can be worked out by hand."""
    settings = {
        "optimizer_eps": 1e-8,
        "max_grad_norm": None,
        "optimizer": "rmsprop",
        "lr": 0.01,
        **changes,
    }
    config = ALGORITHMS[algorithm].config(**settings)
    network = Network(Raw(), None, N, CategoricalHead(ACTIONS), torch.Generator().manual_seed(0))
    made = make_algorithm(algorithm, config)
    network.hold(made.plan.duals)
    model = Model(network, FlatParameters(network), torch.float32)
    learner = Learner(made, model, lr=config.lr, stream=stream)
    return learner, network, model
