"""Atari games through ALE's own vector environment; the only module that imports ale_py.

The classic protocol "a lost life ends the episode for the learner, the game goes on" is
``life_loss_info`` of ALE: ``terminated`` is True at a lost life, nothing is reset, and the next
action counts. Games, and with them raw returns, end where the emulator starts a new one, seen in
``episode_frame_number``.
"""

from __future__ import annotations

import re
from typing import Any

import gymnasium
import numpy as np
from ale_py import roms
from ale_py.vector_env import AtariVectorEnv

from gala.config import EnvConfig
from gala.envs.autoreset import MODES
from gala.envs.step import Array, Ledger, State, Step
from gala.errors import UserError, did_you_mean


def game_of(env_id: str) -> str | None:
    """ALE's name of the game that an id means, None when the id is not of an Atari game.

    ``ALE/Pong-v5``, ``PongNoFrameskip-v4`` and ``pong`` are all ``pong``.

    Raises:
        UserError: an ``ALE/`` id of no known game.
    """
    known = {name.replace("_", ""): name for name in roms.get_all_rom_ids()}
    match = re.fullmatch(r"(ALE/)?([A-Za-z0-9_]+?)(NoFrameskip|Deterministic)?(-v\d+)?", env_id)
    name = match[2].replace("_", "").lower() if match else ""
    if match and name in known and (match[1] or match[3] or not match[4] or match[4] == "-v5"):
        return known[name]
    if env_id.startswith("ALE/") or (match and match[3]):
        ids = {"".join(w.capitalize() for w in rom.split("_")): rom for rom in known.values()}
        wanted = match[2] if match else env_id.removeprefix("ALE/")
        hint = did_you_mean(wanted, ids)
        raise UserError(f"no Atari game is called {wanted!r}", field="env.id", hint=hint)
    return None


class AtariEnv:
    """B emulators of one game; see :class:`~gala.envs.step.VectorEnv`.

    Args:
        game: ALE's name of the game.
        config: number of simulators, autoreset mode and protocol.
        seed: of the first reset.
        threads: emulator threads.
    """

    restorable = False

    def __init__(self, game: str, config: EnvConfig, *, seed: int, threads: int) -> None:
        protocol = config.atari
        limit = protocol.max_frames
        if config.max_episode_steps is not None:
            limit = min(limit, config.max_episode_steps * protocol.frame_skip)
        self._env = AtariVectorEnv(
            game,
            config.num_envs,
            num_threads=threads,
            max_num_frames_per_episode=limit,
            repeat_action_probability=protocol.sticky_actions,
            full_action_space=protocol.full_action_space,
            autoreset_mode=MODES[config.autoreset],
            img_height=protocol.screen_size,
            img_width=protocol.screen_size,
            grayscale=protocol.grayscale,
            stack_num=protocol.frame_stack,
            frameskip=protocol.frame_skip,
            maxpool=protocol.frame_skip > 1,
            noop_max=protocol.noop_max,
            episodic_life=False,
            life_loss_info=protocol.episodic_life,
            reward_clipping=False,  # raw returns are logged; the learner clips for itself
            use_fire_reset=protocol.fire_reset,
        )
        self.num_envs = config.num_envs
        self.action_space: gymnasium.Space[Any] = self._env.single_action_space
        space = self._env.single_observation_space
        assert space.shape is not None
        self._shape = _channels_first(space.shape)
        self.observation_space: gymnasium.Space[Any] = gymnasium.spaces.Box(
            0, 255, self._shape, np.uint8
        )
        self.frames_per_step = protocol.frame_skip
        self._next_step = config.autoreset == "next-step"
        self._seed: int | None = seed
        self._ledger = Ledger(config.num_envs)
        self._frame = np.zeros(config.num_envs, np.int64)

    def reset(self) -> Array:
        """See :class:`~gala.envs.step.VectorEnv`."""
        obs, info = self._env.reset(seed=self._seed)
        self._seed = None
        self._ledger = Ledger(self.num_envs)
        self._frame = info["episode_frame_number"].astype(np.int64)
        return self._images(obs)

    def send(self, actions: Array) -> None:
        """See :class:`~gala.envs.step.VectorEnv`."""
        self._env.send(actions)

    def recv(self) -> Step:
        """See :class:`~gala.envs.step.VectorEnv`."""
        obs, reward, terminated, truncated, info = self._env.recv()
        frame = info["episode_frame_number"].astype(np.int64)
        began = frame <= self._frame  # a new game: its frames count from the start again
        self._frame = frame
        reward = reward.astype(np.float32)
        final_obs = None
        if self._next_step:
            valid = ~began
            episodes = self._ledger.finish(began)
            self._ledger.add(reward, valid)
        else:
            valid = np.ones_like(began)
            self._ledger.add(reward, valid)
            episodes = self._ledger.finish(began)
            if began.any():
                final_obs = self._images(info["final_obs"])
        return Step(self._images(obs), reward, terminated, truncated, valid, final_obs, episodes)

    def step(self, actions: Array) -> Step:
        """See :class:`~gala.envs.step.VectorEnv`."""
        self.send(actions)
        return self.recv()

    def state_dict(self) -> State:
        """Empty: the vector emulators cannot be restored; a resumed run begins new games."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Nothing to restore."""

    def close(self) -> None:
        """See :class:`~gala.envs.step.VectorEnv`."""
        self._env.close()

    def _images(self, obs: Array) -> Array:
        """[B, C, H, W]; colour comes as [B, stack, H, W, 3]."""
        if obs.ndim == 5:
            obs = np.moveaxis(obs, -1, 2)
        return obs.reshape(obs.shape[0], *self._shape)


def _channels_first(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) == 4:
        stack, height, width, colours = shape
        return stack * colours, height, width
    stack, height, width = shape
    return stack, height, width
