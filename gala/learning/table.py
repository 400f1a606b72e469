"""The table of algorithms: a new one is a file in this room and a line here. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from gala.config.tree import Config, section_of
from gala.errors import UserError, did_you_mean
from gala.files.importing import import_object, users_code
from gala.learning.a2c_config import A2CConfig
from gala.learning.ppo_config import PPOConfig
from gala.learning.settings import LearnerConfig
from gala.learning.vtrace_config import VTraceConfig

DISCRETE = ("discrete", "multi-discrete", "multi-binary")
ALL_ACTIONS = (*DISCRETE, "box")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An algorithm that can be named.

    Attributes:
        config: its section of the configuration.
        code: ``MODULE:CLASS``, made with an instance of ``config``.
        actions: kinds of action spaces that it learns in.
        source: what it learns from.
        memory: whether it learns with recurrent networks.
        paper: where it comes from.
    """

    config: type[Any]
    code: str
    actions: tuple[str, ...] = ALL_ACTIONS
    source: str = "unrolls"
    memory: bool = False
    paper: str = ""


ALGORITHMS: Mapping[str, Entry] = {
    "a2c": Entry(
        config=A2CConfig,
        code="gala.learning.a2c:A2C",
        paper="Mnih et al. 2016, arXiv 1602.01783",
    ),
    "ppo": Entry(
        config=PPOConfig,
        code="gala.learning.ppo:PPO",
        paper="Schulman et al. 2017, arXiv 1707.06347",
    ),
    "vtrace": Entry(
        config=VTraceConfig,
        code="gala.learning.vtrace:VTrace",
        paper="Espeholt et al. 2018, arXiv 1802.01561",
    ),
}


def entry_of(algorithm: str) -> Entry:
    """The algorithm of a name, or an own one: ``MODULE:CLASS`` in reach of the current folder.

    An own class may have an attribute ``Config``, a dataclass that extends
    :class:`~gala.learning.settings.LearnerConfig`; its section is the class's name in lower case.

    Raises:
        UserError: there is none of that name (with the nearest one), it cannot be imported, or its
            ``Config`` makes no section.
    """
    if ":" not in algorithm:
        if algorithm not in ALGORITHMS:
            hint = did_you_mean(algorithm, ALGORITHMS)
            raise UserError(f"no algorithm is named {algorithm!r}", field="algorithm", hint=hint)
        return ALGORITHMS[algorithm]
    kind = import_object(algorithm, field="algorithm")
    config = getattr(kind, "Config", LearnerConfig)
    if not (isinstance(config, type) and issubclass(config, LearnerConfig)):
        raise UserError(
            f"the Config of {algorithm} is no settings of a learner",
            field="algorithm",
            hint="extend gala.learning.settings.LearnerConfig",
        )
    if "__dataclass_fields__" not in vars(config):  # its fields would be no options
        raise UserError(
            f"the Config of {algorithm} is no dataclass",
            field="algorithm",
            hint="@dataclass(frozen=True, kw_only=True) above it",
        )
    if section_of(algorithm) in {each.name for each in fields(Config)}:
        raise UserError(
            f"the section of {algorithm} would be {section_of(algorithm)!r}, which there is",
            field="algorithm",
            hint="give the class another name",
        )
    with users_code(algorithm, field="algorithm"):
        config()  # each field needs a default
    return Entry(config=config, code=algorithm)


def sections(algorithm: str) -> dict[str, type[Any]]:
    """Sections of the configuration by name: of all in the table, and of ``algorithm``.

    Raises:
        UserError: see :func:`entry_of`.
    """
    found = {name: entry.config for name, entry in ALGORITHMS.items()}
    return found | {section_of(algorithm): entry_of(algorithm).config}


def make_algorithm(algorithm: str, config: Any) -> Any:
    """The algorithm that ``algorithm`` names, with its section of the configuration.

    Raises:
        UserError: it cannot be imported, or an own one raises.
    """
    kind = import_object(entry_of(algorithm).code, field="algorithm")
    if ":" not in algorithm:
        return kind(config)
    with users_code(algorithm, field="algorithm"):
        return kind(config)
