"""Topologies side by side, and the best one for a budget of messages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gala.errors import UserError
from gala.files import pictures
from gala.topology.analysis import plot, spectrum
from gala.topology.building import build
from gala.topology.description import Description, Place
from gala.topology.limits import count
from gala.topology.loading import load_topology
from gala.topology.topology import Topology

PAPER_PARAMETERS = 866_439
"""Parameters of the paper's network on Pong, for bytes per update."""

FEW = 64
"""Agents up to which every number of peers is tried for a suggestion."""

COLOURS = ("#2f6f9f", "#d1603d", "#5b8c5a", "#8a5a83", "#c9a227", "#4f5d75", "#b23a48", "#3a9188")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One topology at one size; numbers that do not exist are None.

    Attributes:
        name: of the topology.
        agents: N.
        beta: second largest singular value per round.
        factor: of the worst-case bound.
        diameter: hops of the longest shortest path.
        messages_per_update: received by an agent per mix, on average.
        bytes_per_update: the same in bytes.
        rounds_to_consensus: mixes until the disagreement is a thousandth.
        problem: why the topology does not exist at this size, or None.
    """

    name: str
    agents: int
    beta: float | None = None
    factor: float | None = None
    diameter: int | None = None
    messages_per_update: float | None = None
    bytes_per_update: float | None = None
    rounds_to_consensus: int | None = None
    problem: str | None = None


def table(
    specs: Sequence[str | Path], sizes: Sequence[int], *, parameters: int = PAPER_PARAMETERS
) -> list[Row]:
    """A row per topology and size, in the given order.

    Args:
        specs: files or names of families.
        sizes: numbers of agents.
        parameters: of the network, four bytes each.

    Raises:
        UserError: a topology exists at none of the sizes.
    """
    found: dict[str, list[Row]] = {str(spec): [] for spec in specs}
    for spec in found:
        mine = []
        problem: UserError | None = None
        for agents in sizes:
            try:
                mine.append(measure(load_topology(spec, agents), parameters=parameters))
            except UserError as error:
                problem = error
                mine.append(Row(name=Path(spec).stem, agents=agents, problem=error.rule))
        if problem is not None and all(row.problem for row in mine):
            raise problem
        found[spec] = mine
    names = {
        spec: next((row.name for row in mine if not row.problem), spec)
        for spec, mine in found.items()
    }
    for spec, name in names.items():
        if list(names.values()).count(name) > 1 and name != spec:
            names[spec] = f"{name} ({spec})"  # two files may give themselves the same name
    return [replace(row, name=names[spec]) for spec, mine in found.items() for row in mine]


def measure(topology: Topology, *, parameters: int = PAPER_PARAMETERS) -> Row:
    """The row of one topology."""
    messages = spectrum.messages_per_update(topology)
    return Row(
        name=topology.name,
        agents=topology.agents,
        beta=spectrum.beta(topology),
        factor=spectrum.factor(topology),
        diameter=spectrum.diameter(topology.edges, topology.agents),
        messages_per_update=messages,
        bytes_per_update=4 * parameters * messages,
        rounds_to_consensus=spectrum.rounds_to_consensus(topology),
    )


def markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown; a name stands in its first row only."""
    head = ("topology", "agents", "beta", "factor", "hops", "messages", "mixes to 1/1000")
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    last = None
    for row in rows:
        cells = [
            "" if row.name == last else row.name,
            str(row.agents),
            _cell(row.beta, ".4f"),
            _cell(row.factor, ".4g"),
            _cell(row.diameter),
            _cell(row.messages_per_update, ".3g"),
            _cell(row.rounds_to_consensus),
        ]
        last = row.name
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return "\n".join(lines) + "\n"


def _cell(value: float | None, form: str = "") -> str:
    return "-" if value is None else format(value, form)


PANELS = {
    "beta": "beta (lower agrees faster)",
    "factor": "factor of the bound (lower is tighter)",
    "rounds_to_consensus": "mixes until disagreement is 1/1000",
    "diameter": "diameter in hops",
    "messages_per_update": "messages per agent and update",
    "bytes_per_update": "MB per agent and update",
}
"""What is drawn, a panel each."""


def draw(rows: Sequence[Row], path: str | Path) -> Path:
    """Plot the table: how fast topologies agree, and what that costs, against their size.

    Raises:
        UserError: as :func:`gala.files.pictures.save_figure`.
    """
    figure = pictures.new_figure(13.5, 7.6)
    from matplotlib.ticker import FuncFormatter, LogLocator

    names = list(dict.fromkeys(row.name for row in rows))
    sizes = sorted({row.agents for row in rows})
    axes = figure.subplots(2, 3).flat
    for ax, (key, title) in zip(axes, PANELS.items(), strict=True):
        for number, name in enumerate(names):
            mine = [row for row in rows if row.name == name and getattr(row, key) is not None]
            values = [float(getattr(row, key)) for row in mine]
            if key == "bytes_per_update":
                values = [value / 1e6 for value in values]
            elif key == "factor":  # zero has no place on a logarithmic axis: it is at the foot
                values = [max(value, 0.05) for value in values]
            ax.plot(
                [row.agents for row in mine],
                values,
                color=COLOURS[number % len(COLOURS)],
                linestyle=("-", (0, (4, 2)), (0, (1.5, 1.5)))[number % 3],
                marker="osD^v"[number % 5],
                markersize=4.5,
                label=name,
            )
        ax.set_title(title, fontsize=10, color=plot.DARK)
        ax.set_xlabel("agents", fontsize=9, color=plot.DARK)
        ax.set_xscale("log", base=2)
        if key == "beta":
            ax.set_ylim(-0.03, 1.03)
        else:
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.set_xticks(sizes, [str(size) for size in sizes])
        ax.minorticks_off()
        ax.grid(alpha=0.25, linewidth=0.6)
        ax.tick_params(labelsize=8, colors=plot.DARK)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=min(len(names), 6),
        fontsize=9,
        frameon=False,
    )
    return pictures.save_figure(figure, path)


def suggest(agents: int, degree: int) -> dict[str, Any]:
    """The best known topology that costs at most ``degree`` messages per agent and update.

    Best is the smallest factor of the worst-case bound in lock-step; of topologies within one per
    cent of each other, the one with fewer messages.

    Returns:
        ``agents, degree, best, file, reason, candidates``: ``best`` and ``candidates`` (best
        first) as :class:`Row` with ``family``; ``file`` is the topology file to write.

    Raises:
        UserError: there is nothing to choose.
    """
    if agents < 1 or degree < 1:
        raise UserError(
            f"a topology needs agents and messages, got {count(agents)} and degree {degree}",
            hint="--agents 8 --degree 2",
        )
    graphs: dict[Topology, dict[str, Any]] = {}  # the same graph once
    for family in _candidates(agents, degree):
        options = {key: value for key, value in family.items() if key != "kind"}
        name = str(family["kind"])
        try:
            topology = build(
                Description(name=name, place=Place(), family=name, options=options), agents
            )
        except UserError:
            continue  # not at this size
        busiest = max(len(row[1]) for mixing in topology.rounds for row in mixing.rows)
        if busiest <= degree and topology.doubly_stochastic:
            graphs.setdefault(topology, family)
    found = [
        (family, topology, replace(measure(topology), name=_title(family)))
        for topology, family in _shortest(graphs)
    ]
    found.sort(key=lambda one: _merit(one[2]))
    family, topology, best = found[0]
    rows = [{"family": each, **asdict(row)} for each, _, row in found]
    return {
        "agents": agents,
        "degree": degree,
        "best": rows[0],
        "file": f"version: 1\nname: {topology.name}\nagents: any\nfamily: {_flow(family)}\n",
        "reason": _reason(topology, best, [row for _, _, row in found[1:]]),
        "candidates": rows,
    }


def _candidates(agents: int, degree: int) -> list[dict[str, Any]]:
    """Families within the budget; what a smaller budget may choose, a larger one may choose too."""
    most = min(degree, max(agents - 1, 1))
    every = [k for k in range(1, most + 1) if agents <= FEW or k in (1, 2, 3, 4, 5, 7, 15, 31)]
    return [
        {"kind": "complete"} if agents <= 512 else {"kind": "exponential"},
        {"kind": "hypercube"},
        {"kind": "exponential"},
        {"kind": "one-peer-exponential"},
        {"kind": "torus"},
        {"kind": "ring"},
        {"kind": "ring", "directed": True},
        *({"kind": "n-peer-exponential", "peers": k} for k in range(1, min(most, 32) + 1)),
        *({"kind": "base", "peers": k} for k in every),
        *({"kind": "random-regular", "degree": k} for k in (every if agents <= FEW else [most])),
    ]


def _shortest(graphs: dict[Topology, dict[str, Any]]) -> list[tuple[Topology, dict[str, Any]]]:
    """Of many agents, whose numbers take long, without base graphs that gain no round by peers."""
    shortest, kept = math.inf, []
    for topology, family in graphs.items():
        if family["kind"] == "base" and topology.agents > FEW:
            if len(topology.rounds) >= shortest:
                continue
            shortest = len(topology.rounds)
        kept.append((topology, family))
    return kept


def _merit(row: Row) -> tuple[float, float]:
    factor = math.inf if row.factor is None else row.factor
    rounded = factor if factor in (0.0, math.inf) else round(math.log(factor) / math.log(1.01))
    return (-math.inf if factor == 0.0 else rounded), row.messages_per_update or 0.0


def _reason(topology: Topology, best: Row, others: list[Row]) -> str:
    assert best.factor is not None and best.beta is not None
    how = (
        f"it reaches the exact mean after {count(len(topology.rounds), 'round')}"
        if best.beta == 0.0
        else f"beta {best.beta:.3f}"
    )
    text = f"{how}, factor {best.factor:.3g}, messages per update {best.messages_per_update:.3g}"
    rival = next((row for row in others if row.factor is not None), None)
    if rival is not None:
        text += (
            f"; next best: {rival.name} with factor {rival.factor:.3g} "
            f"and {rival.messages_per_update:.3g}"
        )
    return text


def _title(family: dict[str, Any]) -> str:
    if family.get("directed"):
        return "directed-ring"
    options = "".join(f", {key} {value}" for key, value in family.items() if key != "kind")
    return f"{family['kind']}{options}"


def _flow(family: dict[str, Any]) -> str:
    if len(family) == 1:
        return str(family["kind"])
    parts = (f"{key}: {str(value).lower()}" for key, value in family.items())
    return "{" + ", ".join(parts) + "}"
