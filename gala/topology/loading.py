"""A topology from a path or from the bare name of a family."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from gala import presets
from gala.errors import UserError, did_you_mean
from gala.topology.building import FAMILIES, build
from gala.topology.description import Description, Place
from gala.topology.graphml import read_graphml
from gala.topology.matrix_formats import read_csv, read_npy
from gala.topology.network_formats import (
    RawGraph,
    describe_graph,
    read_adjacency_list,
    read_edge_list,
    read_node_link,
)
from gala.topology.topology import Topology
from gala.topology.yaml_format import describe
from gala.yaml_file import parse_yaml

GRAPHS: dict[str, Callable[[str, Path], RawGraph]] = {
    ".json": read_node_link,
    ".graphml": read_graphml,
    ".edgelist": read_edge_list,
    ".edges": read_edge_list,
    ".adjlist": read_adjacency_list,
}
"""Readers of graphs, by suffix."""

SUFFIXES = (".yaml", ".yml", *GRAPHS, ".npy", ".csv")

MAX_MIB = {".yaml": 2, ".yml": 2, ".npy": 512}
"""Largest files that are read, in MiB; YAML is slow to parse. 32 for all others."""


def load_topology(spec: str | Path, agents: int | None = None) -> Topology:
    """The topology that ``spec`` names, for ``agents`` agents.

    Args:
        spec: a file (YAML; networkx's JSON, GraphML, edge list, adjacency list; a matrix as .npy or
            .csv), a file that gala ships ("topologies/ring.yaml", "ring"), or the bare name of a
            family ("hypercube").
        agents: N, from 1; a file for another number is refused. None: the number of the file.

    Raises:
        UserError: there is no such file or family, or the file breaks a rule; the message names
            file, line, field, rule and a fix.
    """
    return build(read(spec), agents)


def read(spec: str | Path) -> Description:
    """What ``spec`` says, before it meets a number of agents. Raises as :func:`load_topology`."""
    path = Path(spec)
    if path.is_file() or (path.exists() and path.suffix):
        return _read_file(path)
    shipped = presets.shipped("topologies", path)
    if shipped is not None:
        return _read_file(shipped)
    name = str(spec)
    if name in FAMILIES:
        return Description(name=name, place=Place(), family=name)
    known = sorted({*FAMILIES, *presets.names("topologies")})
    if path.suffix or path.parent != Path():
        raise UserError("no such file", file=path, hint=did_you_mean(path.stem, known, limit=20))
    raise UserError(f"unknown topology {name!r}", hint=did_you_mean(name, known, limit=20))


def _read_file(path: Path) -> Description:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            f"{suffix or 'no suffix'} is no topology file", file=path, hint=", ".join(SUFFIXES)
        )
    try:
        if path.is_dir():
            raise UserError("is a folder, expected a topology file", file=path)
        size, limit = path.stat().st_size / 2**20, MAX_MIB.get(suffix, 32)
        if size > limit:
            raise UserError(
                f"is {size:.0f} MiB, the limit for {suffix} is {limit} MiB",
                file=path,
                hint="an edge list or .npy holds large graphs",
            )
        if suffix == ".npy":
            return read_npy(path)
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"is not UTF-8 text (byte {error.start})", file=path) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=path) from None
    if not text.strip():
        raise UserError("is empty", file=path, hint="for example: family: ring")
    if suffix in (".yaml", ".yml"):
        return describe(parse_yaml(text, path))
    if suffix == ".csv":
        return read_csv(text, path)
    if suffix == ".json" and _is_version_1(text):
        return describe(parse_yaml(text, path))
    return describe_graph(GRAPHS[suffix](text, path), path)


def _is_version_1(text: str) -> bool:
    """Whether JSON holds the fields of a topology file in YAML instead of a networkx graph."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(data, dict) and "nodes" not in data
