"""What a vector of environments is to the rest of the toolkit, whatever library it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Episode:
    """A finished full game.

    Attributes:
        env: index of the environment.
        ret: sum of raw rewards.
        length: steps.
    """

    env: int
    ret: float
    length: int


@dataclass(slots=True)
class Step:
    """One step of B environments.

    Attributes:
        obs: [B, ...], what to act on next; may be the environments' own buffer, valid until
            the next ``send``.
        reward: Float32[B], raw.
        terminated: Bool[B], for the learner: a lost life counts when the protocol says so.
        truncated: Bool[B].
        valid: Bool[B], False where autoreset ignored the action: keep out of the loss.
        final_obs: [B, ...], the successor of each step where ``obs`` already shows the next
            episode (same-step autoreset); equal to ``obs`` elsewhere; None when no row differs.
        episodes: games that ended; Atari's next-step rows report a game in the row after its last.
        begins: Bool[B], True where ``obs`` is the first of a game; None: where ``valid`` is False.
        action_mask: Bool[B, K], True where an action is allowed after ``obs``, for the K logits of
            the action head; None: all are. See :attr:`VectorEnv.masks`.
    """

    obs: Array
    reward: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    final_obs: Array | None
    episodes: list[Episode]
    action_mask: NDArray[np.bool_] | None = None
    begins: NDArray[np.bool_] | None = None

    @property
    def first(self) -> NDArray[np.bool_]:
        """Bool[B], True where ``obs`` is the first of a game: nothing is remembered there."""
        return ~self.valid if self.begins is None else self.begins


class VectorEnv(Protocol):
    """B environments of one agent.

    Attributes:
        num_envs: B.
        observation_space: of one environment, as the network sees it.
        action_space: of one environment, as the policy acts; :meth:`send` takes its actions.
        masks: whether the environments say which actions are allowed; known from the first
            reset on.
        action_mask: Bool[B, K] that belongs to the observations that were returned last, see
            :class:`Step`.
        opening: name and text of what was decided about the spaces, for the opening block.
        frames_per_step: emulator frames per step.
        restorable: whether :meth:`state_dict` restores the environments exactly.
    """

    num_envs: int
    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    action_mask: NDArray[np.bool_] | None
    opening: tuple[tuple[str, str], ...]
    frames_per_step: int
    restorable: bool

    @property
    def masks(self) -> bool:
        """See the class."""
        ...

    def reset(self) -> Array:
        """Begin new episodes; the first call uses the constructor's seed. Returns [B, ...]."""
        ...

    def send(self, actions: Array) -> None:
        """Start a step in all environments."""
        ...

    def recv(self) -> Step:
        """The outcome of the step that :meth:`send` started."""
        ...

    def step(self, actions: Array) -> Step:
        """:meth:`send` and :meth:`recv`."""
        ...

    def state_dict(self) -> State:
        """Tensors and plain data from which the environments go on; empty if not restorable."""
        ...

    def load_state_dict(self, state: State) -> None:
        """Go on from :meth:`state_dict`; with an empty state nothing happens."""
        ...

    def close(self) -> None:
        """Release the environments."""
        ...


class Ledger:
    """Raw returns and lengths of the games in progress, one per environment."""

    def __init__(self, num_envs: int) -> None:
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, np.int64)

    def add(self, reward: Array, counted: NDArray[np.bool_]) -> None:
        """Book one step in the environments where ``counted`` is True."""
        np.add(self._returns, reward, out=self._returns, where=counted)
        self._lengths += counted

    def finish(self, ended: NDArray[np.bool_]) -> list[Episode]:
        """Close the games where ``ended`` is True."""
        if not ended.any():
            return []
        games = [
            Episode(int(i), float(self._returns[i]), int(self._lengths[i]))
            for i in np.flatnonzero(ended)
        ]
        self._returns[ended] = 0.0
        self._lengths[ended] = 0
        return games

    def state_dict(self) -> State:
        """Plain data."""
        return {"returns": self._returns.tolist(), "lengths": self._lengths.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self._returns[:] = state["returns"]
        self._lengths[:] = state["lengths"]


def env_seeds(seed: int, count: int) -> list[int]:
    """Seeds of ``count`` environments, each in [0, 2**31).

    Both ALE and Gymnasium would take ``seed``, ``seed + 1``, ...: agents with neighbouring seeds
    would play the same games, and ALE refuses what does not fit 32 bits.
    """
    words = np.random.SeedSequence(seed).generate_state(count, np.uint32)
    return [int(word) >> 1 for word in words]


def rng_state(generator: np.random.Generator) -> State:
    """State of a NumPy generator as plain data."""
    return dict(generator.bit_generator.state)


def restore_rng(generator: np.random.Generator, state: State) -> None:
    """Put ``generator`` into a state of :func:`rng_state`."""
    generator.bit_generator.state = state
