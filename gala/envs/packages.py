"""Environments of installed packages, registered when an id of theirs is asked for.

A package declares how by an entry point of the group ``gymnasium.envs``, named as the namespace of
its ids: Gymnasium 0 called all of them. Those of no namespace are registered by an import.
"""

from __future__ import annotations

import importlib.util
import logging
from importlib import metadata

import gymnasium
from gymnasium.envs import registration

from gala.errors import UserError
from gala.files import commands
from gala.files.importing import users_code

EXTRAS = {"MinAtar": "minatar"}
"""Extra by namespace."""
IMPORTED = {"MiniGrid": "minigrid", "BabyAI": "minigrid"}
"""Package that registers ids when it is imported, and extra of that name, by their first word."""


def register(name: str) -> None:
    """Make the id ``name`` known, where an installed package has it.

    Raises:
        UserError: the package raises, or belongs to an extra that is not installed.
    """
    namespace, slash, _ = name.partition("/")
    if namespace == "gala":
        from gala.envs import cartpole  # of Gymnasium's whole classic control

        cartpole.register()
    elif slash:
        _call(namespace)
    elif package := IMPORTED.get(name.partition("-")[0]):
        _import(package)


def _import(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        hint = commands.install(package)
        raise UserError(f"needs the package {package}", field="env.id", hint=hint)
    with users_code(package, field="env.id"):
        importlib.import_module(package)


def _call(namespace: str) -> None:
    if any(name.startswith(f"{namespace}/") for name in gymnasium.registry):
        return
    points = metadata.entry_points(group="gymnasium.envs", name=namespace)
    if not points and namespace in EXTRAS:
        hint = commands.install(EXTRAS[namespace])
        raise UserError(f"needs the package {namespace}", field="env.id", hint=hint)
    for point in points:
        logging.disable(logging.WARNING)  # MinAtar's that it cannot draw, once a process
        before, registration.current_namespace = registration.current_namespace, namespace
        try:
            with users_code(point.value, field="env.id"):
                point.load()()
        finally:  # Gymnasium's own context forgets this when an error passes
            registration.current_namespace = before
            logging.disable(logging.NOTSET)
