"""The picture of one update: what passes from the environments to the neighbours and back.

    python experiments/architecture.py

Writes docs/images/architecture.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "architecture.png"

WIDTH, HEIGHT = 120.0, 86.0
"""Units of the drawing; ten make an inch."""

INK, SOFT = "#1f2328", "#57606a"


class Colour(NamedTuple):
    """Fill and edge of a box."""

    fill: str
    edge: str


ACT = Colour("#dbeafe", "#2563a8")
LEARN = Colour("#ffe8cc", "#b45309")
PURE = Colour("#fff7ed", "#b45309")
VECTOR = Colour("#e5e7eb", "#4b5563")
GOSSIP = Colour("#d9f2e3", "#16794a")
BESIDE = Colour("#f1e9fb", "#7240a8")
FRAME = Colour("#fbfcfd", "#9aa4ae")


class Box(NamedTuple):
    """A box: place of its lower left corner, size, colour, a bold first line, lines below it."""

    x: float
    y: float
    width: float
    height: float
    colour: Colour
    title: str
    text: str = ""


MODEL = """the network, its
tensors views of
the flat vector

act(obs)
unroll(batch, rows)
evaluate(batch)
revision"""

BATCH = """obs action reward
discount cut valid final
mask dist value
next_value version"""

BOXES = (
    Box(2, 12, 89, 72, FRAME, ""),
    Box(
        5,
        67,
        19,
        13,
        ACT,
        "environments",
        "B of them; autoreset\nsays which rows are\nvalid, cut, final",
    ),
    Box(
        37,
        67,
        19,
        13,
        ACT,
        "Collector",
        "a Source: next() acts\nfor T steps, in the\nlearner's thread",
    ),
    Box(68, 64, 21, 16, ACT, "Batch", BATCH),
    Box(34, 37, 55, 19, LEARN, ""),
    Box(69, 43, 19, 8.5, PURE, "Algorithm.targets", "once, no gradient"),
    Box(51.5, 43, 15.5, 8.5, PURE, "Algorithm.loss", "N rows, any order"),
    Box(35.5, 43, 14, 8.5, LEARN, "descent", "reduce clip step"),
    Box(5, 23, 17, 31, ACT, "Model", MODEL),
    Box(34, 23, 55, 9.5, VECTOR, ""),
    Box(35, 24, 38, 4.5, FRAME, "parameters"),
    Box(74, 24, 14, 4.5, FRAME, "statistics"),
    Box(34, 13.5, 24, 6, GOSSIP, "publish", "a message, no barrier"),
    Box(65, 13.5, 24, 6, GOSSIP, "mix", "x <- P_ii x + sum_j P_ij x_j"),
    Box(34, 2, 24, 6, GOSSIP, "own mailbox", "read by out-neighbours"),
    Box(65, 2, 24, 6, GOSSIP, "others' mailboxes", "newest of each in-neighbour"),
    Box(
        97,
        67,
        20,
        13,
        BESIDE,
        "Progress",
        "share of the run,\nschedules, last update;\nasks the coupling",
    ),
    Box(97, 44, 20, 12, BESIDE, "Recorder", "losses, returns, times;\nsteers nothing"),
    Box(97, 24, 20, 12, BESIDE, "DivergenceMeter", "sketches, distances,\nbound, alarm"),
    Box(97, 12, 20, 8, VECTOR, "run folder", "records, sketches"),
    Box(97, 1, 20, 8, BESIDE, "viewers", "dashboard watch report"),
)


class Arrow(NamedTuple):
    """A line through corners, with a head at its end, and what passes along it."""

    corners: tuple[tuple[float, float], ...]
    colour: Colour
    text: str = ""
    place: tuple[float, float] = (0, 0)
    align: str = "center"


ARROWS = (
    Arrow(((24, 76), (37, 76)), ACT, "obs, reward", (30.5, 77.4)),
    Arrow(((37, 71), (24, 71)), ACT, "action", (30.5, 72.4)),
    Arrow(((56, 73), (68, 73)), ACT, "[T, B, ...]", (62, 74.4)),
    Arrow(((78.5, 64), (78.5, 51.5)), LEARN, "the whole batch", (77.5, 60), "right"),
    Arrow(((69, 47), (67, 47)), LEARN),
    Arrow(((51.5, 47), (49.5, 47)), LEARN),
    Arrow(((42.5, 43), (42.5, 32.5)), LEARN, "optimizer step", (43.5, 34.8), "left"),
    Arrow(((81, 37), (81, 32.5)), LEARN, "count, after learning", (80, 34.8), "right"),
    Arrow(((46, 23), (46, 19.5)), GOSSIP),
    Arrow(((77, 19.5), (77, 23)), GOSSIP),
    Arrow(((46, 13.5), (46, 8)), GOSSIP),
    Arrow(((77, 8), (77, 13.5)), GOSSIP),
    Arrow(((34, 27), (22, 27)), VECTOR, "refresh()", (28, 28.4)),
    Arrow(((22, 46), (34, 46)), ACT, "unroll", (28, 47.4)),
    Arrow(
        ((13.5, 54), (13.5, 60.5), (46.5, 60.5), (46.5, 67)), ACT, "act: dist, value", (28, 61.9)
    ),
    Arrow(((97, 73), (93.5, 73), (93.5, 53), (89, 53)), BESIDE),
    Arrow(((89, 48), (97, 48)), BESIDE),
    Arrow(((89, 28), (97, 28)), BESIDE),
    Arrow(((117, 50), (118.8, 50), (118.8, 16), (117, 16)), BESIDE),
    Arrow(((107, 24), (107, 20)), BESIDE),
    Arrow(((107, 12), (107, 9)), BESIDE),
)

LABELS = (
    (4, 82.1, "agent i: one of N, each at its own pace", "left", SOFT),
    (35.5, 53.8, "Learner.update", "left", INK),
    (61.5, 40, "loss and descent: epochs x minibatches", "center", SOFT),
    (61.5, 21.2, "Coupling.exchange, once per update", "center", SOFT),
    (61.5, 30.4, "one flat vector: what is sent and mixed", "center", SOFT),
    (107, 82.1, "beside the loop", "center", SOFT),
)


def draw() -> Any:
    """The figure."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(WIDTH / 10, HEIGHT / 10), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, HEIGHT))
    axes.axis("off")
    for box in BOXES:
        _draw_box(axes, box)
    for arrow in ARROWS:
        _draw_arrow(axes, arrow)
    for x, y, text, align, colour in LABELS:
        weight = "bold" if colour == INK else "normal"
        axes.text(x, y, text, ha=align, va="center", fontsize=11, color=colour, weight=weight)
    return figure


def _draw_box(axes: Any, box: Box) -> None:
    from matplotlib.patches import FancyBboxPatch

    style = "round,pad=0,rounding_size=1"
    corner = (box.x, box.y)
    fill, edge = box.colour
    axes.add_patch(
        FancyBboxPatch(corner, box.width, box.height, style, fc=fill, ec=edge, linewidth=1.3)
    )
    middle, top = box.x + box.width / 2, box.y + box.height
    place = top - 1.9 if box.text else box.y + box.height / 2
    axes.text(
        middle, place, box.title, ha="center", va="center", fontsize=12, weight="bold", color=INK
    )
    below = box.y + (box.height - 2.8) / 2
    axes.text(
        middle, below, box.text, ha="center", va="center", fontsize=10.5, color=INK, linespacing=1.3
    )


def _draw_arrow(axes: Any, arrow: Arrow) -> None:
    *corners, last, end = arrow.corners
    through = [*corners, last]
    edge = arrow.colour.edge
    axes.plot([x for x, _ in through], [y for _, y in through], color=edge, linewidth=1.8)
    style = {"arrowstyle": "-|>", "color": edge, "linewidth": 1.8, "mutation_scale": 16,
             "shrinkA": 0, "shrinkB": 0}  # fmt: skip
    axes.annotate("", xy=end, xytext=last, arrowprops=style)
    if arrow.text:
        axes.text(*arrow.place, arrow.text, ha=arrow.align, va="center", fontsize=10.5, color=edge)


def main() -> None:
    """Draw, save."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    draw().savefig(PICTURE, dpi=150)
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
