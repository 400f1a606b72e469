"""Trunks: observation to features.

Initialisation is orthogonal with gain sqrt(2) for hidden layers (Saxe et al. 2014), as in the
reference implementations of A2C.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

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

    Input: UInt8[B, C, H, W], or Float; output: Float[B, features]. The scaling of bytes by 1/255 is
    folded into the first layer's weights at use: whole numbers up to 255 are exact in bfloat16, and
    no pass over the (large) observations is spent on it. A background costs one.

    Inside, images lie in memory with their channels last, as the fastest kernels of processors and
    GPUs want them; the hidden layer takes them in the order of their shape.

    Args:
        shape: C, H and W.
        filters: of the three convolutions.
        hidden: units of the layers after them.
        generator: draws the weights.
        background: the pixel, 0 to 255, that becomes 0. Where most pixels have the same value, all
            weights of a filter share the gradient of that constant, which drowns what moves.
        scale: what pixels are multiplied by.
    """

    def __init__(
        self,
        shape: Sequence[int],
        filters: tuple[int, int, int],
        hidden: Sequence[int],
        generator: torch.Generator,
        background: int = 0,
        scale: float = 1 / 255,
    ) -> None:
        super().__init__()
        self.background, self._scale = background, scale
        self.text = f"nature-cnn {listed(filters)} filters, hidden {listed(hidden)}"
        channels, height, width = shape
        sizes = [_conv_size(_conv_size(_conv_size(n, 8, 4), 4, 2), 3, 1) for n in (height, width)]
        if min(sizes) < 1:
            raise UserError(
                f"images of {height}x{width} are too small for nature-cnn",
                field="network.kind",
                hint="at least 36x36, or use small-cnn",
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
        if self._scale != 1:
            found[0] = found[0]._replace(weight=self.conv1.weight * self._scale)
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


class SmallCNN(nn.Module):
    """Convolutions 3x3 without padding, then hidden layers, for pictures of few pixels.

    One convolution of 16 filters and 128 hidden units are the network of Young and Tian (2019) for
    MinAtar. Input: UInt8[B, C, H, W], or Float; output: Float[B, features].

    Args:
        shape: C, H and W.
        filters: of the convolutions, one or more; each takes 2 from height and width.
        hidden: units of the layers after them.
        generator: draws the weights.
        scale: what pixels are multiplied by.
    """

    def __init__(
        self,
        shape: Sequence[int],
        filters: Sequence[int],
        hidden: Sequence[int],
        generator: torch.Generator,
        scale: float = 1 / 255,
    ) -> None:
        super().__init__()
        self._scale = scale
        self.text = f"small-cnn {listed(filters)} filters, hidden {listed(hidden)}"
        channels, height, width = shape
        sides = [n - 2 * len(filters) for n in (height, width)]
        if min(sides) < 1:
            raise UserError(
                f"images of {height}x{width} are too small for {len(filters)} convolutions",
                field="network.filters",
                hint=f"small-cnn takes at most {(min(height, width) - 1) // 2}",
            )
        depths = [channels, *filters]
        convs = [nn.Conv2d(i, o, 3) for i, o in zip(depths[:-1], depths[1:], strict=True)]
        widths = [filters[-1] * sides[0] * sides[1], *hidden]
        linears = [nn.Linear(i, o) for i, o in zip(widths[:-1], widths[1:], strict=True)]
        self.convs, self.hidden = nn.ModuleList(convs), nn.ModuleList(linears)
        self.features = widths[-1]
        for conv in convs:
            orthogonal_(conv, math.sqrt(2), generator)
        for linear in linears:
            orthogonal_(linear, math.sqrt(2), generator)

    def forward(self, obs: Tensor) -> Tensor:
        """Float[B, features] of [B, C, H, W]."""
        x = obs.to(next(self.parameters()).dtype)
        if self._scale != 1:
            x = x * self._scale
        for conv in self.convs:
            x = F.relu(conv(x))
        x = x.flatten(1)
        for linear in self.hidden:
            x = F.relu(linear(x))
        return x


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": F.relu}


class MLP(nn.Module):
    """Fully connected layers: Float[B, ...], flattened, to Float[B, features].

    Args:
        inputs: numbers of an observation.
        hidden: units of the layers.
        generator: draws the weights.
        scale: what the numbers are multiplied by.
        activation: of each layer, a name of :data:`ACTIVATIONS`.
    """

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        generator: torch.Generator,
        scale: float = 1.0,
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        self._scale, self._activation = scale, ACTIVATIONS[activation]
        self.text = f"mlp, hidden {listed(hidden)}"
        widths = [inputs, *hidden]
        linears = [nn.Linear(i, o) for i, o in zip(widths[:-1], widths[1:], strict=True)]
        self.hidden, self._layers = nn.ModuleList(linears), linears
        self.features = widths[-1]
        for layer in linears:
            orthogonal_(layer, math.sqrt(2), generator)

    def forward(self, obs: Tensor) -> Tensor:
        """Float[B, features]."""
        x = obs if obs.dim() == 2 else obs.flatten(1)
        if not x.is_floating_point():
            x = x.to(torch.float32)
        if self._scale != 1:
            x = x * self._scale
        for layer in self._layers:  # not called as modules: for few rows that takes a fifth
            x = self._activation(F.linear(x, layer.weight, layer.bias))
        return x


class StateTable(nn.Module):
    """What an MLP makes of the one-hot number of a state, without the zeros.

    The first layer is a row of parameters per state. Input: Int64[B]; output: Float[B, features].

    Args:
        states: how many there are.
        hidden: units of the layers; the first one is that of the rows.
        generator: draws the weights.
        activation: of each layer, a name of :data:`ACTIVATIONS`.
    """

    def __init__(
        self,
        states: int,
        hidden: Sequence[int],
        generator: torch.Generator,
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        self._activation = ACTIVATIONS[activation]
        self.text = f"a row of {hidden[0]} parameters per state, mlp, hidden {listed(hidden)}"
        self.rows = nn.Embedding(states, hidden[0])
        self.rest = MLP(hidden[0], hidden[1:], generator, activation=activation)
        self.features = self.rest.features
        # as large as what a layer gives for inputs of size 1: the orthogonal columns of so wide a
        # matrix would be next to nothing
        nn.init.normal_(self.rows.weight, generator=generator)

    def forward(self, obs: Tensor) -> Tensor:
        """Float[B, features]."""
        features: Tensor = self.rest(self._activation(self.rows(obs)))
        return features


def listed(sizes: Sequence[int]) -> str:
    """Sizes in words."""
    return ", ".join(map(str, sizes)) or "none"


def _conv_size(n: int, kernel: int, stride: int) -> int:
    return (n - kernel) // stride + 1
