"""The figures and tables of docs/epsilon-ball.md, from runs of a few seconds each.

    python experiments/epsilon_ball.py                      everything on CartPole
    python experiments/epsilon_ball.py --parts steering     one part: bound, staleness, steering,
                                                            degree (no training, half a minute)
    python experiments/epsilon_ball.py --pong runs/pong     also the ball of a finished Pong run
    python experiments/epsilon_ball.py --pong-steps 40000   also Pong at 4, 8, 16 agents, that short
    python experiments/epsilon_ball.py --pong-from runs/half-way --more 400000
                                                            also steering on Pong, from that run on
    python experiments/epsilon_ball.py --draw               draw and write again what was measured

Measurements go to experiments/results/epsilon-ball.json, pictures beside it, tables into the page.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "bench"))
from degree import degree_table, measure_degree
from recording import RESULTS, ROOT, provenance, records, table, train

PAGE = ROOT / "docs" / "epsilon-ball.md"
DATA = RESULTS / "epsilon-ball.json"
PARTS = ("bound", "staleness", "steering", "degree")
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

Row = dict[str, Any]


def summary(run: Path, since: float = 0.0) -> Row:
    """The numbers of one finished run, or of its records since a time (unix seconds).

    Distances are those from the second to the last measurement.
    """
    rows = {rank: [r for r in each if r["t"] >= since] for rank, each in records(run).items()}
    last = [each[-1] for each in rows.values()]
    series = _measurements(rows[0])
    relative = [r["divergence/relative"] for each in rows.values() for r in _measurements(each)
                if r.get("divergence/relative") is not None]  # fmt: skip
    ratios = [r["divergence/epsilon_ratio"] for r in series if r.get("divergence/epsilon_ratio")]

    def mean(name: str) -> float | None:
        found = [r[name] for r in series if r.get(name) is not None]
        return float(np.mean(found)) if found else None

    staleness = [r["gossip/staleness"] for each in rows.values() for r in each
                 if r.get("gossip/staleness") is not None]  # fmt: skip
    updates = sum(r["update"] for r in last)
    sent = sum(r.get("gossip/messages_sent") or 0 for r in last)
    return {
        "measured": mean("divergence/total"),
        "expected": mean("divergence/expected"),
        "epsilon": mean("divergence/epsilon"),
        "largest_ratio": max(ratios, default=None),
        "relative": max(relative, default=None),
        "relative_mean": float(np.mean(relative)) if relative else None,
        "staleness": float(np.mean(staleness)) if staleness else None,
        "updates": updates,
        "bytes": sum(r.get("gossip/bytes_sent") or 0 for r in last),
        "messages_per_update": sent / updates,
        "return": float(np.mean([r["charts/episodic_return"] or 0.0 for r in last])),
        "lowest": float(min(r["charts/episodic_return"] or 0.0 for r in last)),
        "measurements": len(ratios),
    }


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


def measure_bound(steps: int) -> list[Row]:
    """Ring and exponential at 4, 8 and 16 agents, in lock-step and without any waiting."""
    rows = []
    for agents in (4, 8, 16):
        for topology in ("ring", "exponential"):
            for mode in ("0", "null"):
                found = run(
                    f"{topology} {agents} {mode}", "cartpole", "--agents", agents,
                    "--topology", topology, "--gossip.max-staleness", mode,
                    # large crowds need more steps to do as many updates each
                    "--total-steps", steps * max(agents // 8, 1),
                    "--divergence.every-s", 0.5, "--log.every-s", 0.25,
                )  # fmt: skip
                rows.append({"topology": topology, "agents": agents, "mode": mode, **found})
    return rows


def measure_pong(steps: int) -> list[Row]:
    """Pong with a simulator per agent: too short to learn, long enough to measure the ball."""
    return [
        {"topology": topology, "agents": agents, "mode": "null", "steps": steps} | run(
            f"pong {topology} {agents}", "pong", "--agents", agents, "--topology", topology,
            "--total-steps", steps, "--env.num-envs", 1, "--divergence.every-s", 2.0,
        )
        for agents in (4, 8, 16)
        for topology in ("ring", "exponential")
    ]  # fmt: skip


def measure_pong_steering(half_way: Path, more: int) -> list[Row]:
    """Ways to publish on Pong, each for ``more`` steps from the same half-trained agents."""
    before = records(half_way)
    steps = sum(each[-1]["step"] for each in before.values())
    began = float(np.mean([each[-1]["charts/episodic_return"] for each in before.values()]))
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
            subprocess.run([sys.executable, "-m", "gala", *map(str, command)], check=True, cwd=ROOT)
            found = summary(path, since)
        done = {"name": name, "seed": 1, "more": more, "from": steps, "return_before": began}
        rows.append(done | found)
        print(rows[-1], flush=True)
    return rows


def measure_staleness(steps: int) -> list[Row]:
    """Messages held up on purpose, 8 agents on a ring, slowed down alike."""
    return [
        {"delay_ms": delay} | run(
            f"delay {delay} ms", "cartpole", "--agents", 8, "--topology", "ring",
            "--faults.delay-ms", delay, "--faults.slowdown", SLOWDOWN,
            "--total-steps", steps,
            "--divergence.every-s", 0.5, "--log.every-s", 0.25,
        )
        for delay in DELAYS_MS
    ]  # fmt: skip


def measure_steering(steps: int, seeds: Sequence[int]) -> list[Row]:
    """Bytes and returns of every way to publish, several seeds each."""
    return [
        {"name": name, "seed": seed} | run(
            f"{name}, seed {seed}", "cartpole", "--agents", 4, "--topology", "ring",
            "--total-steps", steps, "--seed", seed,
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
    """Measured, expected and promised distance, for each graph and size."""
    panels = {
        "CartPole, lock-step (proof)": [r for r in rows if r["mode"] == "0"],
        "CartPole, never waiting (model of delays)": [r for r in rows if r["mode"] == "null"],
        "Pong, never waiting (model of delays)": [r for r in pong if "steps" in r],
    }
    panels = {title: part for title, part in panels.items() if part}
    figure, axes = _axes(4.4 * len(panels), len(panels))
    for axis, (title, part) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        mine = [r for r in part if r["epsilon"] is not None]
        x = np.arange(len(mine))
        for key, colour, marker, label in (
            ("epsilon", ORANGE, "_", "bound: worst case"),
            ("expected", YELLOW, "_", "expectation: independent updates"),
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
    figure.suptitle("Ring and exponential graph, mean over each run", fontsize=11)
    figure.savefig(path, dpi=130)


def draw_staleness(rows: list[Row], path: Path) -> None:
    """Distance against the delay of messages."""
    figure, axes = _axes(9.5, 2)
    x = np.arange(len(rows))
    names = [f"{r['delay_ms']:g}" for r in rows]
    for key, colour, label in (
        ("epsilon", ORANGE, "bound: worst case"),
        ("expected", YELLOW, "expectation: independent updates"),
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
        axes, ("return", "relative"), ("return, last 100 games", "largest relative distance"),
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
    modes = {"0": "lock-step", "null": "never waits"}
    cells = [
        [
            game, r["topology"], str(r["agents"]), modes[r["mode"]], _cell(r["measured"], ".3g"),
            _cell(r["expected"], ".3g"), _cell(r["epsilon"], ".3g"),
            _cell(r["largest_ratio"], ".2g"), _cell(r["relative"], ".2g"), str(r["measurements"]),
        ]
        for game, part in (("CartPole", rows), ("Pong", pong))
        for r in part
    ]  # fmt: skip
    return table(
        ["game", "graph", "agents", "mode", "measured", "expected", "bound",
         "largest measured / bound", "largest relative distance", "measurements"],
        cells,
    )  # fmt: skip


def staleness_table(rows: list[Row]) -> str:
    """Markdown of the second part."""
    cells = [
        [
            f"{r['delay_ms']:g} ms", _cell(r["staleness"], ".2f"), _cell(r["measured"], ".3g"),
            _cell(r["expected"], ".3g"), _cell(r["epsilon"], ".3g"), f"{r['return']:.0f}",
        ]
        for r in rows
    ]  # fmt: skip
    return table(["held up", "staleness", "measured", "expected", "bound", "return"], cells)


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
            relative = [r["relative"] for r in group if r["relative"] is not None]
            typical = [r["relative_mean"] for r in group if r["relative_mean"]]
            returns = [r["return"] for r in group]
            spread = f" ({min(returns):.0f} to {max(returns):.0f})" if len(returns) > 1 else ""
            cells.append(
                [
                    game, group[0]["name"], f"{sent / 1e6:,.0f}", f"{100 * sent / whole:.0f} %",
                    f"{max(relative):.2g}" if relative else "-", f"{np.mean(typical):.2g}",
                    f"{np.mean(returns):.{0 if game == 'CartPole' else 1}f}{spread}",
                ]
            )  # fmt: skip
    made = table(
        ["game", "publish", "MB sent by all", "of always", "largest relative distance",
         "mean relative distance", "return: mean (range of seeds)"],
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
    made = {
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
        source = f"\nMeasured on {facts['date']} on {facts['machine']}, commit {facts['commit']}"
        other = data.get({"bound": "pong", "steering": "pong-steering"}.get(name, ""), {})
        if "commit" in other:
            source += f"; Pong: commit {other['commit']}"
        source += ".\n"
        text = f"{head}{begin}{make()}\n{source}{end}{tail}"
    PAGE.write_text(text)


def main() -> None:
    """Measure what was asked for, then draw and write everything that is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--steps", type=int, default=300_000, help="of all agents, per run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of steering")
    parser.add_argument("--pong", type=Path, help="a finished run of Pong")
    parser.add_argument("--pong-steps", type=int, help="train Pong for so long, at 4, 8, 16 agents")
    parser.add_argument("--pong-from", type=Path, help="a half-trained run of Pong, to steer")
    parser.add_argument("--more", type=int, default=400_000, help="steps from there on")
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    options = parser.parse_args()
    data = json.loads(DATA.read_text()) if DATA.exists() else {}
    measures = {
        "bound": measure_bound,
        "staleness": measure_staleness,
        "steering": partial(measure_steering, seeds=options.seeds),
        "degree": measure_degree,
    }
    for part in options.parts if not options.draw else ():
        data[part] = provenance() | {"rows": measures[part](options.steps)}
    pong = data.get("pong", {"rows": []})["rows"]
    if options.pong is not None:
        meta = json.loads((options.pong / "topology.json").read_text())
        row = {"topology": meta["name"], "agents": meta["agents"], "mode": "null"}
        pong = [r for r in pong if "steps" in r] + [row | summary(options.pong)]
    if options.pong_steps is not None:
        fresh = measure_pong(options.pong_steps)
        pong = [r for r in pong if "steps" not in r] + fresh
    if pong:
        measured = options.pong is not None or options.pong_steps is not None
        facts = provenance() if measured else {k: v for k, v in data["pong"].items() if k != "rows"}
        data["pong"] = facts | {"rows": sorted(pong, key=lambda r: (r["agents"], "steps" in r))}
    if options.pong_from is not None:
        found = measure_pong_steering(options.pong_from, options.more)
        data["pong-steering"] = provenance() | {"rows": found}
    RESULTS.mkdir(exist_ok=True)
    DATA.write_text(json.dumps(data, indent=1) + "\n")
    draws = {
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
