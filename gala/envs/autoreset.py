"""Gymnasium's autoreset modes, turned into :class:`~gala.envs.step.Step` in this one place.

- *next-step*: the step after the last one of an episode ignores its action and returns the first
  observation of the next episode; that row is not valid. The last row's successor is in ``obs``.
- *same-step*: the last step already returns the first observation of the next episode; the true
  successor is the final observation, which comes beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from gala.envs.step import Array, Ledger, State, Step

MODES = {"next-step": AutoresetMode.NEXT_STEP, "same-step": AutoresetMode.SAME_STEP}


class Autoreset:
    """Turns what a Gymnasium vector environment returns into steps, and keeps the ledger.

    Args:
        mode: the environment's mode.
        num_envs: B.
    """

    def __init__(self, mode: AutoresetMode, num_envs: int) -> None:
        assert mode in MODES.values(), f"{mode} needs manual resets"
        self.mode = mode
        self._ended = np.zeros(num_envs, np.bool_)
        self._ledger = Ledger(num_envs)
        self._all = np.ones(num_envs, np.bool_)

    def translate(
        self,
        obs: Array,
        reward: Array,
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        info: dict[str, Any],
    ) -> Step:
        """One step of B simulators, from the five values of ``VectorEnv.step``."""
        ended = terminated | truncated
        next_step = self.mode is AutoresetMode.NEXT_STEP
        valid = ~self._ended if next_step else self._all
        reward = reward.astype(np.float32, copy=False)
        self._ledger.add(reward, valid)
        self._ended = ended
        return Step(
            obs=obs,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            valid=valid,
            final_obs=None if next_step or not ended.any() else final_observations(obs, info),
            episodes=self._ledger.finish(ended),
        )

    def state_dict(self) -> State:
        """Plain data."""
        return {"ended": self._ended.tolist(), "ledger": self._ledger.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Go on from :meth:`state_dict`."""
        self._ended = np.array(state["ended"], np.bool_)
        self._ledger.load_state_dict(state["ledger"])


def final_observations(obs: Array, info: dict[str, Any]) -> Array:
    """[B, ...]: ``obs`` with the rows that ended replaced by their final observations."""
    final = info["final_obs"]
    if final.dtype != object:  # dense already
        return np.asarray(final)
    result = obs.copy()
    for i in np.flatnonzero(info["_final_obs"]):
        result[i] = final[i]
    return result
