"""Configuration of a run, with a section for each algorithm that can be named."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gala.config import loading, tree
from gala.config.arguments import OF_POLICIES
from gala.config.tree import adapter_of, with_sections
from gala.errors import UserError
from gala.files.importing import place_of
from gala.files.yaml import Document, load_yaml
from gala.learning.table import SEQUENCES, UNROLLS, entry_of, sections, source_of

OF_TRANSITIONS = {"batch": "sequences", "updates_per_step": "updates", "n_step": "horizon"}
"""Options of a replay that are of transitions alone, and what sequences have in their place."""
DEFAULT = tree.Config.algorithm


def config_type(algorithm: str = DEFAULT) -> Any:
    """The tree that holds the section of ``algorithm``, and those of the table.

    Raises:
        UserError: there is no such algorithm.
    """
    entry_of(algorithm)
    return _config_type(algorithm if ":" in algorithm else DEFAULT)


@cache
def _config_type(algorithm: str) -> Any:
    return with_sections(sections(algorithm))


Config = config_type()


def from_document(
    document: Document,
    overrides: Sequence[tuple[str, Any]] = (),
    unknown: list[str] | None = None,
) -> Any:
    """The configuration of an experiment file with ``(dotted name, value)`` options laid over it.

    Names that there are not are noted in ``unknown``, where that is given, and passed over.

    Raises:
        UserError: a name that there is not (with the nearest one), a value that breaks its field's
            rule, or an option of another algorithm than the chosen one.
    """
    algorithm = algorithm_of(document, overrides)
    try:
        kind = config_type(algorithm)
    except UserError as error:
        if error.line is not None:  # in the module of an own one
            raise
        if any(name == "algorithm" for name, _ in overrides):
            raise UserError(error.rule, field="--algorithm", hint=error.hint) from None
        raise document.error(error.rule, "algorithm", hint=error.hint) from None
    config = loading.from_document(kind, document, overrides, unknown)
    _require_rules(config, document, overrides)
    unused = kind.algorithm_sections() - {tree.section_of(algorithm)}
    for name, _ in overrides:
        section, _, field = name.partition(".")
        if section in unused:
            mine, hint = tree.section_of(algorithm), f"--algorithm {section}"
            if any(each.name == field for each in dataclasses.fields(getattr(config, mine))):
                hint += f", or --{mine}.{field.replace('_', '-')}"
            raise UserError(
                f"is of {section}, and this run learns with {algorithm}",
                field="--" + name.replace("_", "-"),
                hint=hint,
            )
        if section in OF_POLICIES and section != config.coupling:
            rule = f"is of --coupling {section}, and that of this run is {config.coupling}"
            raise UserError(rule, field="--" + name.replace("_", "-"), hint=f"--coupling {section}")
        if name == "gossip.trust_radius" and config.coupling in OF_POLICIES:
            rule = f"is of parameters that are averaged, and --coupling {config.coupling} does not"
            raise UserError(rule, field="--gossip.trust-radius", hint="--coupling gossip")
        if section == "replay":
            _require_replayed(algorithm, field)
    return config


def _require_rules(config: Any, document: Document, overrides: Sequence[tuple[str, Any]]) -> None:
    """Hold the settings of an own algorithm to the rules of those of ours that they extend.

    They may be typed more loosely (``n_step: int``), and defaults are checked by nobody else.

    Raises:
        UserError: a value breaks its field's rule.
    """
    mine, section = config.learning, tree.section_of(config.algorithm)
    ours = next(each for each in type(mine).__mro__ if each.__module__.startswith("gala."))
    if ours is type(mine):
        return
    values = {each.name: getattr(mine, each.name) for each in dataclasses.fields(ours)}
    try:
        adapter_of(ours).validate_python(values)
    except ValidationError as error:
        (name, *_), rule = loading.broken(error)
        if any(option == f"{section}.{name}" for option, _ in overrides):
            raise UserError(rule, field=f"--{section}.{name}".replace("_", "-")) from None
        written = document.data.get(section) if isinstance(document.data, dict) else None
        if isinstance(written, dict) and name in written:
            raise document.error(rule, section, str(name)) from None
        file, row = place_of(type(mine))
        rule = f"its default {rule}"
        raise UserError(rule, file=file, line=row, field=f"{section}.{name}") from None


def _require_replayed(algorithm: str, field: str) -> None:
    """Refuse an option of the replay that what an algorithm learns from does not have.

    Raises:
        UserError: see above.
    """
    source, option = source_of(algorithm), f"--replay.{field.replace('_', '-')}"
    if source == UNROLLS:
        rule = f"is of learners that replay, and {algorithm} learns from unrolls"
        raise UserError(rule, field=option, hint="--algorithm sac")
    instead = OF_TRANSITIONS.get(field)
    if source == SEQUENCES and instead is not None:
        rule = f"is of transitions, and {algorithm} learns from sequences"
        raise UserError(rule, field=option, hint=f"--{tree.section_of(algorithm)}.{instead}")


def algorithm_of(document: Document, overrides: Sequence[tuple[str, Any]] = ()) -> str:
    """Name of the algorithm that an experiment file and options choose."""
    chosen = document.data.get("algorithm") if isinstance(document.data, dict) else None
    for name, value in overrides:
        chosen = value if name == "algorithm" else chosen
    return DEFAULT if chosen is None else str(chosen)


def load(path: str | Path) -> Any:
    """Read an experiment file or the ``config.yaml`` of a run folder.

    Raises:
        UserError: the file is missing or malformed, or see :func:`from_document`.
    """
    return from_document(load_yaml(path))
