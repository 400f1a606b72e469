"""GTrXL: a gated transformer that remembers (Parisotto et al. 2019, arXiv 1910.06764).

Its memory is what its layers were given in the last M steps of the episode, without gradients. A
step sees those M and itself, never more: the same in acting, where steps come one by one, and in
learning, where they come T at once. Of M + T rows a step therefore sees a window of M + 1, in which
the distance of a row is its place: relative positions need no shift.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gala.networks.trunks import orthogonal_

GATE_BIAS = 2.0
"""At the start a layer lets 0.12 of what it computes pass: a policy that reacts comes first."""


class Gate(nn.Module):
    """A GRU in the place of a residual connection (section 3.2 of the paper).

    With ``r = s(W_r y + U_r x)``, ``z = s(W_z y + U_z x - b)`` and ``h = tanh(W_h y + U_h (r x))``
    it gives ``(1 - z) x + z h``.

    Args:
        size: numbers of x and of y.
        generator: draws the weights.
    """

    def __init__(self, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.w = nn.Linear(size, 3 * size, bias=False)  # of r, z and h
        self.u = nn.Linear(size, 2 * size, bias=False)  # of r and z
        self.u_h = nn.Linear(size, size, bias=False)
        self.bias = nn.Parameter(torch.full((size,), GATE_BIAS))
        for layer in (self.w, self.u, self.u_h):
            orthogonal_(layer, 1.0, generator)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Float[..., size] of the stream ``x`` and what a sub-layer made of it, ``y``."""
        of_r, of_z, of_h = self.w(y).chunk(3, -1)
        from_r, from_z = self.u(x).chunk(2, -1)
        r = torch.sigmoid(of_r + from_r)
        z = torch.sigmoid(of_z + from_z - self.bias)
        h = torch.tanh(of_h + self.u_h(r * x))
        return torch.lerp(x, h, z)


class RelativeAttention(nn.Module):
    """Attention to a window of M + 1 rows by content and by distance (Dai et al. 2019).

    Layers are normalised before: queries, keys and values alike.

    Args:
        size: numbers of a row.
        heads: of attention; must divide ``size``.
        generator: draws the weights.
    """

    def __init__(self, size: int, heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.heads, self.scale = heads, 1 / math.sqrt(size // heads)
        self.norm = nn.LayerNorm(size)
        self.qkv = nn.Linear(size, 3 * size, bias=False)
        self.position = nn.Linear(size, size, bias=False)
        self.output = nn.Linear(size, size, bias=False)
        self.of_content = nn.Parameter(torch.zeros(heads, size // heads))
        self.of_distance = nn.Parameter(torch.zeros(heads, size // heads))
        for layer in (self.qkv, self.position, self.output):
            orthogonal_(layer, 1.0, generator)

    def forward(self, rows: Tensor, visible: Tensor, distances: Tensor) -> Tensor:
        """What the last T of M + T rows attend to.

        Args:
            rows: Float[B, M + T, size].
            visible: Bool[B, T, M + 1], which rows of its window a step sees.
            distances: Float[M + 1, size], encoding of the distances M to 0.

        Returns:
            Float[B, T, size].
        """
        steps, window = visible.shape[1:]
        q, k, v = (
            each.unflatten(-1, (self.heads, -1)) for each in self.qkv(self.norm(rows)).chunk(3, -1)
        )
        q, r = q[:, -steps:], self.position(distances).unflatten(-1, (self.heads, -1))
        k, v = (each.unfold(1, window, 1) for each in (k, v))  # [B, T, heads, size, M + 1]
        scores = torch.einsum("bthd,bthdw->bthw", q + self.of_content, k)
        scores = scores + torch.einsum("bthd,whd->bthw", q + self.of_distance, r)
        scores = (scores * self.scale).masked_fill(~visible.unsqueeze(2), -math.inf)
        found = torch.einsum("bthw,bthdw->bthd", scores.softmax(-1), v)
        return F.relu(self.output(found.flatten(2)))


class Block(nn.Module):
    """Attention, then two matrices with rectifiers; a gate after each.

    Args:
        size: numbers of a row.
        heads: of attention.
        generator: draws the weights.
    """

    def __init__(self, size: int, heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.attention = RelativeAttention(size, heads, generator)
        self.gate = Gate(size, generator)
        self.norm = nn.LayerNorm(size)
        self.wide, self.narrow = nn.Linear(size, 2 * size), nn.Linear(2 * size, size)
        self.gate2 = Gate(size, generator)
        for layer in (self.wide, self.narrow):
            orthogonal_(layer, math.sqrt(2), generator)

    def forward(self, rows: Tensor, visible: Tensor, distances: Tensor) -> Tensor:
        """See :class:`RelativeAttention`."""
        x = self.gate(rows[:, -visible.shape[1] :], self.attention(rows, visible, distances))
        y = F.relu(self.narrow(F.relu(self.wide(self.norm(x)))))
        found: Tensor = self.gate2(x, y)
        return found


class GTrXL(nn.Module):
    """A :class:`~gala.networks.memory.Memory` of the last M steps.

    Its state is Float[B, M, layers x size + 1], the newest row last: inputs of all layers, and 1
    where a row is of the episode that goes on, else 0.

    Args:
        inputs: F.
        size: numbers of a row, a multiple of twice the heads.
        layers: at least one.
        heads: of attention.
        length: M.
        generator: draws the weights.
    """

    def __init__(
        self,
        inputs: int,
        size: int,
        *,
        layers: int,
        heads: int,
        length: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.shape: tuple[int, ...] = (length, layers * size + 1)
        self.features = size
        self.text = f"gtrxl {size}, {_count(layers, 'layer')}, {_count(heads, 'head')}, the last "
        self.text += _count(length, "step")
        self.embed = nn.Linear(inputs, size)
        orthogonal_(self.embed, 1.0, generator)
        self.layers = nn.ModuleList(Block(size, heads, generator) for _ in range(layers))
        self._distances = sinusoids(length, size)  # no buffer: it is neither mixed nor saved

    def forward(self, x: Tensor, state: Tensor, begin: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`~gala.networks.memory.Memory`."""
        length, y = self.shape[0], self.embed(x).transpose(0, 1)
        episode = begin.t().to(torch.int64).cumsum(1)  # [B, T], 0: the one that went on
        known = state[..., -1].to(torch.int64) - 1  # -1: of none
        number = torch.cat([known, episode], 1)
        visible = number.unfold(1, length + 1, 1) == episode.unsqueeze(-1)
        kept = state[..., :-1].chunk(len(self.layers), -1)
        self._distances, inputs = self._distances.to(y), []
        for layer, old in zip(self.layers, kept, strict=True):
            rows = torch.cat([old, y], 1)
            inputs.append(rows[:, -length:].detach())
            y = layer(rows, visible, self._distances)
        current = (number[:, -length:] == episode[:, -1:]).unsqueeze(-1)
        after = torch.cat([*inputs, torch.ones_like(inputs[0][..., :1])], -1)
        return y.transpose(0, 1), after.masked_fill(~current, 0.0)


def sinusoids(length: int, size: int) -> Tensor:
    """Float[length + 1, size], encoding of the distances ``length`` to 0 (Vaswani et al. 2017)."""
    distance = torch.arange(length, -1, -1, dtype=torch.float64)
    slowness = 10_000 ** (torch.arange(0, size, 2, dtype=torch.float64) / size)
    angle = distance[:, None] / slowness
    return torch.cat([angle.sin(), angle.cos()], -1).to(torch.float32)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
