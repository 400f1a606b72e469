"""A snapshot as text: one screen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gala.config.arguments import HEARING
from gala.telemetry.console import clock, plus_minus
from gala.telemetry.standing import without
from gala.watch.snapshot import PHASES, Peer, Snapshot

STATES = {
    "fresh": "green", "stale": "yellow", "dead": "bold red", "joining": "cyan", "done": "dim",
    "stopped": "dim", "absent": "dim",
}  # fmt: skip
"""Colour of each state; the word is always there, too."""

PHASE_COLOURS = ("blue", "magenta", "green", "red", "bright_black")
BLOCKS, ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.-=+*%#"
FULL, EMPTY, ASCII_FULL, ASCII_EMPTY = "█", "·", "#", "."
BAR, SPLIT = 10, 14
"""Cells of the bars."""

EVENTS, NEIGHBOURS = 8, 4
"""Shown at most."""

NUMBERS = ("age", "steps", "steps/s", "return", "stale", "distance")
LEAST_FIRST = ("in-neighbours", "time of an update", "steps", "distance", "age", "stale")
"""Columns that narrow terminals go without, one after another."""

OTHER_LINES = EVENTS + 12
"""Of a frame, beside the agents."""


def frame(
    shot: Snapshot, *, width: int = 160, height: int | None = None, ascii_only: bool = False
) -> RenderableType:
    """Everything there is to see of a run.

    Args:
        shot: the run at one moment.
        width: columns of the terminal; what matters least is left out where they are few.
        height: lines of it; None where there is no end.
        ascii_only: the terminal knows nothing else.
    """
    parts: list[RenderableType] = [_head(shot), *_topology(shot), Text("")]
    if shot.peers:
        room = len(shot.peers) if height is None else max(height - OTHER_LINES, 4)
        parts += _agents(shot, width, room, ascii_only)
    else:
        parts.append(Text("no agent has begun"))
    parts += _lines(shot, ascii_only)
    parts += _events(shot)
    parts += [Text(f"! {problem}", style="yellow") for problem in shot.problems]
    return Group(*parts)


def sparkline(values: Sequence[float], *, ascii_only: bool = False) -> str:
    """Values as a line of little blocks, the smallest at the foot."""
    blocks = ASCII_BLOCKS if ascii_only else BLOCKS
    if not values:
        return ""
    low, high = min(values), max(values)
    if high <= low:
        return blocks[0] * len(values)
    return "".join(blocks[round((v - low) / (high - low) * (len(blocks) - 1))] for v in values)


def bar(share: float | None, *, ascii_only: bool = False) -> Text:
    """How much of the ball is used; a full red bar where it is left."""
    if share is None:
        return Text("no bound", style="dim")
    full, empty = (ASCII_FULL, ASCII_EMPTY) if ascii_only else (FULL, EMPTY)
    cells = min(round(share * BAR), BAR)
    style = "green" if share < 0.5 else "yellow" if share <= 1 else "bold red"
    return Text.assemble((full * cells, style), (empty * (BAR - cells), "dim"), f" {share:.2g}")


def _head(shot: Snapshot) -> Text:
    facts = shot.facts
    text = Text.assemble((str(facts["name"]), "bold"))
    agents = facts["agents"]
    known = [facts.get("env_id"), f"{agents} agent{'s' * (agents != 1)}", facts.get("coupling")]
    if facts.get("seed") is not None:
        known.append(f"seed {facts['seed']}")
    text.append("  " + ", ".join(str(each) for each in known if each))
    total, steps, sps = facts.get("total_steps"), shot.steps, shot.sps
    if isinstance(total, int) and total > 0:
        text.append(f"  {min(100 * steps / total, 100):.1f} %  {steps:,}/{total:,} steps")
        if sps > 0 and not shot.over:
            text.append(f"  {clock(max(total - steps, 0) / sps)} left")
    else:
        text.append(f"  {steps:,} steps")
    if shot.over:
        text.append("  over", style="bold")
    else:
        text.append(f"  {sps:,.0f} steps/s")
    return text


def _topology(shot: Snapshot) -> list[RenderableType]:
    edges = shot.facts.get("edges") or []
    if shot.facts.get("coupling") not in HEARING or not edges:
        return []
    sources_of: dict[int, list[int]] = {}
    for source, target in edges:
        sources_of.setdefault(target, []).append(source)
    each = "  ".join(
        f"{target}<-{','.join(map(str, sorted(sources)))}"
        for target, sources in sorted(sources_of.items())
    )
    text = Text(f"{shot.facts.get('topology')}: {each}", style="dim", overflow="ellipsis")
    text.no_wrap = True
    return [text]


def _agents(shot: Snapshot, width: int, room: int, ascii_only: bool) -> list[RenderableType]:
    # where there is no room for all, those that need a look come first
    urgent = sorted(shot.peers, key=lambda peer: (peer.state in ("fresh", "done"), peer.rank))
    shown = sorted(urgent[:room], key=lambda peer: peer.rank)
    titles = _titles(shot.peers, ascii_only)
    columns = {
        name: [
            titles.get(name, name),
            *(cell if isinstance(cell, Text) else Text(cell) for cell in cells),
        ]
        for name, cells in _columns(shown, ascii_only).items()
    }

    def needed() -> int:
        widths = (max(Text(str(cell)).cell_len for cell in cells) for cells in columns.values())
        return sum(widths) + 2 * len(columns)

    for name in LEAST_FIRST:
        if needed() > width:
            del columns[name]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(
            titles.get(name, name), justify="right" if name in NUMBERS else "left", no_wrap=True
        )
    for row in zip(*(cells[1:] for cells in columns.values()), strict=True):
        table.add_row(*row)
    parts: list[RenderableType] = [table]
    if len(shown) < len(shot.peers):
        parts.append(Text(f"and {len(shot.peers) - len(shown)} more agents", style="dim"))
    return [*parts, _legend(ascii_only)] if "time of an update" in columns else parts


def _titles(peers: Sequence[Peer], ascii_only: bool) -> dict[str, str]:
    """Headings that say more than the name of their column."""
    error = max((p.sketch_error for p in peers if p.sketch_error is not None), default=None)
    model = any(p.proven == 0 for p in peers)
    return {"distance": f"distance{plus_minus(error, '+-' if ascii_only else '±')}"} | (
        {"of bound": "of model bound"} if model else {}
    )


def _columns(peers: Sequence[Peer], ascii_only: bool) -> dict[str, list[Text | str]]:
    return {
        "agent": [_name(p) for p in peers],
        "state": [Text(p.state, style=STATES.get(p.state, "")) for p in peers],
        "age": [_age(p.age_s) for p in peers],
        "steps": [_number(p.step, ",d") for p in peers],
        "steps/s": [_number(p.sps, ",.0f") for p in peers],
        "return": [_number(p.episodic_return, ".2f") for p in peers],
        "stale": [_number(p.staleness, ".0f") for p in peers],
        "distance": [_number(p.distance, ".3g") for p in peers],
        "of bound": [bar(p.ratio, ascii_only=ascii_only) for p in peers],
        "time of an update": [_split(p, ascii_only) for p in peers],
        "in-neighbours": [_in_neighbours(p) for p in peers],
    }


def _name(peer: Peer) -> str:
    return f"{peer.rank} incarnation {peer.incarnation}" if peer.incarnation else f"{peer.rank}"


def _split(peer: Peer, ascii_only: bool) -> Text:
    """Where the time of an update goes: so many cells of each letter, or colour."""
    total = sum(peer.spent)
    if total <= 0:
        return Text("-")
    text, begin, done = Text(), 0, 0.0
    for phase, spent, colour in zip(PHASES, peer.spent, PHASE_COLOURS, strict=True):
        done += spent
        end = round(SPLIT * done / total)
        text.append(phase[0] * (end - begin), style=f"{colour} reverse" if not ascii_only else "")
        begin = end
    return text.append(f" {total:.0f} ms")


def _legend(ascii_only: bool) -> Text:
    text = Text("time: ", style="dim")
    for phase, colour in zip(PHASES, PHASE_COLOURS, strict=True):
        text.append(phase[0], style=f"{colour} reverse" if not ascii_only else "")
        text.append(f" {phase}  ", style="dim")
    return text


def _in_neighbours(peer: Peer) -> Text:
    text = Text()
    for j, (state, age) in list(peer.in_neighbours.items())[:NEIGHBOURS]:
        bad = state in ("suspect", "down")
        shown = "" if state == "active" else f" {state}"
        text.append(f"{j}{shown} {_age(age)}  ", style="yellow" if bad else "")
    more = len(peer.in_neighbours) - NEIGHBOURS
    return text.append(f"+{more}") if more > 0 else text


def _lines(shot: Snapshot, ascii_only: bool) -> list[RenderableType]:
    rows = [("return", shot.returns, ".2f"), ("divergence", shot.divergence, ".3g")]
    rows.append(("updates agree", shot.agreement, ".2f"))
    table = Table.grid(padding=(0, 2))
    for name, values, form in rows:
        if values:
            span = f"{format(values[-1], form)}  ({format(min(values), form)}" + (
                f" to {format(max(values), form)})"
            )
            table.add_row(name, Text(sparkline(values, ascii_only=ascii_only), "blue"), span)
    out = {peer.rank: peer.left_out for peer in shot.peers if peer.left_out}
    told = [Text(f"the mean is without {without(out)}", style="yellow")] if out else []
    return [Text(""), table, *told] if table.row_count else []


def _events(shot: Snapshot) -> list[RenderableType]:
    """The newest events; checkpoints only where nothing else has happened."""
    happened = [event for event in shot.events if event["event"] != "checkpoint"]
    shown = (happened or list(shot.events))[-EVENTS:]
    lines: list[RenderableType] = []
    for event in shown:
        when = _time_of_day(event.get("t"))
        kind = str(event["event"])
        style = "bold red" if kind in ("alarm", "dead", "error", "refused") else ""
        message = " ".join(str(event.get("message", "")).split())
        agent = f"  agent {event.get('rank'):<4} "
        line = Text.assemble((when, "dim"), agent, (f"{kind:<10}", style), " ", message)
        line.no_wrap, line.overflow = True, "ellipsis"
        lines.append(line)
    return [Text(""), *lines] if lines else []


def _time_of_day(t: Any) -> str:
    """``hh:mm:ss`` of unix seconds, "-" where a broken clock was beyond the calendar."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(t)) if isinstance(t, int | float) else "-"
    except (OverflowError, OSError, ValueError):
        return "-"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 86_400:
        return clock(seconds)
    return f"{seconds / 86_400:.0f} d"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(int(value) if form == ",d" else value, form)
