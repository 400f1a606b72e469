"""``gala/Identity-v0``: name the number you see; solved in seconds by a correct learner."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from gala.config.sections import EnvConfig
from gala.envs.autoreset import MODES, Autoreset
from gala.envs.step import Array, State, Step, restore_rng, rng_state
from gala.errors import UserError

CHOICES = 4
LENGTH = 20


class IdentityEnv:
    """B identity environments: observe one-hot of a random number below 4, reward 1 for naming it.

    Episodes last 20 steps, then terminate. Fully restorable, in both autoreset modes.
    """

    restorable = True
    frames_per_step = 1
    masks = False
    action_mask: NDArray[np.bool_] | None = None
    opening: tuple[tuple[str, str], ...] = (
        ("observes", f"one of {CHOICES}, one-hot"),
        ("acts", f"one of {CHOICES}"),
    )

    def __init__(self, config: EnvConfig, *, seed: int, length: int = LENGTH) -> None:
        self.num_envs = config.num_envs
        self.observation_space: gymnasium.Space[Any] = gymnasium.spaces.Box(
            0.0, 1.0, (CHOICES,), np.float32
        )
        self.action_space: gymnasium.Space[Any] = gymnasium.spaces.Discrete(CHOICES)
        self._mode = MODES[config.autoreset]
        self._autoreset = Autoreset(self._mode, config.num_envs)
        self._length = config.max_episode_steps or length
        self._truncates = config.max_episode_steps is not None
        self._rng = np.random.default_rng(seed)
        self._number = np.zeros(self.num_envs, np.int64)
        self._steps = np.zeros(self.num_envs, np.int64)
        self._ended = np.zeros(self.num_envs, np.bool_)
        self._pending = self._number

    def reset(self) -> Array:
        """See :class:`~gala.envs.step.VectorEnv`."""
        self._autoreset = Autoreset(self._mode, self.num_envs)
        self._number = self._rng.integers(0, CHOICES, self.num_envs)
        self._steps[:] = 0
        self._ended[:] = False
        return self._observe()

    def send(self, actions: Array) -> None:
        """See :class:`~gala.envs.step.VectorEnv`."""
        self._pending = actions

    def recv(self) -> Step:
        """See :class:`~gala.envs.step.VectorEnv`."""
        skip = self._ended if self._mode is AutoresetMode.NEXT_STEP else np.zeros_like(self._ended)
        reward = np.where(skip, 0.0, self._judge(self._pending)).astype(np.float32)
        self._steps = np.where(skip, 0, self._steps + 1)
        self._number = self._rng.integers(0, CHOICES, self.num_envs)
        ended = self._steps >= self._length
        info: dict[str, Any] = {}
        if self._mode is AutoresetMode.SAME_STEP and ended.any():
            info["final_obs"] = self._observe()
            fresh = self._rng.integers(0, CHOICES, self.num_envs)
            self._number = np.where(ended, fresh, self._number)
            self._steps[ended] = 0
        self._ended = ended
        none = np.zeros_like(ended)
        terminated, truncated = (none, ended) if self._truncates else (ended, none)
        return self._autoreset.translate(self._observe(), reward, terminated, truncated, info)

    def step(self, actions: Array) -> Step:
        """See :class:`~gala.envs.step.VectorEnv`."""
        self.send(actions)
        return self.recv()

    def state_dict(self) -> State:
        """See :class:`~gala.envs.step.VectorEnv`."""
        return {
            "number": self._number.tolist(),
            "steps": self._steps.tolist(),
            "ended": self._ended.tolist(),
            "rng": rng_state(self._rng),
            "autoreset": self._autoreset.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        """See :class:`~gala.envs.step.VectorEnv`."""
        if len(state["number"]) != self.num_envs:
            rule = f"the checkpoint holds {len(state['number'])} environments, got {self.num_envs}"
            raise UserError(rule, field="env.num_envs")
        self._number = np.array(state["number"], np.int64)
        self._steps = np.array(state["steps"], np.int64)
        self._ended = np.array(state["ended"], np.bool_)
        restore_rng(self._rng, state["rng"])
        self._autoreset.load_state_dict(state["autoreset"])

    def close(self) -> None:
        """Nothing to release."""

    def _judge(self, actions: Array) -> Array:
        """Rewards of actions, [B]."""
        return np.equal(actions, self._number)

    def _observe(self) -> Array:
        return np.eye(CHOICES, dtype=np.float32)[self._number]
