"""A topology from a path or from the bare name of a family."""

from __future__ import annotations

from pathlib import Path

from gala import presets
from gala.errors import UserError, did_you_mean
from gala.topology.building import FAMILIES, build
from gala.topology.description import Description, Place
from gala.topology.topology import Topology
from gala.topology.yaml_format import describe
from gala.yaml_file import load_yaml


def load_topology(spec: str | Path, agents: int) -> Topology:
    """The topology that ``spec`` names, for ``agents`` agents.

    Args:
        spec: a file (YAML, or JSON of networkx), a file that gala ships ("topologies/ring.yaml",
            "ring"), or the bare name of a family ("hypercube").
        agents: N, from 1; a file for another number is refused.

    Raises:
        UserError: there is no such file or family, or the file breaks a rule; the message names
            file, line, field, rule and a fix.
    """
    return build(read(spec), agents)


def read(spec: str | Path) -> Description:
    """What ``spec`` says, before it meets a number of agents. Raises as :func:`load_topology`."""
    path = Path(spec)
    if path.exists():
        return describe(load_yaml(path))
    shipped = presets.shipped("topologies", path)
    if shipped is not None:
        return describe(load_yaml(shipped))
    name = str(spec)
    if name in FAMILIES:
        return Description(name=name, place=Place(), family=name)
    known = sorted({*FAMILIES, *presets.names("topologies")})
    if path.suffix or path.parent != Path():
        raise UserError("no such file", file=path, hint=did_you_mean(path.stem, known, limit=20))
    raise UserError(f"unknown topology {name!r}", hint=did_you_mean(name, known, limit=20))
