"""Any Gymnasium id, through Gymnasium's vector API."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from gala.config.tree import EnvConfig
from gala.envs.autoreset import MODES, Autoreset
from gala.envs.boundary import environment_code, mismatch, raise_mistakes
from gala.envs.making import make_vector
from gala.envs.step import Array, State, Step, restore_rng, rng_state, simulator_seeds
from gala.errors import UserError


def make_gym_env(config: EnvConfig, *, seed: int) -> GymEnv:
    """Simulators of a Gymnasium id, after their first reset.

    Raises:
        UserError: whatever :func:`gala.envs.making.make_vector` raises, unsupported spaces, a first
            reset that fails, or a vectorised implementation without the wanted autoreset mode.
    """
    mode = MODES[config.autoreset]
    env = make_vector(config)
    try:
        if env.metadata.get("autoreset_mode") is not mode:
            raise UserError(
                f"the vectorised {config.id} does not reset in mode {config.autoreset}",
                field="env.autoreset",
                hint="use env.workers sync or async",
            )
        return GymEnv(env, mode, seed=seed, name=config.id)
    except UserError:
        env.close()  # processes of async workers, else, would stay
        raise
    except BaseException:
        if isinstance(env, AsyncVectorEnv):
            _kill(env)
        raise


def _kill(env: AsyncVectorEnv) -> None:
    """End the simulators without asking them.

    SIGTERM, which Gymnasium and multiprocessing send, would not do: forked processes inherit the
    agent's handler, which only counts it. That is as it should be: Ctrl-C, ``timeout`` and batch
    systems signal all processes of a job, and the agent still has an update to finish with them.
    """
    for process in env.processes:
        process.kill()
    for process in env.processes:
        process.join()
    for pipe in env.parent_pipes:
        if pipe is not None:  # of a simulator that has raised
            pipe.close()
    env.closed = True


class GymEnv:
    """A Gymnasium vector environment; see :class:`~gala.envs.step.VectorEnv`.

    Args:
        env: the vector environment.
        mode: its autoreset mode.
        seed: of the first reset, which takes place here: what is wrong is said before anything is
            begun.
        name: of the environment, for messages.

    Raises:
        UserError: unsupported spaces, or a first reset that fails.
    """

    frames_per_step = 1

    def __init__(
        self,
        env: gymnasium.vector.VectorEnv[Any, Any, Any],
        mode: AutoresetMode,
        *,
        seed: int,
        name: str,
    ) -> None:
        self._env, self._name = env, name
        self._autoreset = Autoreset(mode, env.num_envs)
        self.num_envs = env.num_envs
        self.action_space = _supported_actions(env.single_action_space)
        self._one_hot, self._first, self._channels_last = 0, 0, False
        self.observation_space = self._observations(env.single_observation_space)
        # Environments that are made one by one each have a boundary, their vector needs none.
        self._one_by_one = isinstance(env, gymnasium.vector.SyncVectorEnv | AsyncVectorEnv)
        self._pending: Array | None = None
        self._answered = True  # by all processes, whatever they were asked
        # CartPole's own vector form keeps its whole state in four attributes.
        self.restorable = type(env.unwrapped).__name__ == "CartPoleVectorEnv"
        # of one generator, or of one per simulator
        first: Any = simulator_seeds(seed, env.num_envs) if self._one_by_one else seed
        with nullcontext() if self._one_by_one else environment_code(name):
            self._first_obs: Array | None = self._begin(first)

    def reset(self) -> Array:
        """See :class:`~gala.envs.step.VectorEnv`."""
        obs = self._begin(None) if self._first_obs is None else self._first_obs
        self._first_obs = None
        return self._convert(obs)

    def _begin(self, seed: Any) -> Array:
        self._answered = False
        obs: Array
        obs, info = self._env.reset(seed=seed)
        self._answered = True
        self._autoreset = Autoreset(self._autoreset.mode, self.num_envs)
        self._check(obs, info)
        return obs

    def _check(self, obs: Any, info: dict[str, Any]) -> None:
        raise_mistakes(info)
        rule = None if self._one_by_one else mismatch(self._env.observation_space, obs)
        if rule:
            raise UserError(f"{self._name}: {rule}", field="env.id")

    def send(self, actions: Array) -> None:
        """See :class:`~gala.envs.step.VectorEnv`."""
        self._first_obs = None
        if isinstance(self._env, AsyncVectorEnv):
            self._answered = False
            self._env.step_async(actions)
        else:
            self._pending = actions

    def recv(self) -> Step:
        """See :class:`~gala.envs.step.VectorEnv`."""
        if isinstance(self._env, AsyncVectorEnv):
            obs, reward, terminated, truncated, info = self._env.step_wait()
            self._answered = True
        else:
            assert self._pending is not None, "recv without send"
            obs, reward, terminated, truncated, info = self._env.step(self._pending)
            self._pending = None
        self._check(obs, info)
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
        saved = state["state"].shape[1]
        if saved != self.num_envs:
            rule = f"the checkpoint holds {saved} simulators, got {self.num_envs}"
            raise UserError(rule, field="env.num_envs")
        self._first_obs = None
        env.state = state["state"].numpy().copy()
        env.steps = np.array(state["steps"], env.steps.dtype)
        env.prev_done = np.array(state["prev_done"], np.bool_)
        restore_rng(env.np_random, state["rng"])
        self._autoreset.load_state_dict(state["autoreset"])

    def close(self) -> None:
        """See :class:`~gala.envs.step.VectorEnv`."""
        if not isinstance(self._env, AsyncVectorEnv):
            self._env.close()
            return
        try:
            # Gymnasium would wait for ever for the answer of a process that has died in a step.
            if self._answered:
                with suppress(EOFError, OSError):  # one has died since
                    self._env.close()
        finally:
            _kill(self._env)

    def _observations(self, space: gymnasium.Space[Any]) -> gymnasium.Space[Any]:
        """The observation space after :meth:`_convert`."""
        if isinstance(space, spaces.Discrete):
            self._one_hot, self._first = int(space.n), int(space.start)
            return spaces.Box(0.0, 1.0, (int(space.n),), np.float32)
        if isinstance(space, spaces.Box):
            if space.dtype != np.uint8 or len(space.shape) != 3:
                return spaces.Box(-np.inf, np.inf, space.shape, np.float32)
            self._channels_last = space.shape[2] <= 4 < space.shape[0]
            if not self._channels_last:
                return space
            height, width, channels = space.shape
            return spaces.Box(0, 255, (channels, height, width), np.uint8)
        raise UserError(
            f"observation space {space} is not supported",
            field="env.id",
            hint="supported: Box, Discrete",
        )

    def _convert(self, obs: Array) -> Array:
        if self._one_hot:
            return np.asarray(np.eye(self._one_hot, dtype=np.float32)[obs - self._first])
        if self.observation_space.dtype == np.uint8:
            return np.moveaxis(obs, -1, 1) if self._channels_last else obs
        return obs.astype(np.float32, copy=False)


def _supported_actions(space: gymnasium.Space[Any]) -> gymnasium.Space[Any]:
    floats = isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating)
    if floats or isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return space
    raise UserError(
        f"action space {space} is not supported",
        field="env.id",
        hint="supported: Discrete, MultiDiscrete, Box of floats",
    )
