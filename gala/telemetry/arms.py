"""Which runs are seeds of one another, and what tells the others apart: their resolved options.

Runs are seeds of an *arm* when the hash of everything they were asked to do is equal: each option
of ``config.yaml`` but the seed and mere names, and each edge of ``topology.json``. Whatever else is
alike (environment, number of agents, name of the topology) makes no seeds of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gala.config.arguments import HEARING
from gala.errors import UserError
from gala.files.yaml import load_yaml

Options = Mapping[str, str]
"""Options by dotted name, their values as text."""

NAMES = ("seed", "log.wandb")
"""Options that change nothing but which seed of an arm a run is, and where records are shown."""

TASK = ("env.id", "env.kwargs", "env.tasks", "env.options", "env.wrappers")
"""Options that say what is learned; a method is all others."""

GRAPH = "topology.json"
UNKNOWN = "config.yaml"
ABSENT = "absent"


def options_of(run: Path, topology: Mapping[str, Any]) -> Options:
    """What ``run`` was asked to do; without a readable configuration it is like no other run.

    Args:
        run: its folder.
        topology: content of its ``topology.json``.
    """
    try:
        data = load_yaml(run / "config.yaml").data
    except UserError:
        data = None
    if not isinstance(data, dict):
        return {UNKNOWN: f"of {run.absolute()} is not readable"}
    options = dict(_flat(data, ""))
    for name in NAMES:
        options.pop(name, None)
    if options.get("coupling") in HEARING:
        options[GRAPH] = _graph(topology)
    return options


def hash_of(
    options: Options, leave_out: Iterable[str] = (), only: Iterable[str] | None = None
) -> str:
    """Equal for equal options, whatever their order; of all, but some, or of some of them alone."""
    left = {
        name: text
        for name, text in options.items()
        if top(name) not in leave_out and (only is None or top(name) in only)
    }
    return hashlib.sha256(json.dumps(left, sort_keys=True).encode()).hexdigest()[:16]


def differing(every: Iterable[Options]) -> tuple[str, ...]:
    """Names of the options in which runs differ, in the order of the first configuration.

    Those of a section are compared where there is such a section: another algorithm has another.
    """
    known = [options for options in every if UNKNOWN not in options]
    names = dict.fromkeys(name for options in known for name in options)
    sections = [{name.partition(".")[0] for name in options} for options in known]

    def values(name: str) -> set[str]:
        pairs = zip(known, sections, strict=True)
        return {o.get(name, ABSENT) for o, there in pairs if name.partition(".")[0] in there}

    return tuple(
        name
        for name in names
        if len(values(name)) > 1 or ("." not in name and any(name not in o for o in known))
    )


def legend(options: Options, names: Iterable[str]) -> dict[str, str]:
    """What a run has of the options ``names``; a run without a configuration says so.

    What is of a section that it has not, is left out.
    """
    if UNKNOWN in options:
        return dict(options)
    there = {name.partition(".")[0] for name in options}
    return {
        name: options.get(name, ABSENT)
        for name in names
        if "." not in name or name.partition(".")[0] in there
    }


def _flat(data: Mapping[Any, Any], above: str) -> Iterable[tuple[str, str]]:
    """Mappings fold into dotted names; what is free of form (``env.kwargs``) stays one value."""
    for key, value in data.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and value and name not in TASK:
            yield from _flat(value, f"{name}.")
        elif isinstance(value, str):
            yield name, value
        else:
            yield name, json.dumps(value, sort_keys=True, default=str)


def _graph(topology: Mapping[str, Any]) -> str:
    """Digest of who mixes with whom by which weight; a file may have changed under its name."""
    kept = {name: topology.get(name) for name in ("graph", "nodes", "edges")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]


def top(name: str) -> str:
    """The name itself, or the one of :data:`TASK` that it stands below."""
    return next((task for task in TASK if name == task or name.startswith(f"{task}.")), name)
