"""The table of algorithms: a new one is a file in this room and a line here. Loads no torch."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, get_type_hints

from gala.config.tree import Config, adapter_of, section_of
from gala.errors import UserError, did_you_mean
from gala.files.importing import import_object, users_code
from gala.learning.a2c_config import A2CConfig
from gala.learning.impact_config import ImpactConfig
from gala.learning.ppo_config import PPOConfig
from gala.learning.r2d2_config import R2D2Config
from gala.learning.sac_config import SACConfig
from gala.learning.settings import AlgorithmConfig, LearnerConfig, SequencesConfig
from gala.learning.vmpo_config import VMPOConfig
from gala.learning.vtrace_config import VTraceConfig

if TYPE_CHECKING:
    from gala.networks.build import Values  # with torch, for which a configuration need not wait

DISCRETE = ("discrete", "multi-discrete", "multi-binary")
UNROLLS, REPLAY, SEQUENCES = "unrolls", "replay", "sequences"
SETTINGS: Mapping[str, type[Any]] = {
    UNROLLS: LearnerConfig,
    REPLAY: AlgorithmConfig,
    SEQUENCES: SequencesConfig,
}
"""What the settings of an algorithm extend, by what it learns from."""
VALUES: Mapping[str, Values] = {UNROLLS: "state", REPLAY: "soft", SEQUENCES: "dueling"}
"""What its network knows besides a policy, see :func:`gala.networks.build.build_network`."""
ALL_ACTIONS = (*DISCRETE, "box")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An algorithm that can be named.

    Attributes:
        config: its section of the configuration.
        code: ``MODULE:CLASS``, made with an instance of ``config``.
        actions: kinds of action spaces that it learns in.
        source: what it learns from: unrolls, the transitions of a replay, as
            :mod:`gala.learning.off_policy` says, or the sequences of one.
        memory: whether it learns with recurrent networks.
        paper: where it comes from.
    """

    config: type[Any]
    code: str
    actions: tuple[str, ...] = ALL_ACTIONS
    source: str = UNROLLS
    memory: bool = False
    paper: str = ""


ALGORITHMS: Mapping[str, Entry] = {
    "a2c": Entry(
        config=A2CConfig,
        code="gala.learning.a2c:A2C",
        memory=True,
        paper="Mnih et al. 2016, arXiv 1602.01783",
    ),
    "impact": Entry(
        config=ImpactConfig,
        code="gala.learning.impact:Impact",
        paper="Luo et al. 2020, arXiv 1912.00167",
    ),
    "ppo": Entry(
        config=PPOConfig,
        code="gala.learning.ppo:PPO",
        memory=True,
        paper="Schulman et al. 2017, arXiv 1707.06347",
    ),
    "r2d2": Entry(
        config=R2D2Config,
        code="gala.learning.r2d2:R2D2",
        actions=("discrete",),
        source=SEQUENCES,
        memory=True,
        paper="Kapturowski et al. 2019, ICLR (openreview r1lyTjAqYX)",
    ),
    "sac": Entry(
        config=SACConfig,
        code="gala.learning.sac:SAC",
        actions=("discrete", "box"),
        source=REPLAY,
        paper="Haarnoja et al. 2018, arXiv 1812.05905",
    ),
    "vmpo": Entry(
        config=VMPOConfig,
        code="gala.learning.vmpo:VMPO",
        memory=True,
        paper="Song et al. 2019, arXiv 1909.12238",
    ),
    "vtrace": Entry(
        config=VTraceConfig,
        code="gala.learning.vtrace:VTrace",
        memory=True,
        paper="Espeholt et al. 2018, arXiv 1802.01561",
    ),
}


def entry_of(algorithm: str) -> Entry:
    """The algorithm of a name, or an own one: ``MODULE:CLASS`` in reach of the current folder.

    An own class may have an attribute ``Config``, a dataclass that extends
    :class:`~gala.learning.settings.LearnerConfig`; its section is the class's name in lower case.
    What it learns from is what its attribute ``source`` says, unrolls where it has none.

    Raises:
        UserError: there is none of that name (with the nearest one), it cannot be imported, or its
            ``Config`` makes no section.
    """
    if ":" not in algorithm:
        if algorithm not in ALGORITHMS:
            hint = did_you_mean(algorithm, ALGORITHMS)
            raise UserError(f"no algorithm is named {algorithm!r}", field="algorithm", hint=hint)
        return ALGORITHMS[algorithm]
    kind = _class_of(import_object(algorithm, field="algorithm"))
    config = getattr(kind, "Config", LearnerConfig)
    source = getattr(kind, "source", UNROLLS)
    base = SETTINGS.get(source)
    if base is None:
        rule = f"the source of {algorithm} is {source!r}"
        raise UserError(rule, field="algorithm", hint=", ".join(SETTINGS))
    if not (isinstance(config, type) and issubclass(config, base)):
        raise UserError(
            f"the Config of {algorithm} is no settings of a learner",
            field="algorithm",
            hint=f"extend gala.learning.settings.{base.__name__}",
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
        adapter_of(config)  # ... and a type that text can become
        get_type_hints(config)
    return Entry(config=config, code=algorithm, source=source, memory=source != REPLAY)


def _class_of(named: Any) -> Any:
    """A class with some arguments of its own (``functools.partial``) has the settings of it."""
    while isinstance(named, functools.partial):
        named = named.func
    return named


def source_of(algorithm: str) -> str:
    """What it learns from: one of :data:`SETTINGS`.

    Raises:
        UserError: see :func:`entry_of`.
    """
    return entry_of(algorithm).source


def values_of(algorithm: str) -> Values:
    """What its network knows besides a policy.

    Raises:
        UserError: see :func:`entry_of`.
    """
    return VALUES[source_of(algorithm)]


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
