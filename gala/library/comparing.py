"""Agents compare what they are before they share anything."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from gala.errors import UserError
from gala.launch.launch import Launch

Facts = dict[str, Any]


def require_alike(launch: Launch, name: str, facts: Facts) -> None:
    """Refuse a launch whose agents are not alike; each of them says which other one is not.

    Args:
        launch: of this agent.
        name: of the gossip, as the others call it.
        facts: plain data; ``layout`` is a list of names and shapes.

    Raises:
        UserError: one differs, failed, or did not come.
    """
    text = json.dumps(facts, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    # who comes back has told it before: then what differs is seen by the others' digests
    launch.put(f"{name}/facts", text)
    for rank, other in launch.gather(f"{name}/digest", digest).items():
        if other == digest:
            continue
        if isinstance(other, dict):
            raise UserError(f"rank {rank} failed: {other['failed']}")
        theirs = json.loads(launch.told(f"{name}/facts", rank))
        raise UserError(_difference(facts, theirs, launch.rank, rank))


def tell_failure(launch: Launch, name: str, error: Exception) -> None:
    """Let the others know, who would wait."""
    launch.put(f"{name}/digest", {"failed": str(error)})


def _difference(mine: Facts, theirs: Facts, rank: int, other: int) -> str:
    ours, others = (dict(map(tuple, facts["layout"])) for facts in (mine, theirs))
    for name in [*ours, *(each for each in others if each not in ours)]:
        if name not in others:
            return f"{name} is a parameter of rank {rank}, and none of rank {other}"
        if name not in ours:
            return f"{name} is a parameter of rank {other}, and none of rank {rank}"
        if list(ours[name]) != list(others[name]):
            shapes = f"{list(ours[name])} on rank {rank} and {list(others[name])} on rank {other}"
            return f"{name} has the shape {shapes}"
    for name in mine:
        if name != "layout" and mine[name] != theirs.get(name):
            values = f"{mine[name]} on rank {rank} and {theirs.get(name)} on rank {other}"
            return f"{name} is {values}"
    return f"ranks {rank} and {other} have their parameters in another order"
