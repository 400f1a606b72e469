"""A vector of two environments that plays back prepared steps."""

from __future__ import annotations

import gymnasium
import numpy as np

from gala.envs.step import Episode, Step

B = 2


class Scripted:
    """Plays back prepared steps; observations are single numbers, so that V(s) = 10 s is known."""

    num_envs, frames_per_step, restorable = B, 1, True
    masks, action_mask = False, None
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, steps: list[Step]) -> None:
        self.steps, self.actions = list(steps), []
        self.places: list[slice | None] = []
        self.place = 0

    def reset(self) -> np.ndarray:
        return obs(1, 1)

    def send(self, actions: np.ndarray) -> None:
        self.actions.append(actions.copy())

    def recv(self) -> Step:
        self.place += 1
        return self.steps[self.place - 1]

    def step(self, actions: np.ndarray) -> Step:
        self.send(actions)
        return self.recv()

    def state_dict(self) -> dict[str, object]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.place = state["place"]

    def close(self) -> None: ...


def obs(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def mask(*values: int) -> np.ndarray:
    return np.array(values, np.bool_)


def step(
    values: tuple[float, float],
    *,
    reward: tuple[float, float] = (0, 0),
    terminated: tuple[int, int] = (0, 0),
    truncated: tuple[int, int] = (0, 0),
    valid: tuple[int, int] = (1, 1),
    final: tuple[float, float] | None = None,
    episodes: tuple[Episode, ...] = (),
) -> Step:
    return Step(
        obs=obs(*values),
        reward=np.array(reward, np.float32),
        terminated=mask(*terminated),
        truncated=mask(*truncated),
        valid=mask(*valid),
        final_obs=None if final is None else obs(*final),
        episodes=list(episodes),
        begins=None if final is None else mask(*terminated) | mask(*truncated),
    )
