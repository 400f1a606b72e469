"""What ``gala simulate`` does."""

from __future__ import annotations

import json as encoder
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from gala.config.arguments import Parser, at_least_one, not_negative, positive, probability, whole
from gala.errors import EXIT_OK, UserError
from gala.files.screen import Screen
from gala.simulation import plot as plotting
from gala.simulation.past_run import PastRun, read_past_run
from gala.simulation.planning import GRAPHS
from gala.simulation.prediction import Prediction, check_size, simulate
from gala.simulation.proposal import propose
from gala.simulation.scenario import SPEEDS, WIRES, Scenario
from gala.topology import load_topology
from gala.topology.analysis import spectrum
from gala.topology.limits import count

DEFAULT_TOPOLOGY = "exponential"


def main(arguments: Sequence[str]) -> int:
    """Run ``gala simulate``; returns its exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    past = None
    if given.from_run is not None:
        past = read_past_run(given.from_run)
        parser.set_defaults(**_as_options(past, given))
        given = parser.parse_args(arguments)
    if given.agents is None:
        parser.error("the following arguments are required: --agents (or --from-run)")
    if given.dimension < 2:
        raise UserError("must be at least 2", field="--dimension")
    if given.plan:
        graphs = GRAPHS if given.topology is None else (given.topology,)
        propose(given.agents, given.target, _scenario(given), graphs, json=given.json)
        return EXIT_OK
    topology = given.topology or DEFAULT_TOPOLOGY
    run(
        topology, given.agents, _scenario(given), effects=given.effects, plot=given.plot,
        json=given.json, past=past,
    )  # fmt: skip
    return EXIT_OK


def _scenario(given: Namespace) -> Scenario:
    return Scenario(
        updates=given.updates,
        update_s=given.update_ms / 1e3,
        speed=given.speed,
        update_jitter=given.update_jitter,
        latency_s=given.latency_ms / 1e3,
        jitter_s=given.jitter_ms / 1e3,
        loss=given.loss,
        churn=given.churn,
        restart_s=given.restart_s,
        parameters=given.params,
        wire=given.wire_format,
        every=given.every,
        update_size=given.update_size,
        bandwidth_mbit=given.bandwidth_mbit,
        max_staleness=given.max_staleness,
        policy=given.staleness_policy,
        dimension=given.dimension,
        correlation=given.correlation,
        seed=given.seed,
    )


def _as_options(past: PastRun, given: Namespace) -> dict[str, Any]:
    """What the run was like, for all that the user does not say."""
    same = given.agents in (None, past.topology.agents)
    scenario = past.scenario(given.seed)
    own_graph = None if given.plan else str(given.from_run / "topology.json")
    spread = min(float(np.std(np.log(past.factors))), 3.0)
    return {
        "agents": past.topology.agents,
        "topology": own_graph,
        "updates": scenario.updates,
        "update_ms": 1e3 * scenario.update_s,
        "speed": scenario.speed if same else f"lognormal:{spread:.6g}",
        "update_jitter": scenario.update_jitter,
        "params": scenario.parameters,
        "wire_format": scenario.wire,
        "update_size": scenario.update_size,
        "max_staleness": scenario.max_staleness,
        "staleness_policy": scenario.policy,
        "dimension": scenario.dimension,
        "correlation": scenario.correlation,
    }


def _parser() -> Parser:
    parser = Parser(prog="gala simulate", description="Predict a cluster under virtual time.")
    add = parser.add_argument
    add("--topology", help=f"file, name or MODULE:CALLABLE ({DEFAULT_TOPOLOGY})")
    add("--agents", type=at_least_one, help="number of agents")
    add("--from-run", type=Path, metavar="RUN",
        help="as this run was: its lengths and cosines of updates, their times, its topology; "
        "other options change that")  # fmt: skip
    add("--updates", type=at_least_one, default=1000, help="per agent (%(default)s)")
    add("--update-ms", type=positive, default=100.0, help="mean time of one (%(default)g)")
    add("--speed", default="constant", metavar="KIND",
        help=f"{', '.join(SPEEDS)}: "
        "how the time of an update differs between agents (%(default)s)")  # fmt: skip
    add("--update-jitter", type=not_negative, default=0.0, metavar="S",
        help="and from update to update: deviation of its logarithm (%(default)g)")  # fmt: skip
    add("--latency-ms", type=not_negative, default=0.0, help="of a message (%(default)g)")
    add("--jitter-ms", type=not_negative, default=0.0, help="up to so much more (%(default)g)")
    add("--loss", type=probability, default=0.0, help="share of messages lost (%(default)g)")
    add("--churn", type=probability, default=0.0,
        help="probability per update that an agent dies (%(default)g)")  # fmt: skip
    add("--restart-s", type=not_negative, default=2.0,
        help="until a joiner takes its place (%(default)g)")  # fmt: skip
    add("--params", type=at_least_one, default=866_439, help="of the network (%(default)s)")
    add("--wire-format", choices=tuple(WIRES), default="float32", help="of messages (%(default)s)")
    add("--bandwidth-mbit", type=positive, help="of an agent's link, Mbit/s (endless)")
    add("--every", type=at_least_one, default=1, metavar="K",
        help="publish after every K updates (%(default)s)")  # fmt: skip
    add(
        "--update-size",
        type=positive,
        metavar="SHARE",
        help="length of an update over that of the parameters: so much do rounded messages err",
    )
    add("--max-staleness", type=whole, help="updates without a mix before waiting (never)")
    add("--staleness-policy", choices=("wait", "skip"), default="wait", help="(%(default)s)")
    add("--dimension", type=at_least_one, default=8, help="of the stand-ins (%(default)s)")
    add("--correlation", type=probability, default=0.0, help="of updates (%(default)g)")
    add("--seed", type=whole, default=1, help="(%(default)s)")
    add("--plan", action="store_true",
        help="propose graph, wire format and period for --target over these links")  # fmt: skip
    add("--target", type=positive, default=0.01, metavar="R",
        help="of a plan: largest distance from the mean over its norm (%(default)g)")  # fmt: skip
    add("--effects", action="store_true", help="also without each trouble, one at a time")
    add("--plot", type=Path, help="also draw it into this picture")
    add("--json", action="store_true", help="print one JSON object")
    return parser


def run(
    topology: str,
    agents: int,
    scenario: Scenario,
    *,
    effects: bool = False,
    plot: Path | None = None,
    json: bool = False,
    past: PastRun | None = None,
    console: Screen | None = None,
) -> None:
    """Simulate and print: ``gala simulate --topology exponential --agents 10000 ...``.

    Args:
        topology: a topology file or the name of a family.
        agents: N.
        scenario: the conditions.
        effects: also run it without each of its troubles, to see what they cost.
        plot: also draw it into this file.
        json: print one JSON object and nothing else.
        past: the run whose lengths of updates the distances are in.
        console: where to print.

    Raises:
        UserError: a bad topology or scenario, or the plot cannot be written.
    """
    check_size(agents, scenario)
    graph = load_topology(topology, agents)
    prediction = simulate(graph, scenario)
    others = {name: simulate(graph, each) for name, each in without(scenario).items() if effects}
    if plot is not None:
        plotting.save(prediction, plot)
    if json:
        data = prediction.to_json()
        if past is not None:
            data["from_run"] = compared(prediction, past)
        if effects:
            data["without"] = {name: summary(each) for name, each in others.items()}
        print(encoder.dumps(data))
        return
    console = console or Screen()
    console.print(_table(prediction))
    if past is not None:
        console.print(_against(compared(prediction, past)))
    if others:
        console.print()
        console.print(_effects({"as given": prediction, **others}))
    for note in prediction.notes:
        console.print()
        console.print(f"[yellow]note[/]: {escape(note)}", highlight=False)
    if plot is not None:
        console.print(f"\n[dim]drawn in {escape(str(plot))}[/]", highlight=False)


def without(scenario: Scenario) -> dict[str, Scenario]:
    """The scenario without each of its troubles."""
    found = {}
    if scenario.speed != "constant":
        found["equal speeds"] = replace(scenario, speed="constant")
    if scenario.latency_s or scenario.jitter_s:
        found["no latency"] = replace(scenario, latency_s=0.0, jitter_s=0.0)
    if scenario.bandwidth_mbit is not None:
        found["endless bandwidth"] = replace(scenario, bandwidth_mbit=None)
    if scenario.loss:
        found["no loss"] = replace(scenario, loss=0.0)
    if scenario.churn:
        found["no churn"] = replace(scenario, churn=0.0)
    return found


def summary(prediction: Prediction) -> dict[str, float]:
    """The numbers by which scenarios are compared."""
    data = prediction.to_json()
    return {
        "divergence": data["divergence"]["mean"],
        "to_mean_rms": data["divergence"]["to_mean_rms"],
        "staleness": data["staleness"]["mean"],
        "staleness_p99": data["staleness"]["p99"],
        "bytes_per_agent": data["bytes_per_agent"],
        "wall_clock_s": data["wall_clock_s"],
    }


def compared(prediction: Prediction, past: PastRun) -> dict[str, float]:
    """What the run was like, and its divergence (medians) as measured and as predicted.

    They can differ by more than the error of the prediction where options change what was.
    """
    predicted = float(np.median(prediction.tally.divergence)) * past.update_norm
    return {
        "ticks": past.ticks,
        "update_norm": past.update_norm,
        "step_cosine": past.step_cosine,
        "dimension": past.dimension,
        "staleness": past.staleness,
        "update_jitter": prediction.scenario.update_jitter,
        "measured": past.divergence,
        "predicted": predicted,
        "error": predicted / past.divergence - 1 if past.divergence else 0.0,
    }


def _against(data: dict[str, float]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    table.add_row(
        "of the run",
        f"updates of norm {data['update_norm']:.4g} and cosine {data['step_cosine']:.2f}, "
        f"staleness {data['staleness']:.3g}, {data['ticks']:.0f} measurements",
    )
    table.add_row(
        "its divergence",
        f"measured {data['measured']:.4g}, predicted {data['predicted']:.4g} (medians; "
        f"{100 * data['error']:+.1f} %)",
    )
    return table


def _table(p: Prediction) -> Table:
    data, scenario = p.to_json(), p.scenario
    table = Table(
        title=f"{escape(p.topology.name)}, {count(p.topology.agents)} x "
        f"{count(scenario.updates, 'update')}",
        title_justify="left",
        show_header=False,
        box=None,
        pad_edge=False,
    )
    table.add_column(style="dim")
    table.add_column()
    rate, seen, age = spectrum.beta(p.topology), data["staleness"], data["message_age"]
    bound = (
        p.model.reason
        if p.epsilon is None
        else f"{p.epsilon:.4g}, expected {p.expected:.4g} ({p.model.reason})"
    )
    for name, value in {
        "beta": "not known" if rate is None else f"{rate:.6g}",
        "divergence": f"mean {data['divergence']['mean']:.4g}, "
        f"max {data['divergence']['max']:.4g}, final {data['divergence']['final']:.4g} "
        "(all agents, in norms of one update)",
        "to the mean": f"{data['divergence']['to_mean_rms']:.4g} (rms of one agent)",
        "bound": bound,
        "staleness": f"mean {seen['mean']:.3g}, median {seen['p50']}, 99 % within {seen['p99']}, "
        f"max {seen['max']} updates without a mix",
        "message age": f"mean {age['mean']:.3g} updates = {age['mean_s']:.3g} s, "
        f"max {age['max']} updates",
        "bytes": f"{p.bytes_per_agent / 1e9:.4g} GB sent per agent, "
        f"{8e-6 * p.bytes_per_agent / max(p.wall_clock_s, 1e-9):.4g} Mbit/s",
        "wall clock": f"{p.wall_clock_s:,.1f} s, {100 * data['waited_share']:.2g} % of it waiting",
        "deaths": f"{p.tally.deaths:,}" if scenario.churn else "none",
    }.items():
        table.add_row(name, escape(value))
    return table


def _effects(predictions: dict[str, Prediction]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for name in ("divergence", "staleness", "99 %", "GB per agent", "wall clock s"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, prediction in predictions.items():
        s = summary(prediction)
        table.add_row(
            name,
            f"{s['divergence']:.4g}",
            f"{s['staleness']:.3g}",
            f"{s['staleness_p99']:.0f}",
            f"{s['bytes_per_agent'] / 1e9:.4g}",
            f"{s['wall_clock_s']:,.1f}",
        )
    return table
