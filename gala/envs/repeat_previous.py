"""``gala/RepeatPrevious-v0``: name the number that you saw some steps ago.

Without memory there is nothing to learn. The task is that of popgym's RepeatPrevious (Morad et al.
2023), in numbers of the same size.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gala.config.sections import EnvConfig
from gala.envs.identity import CHOICES, IdentityEnv
from gala.envs.step import Array, State
from gala.errors import UserError

LAG = 4
LENGTH = 48


class RepeatPreviousEnv(IdentityEnv):
    """B environments: observe one-hot of a number below 4, name that of ``lag`` steps ago.

    A right answer gives, and a wrong one costs, one over the number of answers of an episode:
    returns are from -1 to 1, and a policy without memory has -0.5 in expectation, whatever it does.
    The first ``lag`` actions of an episode are no answers. Episodes last 48 steps, then terminate;
    after ``env.max_episode_steps`` they are truncated. Fully restorable, in both autoreset modes.
    ``env.kwargs.lag`` is 4 where it is not given.

    Raises:
        UserError: an argument that it does not have, or a lag that leaves no answer.
    """

    def __init__(self, config: EnvConfig, *, seed: int) -> None:
        super().__init__(config, seed=seed, length=LENGTH)
        self._lag = _lag_of(config.kwargs, self._length)
        self.opening = (
            ("observes", f"one of {CHOICES}, one-hot"),
            ("acts", f"one of {CHOICES}: what it saw {self._lag} steps before"),
        )
        self._shown = np.zeros((self.num_envs, self._lag + 1), np.int64)

    def _judge(self, actions: Array) -> Array:
        """Rewards of actions; the number that they answer to moves on."""
        self._shown = np.concatenate([self._shown[:, 1:], self._number[:, None]], axis=1)
        right = np.where(actions == self._shown[:, 0], 1.0, -1.0)
        return np.where(self._steps < self._lag, 0.0, right) / (self._length - self._lag)

    def state_dict(self) -> State:
        """See :class:`~gala.envs.step.VectorEnv`."""
        return super().state_dict() | {"shown": self._shown.tolist()}

    def load_state_dict(self, state: State) -> None:
        """See :class:`~gala.envs.step.VectorEnv`."""
        super().load_state_dict(state)
        self._shown = np.array(state["shown"], np.int64)


def _lag_of(kwargs: dict[str, Any], length: int) -> int:
    """The only argument that there is."""
    for name in kwargs:
        if name != "lag":
            rule = f"gala/RepeatPrevious-v0 has no argument {name!r}"
            raise UserError(rule, field="env.kwargs", hint="lag")
    lag = kwargs.get("lag", LAG)
    if not isinstance(lag, int) or isinstance(lag, bool) or not 1 <= lag < length:
        rule = f"must be a whole number from 1 to {length - 1}, got {lag!r}"
        raise UserError(rule, field="env.kwargs.lag", hint=str(min(LAG, length - 1)))
    return lag
