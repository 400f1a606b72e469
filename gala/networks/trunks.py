"""Trunks: observation to features.

Initialisation is orthogonal with gain sqrt(2) for hidden layers (Saxe et al. 2014), as in the
reference implementations of A2C.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gala.errors import UserError


def orthogonal_(layer: nn.Linear | nn.Conv2d, gain: float, generator: torch.Generator) -> None:
    """Orthogonal weights with ``gain``, zero biases, drawn from ``generator``."""
    nn.init.orthogonal_(layer.weight, gain, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class NatureCNN(nn.Module):
    """Three convolutions and a hidden layer (Mnih et al. 2015), with the GALA paper's filters.

    Input: UInt8[B, C, H, W]; output: Float[B, features]. The scaling of pixels by 1/255 is folded
    into the first layer's weights at use: whole numbers up to 255 are exact in bfloat16, and no
    pass over the (large) observations is spent on it.
    """

    def __init__(
        self,
        shape: Sequence[int],
        filters: tuple[int, int, int],
        hidden: Sequence[int],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        channels, height, width = shape
        sizes = [_conv_size(_conv_size(_conv_size(n, 8, 4), 4, 2), 3, 1) for n in (height, width)]
        if min(sizes) < 1:
            raise UserError(
                f"images of {height}x{width} are too small for nature-cnn",
                field="network.kind",
                hint="at least 36x36, or use mlp",
            )
        a, b, c = filters
        self.conv1 = nn.Conv2d(channels, a, 8, 4)
        self.conv2 = nn.Conv2d(a, b, 4, 2)
        self.conv3 = nn.Conv2d(b, c, 3, 1)
        widths = [c * sizes[0] * sizes[1], *hidden]
        linears = [nn.Linear(i, o) for i, o in zip(widths[:-1], widths[1:], strict=True)]
        self.hidden = nn.ModuleList(linears)
        self.features = widths[-1]
        for conv in (self.conv1, self.conv2, self.conv3):
            orthogonal_(conv, math.sqrt(2), generator)
        for linear in linears:
            orthogonal_(linear, math.sqrt(2), generator)

    def forward(self, obs: Tensor) -> Tensor:
        """Float[B, features] of UInt8[B, C, H, W]."""
        weight = self.conv1.weight * (1 / 255)
        x = F.relu(F.conv2d(obs.to(weight.dtype), weight, self.conv1.bias, 4))
        x = F.relu(self.conv3(F.relu(self.conv2(x)))).flatten(1)
        for layer in self.hidden:
            x = F.relu(layer(x))
        return x


class MLP(nn.Module):
    """Fully connected layers with tanh: Float[B, ...], flattened, to Float[B, features]."""

    def __init__(self, inputs: int, hidden: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        widths = [inputs, *hidden]
        linears = [nn.Linear(i, o) for i, o in zip(widths[:-1], widths[1:], strict=True)]
        self.hidden = nn.ModuleList(linears)
        self.features = widths[-1]
        for layer in linears:
            orthogonal_(layer, math.sqrt(2), generator)

    def forward(self, obs: Tensor) -> Tensor:
        """Float[B, features]."""
        x = obs.flatten(1)
        for layer in self.hidden:
            x = torch.tanh(layer(x))
        return x


def _conv_size(n: int, kernel: int, stride: int) -> int:
    return (n - kernel) // stride + 1
