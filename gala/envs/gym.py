"""Any Gymnasium id, through Gymnasium's vector API."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import error as gym_error
from gymnasium.vector import AutoresetMode

from gala.config import EnvConfig
from gala.envs.autoreset import MODES, Autoreset
from gala.envs.step import Array, State, Step, restore_rng, rng_state
from gala.errors import UserError, did_you_mean

EXTRAS = {"box2d": "box2d", "pygame": "classic-control", "mujoco": "mujoco"}
"""Extras of gymnasium by the package that an environment misses."""


def make_gym_env(config: EnvConfig, *, seed: int) -> GymEnv:
    """Simulators of a Gymnasium id.

    Raises:
        UserError: unknown id (with the nearest one), missing extra, unsupported observations.
    """
    try:
        spec = gymnasium.spec(config.id)
    except gym_error.Error:
        hint = did_you_mean(config.id, gymnasium.registry)
        raise UserError(
            f"no environment is called {config.id!r}", field="env.id", hint=hint
        ) from None
    mode = MODES[config.autoreset]
    own_vector = config.workers == "vector" and spec.vector_entry_point is not None
    settings: dict[str, Any] = {}
    if config.max_episode_steps is not None:
        settings["max_episode_steps"] = config.max_episode_steps
    if own_vector and mode is AutoresetMode.NEXT_STEP:
        settings["vectorization_mode"] = "vector_entry_point"
    else:
        settings["vectorization_mode"] = "async" if config.workers == "async" else "sync"
        settings["vector_kwargs"] = {"autoreset_mode": mode}
    try:
        env = gymnasium.make_vec(config.id, config.num_envs, **settings)
    except gym_error.DependencyNotInstalled as missing:
        extra = next((e for name, e in EXTRAS.items() if name in str(missing).lower()), None)
        install = f"pip install 'gymnasium[{extra}]'" if extra else str(missing)
        raise UserError(
            f"{config.id} needs a package that is not installed", field="env.id", hint=install
        ) from None
    except gym_error.Error as problem:
        raise UserError(f"{config.id} cannot be made: {problem}", field="env.id") from None
    return GymEnv(env, mode, seed=seed)


class GymEnv:
    """A Gymnasium vector environment; see :class:`~gala.envs.step.VectorEnv`.

    Args:
        env: the vector environment.
        mode: its autoreset mode.
        seed: of the first reset.
    """

    frames_per_step = 1

    def __init__(
        self, env: gymnasium.vector.VectorEnv[Any, Any, Any], mode: AutoresetMode, *, seed: int
    ) -> None:
        self._env = env
        self._autoreset = Autoreset(mode, env.num_envs)
        self.num_envs = env.num_envs
        self.action_space: gymnasium.Space[Any] = env.single_action_space
        self._one_hot = 0
        self.observation_space = self._observations(env.single_observation_space)
        self._seed: int | None = seed
        self._pending: Array | None = None
        self._asynchronous = isinstance(env, gymnasium.vector.AsyncVectorEnv)
        # CartPole's own vector form keeps its whole state in four attributes.
        self.restorable = type(env.unwrapped).__name__ == "CartPoleVectorEnv"

    def reset(self) -> Array:
        """See :class:`~gala.envs.step.VectorEnv`."""
        obs, _ = self._env.reset(seed=self._seed)
        self._seed = None
        self._autoreset = Autoreset(self._autoreset.mode, self.num_envs)
        return self._convert(obs)

    def send(self, actions: Array) -> None:
        """See :class:`~gala.envs.step.VectorEnv`."""
        if isinstance(self._env, gymnasium.vector.AsyncVectorEnv):
            self._env.step_async(actions)
        else:
            self._pending = actions

    def recv(self) -> Step:
        """See :class:`~gala.envs.step.VectorEnv`."""
        if isinstance(self._env, gymnasium.vector.AsyncVectorEnv):
            obs, reward, terminated, truncated, info = self._env.step_wait()
        else:
            assert self._pending is not None, "recv without send"
            obs, reward, terminated, truncated, info = self._env.step(self._pending)
            self._pending = None
        step = self._autoreset.translate(obs, np.asarray(reward), terminated, truncated, info)
        step.obs = self._convert(step.obs)
        if step.final_obs is not None:
            step.final_obs = self._convert(step.final_obs)
        return step

    def step(self, actions: Array) -> Step:
        """See :class:`~gala.envs.step.VectorEnv`."""
        self.send(actions)
        return self.recv()

    def state_dict(self) -> State:
        """See :class:`~gala.envs.step.VectorEnv`."""
        if not self.restorable:
            return {}
        env: Any = self._env.unwrapped
        return {
            "state": torch.from_numpy(env.state.copy()),
            "steps": env.steps.tolist(),
            "prev_done": env.prev_done.tolist(),
            "rng": rng_state(env.np_random),
            "autoreset": self._autoreset.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        """See :class:`~gala.envs.step.VectorEnv`."""
        if not state:
            return
        env: Any = self._env.unwrapped
        env.state = state["state"].numpy().copy()
        env.steps = np.array(state["steps"], env.steps.dtype)
        env.prev_done = np.array(state["prev_done"], np.bool_)
        restore_rng(env.np_random, state["rng"])
        self._autoreset.load_state_dict(state["autoreset"])

    def close(self) -> None:
        """See :class:`~gala.envs.step.VectorEnv`."""
        self._env.close()

    def _observations(self, space: gymnasium.Space[Any]) -> gymnasium.Space[Any]:
        """The observation space after :meth:`_convert`."""
        if isinstance(space, gymnasium.spaces.Discrete):
            self._one_hot, self._first = int(space.n), int(space.start)
            return gymnasium.spaces.Box(0.0, 1.0, (int(space.n),), np.float32)
        if isinstance(space, gymnasium.spaces.Box):
            if space.dtype == np.uint8 and len(space.shape) == 3:
                return space
            return gymnasium.spaces.Box(-np.inf, np.inf, space.shape, np.float32)
        raise UserError(
            f"observation space {space} is not supported",
            field="env.id",
            hint="supported: Box, Discrete",
        )

    def _convert(self, obs: Array) -> Array:
        if self._one_hot:
            return np.asarray(np.eye(self._one_hot, dtype=np.float32)[obs - self._first])
        if self.observation_space.dtype == np.uint8:
            return obs
        return obs.astype(np.float32, copy=False)
