"""The boundary around one environment of the user's: what may come out of it, and how it is told.

What it raises while it is made or in its first reset, and what has another shape than announced, is
a mistake that starting again would not mend: a :class:`~gala.errors.UserError`. What it raises
later is a crash, after which the agent comes back.

A vector may run in processes, whose exceptions Gymnasium prints and wraps. A mistake is therefore
not raised where it is seen: it travels in the info, and :func:`raise_mistakes` raises it.
"""

from __future__ import annotations

import contextlib
import copy
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import error as gym_error
from gymnasium import spaces

from gala.errors import UserError, printable
from gala.files import commands
from gala.files.importing import users_code

MASK = "action_mask"
"""The one key of an info that is read; the others are dropped before the vector collects them."""
MISTAKE = "gala_mistake"
"""Key of an info under which a mistake travels to the agent."""
EXTRAS = {"pygame": "gymnasium[classic-control]"}
"""What to install, by the package that is missed; else an extra of Gymnasium, or our own."""
OUR_EXTRAS = ("box2d", "mujoco")

GYMNASIUMS_OWN = tuple(
    os.path.join(os.path.dirname(gymnasium.__file__), *place)
    for place in (("wrappers", ""), ("utils", "passive_env_checker.py"))
)
"""Files that look at what an environment returns, between it and us."""

Info = dict[str, Any]
Space = gymnasium.Space[Any]


@contextlib.contextmanager
def environment_code(env_id: str) -> Iterator[None]:
    """Make or begin the environment: whatever it raises is one line.

    Args:
        env_id: ``Id-v0`` or ``MODULE:Id-v0``.

    Raises:
        UserError: with file and line where they are the user's.
    """
    with users_code(env_id, field="env.id"):
        try:
            yield
        except (ImportError, gym_error.DependencyNotInstalled) as missing:
            if ":" in env_id and not isinstance(missing, gym_error.DependencyNotInstalled):
                raise  # of the user's own module: where it is imported is worth more
            raise _needs_package(env_id, missing) from None
        except gym_error.Error as problem:
            raise UserError(f"{env_id} cannot be made: {problem}", field="env.id") from None


def raise_mistakes(info: Mapping[str, Any]) -> None:
    """Raise what an environment of a vector with this info has done wrong.

    Raises:
        UserError: the first one.
    """
    for mistake in info.get(MISTAKE, ()):
        if mistake is not None:
            raise mistake


class Boundary(gymnasium.Wrapper[Any, Any, Any, Any]):
    """One environment, outermost: every reset gets the options, infos nobody reads are dropped.

    Args:
        env: with all its wrappers.
        env_id: its name, for messages.
        options: for each reset, those of autoreset included.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], env_id: str, options: Mapping[str, Any]
    ) -> None:
        super().__init__(env)
        self._id, self._options = env_id, dict(options)
        self._space = env.observation_space  # else asked of all wrappers in each step
        self._begun = False
        self._chooses = isinstance(env.action_space, spaces.Discrete | spaces.MultiDiscrete)
        self._mask: Any = None  # of the first reset

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, Info]:
        """See :class:`gymnasium.Env`."""
        if self._options:  # a copy: an environment may take its options out
            options = copy.deepcopy(self._options) | (options or {})
        given: Any
        rule: str | None
        if self._begun:
            given = self.env.reset(seed=seed, options=options)
        else:
            try:
                with environment_code(self._id):
                    given = self.env.reset(seed=seed, options=options)
            except UserError as mistake:
                return self._space.sample(), {MISTAKE: mistake}
        if not isinstance(given, tuple | list) or len(given) != 2:
            rule = f"its reset must return observation and info, got {type(given).__name__}"
            return self._space.sample(), self._mistake(rule)
        obs, info = given
        if not self._begun:
            self._begun, self._mask = True, _mask(info)
        rule = mismatch(self._space, obs) or self._mask_rule(info)
        if rule:
            return self._space.sample(), self._mistake(rule)
        return obs, self._read(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Info]:
        """See :class:`gymnasium.Env`."""
        reward: Any
        terminated: Any
        truncated: Any
        rule: str | None
        try:
            obs, reward, terminated, truncated, info = self.env.step(action)
        except (AssertionError, TypeError, ValueError) as error:
            if not _taken_apart(error):
                raise
            names = "observation, reward, terminated, truncated and info"
            rule = f"its step must return {names}: {' '.join(str(error).split())}"
            return self._space.sample(), 0.0, False, False, self._mistake(rule)
        rule = mismatch(self._space, obs) or self._mask_rule(info)
        if type(terminated) is not bool or type(truncated) is not bool:
            rule = rule or _no_end("terminated", terminated) or _no_end("truncated", truncated)
            terminated, truncated = (False, False) if rule else (bool(terminated), bool(truncated))
        if type(reward) is not float:
            paid = _number(reward)
            if paid is None:
                rule = f"its reward must be a number, got {reward!r}"
            else:
                reward = paid
        if rule:
            return self._space.sample(), 0.0, False, False, self._mistake(rule)
        return obs, reward, terminated, truncated, self._read(info)

    def close(self) -> None:
        """See :class:`gymnasium.Env`; what it raises is told, and spoils no run that is done."""
        try:
            self.env.close()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the user's code raises what it likes
            reason = " ".join(str(error).split())
            line = f"gala: {self._id}: its close() raised {type(error).__name__}: {reason}"
            print(printable(line), file=sys.stderr)

    def _read(self, info: Any) -> Info:
        """What is read of an info; masks only where the first reset had one."""
        mask = None if self._mask is None else _mask(info)
        return {} if mask is None else {MASK: mask}

    def _mask_rule(self, info: Any) -> str | None:
        if self._mask is None:  # dropped, it would allow what the environment forbids
            late = self._chooses and _mask(info) is not None
            rule = f"info[{MASK!r}] did not come with the first reset; give it with each"
            return rule if late else None
        if not isinstance(self._mask, np.ndarray):
            return None
        mask, shape = _mask(info), self._mask.shape
        if mask is None or np.shape(mask) == shape:
            return None
        return f"its {MASK} is of shape {np.shape(mask)}, the first was of shape {shape}"

    def _mistake(self, rule: str) -> Info:
        return {MISTAKE: UserError(f"{self._id}: {rule}", field="env.id")}


class Unmade(gymnasium.Env[Any, Any]):
    """Stands in a process for an environment that could not be made there, and says why.

    Args:
        observation_space: announced by the one that was made elsewhere.
        action_space: likewise.
        mistake: why.
    """

    def __init__(self, observation_space: Space, action_space: Space, mistake: UserError) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self._said = mistake

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, Info]:
        """Say why."""
        return self.observation_space.sample(), {MISTAKE: self._said}


def mismatch(space: Space, value: Any, name: str = "") -> str | None:
    """Why ``value`` cannot be an observation of ``space``; None if it can.

    Shapes, kinds of numbers and parts are compared, not bounds.

    Args:
        space: as announced.
        value: as given.
        name: of the part of a larger observation.
    """
    whole = isinstance(value, np.ndarray) and value.ndim > 0
    if whole and value.shape == space.shape and value.dtype == space.dtype:
        return None  # most are, and this is asked in each step
    what = f"its observation {name}".rstrip()
    if isinstance(space, spaces.Dict):
        if not isinstance(value, Mapping) or set(value) != set(space.spaces):
            got = f"{sorted(value)}" if isinstance(value, Mapping) else type(value).__name__
            return f"{what} is {got}, its space announces the parts {sorted(space.spaces)}"
        parts = [mismatch(space[key], value[key], f"{name}[{key!r}]") for key in space.spaces]
        return next(filter(None, parts), None)
    if isinstance(space, spaces.Tuple):
        if not isinstance(value, tuple | list) or len(value) != len(space.spaces):
            got = f"of {len(value)}" if isinstance(value, tuple | list) else type(value).__name__
            return f"{what} is {got}, its space announces a tuple of {len(space.spaces)}"
        pairs = enumerate(zip(space.spaces, value, strict=True))
        parts = [mismatch(each, part, f"{name}[{i}]") for i, (each, part) in pairs]
        return next(filter(None, parts), None)
    if space.shape is None or space.dtype is None:
        return None
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return f"{what} is no array, its space announces shape {space.shape}"
    if array.shape != space.shape:
        return f"{what} is of shape {array.shape}, its space announces {space.shape}"
    if isinstance(space, spaces.Discrete):
        if array.dtype.kind not in "iu" or not space.start <= array < space.start + space.n:
            return f"{what} is {value!r}, its space announces {space}"
    elif isinstance(value, np.ndarray) and not _fits(array.dtype, space.dtype):
        return f"{what} is of {array.dtype}, its space announces {space.dtype}"
    elif array.dtype.kind not in "biuf":
        return f"{what} is {type(value).__name__}, its space announces {space.dtype}"
    return None


def _fits(given: np.dtype[Any], announced: np.dtype[Any]) -> bool:
    """Whether Gymnasium can copy it; from signed to unsigned it can, in processes only."""
    return given == announced or np.can_cast(given, announced, "same_kind")


def _taken_apart(error: Exception) -> bool:
    """Whether ``error`` is of who takes apart what a step returned: Gymnasium's wrappers, or us."""
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    return last == __file__ or last.startswith(GYMNASIUMS_OWN)


def _number(value: Any) -> float | None:
    """A number, or an array that holds one; None if it is neither."""
    try:
        array = np.asarray(value)
    except (RuntimeError, TypeError, ValueError):  # rows of two lengths; a tensor that knows better
        return None
    return float(array.item()) if array.size == 1 and array.dtype.kind in "biuf" else None


def _no_end(name: str, value: Any) -> str | None:
    """Why ``value`` says neither that an episode ends nor that it goes on; None if it does."""
    array = np.asarray(value)
    whole = array.size == 1 and array.dtype.kind in "biuf" and array.item() in (0, 1)
    return None if whole else f"its {name} must be true or false, got {value!r}"


def _mask(info: Any) -> Any:
    mask = info.get(MASK) if isinstance(info, dict) else None
    return np.asarray(mask) if isinstance(mask, list) else mask


def _needs_package(env_id: str, missing: Exception) -> UserError:
    said = str(missing)
    extra = re.search(r"gymnasium\[([\w-]+)\]", said)
    package = next((what for name, what in EXTRAS.items() if name in said.lower()), None)
    if package is None and extra:
        package = extra[0]
    hint = commands.pip_install(package) if package else said
    if ours := next((name for name in OUR_EXTRAS if name in said.lower()), None):
        hint = commands.install(ours)
    return UserError(f"{env_id} needs a package that is not installed", field="env.id", hint=hint)
