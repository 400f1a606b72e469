"""How a vector of Gymnasium environments is made: id, arguments, wrappers, processes."""

from __future__ import annotations

import dataclasses
import inspect
import multiprocessing
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
from gymnasium import error as gym_error
from gymnasium.envs import registration
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from gala.config.sections import EnvConfig
from gala.envs import packages
from gala.envs.autoreset import MODES
from gala.envs.boundary import Boundary, Space, Unmade, environment_code
from gala.envs.own import OWN
from gala.envs.room import Makers
from gala.errors import UserError, did_you_mean
from gala.files.importing import import_module, import_object, users_code

Vector = gymnasium.vector.VectorEnv[Any, Any, Any]


def make_vector(config: EnvConfig, *, render_mode: str | None = None) -> Vector:
    """The environments of one agent, before their first reset.

    The id's own vectorised implementation knows neither wrappers nor the options of a reset that it
    does itself, and those that Gymnasium ships reset in the next step and no other way.

    Args:
        config: names all of it.
        render_mode: given to each constructor; None: not given.

    Raises:
        UserError: unknown id (with the nearest one), missing extra, or whatever the user's module,
            constructor or wrapper raises.
    """
    spec, mode = find_spec(config.id), MODES[config.autoreset]
    own_vector = config.workers == "vector" and spec.vector_entry_point is not None
    if own_vector and mode is AutoresetMode.NEXT_STEP and not (config.wrappers or config.options):
        limit = {} if config.max_episode_steps is None else _limit(config)
        spec = _with_arguments(spec, config, render_mode)
        with environment_code(config.id), _says_arguments(config.id, spec.vector_entry_point):
            return gymnasium.make_vec(
                spec, config.num_envs, vectorization_mode="vector_entry_point", **limit
            )
    makers = Makers(OneEnv(config, render_mode), config.num_envs)
    try:
        # Without a copy the observations are the environment's own buffer, which Step allows.
        if config.workers == "async":
            with _no_processes_left_by_failure():
                return AsyncVectorEnv(makers, autoreset_mode=mode, copy=False)
        return SyncVectorEnv(makers, autoreset_mode=mode, copy=False)
    except (RuntimeError, ValueError, gym_error.Error) as problem:  # spaces that make no vector
        raise UserError(f"{config.id} cannot be made: {problem}", field="env.id") from None


def find_spec(env_id: str) -> EnvSpec:
    """What is registered as ``Id-v0``; ``MODULE:Id-v0`` imports the module that registers it.

    Raises:
        UserError: there is no such module, it raises, there is no such id, or its extra is missing.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        if not all(part.isidentifier() for part in module.split(".")) or module.endswith(".py"):
            hint = f"for example my_module:{name}, for my_module.py in the current folder"
            raise UserError(f"{module!r} is no module's name", field="env.id", hint=hint)
        import_module(module, env_id, field="env.id")
    elif name not in gymnasium.registry:
        packages.register(name)
    try:
        return gymnasium.spec(name)
    except (ImportError, gym_error.Error):
        names = _registered_by(module) if module else [*gymnasium.registry, *OWN]
        hint = f"{module} has to register it: gymnasium.register({name!r}, entry_point=...)"
        if names:
            hint = did_you_mean(name, names)
        raise UserError(f"no environment is called {name!r}", field="env.id", hint=hint) from None


def _registered_by(module: str) -> list[str]:
    """Ids whose environment lies in the package of ``module``."""
    places = {
        name: getattr(spec.entry_point, "__module__", str(spec.entry_point).partition(":")[0])
        for name, spec in gymnasium.registry.items()
    }
    package = module.partition(".")[0]
    return [name for name, place in places.items() if place.partition(".")[0] == package]


class OneEnv:
    """Makes one environment, in this process or in that of an asynchronous vector.

    Args:
        config: id, arguments, options, wrappers, limit of steps.
        render_mode: given to the constructor; None: not given.
    """

    def __init__(self, config: EnvConfig, render_mode: str | None = None) -> None:
        self._config, self._render_mode = config, render_mode
        self._process = os.getpid()
        self._announced: tuple[Space, Space] | None = None

    def __call__(self) -> gymnasium.Env[Any, Any]:
        """Make it.

        Raises:
            UserError: whatever its constructor or a wrapper raises. In a process of a vector, where
                nobody listens yet, its first reset says so.
        """
        try:
            env = self._make()
        except UserError as mistake:
            if self._announced is None or os.getpid() == self._process:
                raise
            return Unmade(*self._announced, mistake)
        self._announced = env.observation_space, env.action_space
        return env

    def _make(self) -> gymnasium.Env[Any, Any]:
        config = self._config
        spec = _with_arguments(find_spec(config.id), config, self._render_mode)
        limit = {} if config.max_episode_steps is None else _limit(config)
        with environment_code(config.id), _says_arguments(config.id, spec.entry_point):
            env: Any = gymnasium.make(spec, **limit)
        for name in config.wrappers:
            wrap = import_object(name, field="env.wrappers")
            with users_code(name, field="env.wrappers"):
                env = wrap(env)
            if not isinstance(env, gymnasium.Env):
                rule = f"{name} must return an environment, got {type(env).__name__}"
                raise UserError(rule, field="env.wrappers")
        for space in ("observation_space", "action_space"):
            if not isinstance(getattr(env, space, None), gymnasium.Space):
                raise UserError(f"{config.id} has no {space} of Gymnasium's", field="env.id")
        return Boundary(env, config.id, config.options)


def _limit(config: EnvConfig) -> dict[str, Any]:
    return {"max_episode_steps": config.max_episode_steps}


def _with_arguments(spec: EnvSpec, config: EnvConfig, render_mode: str | None) -> EnvSpec:
    """The constructor's arguments; as keywords of ``gymnasium.make`` some would not reach it."""
    arguments = spec.kwargs | config.kwargs
    if render_mode is not None:
        arguments["render_mode"] = render_mode
    return dataclasses.replace(spec, kwargs=arguments)


@contextmanager
def _says_arguments(env_id: str, entry_point: Any) -> Iterator[None]:
    """Name ``env.kwargs`` where a constructor refuses its arguments.

    Raises:
        UserError: with the arguments that it takes.
    """
    try:
        yield
    except TypeError as error:
        cause = error.__cause__ or error  # Gymnasium repeats all arguments
        called_here = (
            traceback.extract_tb(cause.__traceback__)[-1].filename == registration.__file__
        )
        if not called_here or "argument" not in str(cause):
            raise cause from None  # it was entered, or is no environment
        make = entry_point
        if isinstance(make, str):
            make = registration.load_env_creator(make)
        names = [name for name in inspect.signature(make).parameters if name != "num_envs"]
        hint = f"it takes {', '.join(names)}" if names else "it takes none"
        raise UserError(f"{env_id}: {cause}", field="env.kwargs", hint=hint) from None


@contextmanager
def _no_processes_left_by_failure() -> Iterator[None]:
    """Kill what a vector began before it failed; a signal would not end it."""
    before = set(multiprocessing.active_children())
    try:
        yield
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
            process.join()
        raise
