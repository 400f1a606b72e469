"""Write a topology in any format that :func:`gala.topology.load_topology` reads.

What is written is read back before the file appears: it mixes exactly like the original, or there
is an error that says which format can hold it.
"""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path

import networkx as nx
import numpy as np

from gala.errors import UserError
from gala.files.atomic import write_atomic
from gala.topology.loading import SUFFIXES, load_topology
from gala.topology.topology import Topology


def write(topology: Topology, path: str | Path) -> Path:
    """Write ``topology`` to ``path``, in the format of its suffix; returns the path.

    Raises:
        UserError: the suffix is unknown, the format cannot hold this topology (an adjacency list
            has no weights), or the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            f"{suffix or 'no suffix'} is no topology format", file=path, hint=", ".join(SUFFIXES)
        )
    content = _content(topology, suffix)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / path.name
        draft.write_bytes(content)
        try:
            same = load_topology(draft) == topology
        except UserError as error:
            fix = "use .yaml, .json or .graphml"
            rule = f"{suffix} cannot hold it: {error.rule}"
            raise UserError(rule, file=path, hint=fix) from None
    if not same:
        raise UserError(
            f"{suffix} cannot hold the weights and rounds of {topology.name}",
            file=path,
            hint="use .yaml, .json, .graphml or .edgelist",
        )
    try:
        return write_atomic(path, content)
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", file=path) from None


def to_networkx(topology: Topology) -> nx.DiGraph[int] | nx.MultiDiGraph[int]:
    """A networkx graph with ``weight`` and, for schedules, ``round`` on its edges."""
    many = len(topology.rounds) > 1
    graph: nx.DiGraph[int] | nx.MultiDiGraph[int] = nx.MultiDiGraph() if many else nx.DiGraph()
    graph.graph.update(
        name=_plain(topology.name),
        weights=topology.named_weights,
        rounds=len(topology.rounds),
        discount=topology.discount,
    )
    graph.add_nodes_from(range(topology.agents))
    for number, mixing in enumerate(topology.rounds):
        for source, target, weight in zip(
            mixing.source.tolist(), mixing.target.tolist(), mixing.weight.tolist(), strict=True
        ):
            extra = {"round": number} if many else {}
            graph.add_edge(source, target, weight=weight, **extra)
    return graph


def _content(topology: Topology, suffix: str) -> bytes:
    if suffix in (".yaml", ".yml"):
        return _yaml(topology).encode()
    if suffix == ".json":
        return json.dumps(topology.to_json()).encode()
    buffer = io.BytesIO()
    if suffix == ".graphml":
        nx.write_graphml(to_networkx(topology), buffer)
    elif suffix in (".edgelist", ".edges"):
        buffer.write(_comments(topology))
        nx.write_edgelist(to_networkx(topology), buffer)
    elif suffix == ".adjlist":
        buffer.write(_comments(topology))
        lines = nx.generate_adjlist(nx.DiGraph(to_networkx(topology)))
        buffer.write("".join(f"{line}\n" for line in lines).encode())
    elif suffix == ".npy":
        matrices = np.array([mixing.dense() for mixing in topology.rounds])
        np.save(buffer, matrices[0] if len(matrices) == 1 else matrices)
    else:
        blocks = [
            "".join(",".join(map(repr, row)) + "\n" for row in mixing.dense().tolist())
            for mixing in topology.rounds
        ]
        buffer.write("\n".join(blocks).encode())
    return buffer.getvalue()


def _comments(topology: Topology) -> bytes:
    lines = ["# directed", f"# name {_plain(topology.name)}"]
    if len(topology.rounds) > 1:
        lines.append(f"# rounds {len(topology.rounds)}")
    if topology.named_weights != "explicit":
        lines.append(f"# weights {topology.named_weights}")
    if topology.discount != 1.0:
        lines += [] if topology.named_weights != "explicit" else ["# weights explicit"]
        lines.append(f"# discount {topology.discount!r}")
    return "".join(f"{line}\n" for line in lines).encode()


def _plain(name: str) -> str:
    """On one line and without what XML cannot carry."""
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())


def _yaml(topology: Topology) -> str:
    many = len(topology.rounds) > 1
    lines = [
        "version: 1",
        f"name: {json.dumps(_plain(topology.name), ensure_ascii=False)}",
        f"agents: {topology.agents}",
    ]
    if many:
        lines.append(f"rounds: {len(topology.rounds)}")
    lines.append("edges:" if len(topology.edges) else "edges: []")
    for number, mixing in enumerate(topology.rounds):
        for source, target, weight in zip(
            mixing.source.tolist(), mixing.target.tolist(), mixing.weight.tolist(), strict=True
        ):
            parts = [f"source: {source}", f"target: {target}"]
            parts += [f"weight: {weight!r}"] if topology.named_weights == "explicit" else []
            parts += [f"round: {number}"] if many else []
            lines.append(f"  - {{{', '.join(parts)}}}")
    kind = topology.named_weights if len(topology.edges) or topology.push_sum else "uniform"
    if topology.discount != 1.0:
        kind = f"{{kind: {kind}, discount: {topology.discount!r}}}"
    return "\n".join([*lines, f"weights: {kind}", ""])
