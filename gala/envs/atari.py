"""Atari games through ALE's own vector environment; the only module that imports ale_py.

The classic protocol "a lost life ends the episode for the learner, the game goes on" is
``life_loss_info`` of ALE: ``terminated`` is True at a lost life, nothing is reset, and the next
action counts, after what :mod:`gala.envs.opening` presses. Games, and with them raw returns, end
where the emulator starts a new one: there the difference between its two frame counters, of all
games and of this game, changes.
"""

from __future__ import annotations

import re
from typing import Any

import gymnasium
import numpy as np
from ale_py import Action, roms
from ale_py.vector_env import AtariVectorEnv
from numpy.typing import NDArray

from gala.config.sections import AtariConfig, EnvConfig
from gala.envs.autoreset import MODES, Autoreset
from gala.envs.opening import Opening
from gala.envs.step import Array, State, Step, env_seeds
from gala.errors import UserError, did_you_mean

NOOP, FIRE, SECOND = 0, 1, 2
"""Indices of actions; the second one after FIRE is whatever the game has there, as in the paper."""

COUNTERS = ("lives", "frame_number", "episode_frame_number")


def game_of(env_id: str) -> str | None:
    """ALE's name of the game that an id means, None when the id is not of an Atari game.

    ``ALE/Pong-v5``, ``PongNoFrameskip-v4``, ``Pong-v4`` and ``pong`` are all ``pong``. A version
    other than 5 must be one that ale_py registers: ``Tetris-v1`` may be somebody else's.

    Raises:
        UserError: an ``ALE/`` id of no known game.
    """
    known = {name.replace("_", ""): name for name in roms.get_all_rom_ids()}
    match = re.fullmatch(r"(ALE/)?([A-Za-z0-9_]+?)(NoFrameskip|Deterministic)?(-v\d+)?", env_id)
    name = match[2].replace("_", "").lower() if match else ""
    if match and name in known:
        spec = gymnasium.registry.get(env_id)
        registered = spec is not None and str(spec.entry_point).startswith("ale_py")
        if match[1] or match[3] or match[4] in (None, "-v5") or registered:
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
        config: number of environments, autoreset mode and protocol.
        seed: of the first reset.
        threads: emulator threads.
    """

    restorable = False
    masks = False
    action_mask: NDArray[np.bool_] | None = None

    def __init__(self, game: str, config: EnvConfig, *, seed: int, threads: int) -> None:
        protocol = config.atari
        limit = protocol.max_frames
        if config.max_episode_steps is not None:
            limit = min(limit, config.max_episode_steps * protocol.frame_skip)
        self._env: AtariVectorEnv | None = AtariVectorEnv(
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
            noop_max=protocol.noop_max + 1,  # ALE stays below it
            episodic_life=False,
            life_loss_info=protocol.episodic_life,
            reward_clipping=False,  # raw returns are logged; the learner clips for itself
            use_fire_reset=protocol.fire_reset and not protocol.fire_second,
        )
        self.num_envs = config.num_envs
        self.action_space: gymnasium.Space[Any] = self._env.single_action_space
        self._actions = len(self._env.ale.get_action_set())
        self._noop_min = min(protocol.noop_min, protocol.noop_max)
        self._life_ends = protocol.episodic_life
        self._opening = self._opening_of(protocol)
        space = self._env.single_observation_space
        assert space.shape is not None
        self._shape = _channels_first(space.shape)
        self.observation_space: gymnasium.Space[Any] = gymnasium.spaces.Box(
            0, 255, self._shape, np.uint8
        )
        stack, height, width = self._shape
        self.opening: tuple[tuple[str, str], ...] = (
            ("observes", f"{stack} channels of {height}x{width} bytes, 0..255 -> 0..1"),
            ("acts", f"one of {self._actions}"),
        )
        self.frames_per_step = protocol.frame_skip
        self._autoreset = Autoreset(MODES[config.autoreset], config.num_envs)
        self._seeds: Array | None = np.array(env_seeds(seed, config.num_envs))
        self._frames_before = self._lives = np.zeros(config.num_envs, np.int32)

    def _opening_of(self, protocol: AtariConfig) -> Opening:
        """What is pressed when a game or a life begins."""
        assert self._env is not None
        has_fire = Action.FIRE in self._env.ale.get_action_set()[1:2] and self._actions > SECOND
        fire: tuple[int, ...] = ()
        if protocol.fire_reset and has_fire:
            fire = (FIRE, SECOND) if protocol.fire_second else (FIRE,)
        return Opening(
            self.num_envs,
            after_reset=fire if protocol.fire_second else (),  # else ALE presses it
            after_life=(NOOP, *fire) if protocol.life_reset else (),
            stack=protocol.frame_stack,
            clear=protocol.clear_stack,
        )

    def reset(self) -> Array:
        """See :class:`~gala.envs.step.VectorEnv`."""
        assert self._env is not None, "reset of closed environments"
        obs, info = self._env.reset(seed=self._seeds)
        self._seeds = None
        self._autoreset = Autoreset(self._autoreset.mode, self.num_envs)
        info = self._begin_again(obs, info, np.ones(self.num_envs, np.bool_))
        self._frames_before, self._lives = _frames_before(info), info["lives"]
        self._opening.reset()
        return self._images(obs)

    def _begin_again(
        self, obs: Array, info: dict[str, Any], began: NDArray[np.bool_]
    ) -> dict[str, Any]:
        """Start those new games again that drew too few no-ops, until none is left.

        Each number of no-ops that is allowed stays as likely as any other. Returns the new info.
        """
        assert self._env is not None
        while (few := began & (info["episode_frame_number"] < self._noop_min)).any():
            again, new = self._env.reset(options={"reset_mask": few})
            obs[few] = again[few]
            info = info | {name: new[name] for name in COUNTERS}
        return info

    def send(self, actions: Array) -> None:
        """See :class:`~gala.envs.step.VectorEnv`."""
        assert self._env is not None, "step of closed environments"
        # ALE's worker thread would die of it, and recv would wait for ever.
        assert actions.min() >= 0 and actions.max() < self._actions, f"no such action: {actions}"
        self._env.send(self._opening.press(actions))

    def recv(self) -> Step:
        """See :class:`~gala.envs.step.VectorEnv`."""
        assert self._env is not None, "step of closed environments"
        obs, reward, terminated, truncated, info = self._env.recv()
        began = _frames_before(info) != self._frames_before
        info = self._begin_again(obs, info, began)
        lost = (info["lives"] < self._lives) & (info["lives"] > 0) & ~began & self._life_ends
        self._frames_before, self._lives = _frames_before(info), info["lives"]
        skipped = self._opening.saw(began, lost)
        self._opening.clear(obs)
        step = self._autoreset.translate(
            obs, reward, terminated, truncated, info, began=began, skipped=skipped
        )
        step.obs = self._images(step.obs)
        if step.final_obs is not None:
            step.final_obs = self._images(step.final_obs)
        return step

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
        self._env = None  # ALE's own close() keeps the emulators and their threads

    def _images(self, obs: Array) -> Array:
        """[B, C, H, W]; colour comes as [B, stack, H, W, 3]."""
        if obs.ndim == 5:
            obs = np.moveaxis(obs, -1, 2)
        return obs.reshape(obs.shape[0], *self._shape)


def _frames_before(info: dict[str, Any]) -> Array:
    """Int32[B], frames that the emulator ran before the game it is in."""
    return np.asarray(info["frame_number"] - info["episode_frame_number"])


def _channels_first(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) == 4:
        stack, height, width, colours = shape
        return stack * colours, height, width
    stack, height, width = shape
    return stack, height, width
