"""Environments of installed packages, which declare how their ids are registered.

By an entry point of the group ``gymnasium.envs``, named as the namespace of the ids: Gymnasium 0
called all of them; here one is called when an id of its namespace is asked for.
"""

from __future__ import annotations

import logging
from importlib import metadata

import gymnasium
from gymnasium.envs import registration

from gala.errors import UserError
from gala.files import commands
from gala.files.importing import users_code

EXTRAS = {"MinAtar": "minatar"}
"""Extra by namespace."""


def register(namespace: str) -> None:
    """Make the ids ``NAMESPACE/...`` known, where an installed package declares them.

    Raises:
        UserError: the package raises, or belongs to an extra that is not installed.
    """
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
