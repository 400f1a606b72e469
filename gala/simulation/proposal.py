"""``gala simulate --plan``: what is proposed, in words."""

from __future__ import annotations

import json as encoder
from collections.abc import Sequence
from dataclasses import replace

from rich.markup import escape
from rich.table import Table

from gala.files.screen import Screen
from gala.simulation.planning import Option, Plan, plan
from gala.simulation.scenario import Scenario

UPDATE_SIZE = 0.001
"""Length of an update over that of the parameters, where nobody says."""
SHOWN = 8
"""Options that are told."""


def propose(
    agents: int,
    target: float,
    scenario: Scenario,
    graphs: Sequence[str],
    *,
    json: bool = False,
    console: Screen | None = None,
) -> None:
    """Plan and print.

    Args:
        agents: N.
        target: largest relative distance of an agent from the mean.
        scenario: the conditions.
        graphs: families, or files, that are tried.
        json: print one JSON object and nothing else.
        console: where to print.

    Raises:
        UserError: see :func:`gala.simulation.planning.plan`.
    """
    if scenario.update_size is None:
        scenario = replace(scenario, update_size=UPDATE_SIZE)
    found = plan(agents, target, scenario, graphs)
    if json:
        conditions = {
            "update_size": scenario.update_size, "bandwidth_mbit": scenario.bandwidth_mbit,
        }  # fmt: skip
        print(encoder.dumps(found.to_json() | conditions))
        return
    console = console or Screen()
    best = found.best
    verdict = "within" if found.reached else "[yellow]the nearest to[/]"
    console.print(
        f"[bold]{escape(best.topology)}, {best.wire}, a message every {_ordinal(best.every)}update"
        f"[/]: {verdict} {target:g} with {agents} agents",
        highlight=False,
    )
    console.print(_table(found))
    console.print(
        f"[dim]updates of {scenario.update_size:g} of the parameters' length (--update-size, or "
        f"--from-run RUN), {scenario.update_s:g} s each, {scenario.parameters:,} parameters[/]",
        highlight=False,
    )
    wire = "" if best.wire == "float32" else f" --gossip.wire-format {best.wire}"
    line = f"gala train EXPERIMENT --agents {agents} --topology {best.topology}{wire}"
    if best.every > 1:
        line += f" --gossip.epsilon-target {target:g}   (finds the period while it runs)"
    console.print(escape(line), highlight=False, soft_wrap=True)


def _table(found: Plan) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("graph", "wire format"):
        table.add_column(name, no_wrap=True)
    for name in ("every", "farthest", "all", "certified", "Mbit/s", "of link"):
        table.add_column(name, justify="right", no_wrap=True)
    others = [each for each in found.tried if _key(each) != _key(found.best)]
    for option in (found.best, *others[-(SHOWN - 1) :]):
        table.add_row(
            escape(option.topology),
            option.wire,
            str(option.every),
            f"{option.relative:.3g}",
            f"{option.divergence:.3g}",
            "-" if option.certified is None else f"{option.certified:.3g}",
            f"{option.mbit_s:.3g}",
            "-" if option.busy is None else f"{100 * option.busy:.0f} %",
        )
    return table


def _key(option: Option) -> tuple[str, str, int]:
    return option.topology, option.wire, option.every


def _ordinal(number: int) -> str:
    return "" if number == 1 else f"{number}{'nd' if number % 10 == 2 else 'th'} "
