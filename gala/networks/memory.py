"""Memory between trunk and heads: what a policy keeps of the episode so far.

A memory is one tensor, Float[B, ...], and zeros mean that nothing is remembered: an episode begins
with zeros, whatever kind of memory it is. Acting is an unroll of one step, so that acting and
learning compute the same.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from gala.config.sections import NetworkConfig
from gala.errors import UserError
from gala.networks.transformer import GTrXL
from gala.networks.trunks import orthogonal_

LENGTH, LAYERS, HEADS = 32, 1, 4
"""Of a gtrxl, where nothing else is asked for."""


class Recall(NamedTuple):
    """What B environments remember before they act.

    Attributes:
        state: Float[B, ...].
        begin: Bool[B], True where the observation is the first of an episode: nothing is
            remembered there; None: nowhere.
    """

    state: Tensor
    begin: Tensor | None


class Memory(Protocol):
    """A module that remembers.

    Attributes:
        shape: of one environment's state.
        features: numbers that it gives for an observation.
        text: what it is, in words.
    """

    shape: tuple[int, ...]
    features: int
    text: str

    def __call__(self, x: Tensor, state: Tensor, begin: Tensor) -> tuple[Tensor, Tensor]:
        """Go through T steps.

        Args:
            x: Float[T, B, F], what the trunk gave.
            state: Float[B, *shape] before the first of them.
            begin: Bool[T, B], True where an episode begins.

        Returns:
            Float[T, B, features], and the state after the last step.
        """
        ...


class GRU(nn.Module):
    """Gated recurrent unit (Cho et al. 2014), as in ``torch.nn.GRU``.

    Args:
        inputs: F.
        size: units.
        generator: draws the weights.
    """

    def __init__(self, inputs: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.shape: tuple[int, ...] = (size,)
        self.features, self.text = size, f"gru {size}"
        self.of_input = nn.Linear(inputs, 3 * size)
        self.of_state = nn.Linear(size, 3 * size)
        for layer in (self.of_input, self.of_state):
            orthogonal_(layer, 1.0, generator)

    def forward(self, x: Tensor, state: Tensor, begin: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Memory`."""
        given, size, found = self.of_input(x), self.features, []
        for row, first in zip(given, begin.unsqueeze(-1), strict=True):
            state = state.masked_fill(first, 0.0)
            gates = self.of_state(state)
            reset, keep = (row + gates)[:, : 2 * size].sigmoid().chunk(2, -1)
            new = torch.tanh(row[:, 2 * size :] + reset * gates[:, 2 * size :])
            state = torch.lerp(new, state, keep)
            found.append(state)
        return torch.stack(found), state


class LSTM(nn.Module):
    """Long short-term memory (Hochreiter and Schmidhuber 1997), as in ``torch.nn.LSTM``.

    Gates of forgetting begin with bias 1 (Jozefowicz et al. 2015): it remembers before it learns
    what for. The state is output and cell, Float[B, 2, size].

    Args:
        inputs: F.
        size: units.
        generator: draws the weights.
    """

    def __init__(self, inputs: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.shape: tuple[int, ...] = (2, size)
        self.features, self.text = size, f"lstm {size}"
        self.of_input = nn.Linear(inputs, 4 * size)
        self.of_state = nn.Linear(size, 4 * size, bias=False)
        for layer in (self.of_input, self.of_state):
            orthogonal_(layer, 1.0, generator)
        nn.init.ones_(self.of_input.bias[size : 2 * size])

    def forward(self, x: Tensor, state: Tensor, begin: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Memory`."""
        given, found = self.of_input(x), []
        output, cell = state.unbind(1)
        for row, first in zip(given, begin.unsqueeze(-1), strict=True):
            output, cell = output.masked_fill(first, 0.0), cell.masked_fill(first, 0.0)
            enter, stay, new, leave = (row + self.of_state(output)).chunk(4, -1)
            cell = stay.sigmoid() * cell + enter.sigmoid() * new.tanh()
            output = leave.sigmoid() * cell.tanh()
            found.append(output)
        return torch.stack(found), torch.stack((output, cell), 1)


def require_options(config: NetworkConfig) -> None:
    """Refuse options that the kind of memory does not have.

    Raises:
        UserError: naming the first one.
    """
    if config.memory == "gtrxl":
        return
    for name in ("memory_length", "memory_layers", "memory_heads"):
        if getattr(config, name) is not None:
            rule = f"is of gtrxl, the memory is {config.memory or 'none'}"
            raise UserError(rule, field=f"network.{name}", hint="null")


def build_memory(config: NetworkConfig, inputs: int, generator: torch.Generator) -> Memory | None:
    """The memory that is asked for; None where there is none.

    Args:
        config: the user's choices.
        inputs: numbers that the trunk gives for an observation.
        generator: draws the weights.

    Raises:
        UserError: numbers that do not fit together.
    """
    kind, size = config.memory, config.memory_size
    if not config.remembers:
        return None
    if kind == "gru":
        return GRU(inputs, size, generator)
    if kind == "lstm":
        return LSTM(inputs, size, generator)
    heads = config.memory_heads or HEADS
    if size % (2 * heads):
        near = max(size // (2 * heads), 1) * 2 * heads
        rule = f"must be a multiple of 2 x {heads} heads, got {size}"
        raise UserError(rule, field="network.memory_size", hint=str(near))
    return GTrXL(
        inputs,
        size,
        layers=config.memory_layers or LAYERS,
        heads=heads,
        length=config.memory_length or LENGTH,
        generator=generator,
    )
