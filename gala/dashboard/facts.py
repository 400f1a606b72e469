"""What ``meta.json`` and ``topology.json`` say of a run, as far as it can be believed."""

from __future__ import annotations

from typing import Any

from gala.telemetry.reader import MAX_AGENTS, Record, number

FACTS: dict[str, type] = {
    "run_id": str, "started": float, "command": str, "agents": int, "env_id": str, "seed": int,
    "coupling": str, "total_steps": int, "gala": str, "torch": str, "commit": str,
    "hostnames": list, "parameters": int, "frames_per_step": int,
}  # fmt: skip
"""Entries of ``meta.json`` that the page shows, and what each is, or null."""

NAMES = {str: "text", float: "number", int: "whole number", list: "list"}


def facts_of(meta: Record, ranks: list[int]) -> tuple[dict[str, Any], list[str]]:
    """The entries that are what they must be, null for others, and a line on each of those.

    Args:
        meta: content of ``meta.json``; empty when it cannot be read.
        ranks: agents that have a folder.
    """
    if not meta:
        problems = ["meta.json cannot be read"]
    else:
        problems = [
            f"meta.json: {name} is no {NAMES[kind]}"
            for name, kind in FACTS.items()
            if meta.get(name) is not None and not _is(kind, meta[name])
        ]
    facts = {
        name: meta[name] if _is(kind, meta.get(name)) else None for name, kind in FACTS.items()
    }
    agents = facts["agents"] or 0
    if agents > MAX_AGENTS:
        agents = 0
        problems.append("meta.json: there cannot be so many agents")
    absent = [str(rank) for rank in range(agents) if rank not in set(ranks)]
    if absent:
        more = f" and {len(absent) - 8} more" if len(absent) > 8 else ""
        problems.append(f"no folder of agent {', '.join(absent[:8])}{more}")
    return facts | {"agents": max(agents, *(rank + 1 for rank in ranks), 0)}, problems


def graph_of(topology: Record) -> tuple[dict[str, Any], list[str]]:
    """Name and edges ``[source, target]`` of a node-link graph, and what is wrong with it."""
    if not topology:
        return {"topology": None, "edges": []}, ["topology.json cannot be read"]
    listed = topology.get("edges") or topology.get("links") or []
    whole = isinstance(listed, list)
    found = [_edge(edge) for edge in listed] if whole else []
    edges = [edge for edge in found if edge is not None]
    problems = []
    if not whole or len(edges) < len(found):
        problems.append("topology.json: the edges are no list of sources and targets")
    name = topology.get("name")
    return {"topology": name if isinstance(name, str) else None, "edges": edges}, problems


def _edge(edge: Any) -> list[int] | None:
    if not isinstance(edge, dict):
        return None
    ends = [edge.get("source"), edge.get("target")]
    known = [end for end in ends if isinstance(end, int) and 0 <= end < MAX_AGENTS]
    return known if len(known) == 2 else None


def _is(kind: type, value: Any) -> bool:
    if kind in (int, float):
        return number(value) is not None and (kind is float or isinstance(value, int))
    if kind is list:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return isinstance(value, kind)
