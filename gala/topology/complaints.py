"""What is wrong with a value, and the nearest one that is right: (rule, fix), whatever the format.

A fix stands in brackets behind the rule, see :class:`gala.errors.UserError`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gala.errors import did_you_mean
from gala.topology.graph import Group

Complaint = tuple[str, str]


def of_agent(agent: int, agents: int) -> Complaint:
    """``agent`` is none of the ``agents``."""
    fix = f"launch {agent + 1} agents or correct the edge"
    if agent < 0:
        fix = "count agents from 0"
    elif agent >= 10 * agents + 100:
        fix = f"correct the edge: {agents - 1} is the last agent"
    return f"agent {short(agent, quote=False)} is missing, agents are 0..{agents - 1}", fix


def of_groups(groups: Sequence[Group]) -> Complaint:
    """A graph falls into ``groups``; the fix names edges that are enough to join them."""
    alone = [g for g in groups if not g.has_in and not g.has_out]
    first = [g for g in groups if not g.has_in and g.has_out]
    last = [g for g in groups if g.has_in and not g.has_out]
    rules = []
    if len(alone) == len(groups):
        rules.append(f"agents {_sets(alone)} never reach each other")
    elif alone:
        rules.append(f"agents {_sets(alone)} neither reach the others nor are reached by them")
    if first:
        rules.append(f"agents {_sets(first, 'or')} are never reached by the others")
    if last:
        rules.append(f"agents {_sets(last, 'or')} never reach the others")
    # a circle through a last group behind each first one, and back from all other last groups
    sources = [g for g in groups if not g.has_in]
    behind = [groups[g.reaches] for g in sources]
    reached = {g.reaches for g in sources}
    ends = behind + [g for g in groups if not g.has_out and g.reaches not in reached]
    starts = sources[1:] + sources[:1] * (1 + len(ends) - len(behind))
    edges = [
        f"[{end.agents[-1]}, {start.agents[0]}]" for end, start in zip(ends, starts, strict=True)
    ]
    few = ", ".join(edges[:4]) + (f", ... ({len(edges)} in all)" if len(edges) > 4 else "")
    return "; ".join(rules), f"add {few}"


def _sets(groups: Sequence[Group], word: str = "and") -> str:
    names = []
    for group in groups[:6]:
        shown = ", ".join(map(str, group.agents[:6]))
        names.append("{" + shown + (", ..." if len(group.agents) > 6 else "") + "}")
    if len(groups) > 6:
        names[5:] = [f"{len(groups) - 5} more"]
    return ", ".join(names[:-1]) + f" {word} " * (len(names) > 1) + names[-1]


def of_weight(weight: float) -> Complaint | None:
    """What is wrong with the weight of an edge; None: nothing."""
    if not math.isfinite(weight):
        return f"weight {weight} is not a finite number", "give a number such as 0.5"
    if weight < 0:
        fix = f"give {-weight:g}, or remove the edge"
        return f"weight {weight:g} is negative, weights must be above 0", fix
    if weight == 0:
        return "weight 0 is zero, weights must be above 0", "remove the edge"
    return None


def of_pydantic(error: Mapping[str, Any], name: str) -> Complaint:
    """One of pydantic's complaints about the field ``name``."""
    kind, value, limit = error["type"], error["input"], error.get("ctx", {})
    message = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
    rule = f"{message}, got {short(value)}"
    if kind == "literal_error":
        names = limit["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return rule, did_you_mean(str(value), names)
    if kind == "invalid_key":
        return "a field is a word, not a number", f'"{name}", or remove it'
    return rule, f"{name}: {_nearest(kind, value, limit)}"


def _nearest(kind: str, value: Any, limit: Mapping[str, Any]) -> str:
    if kind == "multiple_of":
        step = limit["multiple_of"]
        return str(max(value // step, 1) * step)
    if kind == "greater_than_equal":
        return f"{limit['ge']:g}"
    if kind == "less_than_equal":
        return f"{limit['le']}"
    if kind.startswith("int"):
        whole = isinstance(value, int | float) and math.isfinite(value)
        return str(max(round(value), 1) if whole else 1)
    if kind.startswith("bool"):
        return "false" if str(value).lower() in ("0", "no", "off", "n", "f") else "true"
    if kind.startswith("string"):
        return f'"{short(value, quote=False)}"'
    if kind.startswith("list"):
        return "[[0, 1], [1, 0]]"
    return "0.5"  # a number, or one within two limits


def short(value: Any, *, quote: bool = True) -> str:
    """``value`` in at most 40 characters."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**40:
        return "a number of more than 40 digits"
    text = repr(value) if quote else str(value)
    return text if len(text) <= 40 else text[:37] + "..."
