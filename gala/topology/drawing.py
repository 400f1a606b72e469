"""Topologies in text: one line where one line says it, else who hears whom beside the matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gala.topology.graph import Edges, neighbour_lists
from gala.topology.mixing import Mixing

MAX_AGENTS = 32
WIDTH = 76


def draw(edges: Edges, rounds: Sequence[Mixing]) -> str:
    """Who hears whom. An arrow points from the one that publishes to the one that averages.

    A path or circle is a chain of arrows, a circulant graph one sentence per round, anything else
    up to 32 agents a line per agent: whom it hears, and its row of the matrix (■ itself, □ heard).

    Args:
        edges: Int64[E, 2], (source, target) of every edge of any round, each once.
        rounds: the mixing matrix of each round of one period.
    """
    agents = rounds[0].agents
    if agents == 1:
        return "0"
    if len(rounds) == 1:
        chain = _chain(edges, agents)
        if chain is not None:
            return chain
    hops = [_hops(mixing.source, mixing.target, agents) for mixing in rounds]
    if all(hop is not None for hop in hops) and (len(hops) > 1 or agents > 8):
        return _circulant([hop or [] for hop in hops], agents)
    if agents > MAX_AGENTS:
        return f"{agents} agents, {len(edges) / agents:.3g} in-neighbours each on average"
    return _table(neighbour_lists(edges[:, 1], edges[:, 0], agents))


def _chain(edges: Edges, agents: int) -> str | None:
    if len(edges) > 2 * agents:
        return None
    pairs = set(map(tuple, edges.tolist()))
    both = all((t, s) in pairs for s, t in pairs)
    arrow = " ↔ " if both else " → "
    steps = [(i, i + 1) for i in range(agents - 1)]
    forward = set(steps) | ({(t, s) for s, t in steps} if both else set())
    closing = {(agents - 1, 0)} | ({(0, agents - 1)} if both else set())
    names = [str(i) for i in range(agents)]
    if pairs == forward and (agents == 2 or both):
        return _shorten(names, arrow)
    if agents > 2 and pairs == forward | closing:
        return _shorten([*names, "0"], arrow)
    return None


def _shorten(names: list[str], arrow: str) -> str:
    text = arrow.join(names)
    while len(text) > WIDTH:
        middle = len(names) // 2
        names = (
            [n for n in names[:middle] if n != "…"][:-1]
            + ["…"]
            + [n for n in names[middle:] if n != "…"][1:]
        )
        text = arrow.join(names)
    return text


def _hops(source: NDArray[np.int64], target: NDArray[np.int64], agents: int) -> list[int] | None:
    """Hop lengths when everybody hears at the same distances, else None."""
    hops, counts = np.unique((target - source) % agents, return_counts=True)
    return hops.tolist() if bool((counts == agents).all()) else None


def _circulant(rounds: list[list[int]], agents: int) -> str:
    def heard(hops: list[int]) -> str:
        short = sorted((h if h <= agents // 2 else h - agents for h in hops), key=abs)
        words = [f"i{-h:+d}" for h in short]
        shown = words if len(words) <= 9 else [*words[:8], "…"]
        return "i ← " + (", ".join(shown) or "nobody")

    tail = f"   (modulo {agents})"
    if len(rounds) == 1:
        return heard(rounds[0]) + tail
    lines = [f"round {r}: {heard(hops)}" for r, hops in enumerate(rounds)]
    if len(lines) > 8:
        lines = [*lines[:7], f"… {len(rounds)} rounds in all"]
    lines[0] += tail
    return "\n".join(lines)


def _table(heard: list[list[int]]) -> str:
    agents, width = len(heard), len(str(len(heard) - 1))
    lists = []
    for rank, sources in enumerate(heard):
        names = [str(j) for j in sources]
        while len(" ".join(names)) > WIDTH - 2 * agents - 12:
            names = [*[n for n in names if n != "…"][:-1], "…"]
        lists.append(f"{rank:>{width}} ← {' '.join(names)}")
    longest = max(map(len, lists))
    return "\n".join(
        f"{text:<{longest}}   "
        + " ".join("■" if j == rank else "□" if j in heard[rank] else "·" for j in range(agents))
        for rank, text in enumerate(lists)
    )
