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
from gala.networks.activations import Activations, Layer, empty, replayed


def orthogonal_(layer: nn.Linear | nn.Conv2d, gain: float, generator: torch.Generator) -> None:
    """Orthogonal weights with ``gain``, zero biases, drawn from ``generator``."""
    nn.init.orthogonal_(layer.weight, gain, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class NatureCNN(nn.Module):
    """Three convolutions and a hidden layer (Mnih et al. 2015), with the GALA paper's filters.

    Input: UInt8[B, C, H, W]; output: Float[B, features]. The scaling of pixels by 1/255 is folded
    into the first layer's weights at use: whole numbers up to 255 are exact in bfloat16, and no
    pass over the (large) observations is spent on it. A background costs one.

    Inside, images lie in memory with their channels last, as the fastest kernels of processors and
    GPUs want them; the hidden layer takes them in the order of their shape.

    Args:
        shape: C, H and W.
        filters: of the three convolutions.
        hidden: units of the layers after them.
        generator: draws the weights.
        background: the pixel, 0 to 255, that becomes 0. Where most pixels have the same value, all
            weights of a filter share the gradient of that constant, which drowns what moves.
    """

    def __init__(
        self,
        shape: Sequence[int],
        filters: tuple[int, int, int],
        hidden: Sequence[int],
        generator: torch.Generator,
        background: int = 0,
    ) -> None:
        super().__init__()
        self.background = background
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

    def layers(self) -> list[Layer]:
        """From the pixels on."""
        found = []
        for module in (self.conv1, self.conv2, self.conv3, *self.hidden):
            assert isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None
            stride = module.stride[0] if isinstance(module, nn.Conv2d) else None
            found.append(Layer(module.weight, module.bias, stride))
        found[0] = found[0]._replace(weight=self.conv1.weight * (1 / 255))
        return found

    def forward(self, obs: Tensor) -> Tensor:
        """Float[B, features] of UInt8[B, C, H, W]."""
        x = self._pixels(obs, empty(obs.shape, obs.device, self.conv1.weight.dtype))
        for layer in self.layers():
            x = F.relu(layer.affine(x))
        return x

    def record(self, obs: Tensor, layers: Sequence[Layer], kept: Activations) -> Tensor:
        """The same, without gradients, with :meth:`layers`, laid out; what they give goes where
        ``kept`` was begun.
        """
        dtype = self.conv1.weight.dtype
        x = self._pixels(obs, kept.slot(0, obs, dtype))
        for number, layer in enumerate(layers, 1):
            y = layer.affine(x)
            x = torch.clamp_min(y, 0, out=kept.slot(number, y, dtype))
        return x

    def _pixels(self, obs: Tensor, out: Tensor) -> Tensor:
        # channel by channel: torch's copy from one layout to another takes three times as long
        for channel in range(obs.shape[1]):
            out[:, channel].copy_(obs[:, channel])
        return out.sub_(self.background) if self.background else out

    def replay(self, kept: Activations) -> Tensor:
        """Float[T x B, features] of all that was recorded, with gradients to the parameters."""
        x = kept.of(0)
        for number, layer in enumerate(self.layers(), 1):
            x = replayed(x, layer, kept.of(number))
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
