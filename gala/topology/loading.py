"""A topology from a path, from the bare name of a family, or from a function of the user."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gala.errors import UserError, did_you_mean
from gala.files import shipped
from gala.files.bounded import read_bounded
from gala.files.yaml import parse_yaml
from gala.topology.building import build
from gala.topology.description import Description, Place
from gala.topology.families.table import FAMILIES
from gala.topology.formats.graphml import read_graphml
from gala.topology.formats.graphs import RawGraph, describe_graph
from gala.topology.formats.lists import read_adjacency_list, read_edge_list
from gala.topology.formats.matrices import read_csv, read_npy
from gala.topology.formats.node_link import json_as_yaml, read_node_link
from gala.topology.formats.yaml_format import describe
from gala.topology.limits import max_mib
from gala.topology.own_function import call_topology
from gala.topology.topology import Topology

GRAPHS: dict[str, Callable[[str, Path], RawGraph]] = {
    ".json": read_node_link,
    ".graphml": read_graphml,
    ".edgelist": read_edge_list,
    ".edges": read_edge_list,
    ".adjlist": read_adjacency_list,
}
"""Readers of graphs, by suffix."""

SUFFIXES = (".yaml", ".yml", *GRAPHS, ".npy", ".csv")


def load_topology(spec: str | Path, agents: int | None = None) -> Topology:
    """The topology that ``spec`` names, for ``agents`` agents.

    Args:
        spec: a file (YAML; networkx's JSON, GraphML, edge list, adjacency list; a matrix as .npy or
            .csv), a file that gala ships ("topologies/ring.yaml", "ring"), the bare name of a
            family ("hypercube"), or an own function ("graphs:make", see
            :mod:`gala.topology.own_function`).
        agents: N, from 1; a file for another number is refused. None: the number of the file.

    Raises:
        UserError: there is no such file or family, or the file breaks a rule; the message names
            file, line, field, rule and a fix.
    """
    if ":" in str(spec) and file_of(spec) is None:
        return call_topology(str(spec), agents)
    return build(read(spec), agents)


def read(spec: str | Path) -> Description:
    """What ``spec`` says, before it meets a number of agents. Raises as :func:`load_topology`."""
    path = file_of(spec)
    if path is not None:
        description = _read_file(path)
        if path == Path(spec):
            return description
        # of a shipped file the user knows the name, not the place and the lines
        return replace(description, place=Place(file=Path(spec)))
    name, path = str(spec), Path(spec)
    if name in FAMILIES:
        return Description(name=name, place=Place(), family=name)
    known = sorted({*FAMILIES, *shipped.names("topologies")})
    if path.suffix or path.parent != Path():
        raise UserError("no such file", file=path, hint=did_you_mean(path.stem, known, limit=20))
    raise UserError(f"unknown topology {name!r}", hint=did_you_mean(name, known, limit=20))


def file_of(spec: str | Path) -> Path | None:
    """The file that ``spec`` means, there or shipped; None: it may be the name of a family."""
    path = Path(spec)
    if path.is_file() or (path.exists() and (path.suffix or path.parent != Path())):
        return path
    found = shipped.shipped("topologies", path)
    if found is None and str(spec) not in FAMILIES and path.exists():
        return path
    return found


def _read_file(path: Path) -> Description:
    suffix, place = path.suffix.lower(), Place(file=path)
    if path.is_dir():
        raise place.error("is a folder, expected a topology file", hint="name a file in it")
    if not path.is_file():  # a FIFO: nobody may ever write to it
        raise place.error("is no regular file", hint="copy it into one")
    if suffix not in SUFFIXES:
        rule = f"{suffix or 'no suffix'} is no topology file"
        raise place.error(rule, hint=", ".join(SUFFIXES))
    try:
        _check_size(path.stat().st_size, suffix, place)
        if suffix == ".npy":
            return read_npy(path)
        data = read_bounded(path, max_mib(suffix) * 2**20)
        text = data.decode("utf-8-sig")  # with the mark that Excel writes, or without
    except UnicodeDecodeError as error:
        rule = f"is not UTF-8 text (byte {error.start})"
        raise place.error(rule, hint="save it as UTF-8") from None
    except OSError as error:
        rule = f"cannot be read: {error.strerror}"
        raise place.error(rule, hint="check its permissions") from None
    if not text.strip():
        raise place.error("is empty", hint="for example: family: ring")
    if suffix in (".yaml", ".yml"):
        return describe(parse_yaml(text, path))
    if suffix == ".csv":
        return read_csv(text, path)
    if suffix == ".json" and _is_version_1(text):
        _check_size(len(text), ".yaml", place)
        return describe(parse_yaml(json_as_yaml(text), path))
    return describe_graph(GRAPHS[suffix](text, path), path.stem)


def _check_size(size: int, suffix: str, place: Place) -> None:
    limit = max_mib(suffix)
    if size <= limit * 2**20:
        return
    fix = "an edge list holds large sparse graphs"
    if suffix not in (".yaml", ".yml", ".npy"):
        fix = f".npy may have {max_mib('.npy')} MiB, and the name of a family needs no file"
    raise place.error(f"is {size / 2**20:.0f} MiB, the limit for {suffix} is {limit} MiB", hint=fix)


def _is_version_1(text: str) -> bool:
    """Whether JSON holds the fields of a topology file in YAML instead of a networkx graph."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(data, dict) and "nodes" not in data
