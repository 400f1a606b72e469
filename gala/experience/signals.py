"""Signals: what the steps of environments gave besides observations, as a learner needs it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gala.envs.step import Array, Step
from gala.experience.screening import Screening


class Outcomes(Protocol):
    """Columns of a :class:`~gala.experience.batch.Batch` that steps fill, [T, B] each."""

    reward: Tensor
    discount: Tensor
    cut: Tensor
    valid: Tensor
    final: Tensor


class Signals:
    """What T steps of B environments gave besides observations: one piece of memory.

    Args:
        memory: Uint8, :meth:`size` bytes.
        steps: T.
        envs: B.
    """

    def __init__(self, memory: Tensor, steps: int, envs: int) -> None:
        floats, flags = torch.split(memory, [12 * steps * envs, 3 * steps * envs])
        self.memory = memory
        self.reward, self.discount, self.final_value = floats.view(torch.float32).view(
            3, steps, envs
        )
        self.cut, self.valid, self.final = flags.view(torch.bool).view(3, steps, envs)

    @staticmethod
    def size(steps: int, envs: int) -> int:
        """Bytes: three numbers in float32 and three flags a step."""
        return 15 * steps * envs


class OutcomeRow:
    """Row t of outcomes, in the columns of one vector of environments.

    Written by numpy, which is quicker with few numbers, into views that stay where they are: to
    index a tensor costs as much as to write eight numbers into it.

    Args:
        into: on the CPU; ``final`` is False before.
        t: the row.
        where: the columns.
    """

    def __init__(self, into: Outcomes, t: int, where: slice) -> None:
        self._t, self._where = t, where
        self._reward, self._discount, self._cut, self._valid, self._final = (
            each.numpy()[t, where]
            for each in (into.reward, into.discount, into.cut, into.valid, into.final)
        )

    def note(
        self, step: Step, screening: Screening, *, gamma: float, reward_clip: bool
    ) -> Array | None:
        """Write what ``step``, of the environments of these columns, gave.

        Args:
            step: see above.
            screening: of all columns.
            gamma: discount per step.
            reward_clip: learn from the sign of the reward.

        Returns:
            Final observations, [B, ...], whose values row t needs: the next row begins another
            episode; None: it needs none.
        """
        reward = screening.rewards(step.reward, step.valid, self._t, self._where)
        self._reward[:] = np.sign(reward) if reward_clip else reward
        np.multiply(~step.terminated, np.float32(gamma), out=self._discount)
        np.logical_or(step.terminated, step.truncated, out=self._cut)
        self._valid[:] = step.valid
        if step.final_obs is None or not step.truncated.any():
            return None
        self._final[:] = step.truncated
        return screening.finals(step.final_obs, step.truncated, self._t, self._where)
