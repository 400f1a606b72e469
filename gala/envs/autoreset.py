"""Autoreset modes, turned into :class:`~gala.envs.step.Step` in this one place.

- *next-step*: the step after the last one of an episode ignores its action and returns the first
  observation of the next episode; that row is not valid. The last row's successor is in ``obs``.
- *same-step*: the last step already returns the first observation of the next episode; the true
  successor is the final observation, which comes beside it.

What *ended for the learner* and what *began anew* can differ: in Atari a lost life terminates but
resets nothing. Environments that can tell say which rows begin a new game; for the others a new
episode begins wherever one terminated or was truncated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from gala.envs.step import Array, Ledger, State, Step

MODES = {"next-step": AutoresetMode.NEXT_STEP, "same-step": AutoresetMode.SAME_STEP}


class Autoreset:
    """Turns what a vector environment returns into steps, and keeps the ledger of full games.

    Args:
        mode: the environment's mode; the mode without autoreset is not supported.
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
        info: Mapping[str, Any],
        *,
        began: NDArray[np.bool_] | None = None,
        skipped: NDArray[np.bool_] | None = None,
    ) -> Step:
        """One step of B environments.

        Args:
            obs: [B, ...].
            reward: [B], raw.
            terminated: Bool[B], for the learner.
            truncated: Bool[B].
            info: holds ``final_obs`` in same-step mode; only its rows that began anew are read.
            began: Bool[B], rows whose ``obs`` is the first of a new game; None: those that follow
                from ``terminated`` and ``truncated``.
            skipped: Bool[B], rows whose action was not the policy's: of the game, whose return and
                length they count in, and not valid. None: none.
        """
        ended = terminated | truncated
        next_step = self.mode is AutoresetMode.NEXT_STEP
        late = next_step and began is not None  # the end of a game is known one row afterwards
        over = ended if began is None else began
        fresh = over if began is not None or not next_step else self._ended
        self._ended = ended
        valid = ~fresh if next_step else self._all.copy()
        reward = reward.astype(np.float32, copy=False)
        episodes = self._ledger.finish(over) if late else []
        self._ledger.add(reward, valid)
        if skipped is not None:
            valid = valid & ~skipped
        return Step(
            obs=obs,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            valid=valid,
            final_obs=None if next_step or not fresh.any() else _successors(obs, info, fresh),
            episodes=episodes if late else self._ledger.finish(over),
            begins=None if next_step else fresh if skipped is None else fresh | skipped,
        )

    def state_dict(self) -> State:
        """Plain data."""
        return {"ended": self._ended.tolist(), "ledger": self._ledger.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Go on from :meth:`state_dict`."""
        self._ended = np.array(state["ended"], np.bool_)
        self._ledger.load_state_dict(state["ledger"])


def _successors(obs: Array, info: Mapping[str, Any], fresh: NDArray[np.bool_]) -> Array:
    """[B, ...]: ``obs`` with the fresh rows replaced by the last observations before them."""
    result = obs.copy()
    for i in np.flatnonzero(fresh):  # Gymnasium's is an array of objects, ALE's a dense one
        result[i] = info["final_obs"][i]
    return result
