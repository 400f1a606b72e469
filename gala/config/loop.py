"""The configuration of somebody else's loop: of its algorithm and environments nothing is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from gala.config.fields import FreeForm
from gala.config.loading import from_document
from gala.config.sections import EnvConfig
from gala.config.tree import Config, adapter_of
from gala.errors import UserError, did_you_mean
from gala.files.yaml import dump_yaml, load_yaml, parse_yaml

SECTIONS = ("gossip", "divergence", "log", "faults")
"""Sections of the configuration that mean something in any loop."""

KEPT = (*SECTIONS, "topology", "agents", "coupling", "exit_on_alarm", "seed", "loop")

ARGUMENTS = ("gossip.max_staleness", "gossip.transport")
"""Options that are arguments of their own."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig(Config):
    """A run of ``gala.gossip(..., run_dir=...)``."""

    loop: FreeForm = field(default_factory=dict)
    """Hyper-parameters of the loop, as the user names them."""

    def to_dict(self) -> dict[str, Any]:
        """What is known, as plain data."""
        plain: dict[str, Any] = adapter_of(type(self)).dump_python(self, mode="json")
        return {name: plain[name] for name in KEPT}


def loop_config(
    options: Mapping[str, Any], hyperparameters: Mapping[str, Any], *, env_id: str, **known: Any
) -> LoopConfig:
    """The configuration of a loop.

    Args:
        options: those of ``gala train`` by dotted name (``{"log.every_s": 5}``), of the sections
            :data:`SECTIONS` and ``exit_on_alarm``.
        hyperparameters: shown beside the run; a whole number ``seed`` among them is the run's.
        env_id: name of what is learned.
        known: other fields, by dotted name with ``__`` for the dot.

    Raises:
        UserError: an option that there is not, or a value that breaks its rule.
    """
    data: dict[str, Any] = {"loop": {str(n): _plain(v) for n, v in hyperparameters.items()}}
    seed = hyperparameters.get("seed")
    if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**64:
        data["seed"] = seed
        del data["loop"]["seed"]
    for name, value in options.items():
        _require_meant(name)
        _put(data, name, value)
    for name, value in known.items():
        _put(data, name.replace("__", "."), value)
    try:
        config: LoopConfig = from_document(LoopConfig, parse_yaml(dump_yaml(data), "options"))
    except UserError as error:
        raise UserError(error.rule, field=error.field, hint=error.hint) from None
    own = {each.name: getattr(config, each.name) for each in fields(config)}
    return LoopConfig(**own | {"env": EnvConfig(id=env_id)})


def load_loop(path: str | Path) -> LoopConfig:
    """Read the ``config.yaml`` of such a run.

    Raises:
        UserError: it is missing or malformed.
    """
    found: LoopConfig = from_document(LoopConfig, load_yaml(path))
    return found


def _require_meant(name: str) -> None:
    section = name.partition(".")[0]
    if section not in (*SECTIONS, "exit_on_alarm"):
        hint = did_you_mean(name, [*SECTIONS, "exit_on_alarm"])
        raise UserError("is no option of a loop", field=f"options[{name!r}]", hint=hint)
    if name in ARGUMENTS:
        argument = name.partition(".")[2]
        raise UserError("is an argument", field=f"options[{name!r}]", hint=f"{argument}=...")


def _put(data: dict[str, Any], name: str, value: Any) -> None:
    *parents, leaf = name.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
    data[leaf] = value


def _plain(value: Any) -> Any:
    """As YAML can hold it: what is no plain data by its text."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)
