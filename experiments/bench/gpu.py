"""One GPU, 64 environments in all: what do more agents make of it? The paper's hardware figure.

    python experiments/bench/gpu.py [--agents 1 2 4 8 16] [--simulators 64] [--seconds 30]
        [--repeats 3] [--ways threads processes allreduce] [--experiment pong-paper]

Gossiping agents as threads of one process and as processes, and synchronous A2C (allreduce, as
processes), interleaved. Needs a CUDA device and `pip install -e '.[gpu,plots]'`. Writes
experiments/results/gpu.{json,md,png}.

Unproven: not yet run on a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recording import RESULTS, table, write

from gala.bench.gpu_meter import Look, Meter, eye_on
from gala.bench.measurement import Case, Measurement, measure
from gala.errors import EXIT_BAD_INPUT, UserError
from gala.files.pictures import new_figure, save_figure

NAMES = {
    "threads": "gossip, threads of one process",
    "processes": "gossip, processes",
    "allreduce": "A2C, allreduce, processes",
}
COLORS = {"threads": "#0072B2", "processes": "#56B4E9", "allreduce": "#D55E00"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """Medians of the repeats of one case.

    Attributes:
        way: a key of NAMES.
        agents: number of agents.
        steps_per_second: of all agents.
        utilisation: of the GPU, in [0, 1].
        watts: power draw of the GPU.
        memory_mb: of the GPU.
        learn_ms: time of an update's learning, mean of the agents.
    """

    way: str
    agents: int
    steps_per_second: float
    utilisation: float
    watts: float
    memory_mb: float
    learn_ms: float

    @property
    def steps_per_joule(self) -> float:
        """Steps for the energy of the GPU alone."""
        return self.steps_per_second / self.watts


def case_of(way: str, agents: int, envs: int, experiment: str) -> Case:
    """One case: all ways have the same environments in all."""
    each, left = divmod(envs, agents)
    if left:
        raise UserError(
            f"{envs} environments cannot be shared equally among {agents} agents",
            field="--simulators",
            hint="a multiple of every number of agents",
        )
    arguments: list[object] = [experiment, "--env.num-envs", each, "--device", "cuda:0"]
    arguments += ["--coupling", "allreduce" if way == "allreduce" else "gossip"]
    if way == "threads":
        arguments += ["--agents-per-process", agents]
    return Case(name=f"{NAMES[way]}, {agents} x {each}", agents=agents, arguments=tuple(arguments))


def medians(way: str, agents: int, found: list[tuple[Measurement, Look]]) -> Row:
    """One row of all repeats of a case."""

    def median(values: Iterable[float]) -> float:
        return statistics.median(values)

    return Row(
        way=way,
        agents=agents,
        steps_per_second=median(run.steps_per_second for run, _ in found),
        utilisation=median(look.utilisation for _, look in found),
        watts=median(look.watts for _, look in found),
        memory_mb=median(look.memory_mb for _, look in found),
        learn_ms=median(run.phases_ms["learn"] for run, _ in found),
    )


def against_a2c(row: Row, rows: list[Row]) -> str:
    """Speed against synchronous A2C with as many agents; a dash where that was not measured."""
    for other in rows:
        if (other.way, other.agents) == ("allreduce", row.agents):
            return f"{row.steps_per_second / other.steps_per_second:.2f}"
    return "-"


def markdown(rows: list[Row], *, gpu: str, envs: int, seconds: float, repeats: int) -> str:
    """The page."""
    lines = [
        [
            NAMES[row.way],
            str(row.agents),
            f"{row.steps_per_second:,.0f}",
            against_a2c(row, rows),
            f"{100 * row.utilisation:.0f} %",
            f"{row.watts:.0f}",
            f"{row.steps_per_joule:.1f}",
            f"{row.memory_mb:,.0f}",
            f"{row.learn_ms:.1f}",
        ]
        for row in rows
    ]
    header = [
        "agents are", "agents", "steps/s", "of A2C's with as many agents", "GPU busy", "watts",
        "steps/joule", "GPU memory, MB", "learning, ms/update",
    ]  # fmt: skip
    times = "once each" if repeats == 1 else f"{repeats} times each, interleaved; medians"
    return f"""# One GPU, {envs} environments, more and more agents

{gpu}; {seconds:g} s {times}. Busy, watts and memory are what the driver says of the
whole GPU; "busy" is the share of time in which any kernel ran, however small. Joules are those of
the GPU alone.

{table(header, lines)}

![Busy and power, and steps per joule](gpu.png)
"""


def draw(rows: list[Row], path: Path) -> None:
    """Left: busy against power, bubbles as large as the speed. Right: steps per joule."""
    figure = new_figure(10.0, 4.2)
    bubbles, energy = figure.subplots(1, 2)
    fastest = max(row.steps_per_second for row in rows)
    for way in dict.fromkeys(row.way for row in rows):
        mine = sorted((row for row in rows if row.way == way), key=lambda row: row.agents)
        bubbles.scatter(
            [row.watts for row in mine],
            [100 * row.utilisation for row in mine],
            s=[900 * row.steps_per_second / fastest for row in mine],
            color=COLORS[way], alpha=0.5, label=NAMES[way],
        )  # fmt: skip
        for row in mine:
            bubbles.annotate(str(row.agents), (row.watts, 100 * row.utilisation), ha="center",
                             va="center", fontsize=8)  # fmt: skip
        energy.plot(
            [row.agents for row in mine],
            [row.steps_per_joule for row in mine],
            marker="o", color=COLORS[way], label=NAMES[way],
        )  # fmt: skip
    bubbles.margins(0.15)
    bubbles.set(xlabel="power draw, W", ylabel="GPU busy, %")
    bubbles.set_title("area: steps/s; number: agents", loc="left", fontsize=10)
    energy.set(xlabel="agents", ylabel="steps per joule of the GPU", xscale="log", ylim=(0, None))
    counts = sorted({row.agents for row in rows})
    energy.set_xticks(counts, [str(count) for count in counts])
    energy.set_xticks([], minor=True)
    energy.legend(frameon=False, fontsize=8)
    for axis in (bubbles, energy):
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def the_gpu() -> tuple[str, str]:
    """Name and UUID of the first CUDA device.

    Raises:
        UserError: there is none.
    """
    import torch

    if not torch.cuda.is_available():
        raise UserError("this measures a GPU, and torch finds no CUDA device here")
    properties = torch.cuda.get_device_properties(0)
    return properties.name, str(properties.uuid)


def run(options: argparse.Namespace) -> None:
    """Measure and write."""
    name, uuid = the_gpu()
    eye = eye_on(uuid)
    new_figure(1, 1)  # is there anything to draw with? Say so before an hour has passed
    pairs = [(way, agents) for agents in options.agents for way in options.ways]
    cases = {
        (way, agents): case_of(way, agents, options.simulators, options.experiment)
        for way, agents in pairs
    }
    found: dict[tuple[str, int], list[tuple[Measurement, Look]]] = {pair: [] for pair in pairs}
    for repeat in range(options.repeats):
        for pair, case in cases.items():
            print(f"{repeat + 1} of {options.repeats}: {case.name}", flush=True)
            meter = Meter(eye)
            measured = measure(case, options.seconds, meter)
            found[pair].append((measured, meter.mean()))
    rows = [medians(way, agents, runs) for (way, agents), runs in found.items()]
    rows.sort(key=lambda row: (options.ways.index(row.way), row.agents))
    RESULTS.mkdir(exist_ok=True)
    draw(rows, RESULTS / "gpu.png")
    data: dict[str, Any] = {
        "gpu": name,
        "simulators": options.simulators,
        "rows": [asdict(row) | {"steps_per_joule": row.steps_per_joule} for row in rows],
        "repeats": {
            cases[pair].name: [
                {"run": asdict(measured), "gpu": asdict(look)} for measured, look in runs
            ]
            for pair, runs in found.items()
        },
    }
    text = markdown(
        rows, gpu=name, envs=options.simulators, seconds=options.seconds,
        repeats=options.repeats,
    )  # fmt: skip
    write("gpu", data, text)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--simulators", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--experiment", default="pong-paper")
    try:
        run(parser.parse_args(arguments))
    except UserError as error:
        print(f"gala: error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
