"""Pictures of topologies: who hears whom, one panel per round, and the first mixing matrix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gala.errors import UserError
from gala.files.pictures import new_figure, save_figure
from gala.topology.analysis import spectrum
from gala.topology.limits import count
from gala.topology.mixing import Mixing
from gala.topology.topology import Topology

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS = 4
MAX_AGENTS = 512
MAX_EDGES = 20_000
BLUE, GREY, DARK = "#2f6f9f", "#9aa3ab", "#22303a"


def save(topology: Topology, path: str | Path) -> Path:
    """Draw ``topology`` into ``path`` (.png, .pdf, .svg by its suffix); returns the path.

    Raises:
        UserError: matplotlib is missing, the graph is too large to see anything, or the file
            cannot be written.
    """
    if topology.agents > MAX_AGENTS or len(topology.edges) > MAX_EDGES:
        raise UserError(
            f"{topology.agents} agents with {len(topology.edges)} edges are too many for a picture",
            hint=f"up to {MAX_AGENTS} agents and {MAX_EDGES} edges",
        )
    shown = topology.rounds[:MAX_PANELS]
    small = topology.agents <= 64
    panels = len(shown) + small
    figure = new_figure(4.2 * panels, 4.7)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    positions = layout(topology)
    for number, (mixing, ax) in enumerate(zip(shown, axes, strict=False)):
        _network(ax, mixing, positions)
        if len(topology.rounds) > 1:
            ax.set_title(f"round {number} of {len(topology.rounds)}", fontsize=10, color=DARK)
    if small:
        _matrix(figure, axes[-1], shown[0])
    rate, factor = spectrum.beta(topology), spectrum.factor(topology)
    facts = [count(topology.agents), f"weights {topology.weights}"]
    facts += [] if rate is None else [f"beta {rate:.3f}"]
    facts += ["no bound"] if factor is None else [f"factor {factor:.3g}"]
    messages = f"{spectrum.messages_per_update(topology):.3g}"
    facts += [f"{messages} message{'s' * (messages != '1')} per update"]
    figure.suptitle(f"{topology.name}: " + ", ".join(facts), fontsize=11, color=DARK)
    return save_figure(figure, path)


def layout(topology: Topology) -> NDArray[np.float64]:
    """Float64[N, 2] within the unit square around zero; a circle, agent 0 on top, by default."""
    if topology.positions is not None:
        positions = topology.positions - topology.positions.mean(axis=0)
        return np.asarray(positions / max(float(np.abs(positions).max()), 1e-9))
    angle = 2 * np.pi * np.arange(topology.agents) / topology.agents
    return np.stack([np.sin(angle), np.cos(angle)], axis=1)


def _network(ax: Axes, mixing: Mixing, positions: NDArray[np.float64]) -> None:
    from matplotlib.patches import FancyArrowPatch

    agents = mixing.agents
    radius = 11.0 if agents <= 16 else 7.0 if agents <= 64 else 3.0
    edges = list(
        zip(mixing.source.tolist(), mixing.target.tolist(), mixing.weight.tolist(), strict=True)
    )
    back = {(source, target): weight for source, target, weight in edges}
    strongest = max(mixing.weight.max(initial=0.0), 1e-9)
    for source, target, weight in edges:
        mutual = abs(back.get((target, source), -1.0) - weight) < 1e-9
        if mutual and source > target:
            continue
        bend = 0.0 if mutual else 0.08
        if agents <= 64 and _hidden(positions, source, target):
            bend = 0.22
        head = ",head_length=4,head_width=2"
        arrow = ("<|-|>" + head if mutual else "-|>" + head) if agents <= 64 else "-"
        ax.add_patch(
            FancyArrowPatch(
                tuple(positions[source]),
                tuple(positions[target]),
                arrowstyle=arrow,
                connectionstyle=f"arc3,rad={bend}",
                shrinkA=radius * 0.9,
                shrinkB=radius * 0.9,
                linewidth=(1.0 if agents <= 64 else 0.4) * (0.5 + 1.3 * weight / strongest),
                color=GREY if agents <= 64 else BLUE,
                alpha=0.9 if agents <= 64 else 0.25,
                zorder=1,
                clip_on=False,
            )
        )
    size = radius**2 * 3.6
    ax.scatter(
        positions[:, 0],
        positions[:, 1],
        s=size if agents <= 64 else 12,
        color=BLUE,
        zorder=2,
        linewidth=0,
    )
    if agents <= 64:
        for number, (x, y) in enumerate(positions):
            ax.text(x, y, str(number), ha="center", va="center", color="white", zorder=3,
                    fontsize=radius * 0.85)  # fmt: skip
    flat = float(np.ptp(positions[:, 1])) < 1e-6
    ax.set_xlim(-1.3, 1.3)
    ax.set_ylim(-1.3, 1.3)
    ax.set_aspect("auto" if flat else "equal")
    ax.axis("off")


def _hidden(positions: NDArray[np.float64], source: int, target: int) -> bool:
    """Whether the straight line between two agents would pass behind a third one."""
    start, way = positions[source], positions[target] - positions[source]
    others = np.delete(positions, [source, target], axis=0) - start
    along = np.clip(others @ way / max(float(way @ way), 1e-12), 0.0, 1.0)
    return bool((np.linalg.norm(others - along[:, None] * way, axis=1) < 0.08).any())


def _matrix(figure: Figure, ax: Axes, mixing: Mixing) -> None:
    matrix = mixing.dense()
    image = ax.imshow(matrix, cmap="Blues", vmin=0.0, vmax=max(float(matrix.max()), 1e-9))
    ax.set_title("mixing matrix (row: who averages)", fontsize=10, color=DARK)
    step = max(1, -(-mixing.agents // 8))
    ticks = list(range(0, mixing.agents, step))
    ax.set_xticks(ticks)
    ax.set_yticks(ticks)
    ax.tick_params(length=0, labelsize=8, colors=DARK)
    for spine in ax.spines.values():
        spine.set_visible(False)
    bar: Any = figure.colorbar(image, ax=ax, shrink=0.75)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8, colors=DARK)
