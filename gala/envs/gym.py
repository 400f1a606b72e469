"""Any Gymnasium id, through Gymnasium's vector API."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from numpy.typing import NDArray

from gala.config.sections import EnvConfig
from gala.envs.autoreset import MODES, Autoreset
from gala.envs.boundary import environment_code, mismatch, raise_mistakes
from gala.envs.making import make_vector
from gala.envs.step import Array, State, Step, env_seeds, restore_rng, rng_state
from gala.envs.translation import translate
from gala.errors import UserError


def make_gym_env(config: EnvConfig, *, seed: int) -> GymEnv:
    """Environments of a Gymnasium id, after their first reset.

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
        return GymEnv(env, mode, config, seed=seed)
    except UserError:
        env.close()  # processes of async workers, else, would stay
        raise
    except BaseException:
        if isinstance(env, AsyncVectorEnv):
            _kill(env)
        raise


def _kill(env: AsyncVectorEnv) -> None:
    """End the environments without asking them.

    SIGTERM, which Gymnasium and multiprocessing send, would not do: forked processes inherit the
    agent's handler, which only counts it. That is as it should be: Ctrl-C, ``timeout`` and batch
    systems signal all processes of a job, and the agent still has an update to finish with them.
    """
    for process in env.processes:
        process.kill()
    for process in env.processes:
        process.join()
    for pipe in env.parent_pipes:
        if pipe is not None:  # of an environment that has raised
            pipe.close()
    env.closed = True


def _returns(name: str) -> tuple[tuple[str, str], ...]:
    """What mean return counts as solved, where an environment's declaration tells."""
    spec = gymnasium.registry.get(name.rpartition(":")[2])
    threshold = None if spec is None else spec.reward_threshold
    return () if threshold is None else (("returns", f"{threshold:,g} counts as solved"),)


class GymEnv:
    """A Gymnasium vector environment; see :class:`~gala.envs.step.VectorEnv`.

    Args:
        env: the vector environment.
        mode: its autoreset mode.
        config: names the environment, and says what its pictures are.
        seed: of the first reset, which takes place here: what is wrong is said before anything is
            begun.

    Raises:
        UserError: unsupported spaces, or a first reset that fails.
    """

    frames_per_step = 1

    def __init__(
        self,
        env: gymnasium.vector.VectorEnv[Any, Any, Any],
        mode: AutoresetMode,
        config: EnvConfig,
        *,
        seed: int,
    ) -> None:
        self._env, self._name = env, config.id
        self._autoreset = Autoreset(mode, env.num_envs)
        self.num_envs = env.num_envs
        translation = translate(
            env.single_observation_space,
            env.single_action_space,
            channels=config.channels,
            pad=config.pad_channels,
        )
        self._actions, plan = translation.actions, translation.observations
        self._masks = translation.masks()
        self.action_space, self.observation_space = self._actions.space, plan.space
        self.opening: tuple[tuple[str, str], ...] = (
            ("observes", plan.text),
            ("acts", self._actions.text),
            *_returns(config.id),
        )
        self.action_mask: NDArray[np.bool_] | None = None
        self._convert, self._convert_row = plan.converter(), plan.converter()
        # Environments that are made one by one each have a boundary, their vector needs none.
        self._one_by_one = isinstance(env, gymnasium.vector.SyncVectorEnv | AsyncVectorEnv)
        self._pending: Array | None = None
        self._answered = True  # by all processes, whatever they were asked
        # CartPole's own vector form keeps its whole state in four attributes.
        self.restorable = type(env.unwrapped).__name__ == "CartPoleVectorEnv"
        # of one generator, or of one per environment
        first: Any = env_seeds(seed, env.num_envs) if self._one_by_one else seed
        with nullcontext() if self._one_by_one else environment_code(config.id):
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
        self.action_mask = self._masks.of_reset(obs, info)
        return obs

    def _check(self, obs: Any, info: dict[str, Any]) -> None:
        raise_mistakes(info)
        rule = None if self._one_by_one else mismatch(self._env.observation_space, obs)
        if rule:
            raise UserError(f"{self._name}: {rule}", field="env.id")

    def send(self, actions: Array) -> None:
        """See :class:`~gala.envs.step.VectorEnv`."""
        actions = self._actions.to_env(actions)
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
        seen = self._convert(obs)
        if "final_obs" in info:
            info = info | {"final_obs": self._finals(info["final_obs"])}
        step = self._autoreset.translate(seen, np.asarray(reward), terminated, truncated, info)
        self.action_mask = step.action_mask = self._masks.of_step(obs, info)
        return step

    @property
    def masks(self) -> bool:
        """See :class:`~gala.envs.step.VectorEnv`."""
        return self._masks.come

    def step(self, actions: Array) -> Step:
        """See :class:`~gala.envs.step.VectorEnv`."""
        self.send(actions)
        return self.recv()

    def state_dict(self) -> State:
        """See :class:`~gala.envs.step.VectorEnv`."""
        if not self.restorable:
            return {}
        import torch  # of the agents; who only steps environments does without

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
            rule = f"the checkpoint holds {saved} environments, got {self.num_envs}"
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

    def _finals(self, given: Any) -> list[Array | None]:
        """The final observations of the rows that have one, as the network sees them."""
        rows = (None if each is None else self._convert_row(_as_batch(each)) for each in given)
        return [None if row is None else row[0].copy() for row in rows]


def _as_batch(obs: Any) -> Any:
    """An observation of one environment as one of B = 1."""
    if isinstance(obs, dict):
        return {key: _as_batch(each) for key, each in obs.items()}
    if isinstance(obs, tuple):
        return tuple(_as_batch(each) for each in obs)
    return np.asarray(obs)[None]
