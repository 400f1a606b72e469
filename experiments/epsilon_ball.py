"""The figures and tables of docs/epsilon-ball.md.

    python experiments/epsilon_ball.py                      all of them: hours, most of it Pong
    python experiments/epsilon_ball.py --parts bound        one part: see PARTS
    python experiments/epsilon_ball.py --draw               draw and write again what was measured

Parts on CartPole take minutes, ``degree`` half of one. Two parts need agents that have trained on
Pong; where the folders are missing, they are trained first: ``--finished`` (runs/pong, the preset)
and ``--half-way`` (runs/pong-half-way, about as many steps as bring the first goals).

Measurements go to experiments/results/epsilon-ball.json, pictures beside it, tables into the page.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "bench"))
from degree import degree_table, measure_degree
from recording import RESULTS, ROOT, provenance, records, table, train

from gala.launch.processes import bound_to

PAGE = ROOT / "docs" / "epsilon-ball.md"
DATA = RESULTS / "epsilon-ball.json"
PARTS = ("bound", "staleness", "steering", "degree", "pong", "pong-steering")
PICTURES = "../experiments/results"
BOUND_STEPS = 150_000
"""Of four agents; more agents do as many updates each."""
PONG_STEPS = 40_000
STALENESS_STEPS = 150_000
STEERING_STEPS = 300_000
HALF_WAY_STEPS = 1_600_000
CONSTANT = (
    "--algorithm",
    "a2c",
    "--a2c.lr-schedule",
    "constant",
    "--a2c.entropy-schedule",
    "constant",
)
"""What the preset lets fall to 0 would be 0 in runs that are short or go on."""
BLUE, ORANGE, YELLOW, GREEN = "#0072B2", "#D55E00", "#E69F00", "#009E73"

DELAYS_MS = (0, 50, 150, 500)
SLOWDOWN = 8
"""All agents sleep so much that an update takes tens of milliseconds on any machine."""
STEERING: dict[str, tuple[object, ...]] = {
    "after every update": (),
    "radius 0.005": ("--gossip.epsilon-target", 0.005),
    "radius 0.01": ("--gossip.epsilon-target", 0.01),
    "radius 0.02": ("--gossip.epsilon-target", 0.02),
    "drift above 0.002": ("--gossip.trigger", "drift", "--gossip.trigger-threshold", 0.002),
    "drift above 0.01": ("--gossip.trigger", "drift", "--gossip.trigger-threshold", 0.01),
    "KL above 0.0001": ("--gossip.trigger", "kl", "--gossip.trigger-threshold", 0.0001),
    "KL above 0.001": ("--gossip.trigger", "kl", "--gossip.trigger-threshold", 0.001),
    "never (no gossip)": ("--coupling", "none"),
}
PONG_STEERING = {
    name: STEERING[name]
    for name in ("after every update", "radius 0.01", "radius 0.02", "drift above 0.01",
                 "KL above 0.001")
}  # fmt: skip

CASES = [(agents, topology) for agents in (4, 8, 16) for topology in ("ring", "exponential")]
"""Of the certificate; nobody ever waits."""
TARGETS = (
    "Wanted: never above 1; median of measured / certificate at least 0.15 (ring of 4), 0.07 (ring "
    "of 8), 0.10 (exponential, 8); median of measured / expected between 0.5 and 1.5. What the "
    "median step cosine says of the agents' updates explains the rest: the expectation is for "
    "cosine 0."
)

Row = dict[str, Any]


def summary(run: Path, since: float = 0.0) -> Row:
    """The numbers of one finished run, or of its records since a time (unix seconds).

    Distances are those from the second measurement on: before the first, agents that go on from
    checkpoints have not mixed yet.
    """
    rows = {rank: [r for r in each if r["t"] >= since] for rank, each in records(run).items()}
    last = [each[-1] for each in rows.values()]
    series = _measurements(rows[0])[1:]
    relative, late = [], []
    for each in rows.values():
        start = each[0]["update"] + (each[-1]["update"] - each[0]["update"]) / 10
        found = [r for r in _measurements(each)[1:] if r.get("divergence/relative") is not None]
        relative += [r["divergence/relative"] for r in found]
        late += [r["divergence/relative"] for r in found if r["update"] > start]
    cosines = [r["divergence/step_cosine"] for r in series if r.get("divergence/step_cosine")]
    staleness = [r["gossip/staleness"] for each in rows.values() for r in each
                 if r.get("gossip/staleness") is not None]  # fmt: skip
    updates = sum(r["update"] for r in last)
    sent = sum(r.get("gossip/messages_sent") or 0 for r in last)
    return {
        **_certificates(rows.values()),
        "step_cosine": _median(cosines),
        "relative": max(relative, default=None),
        "relative_late": max(late, default=None),
        "relative_mean": float(np.mean(relative)) if relative else None,
        "staleness": float(np.mean(staleness)) if staleness else None,
        "updates": updates,
        "bytes": sum(r.get("gossip/bytes_sent") or 0 for r in last),
        "messages_per_update": sent / updates,
        "return": float(np.mean([r["charts/episodic_return"] or 0.0 for r in last])),
        "lowest": float(min(r["charts/episodic_return"] or 0.0 for r in last)),
        "measurements": len(series),
    }


def _certificates(rows: Iterable[list[Row]]) -> Row:
    """Medians over all cuts that some agent certified; each looks at some of them."""
    found = {
        r["divergence/epsilon"]: (r["divergence/epsilon_ratio"], r["divergence/expected_ratio"])
        for each in rows
        for r in each
        if r.get("divergence/proven") == 1.0 and r.get("divergence/epsilon_ratio")
    }
    measured = [epsilon * ratio for epsilon, (ratio, _) in found.items()]
    return {
        "measured": _median(measured),
        "expected": _median([m / r for m, (_, r) in zip(measured, found.values(), strict=True)]),
        "epsilon": _median(list(found)),
        "ratio": _median([ratio for ratio, _ in found.values()]),
        "largest_ratio": max((ratio for ratio, _ in found.values()), default=None),
        "expected_ratio": _median([ratio for _, ratio in found.values()]),
        "certified": len(found),
    }


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None


def _measurements(rows: list[Row]) -> list[Row]:
    """One record for each measurement: records repeat the newest one until the next."""
    found: list[Row] = []
    for row in rows:
        total = row.get("divergence/total")
        if total is not None and (not found or total != found[-1]["divergence/total"]):
            found.append(row)
    return found


def run(name: str, *arguments: object) -> Row:
    """Train once in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        train(path, *arguments, "--log.tensorboard", "false")
        found = summary(path)
    print(name, {k: v if v is None else round(v, 4) for k, v in found.items()}, flush=True)
    return found


def measure_bound() -> list[Row]:
    """Ring and exponential at 4, 8 and 16 agents, without any waiting."""
    return [
        {"topology": topology, "agents": agents} | run(
            f"{topology} {agents}", "cartpole", "--agents", agents,
            "--topology", topology, "--gossip.max-staleness", "null",
            "--total-steps", BOUND_STEPS * agents // 4,
            "--divergence.every-s", 0.5, "--log.every-s", 0.25,
        )
        for agents, topology in CASES
    ]  # fmt: skip


def measure_pong(finished: Path) -> list[Row]:
    """A whole run, and runs with one environment per agent: too short to learn, not to measure."""
    if not finished.exists():
        train(finished, "pong", "--agents", 4)
    meta = json.loads((finished / "topology.json").read_text())
    whole = {"topology": meta["name"], "agents": meta["agents"]}
    rows = [whole | summary(finished)]
    for agents, topology in CASES:
        case = {"topology": topology, "agents": agents, "steps": PONG_STEPS}
        rows.append(case | run(
            f"pong {topology} {agents}", "pong", "--agents", agents, *CONSTANT,
            "--topology", topology, "--gossip.max-staleness", "null",
            "--total-steps", PONG_STEPS, "--env.num-envs", 1, "--divergence.every-s", 2.0,
        ))  # fmt: skip
    return rows


def measure_pong_steering(half_way: Path, more: int) -> list[Row]:
    """Ways to publish on Pong, each for ``more`` steps from the same half-trained agents."""
    if not half_way.exists():
        train(half_way, "pong", "--agents", 4, "--total-steps", HALF_WAY_STEPS, *CONSTANT)
    before = records(half_way)
    steps = sum(each[-1]["step"] for each in before.values())
    began = float(np.mean([each[-1]["charts/episodic_return"] or 0.0 for each in before.values()]))
    rows = []
    for name, arguments in PONG_STEERING.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run"
            shutil.copytree(half_way, path)
            since = time.time()
            command = [
                "train", "--resume", path, "--agents", len(before), "--total-steps", steps + more,
                "--log.tensorboard", "false", *arguments,
            ]  # fmt: skip
            subprocess.run(
                [sys.executable, "-m", "gala", *map(str, command)],
                check=True,
                cwd=ROOT,
                preexec_fn=bound_to(os.getpid()),
            )
            found = summary(path, since)
        done = {"name": name, "seed": 1, "more": more, "from": steps, "return_before": began}
        rows.append(done | found)
        print(rows[-1], flush=True)
    return rows


def measure_staleness() -> list[Row]:
    """Messages held up on purpose, 8 agents on a ring, slowed down alike."""
    return [
        {"delay_ms": delay} | run(
            f"delay {delay} ms", "cartpole", "--agents", 8, "--topology", "ring",
            "--faults.delay-ms", delay, "--faults.slowdown", SLOWDOWN,
            "--total-steps", STALENESS_STEPS,
            "--divergence.every-s", 0.5, "--log.every-s", 0.25,
        )
        for delay in DELAYS_MS
    ]  # fmt: skip


def measure_steering(seeds: Sequence[int]) -> list[Row]:
    """Bytes and returns of every way to publish, several seeds each."""
    return [
        {"name": name, "seed": seed} | run(
            f"{name}, seed {seed}", "cartpole", "--agents", 4, "--topology", "ring",
            "--total-steps", STEERING_STEPS, "--seed", seed,
            "--divergence.every-s", 0.5, "--log.every-s", 0.25, *arguments,
        )
        for seed in seeds  # the ways take turns, so that all see the same machine
        for name, arguments in STEERING.items()
    ]  # fmt: skip


def _axes(width: float, count: int = 1) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, count, figsize=(width, 3.9), layout="constrained")
    for axis in np.atleast_1d(axes):
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def draw_bound(rows: list[Row], pong: list[Row], path: Path) -> None:
    """Measured and expected distance and its certificate, for each graph and size."""
    panels = {"CartPole": rows, "Pong": [r for r in pong if "steps" in r]}
    panels = {title: part for title, part in panels.items() if part}
    figure, axes = _axes(4.8 * len(panels), len(panels))
    for axis, (title, part) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        mine = [r for r in part if r["epsilon"] is not None]
        x = np.arange(len(mine))
        for key, colour, marker, label in (
            ("epsilon", ORANGE, "_", "certificate"),
            ("expected", YELLOW, "_", "expectation: unrelated updates"),
            ("measured", BLUE, "o", "measured"),
        ):
            values = [r[key] for r in mine]
            size = 220 if marker == "_" else 36
            axis.scatter(x, values, color=colour, marker=marker, s=size, label=label, zorder=3)
        axis.set_yscale("log")
        names = [f"{r['topology'].replace('exponential', 'expon.')}\n{r['agents']}" for r in mine]
        axis.set_xticks(x, names, fontsize=8)
        axis.set_title(title, fontsize=10, loc="left")
    low = min(axis.get_ylim()[0] for axis in np.atleast_1d(axes))
    high = max(axis.get_ylim()[1] for axis in np.atleast_1d(axes))
    for axis in np.atleast_1d(axes):
        axis.set_ylim(low, high)
    np.atleast_1d(axes)[0].set_ylabel("distance of all agents from consensus, L2")
    np.atleast_1d(axes)[0].legend(frameon=False, fontsize=8)
    figure.suptitle("Nobody waits: medians over each run", fontsize=11)
    figure.savefig(path, dpi=130)


def draw_staleness(rows: list[Row], path: Path) -> None:
    """Distance against the delay of messages."""
    figure, axes = _axes(9.5, 2)
    x = np.arange(len(rows))
    names = [f"{r['delay_ms']:g}" for r in rows]
    for key, colour, label in (
        ("epsilon", ORANGE, "certificate"),
        ("expected", YELLOW, "expectation: unrelated updates"),
        ("measured", BLUE, "measured"),
    ):
        points = [(i, r[key]) for i, r in enumerate(rows) if r[key] is not None]
        if points:
            axes[0].plot(*zip(*points, strict=True), "o-", color=colour, label=label, markersize=4)
    axes[0].set_yscale("log")
    axes[0].set_ylabel("distance of all agents from consensus, L2", fontsize=9)
    axes[0].legend(frameon=False, fontsize=8)
    axes[1].plot(x, [r["return"] for r in rows], "o-", color=GREEN, markersize=4)
    axes[1].set_ylim(0, 510)
    axes[1].set_ylabel("return, last 100 games of each agent", fontsize=9)
    for axis in axes:
        axis.set_xticks(x, names)
        axis.set_xlabel("milliseconds that messages are held up", fontsize=9)
    figure.suptitle("CartPole, ring of 8: older messages, larger ball", fontsize=11)
    figure.savefig(path, dpi=130)


def draw_steering(rows: list[Row], path: Path) -> None:
    """Return and distance against messages."""
    figure, axes = _axes(11, 2)
    for axis, key, label in zip(
        axes, ("return", "relative_late"),
        ("return, last 100 games", "largest relative distance after the first tenth"),
        strict=True,
    ):  # fmt: skip
        for number, name in enumerate(STEERING):
            mine = [r for r in rows if r["name"] == name]
            if not mine or any(r[key] is None for r in mine):
                continue
            share = 100 * float(np.mean([r["messages_per_update"] for r in mine]))
            values = [r[key] for r in mine]
            colour = {"radius": BLUE, "drift": ORANGE, "KL": GREEN}.get(name.split()[0], "0.3")
            axis.errorbar(
                share, np.mean(values), color=colour, marker="os^vD"[number % 5], capsize=3,
                yerr=[[np.mean(values) - min(values)], [max(values) - np.mean(values)]],
                linestyle="none", label=name,
            )  # fmt: skip
        axis.set_xlabel("messages per 100 updates", fontsize=9)
        axis.set_ylabel(label, fontsize=9)
    axes[0].set_ylim(0, 530)
    axes[1].set_yscale("log")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8
    )
    seeds = len({r["seed"] for r in rows})
    figure.suptitle(f"CartPole, ring of 4: mean and range of {seeds} seeds", fontsize=11)
    figure.savefig(path, dpi=130)


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def bound_table(rows: list[Row], pong: list[Row]) -> str:
    """Markdown of the first part."""
    cells = [
        [
            game, r["topology"], str(r["agents"]), _cell(r["measured"], ".3g"),
            _cell(r["expected"], ".3g"), _cell(r["epsilon"], ".3g"), _cell(r["ratio"], ".2f"),
            _cell(r["largest_ratio"], ".2f"), _cell(r["expected_ratio"], ".2f"),
            _cell(r["step_cosine"], ".2f"), str(r["certified"]),
        ]
        for game, part in (("CartPole", rows), ("Pong", pong))
        for r in part
    ]  # fmt: skip
    made = table(
        ["game", "graph", "agents", "measured", "expected", "certificate",
         "measured / certificate, median", "largest", "measured / expected, median",
         "step cosine, median", "certificates"],
        cells,
    )  # fmt: skip
    picture = f"![measured, expected and certified distance]({PICTURES}/epsilon-ball-bound.png)"
    return f"{picture}\n\n{made}\n\n{TARGETS}"


def staleness_table(rows: list[Row]) -> str:
    """Markdown of the second part."""
    cells = [
        [
            f"{r['delay_ms']:g} ms", _cell(r["staleness"], ".2f"), _cell(r["measured"], ".3g"),
            _cell(r["expected"], ".3g"), _cell(r["epsilon"], ".3g"), f"{r['return']:.0f}",
        ]
        for r in rows
    ]  # fmt: skip
    return table(["held up", "staleness", "measured", "expected", "certificate", "return"], cells)


def steering_table(rows: list[Row], pong: list[Row]) -> str:
    """Markdown of the third part: bytes against returns on both games."""
    cells = []
    for game, part in (("CartPole", rows), ("Pong", pong)):
        groups = [[r for r in part if r["name"] == name] for name in STEERING]
        groups = [group for group in groups if group]
        if not groups:
            continue
        whole = np.mean([r["bytes"] for r in groups[0]])
        for group in groups:
            sent = np.mean([r["bytes"] for r in group])
            whole_run = [r["relative"] for r in group if r["relative"] is not None]
            late = [r["relative_late"] for r in group if r["relative_late"] is not None]
            typical = [r["relative_mean"] for r in group if r["relative_mean"]]
            returns = [r["return"] for r in group]
            spread = f" ({min(returns):.0f} to {max(returns):.0f})" if len(returns) > 1 else ""
            cells.append(
                [
                    game, group[0]["name"], f"{sent / 1e6:,.0f}", f"{100 * sent / whole:.0f} %",
                    *(f"{max(each):.2g}" if each else "-" for each in (whole_run, late)),
                    f"{np.mean(typical):.2g}",
                    f"{np.mean(returns):.{0 if game == 'CartPole' else 1}f}{spread}",
                ]
            )  # fmt: skip
    made = table(
        ["game", "publish", "MB sent by all", "of always", "largest relative distance",
         "after the first tenth", "mean", "return: mean (range of seeds)"],
        cells,
    )  # fmt: skip
    if pong:
        first = pong[0]
        made += (
            f"\n\nPong: four agents that have trained for {first['from']:,} steps (return "
            f"{first['return_before']:.1f}) go on for {first['more']:,} more, each way from the "
            "same checkpoints. Returns are means of the last 100 games of each agent: they still "
            "hold games from before."
        )
    return made


def write_page(data: dict[str, Any]) -> None:
    """Put the tables into the page, between their marks."""
    text = PAGE.read_text()
    made: dict[str, Callable[[], str]] = {
        "bound": lambda: bound_table(data["bound"]["rows"], data.get("pong", {}).get("rows", [])),
        "staleness": lambda: staleness_table(data["staleness"]["rows"]),
        "steering": lambda: steering_table(
            data["steering"]["rows"], data.get("pong-steering", {}).get("rows", [])
        ),
        "degree": lambda: degree_table(data["degree"]["rows"]),
    }
    for name, make in made.items():
        if name not in data:
            continue
        begin, end = f"<!-- {name} -->\n", f"<!-- end {name} -->"
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        facts = data[name]
        source = (
            f"\nMeasured on {facts['date']} with `{facts['command']}` on {facts['machine']}, "
            f"commit {facts['commit']}"
        )
        other = data.get({"bound": "pong", "steering": "pong-steering"}.get(name, ""), {})
        if "commit" in other:
            source += f"; Pong with `{other['command']}`, commit {other['commit']}"
        source += ".\n"
        text = f"{head}{begin}{make()}\n{source}{end}{tail}"
    PAGE.write_text(text)


def main() -> None:
    """Measure what was asked for, then draw and write everything that is known."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="of steering")
    parser.add_argument("--finished", type=Path, default=ROOT / "runs" / "pong")
    parser.add_argument("--half-way", type=Path, default=ROOT / "runs" / "pong-half-way")
    parser.add_argument("--more", type=int, default=120_000, help="steps from half-way on")
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    options = parser.parse_args()
    measures: dict[str, Callable[[], list[Row]]] = {
        "bound": measure_bound,
        "staleness": measure_staleness,
        "steering": partial(measure_steering, options.seeds),
        "degree": measure_degree,
        "pong": partial(measure_pong, options.finished),
        "pong-steering": partial(measure_pong_steering, options.half_way, options.more),
    }
    data = json.loads(DATA.read_text()) if DATA.exists() else {}
    RESULTS.mkdir(exist_ok=True)
    for part in () if options.draw else options.parts:
        facts = provenance()
        data[part] = facts | {"rows": measures[part]()}
        DATA.write_text(json.dumps(data, indent=1) + "\n")  # hours of work are not lost
    draws: dict[str, Callable[..., None]] = {
        "bound": partial(draw_bound, pong=data.get("pong", {}).get("rows", [])),
        "staleness": draw_staleness,
        "steering": draw_steering,
    }
    for name, draw in draws.items():
        if name in data:
            draw(data[name]["rows"], path=RESULTS / f"epsilon-ball-{name}.png")
    write_page(data)
    print(f"wrote {DATA}, pictures beside it, and the tables of {PAGE}")


if __name__ == "__main__":
    main()
