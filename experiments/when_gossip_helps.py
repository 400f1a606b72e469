"""The figures of docs/when-gossip-helps.md, from results that are there.

    python experiments/when_gossip_helps.py

Measures nothing: each figure is of a file in experiments/results, whose command the page names.
Writes the tables of the page and its picture anew; whoever measures again runs it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "bench"))
from recording import RESULTS, ROOT, table

from gala.evaluation.statistics import rank_sum_p
from gala.files.pictures import new_figure, save_figure
from gala.report.summary import THRESHOLDS

PAGE = ROOT / "docs" / "when-gossip-helps.md"
PICTURE = ROOT / "docs" / "images" / "when-gossip-helps.png"
EVIDENCE = ROOT / "docs" / "evidence.md"
SOURCES = (
    "straggler", "cartpole", "levers", "faults", "faults-standby", "hosts", "slow-simulator",
    "scaling", "gossip-cost",
)  # fmt: skip
COUPLINGS = ("gossip", "allreduce", "none")
PHASES = ("collect", "learn", "gossip", "log", "other")
COLOURS = {"gossip": "#0072B2", "allreduce": "#D55E00", "none": "#009E73"}
GOAL = "CartPole-v1"
BY = "written by experiments/when_gossip_helps.py"

Tree = dict[str, Any]


def load(folder: Path = RESULTS) -> Tree:
    """The results that the page is made of, by name."""
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in SOURCES}


def median(values: Iterable[float]) -> float:
    """Of any values."""
    return statistics.median(values)


def speeds(found: Tree, case: str, agents: slice) -> dict[str, float]:
    """Steps per second of some agents, by coupling, of the runs with a straggler or without."""
    runs = found["straggler"]["steps_per_second"]
    return {c: median(sum(each[agents]) for each in runs[c][case]) for c in COUPLINGS}


def others_keep(found: Tree) -> dict[str, float]:
    """Speed of all but the straggler, over theirs without one, by coupling."""
    others = slice(None, -1)
    slow, equal = (speeds(found, case, others) for case in ("straggler", "equal"))
    return {c: slow[c] / equal[c] for c in COUPLINGS}


def update_shares(found: Tree) -> dict[str, float]:
    """Share of an update that publishing and mixing take, by mailboxes and environments."""
    shares = {}
    for case, rounds in found["gossip-cost"]["cost"].items():
        several = rounds if isinstance(rounds, list) else [rounds]  # version 0.1 kept one
        taken = {phase: median(each[phase] for each in several) for phase in PHASES}
        if not case.startswith("none"):
            shares[case] = taken["gossip"] / sum(taken.values())
    return shares


def growth(found: Tree) -> dict[int, dict[str, float]]:
    """Share of the best speed, overhead and start in seconds, by the number of agents."""
    scaling = found["scaling"]
    return {
        int(agents): {"of_best": scaling["of_best"][agents]}
        | {name: median(run[name] for run in runs) for name in ("overhead", "start_s")}
        for agents, runs in scaling["measurements"].items()
    }


def coupling_table(found: Tree) -> str:
    """One agent slow, and all alike: gossip beside what else couples agents."""
    runs = {c: [r for r in found["cartpole"]["results"] if r["coupling"] == c] for c in COUPLINGS}
    reached = {c: sum(r["return"] >= THRESHOLDS[GOAL] for r in runs[c]) for c in COUPLINGS}
    pairs = found["levers"]["steps_per_second"]
    beside = {
        "allreduce": pairs["gradients averaged (allreduce)"],
        "none": pairs["no gossip"],
    }
    pong = {c: f"{median(one / other for one, other in beside[c]):.2f}" for c in beside}
    alike, keep = speeds(found, "equal", slice(None)), others_keep(found)
    slowdown = found["straggler"]["slowdown"]
    rows = [
        [
            f"CartPole, one agent of four {slowdown:.0f} times slower",
            "speed of the other three, over theirs without it",
            *(f"{keep[c]:.2f}" for c in COUPLINGS),
            link("straggler"),
        ],
        [
            "CartPole, four agents alike",
            "steps/s of all",
            *(f"{alike[c]:,.0f}" for c in COUPLINGS),
            link("straggler"),
        ],
        [
            "Pong, two agents alike",
            "speed, that of gossip beside it being 1",
            "1",
            pong["allreduce"],
            pong["none"],
            link("levers"),
        ],
        [
            "CartPole to the end, four agents",
            f"seeds that reach {THRESHOLDS[GOAL]:g}",
            *(f"{reached[c]} of {len(runs[c])}" for c in COUPLINGS),
            link("cartpole"),
        ],
        [
            "the same",
            "seconds, launch included, median",
            *(f"{median(r['seconds'] for r in runs[c]):.0f}" for c in COUPLINGS),
            link("cartpole"),
        ],
    ]
    return table(["what", "measured", "`gossip`", "`allreduce`", "`none`", "from"], rows)


def link(name: str) -> str:
    """To the page of results."""
    return f"[{name}](../experiments/results/{name}.md)"


def blow_table(found: Tree) -> str:
    """What a death costs, and a link that is cut."""
    rows = []
    for name in ("faults", "faults-standby"):
        for game, blows in found[name]["blows"].items():
            killed = [each for each in blows if each["blow"] == "SIGKILL"]
            keys = ("others_ratio", "quiet_ratio", "back_s")
            others, quiet, back = (median(each[key] for each in killed) for key in keys)
            what = f"{game}, one agent of four is killed" + ", `--standby`" * (name != "faults")
            again = f"it trains again after {back:.1f} s"
            rows.append([what, f"{others:.2f}", f"{quiet:.2f}", again, link(name)])
    for each in found["hosts"]["results"]:
        before, during = (sum(each[f"steps_per_second_{when}"]) for when in ("before", "during"))
        what = f"cartpole, {each['hosts']} hosts, the link of one is cut for"
        what += f" {found['hosts']['cut_s']:.0f} s"
        again = f"they mix again {each['mixing_again_s']:.0f} s after it is mended"
        rows.append([what, f"{during / before:.2f}", "-", again, link("hosts")])
    header = ["what", "others' speed, after over before", "the same without a blow", "and", "from"]
    return table(header, rows)


def slow_table(found: Tree) -> str:
    """Environments that take their time."""
    shares = found["slow-simulator"]["of_quick"]
    names = ("1 x 32", "2 x 16", "4 x 16")
    header = ["agents x environments", *names]
    return table(
        header,
        [["speed, over that without the wait", *(f"{median(shares[n]):.2f}" for n in names)]],
    )


def growth_table(found: Tree) -> str:
    """More agents than cores."""
    rows = [
        [
            str(agents),
            f"{each['of_best']:.2f}",
            f"{100 * each['overhead']:.1f} %",
            f"{each['start_s']:.0f}",
        ]
        for agents, each in growth(found).items()
    ]
    header = [
        "agents on two cores", "steps/s of all, the best in the same round being 1",
        "share of an update that is neither acting nor learning", "launch to last first update, s",
    ]  # fmt: skip
    return table(header, rows)


def cost_table(found: Tree) -> str:
    """What publishing and mixing take of an update."""
    rows = [
        [*case.split("; "), f"{100 * share:.1f} %"] for case, share in update_shares(found).items()
    ]
    return table(["mailboxes", "environments per agent", "publish and mix, of an update"], rows)


def wire_table(found: Tree) -> str:
    """What smaller messages lose."""
    rows = [
        [
            wire,
            " ".join(f"{run['return']:.0f}" for run in runs),
            f"{median(run['megabytes'] for run in runs):.0f}",
        ]
        for wire, runs in found["gossip-cost"]["wires"].items()
    ]
    return table(["wire format", "return by seed", "MB sent"], rows)


def source_table(found: Tree) -> str:
    """Commands, dates and commits."""
    rows = [
        [
            link(name),
            f"`{each['command']}`",
            each["date"],
            f"{each['versions']['gala']}, {each['commit']}",
            each["machine"],
        ]
        for name, each in found.items()
    ]
    return table(["results", "command", "measured on", "version, commit", "machine"], rows)


def learning_words(found: Tree) -> str:
    """What the runs on CartPole say of learning, which is little."""
    scores = {
        c: [r["return"] for r in found["cartpole"]["results"] if r["coupling"] == c]
        for c in COUPLINGS
    }
    ps = [f"{rank_sum_p(scores['gossip'], scores[c]):.2f}" for c in COUPLINGS[1:]]
    count = len(scores["gossip"])
    return (
        f"{count} seeds of CartPole with each coupling are all that there is, and decide nothing:"
        f" by the exact rank-sum test p = {ps[0]} against `allreduce` and {ps[1]} against `none`,"
        " two comparisons of one easy task."
    )


def blocks_of(found: Tree, *, evidence: bool) -> dict[str, str]:
    """What is written between the marks of the page, by the name of the mark.

    Args:
        found: see :func:`load`.
        evidence: whether the page of the comparisons over many seeds is there.
    """
    return {
        "coupling": coupling_table(found),
        "blows": blow_table(found),
        "slow": slow_table(found),
        "growth": growth_table(found),
        "cost": cost_table(found),
        "wire": wire_table(found),
        "learning": f"{learning_words(found)} {SEEDS if evidence else NO_SEEDS}",
        "sources": source_table(found),
    }


def filled(page: str, blocks: dict[str, str]) -> str:
    """The page with its blocks written anew.

    Raises:
        AssertionError: it has no place for one.
    """
    for name, text in blocks.items():
        begin, end = f"<!-- {name}: {BY} -->\n", f"<!-- end of {name} -->"
        before, found, rest = page.partition(begin)
        _, ended, after = rest.partition(end)
        assert found and ended, f"the page has no place for {name}"
        page = f"{before}{begin}\n{text}\n\n{end}{after}"
    return page


def draw(found: Tree, path: Path) -> None:
    """Three panels: a straggler, more agents than cores, the price of an update."""
    figure = new_figure(10.5, 3.2)
    panels: Sequence[tuple[str, dict[str, float], list[str]]] = (
        (
            "others' speed beside a straggler, without = 1",
            others_keep(found),
            list(COLOURS.values()),
        ),
        (
            "steps/s of all agents, best = 1",
            {f"{agents}": each["of_best"] for agents, each in growth(found).items()},
            [COLOURS["gossip"]],
        ),
        ("publish and mix, share of an update", _few(update_shares(found)), [COLOURS["gossip"]]),
    )
    for axis, (title, bars, colours) in zip(figure.subplots(1, 3), panels, strict=True):
        drawn = axis.bar(list(bars), list(bars.values()), color=colours)
        axis.bar_label(drawn, fmt="%.2f", fontsize=8)
        axis.set_title(title, fontsize=10)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.axes[0].axhline(1.0, color="0.5", lw=0.8, ls="--")
    figure.axes[1].set_xlabel("agents on two cores", fontsize=8)
    save_figure(figure, path)


def _few(shares: dict[str, float]) -> dict[str, float]:
    """Those of float32, with names of two short lines."""
    return {
        case.replace(", float32; ", "\n") + " envs": share
        for case, share in shares.items()
        if "float32" in case
    }


def main() -> None:
    """Write the page and the picture."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    found = load()
    draw(found, PICTURE)
    blocks = blocks_of(found, evidence=EVIDENCE.exists())
    PAGE.write_text(filled(PAGE.read_text(), blocks))
    print(f"wrote {PAGE} and {PICTURE.name}")


SEEDS = "[Evidence](evidence.md) has comparisons over many seeds and games."
NO_SEEDS = (
    "**Comparisons of learning over many seeds are not there yet**: whether gossip learns better at"
    " equal steps, when and why, is asked by a [plan](../experiments/evidence/plan.yaml) that is"
    " registered and whose runs (`python experiments/evidence.py`) are not kept yet."
)


if __name__ == "__main__":
    main()
