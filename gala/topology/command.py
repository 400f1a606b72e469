"""What ``gala topology`` does: show, convert, compare, suggest."""

from __future__ import annotations

import json as encoder
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from gala.config.arguments import Parser, at_least_one
from gala.errors import EXIT_OK, UserError
from gala.files.screen import Screen
from gala.topology.analysis import compare as comparing
from gala.topology.analysis import ergodicity, spectrum
from gala.topology.analysis import plot as plotting
from gala.topology.formats.writing import write
from gala.topology.limits import count
from gala.topology.loading import file_of, load_topology
from gala.topology.topology import Topology

NAMED = "the name of a shipped one or of a family, or MODULE:CALLABLE"
SIZE = "size; a file of fixed size needs none"


def main(arguments: Sequence[str]) -> int:
    """Run ``gala topology``; returns its exit code."""
    verbs = {"convert": _parse_convert, "compare": _parse_compare, "suggest": _parse_suggest}
    if arguments and arguments[0] in verbs:
        verbs[arguments[0]](arguments[1:])
        return EXIT_OK
    parser = Parser(
        prog="gala topology",
        description="Show a graph: its numbers, a drawing, and advice.",
        epilog="also: gala topology convert A B, compare FILE ..., suggest --agents N --degree D",
    )
    parser.add_argument("file", help=f"topology file, {NAMED}")
    parser.add_argument("--agents", type=at_least_one, help=SIZE)
    _add_output(parser, plot="draw it")
    show(**vars(parser.parse_args(arguments)))
    return EXIT_OK


def _parse_convert(arguments: Sequence[str]) -> None:
    parser = Parser(prog="gala topology convert", description="Rewrite a graph in another format.")
    parser.add_argument("source", help=f"topology file in any format that gala reads, {NAMED}")
    parser.add_argument(
        "destination", metavar="target", type=Path, help="its suffix names the format"
    )
    parser.add_argument("--agents", type=at_least_one, help=SIZE)
    convert(**vars(parser.parse_args(arguments)))


def _parse_compare(arguments: Sequence[str]) -> None:
    parser = Parser(prog="gala topology compare", description="Numbers to choose a graph by.")
    parser.add_argument("files", nargs="+", help=f"topology files, {NAMED}")
    sizes = (4, 8, 16, 32, 64)
    parser.add_argument("--agents", type=at_least_one, nargs="+", default=sizes, help="sizes")
    _add_output(parser, plot="draw them")
    compare(**vars(parser.parse_args(arguments)))


def _parse_suggest(arguments: Sequence[str]) -> None:
    parser = Parser(prog="gala topology suggest", description="The best graph for a degree.")
    parser.add_argument("--agents", type=at_least_one, required=True, help="number of agents")
    parser.add_argument(
        "--degree", type=at_least_one, required=True, help="messages per agent and update"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    suggest(**vars(parser.parse_args(arguments)))


def _add_output(parser: Parser, *, plot: str) -> None:
    parser.add_argument("--plot", type=Path, help=f"also {plot} into this picture")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def show(
    file: str | Path,
    agents: int | None = None,
    json: bool = False,
    plot: str | Path | None = None,
    console: Screen | None = None,
) -> None:
    """Print all there is to know of a topology: ``gala topology FILE --agents N``.

    Args:
        file: a topology file or the name of a family.
        agents: N; None takes the number of the file.
        json: print one JSON object (:func:`gala.topology.analysis.spectrum.report`, and
            ``stationary`` and ``any_order`` of :class:`gala.topology.analysis.ergodicity.Drift`)
            and nothing else.
        plot: also draw it into this file.
        console: where to print.

    Raises:
        UserError: the file breaks a rule, or the plot cannot be written.
    """
    topology = load_topology(file, agents)
    facts = spectrum.report(topology) | _drift(topology)
    if plot is not None:
        plotting.save(topology, plot)
    if json:
        print(encoder.dumps(facts))
        return
    console = console or Screen()
    console.print(_facts(topology, facts))
    console.print()
    console.print(escape(topology.draw()), highlight=False, soft_wrap=True)
    for warning in facts["warnings"]:
        console.print()
        console.print(f"[yellow]note[/]: {escape(warning)}", highlight=False)
    if plot is not None:
        console.print(f"\n[dim]drawn in {escape(str(plot))}[/]", highlight=False)


def convert(
    source: str | Path,
    destination: str | Path,
    agents: int | None = None,
    console: Screen | None = None,
) -> None:
    """Write a topology in another format: ``gala topology convert A B [--agents N]``.

    Raises:
        UserError: a file breaks a rule, the format cannot hold the topology, or the copy would
            take the place of its source.
    """
    topology, original = load_topology(source, agents), file_of(source)
    if original is not None and Path(destination).exists() and original.samefile(destination):
        raise UserError(
            "is the file that is read; a copy would replace it",
            file=destination,
            hint=f"write {Path(destination).stem}-{topology.agents}{Path(destination).suffix}",
        )
    write(topology, destination)
    console = console or Screen()
    console.print(
        f"{escape(str(destination))}: {count(topology.agents)}, "
        f"{count(len(topology.edges), 'edge')}, {count(len(topology.rounds), 'round')}, "
        f"hash {topology.hash}",
        highlight=False,
        soft_wrap=True,
    )
    for note in topology.notes:
        console.print(f"[yellow]note[/]: {escape(note)}", highlight=False)


def compare(
    files: Sequence[str | Path],
    agents: Sequence[int] = (4, 8, 16, 32, 64),
    json: bool = False,
    plot: str | Path | None = None,
    parameters: int = comparing.PAPER_PARAMETERS,
    console: Screen | None = None,
) -> None:
    """Topologies side by side: ``gala topology compare A B ... --agents 4 8 16``.

    Args:
        files: topology files or names of families.
        agents: sizes.
        json: print ``{"parameters", "rows": [...]}`` and nothing else.
        plot: also draw the table into this file.
        parameters: of the network, for bytes per update.
        console: where to print.

    Raises:
        UserError: a topology exists at none of the sizes, or the plot cannot be written.
    """
    if not files:
        raise UserError("nothing to compare", hint="for example: ring exponential")
    rows = comparing.table(files, agents, parameters=parameters)
    if plot is not None:
        comparing.draw(rows, plot)
    if json:
        print(encoder.dumps({"parameters": parameters, "rows": [asdict(row) for row in rows]}))
        return
    console = console or Screen()
    console.print(_table(rows))
    for row in rows:
        if row.problem is not None:
            text = f"{row.name}, {count(row.agents)}: {row.problem}"
            console.print(f"[dim]{escape(text)}[/]", highlight=False)
    console.print(
        "[dim]factor: times the norm of one update of all agents it bounds their distance from "
        f"the mean. messages, MB: per agent and update, {parameters:,} parameters of 4 bytes. "
        "mixes: until the disagreement is a thousandth. -: does not exist[/]",
        highlight=False,
    )
    if plot is not None:
        console.print(f"[dim]drawn in {escape(str(plot))}[/]", highlight=False)


def suggest(
    agents: int, degree: int = 1, json: bool = False, console: Screen | None = None
) -> None:
    """The best known topology for a budget: ``gala topology suggest --agents 32 --degree 2``.

    Args:
        agents: N.
        degree: messages that an agent may receive per update.
        json: print what :func:`gala.topology.analysis.compare.suggest` returns and nothing else.
        console: where to print.

    Raises:
        UserError: there is nothing to choose.
    """
    found = comparing.suggest(agents, degree)
    if json:
        print(encoder.dumps(found))
        return
    console = console or Screen()
    console.print(
        f"[bold]{found['best']['name']}[/] for {count(agents)} and up to "
        f"{count(degree, 'message')} per update: {escape(found['reason'])}",
        highlight=False,
    )
    console.print()
    console.print(escape(found["file"].rstrip()), highlight=False)
    console.print()
    rows = [{k: v for k, v in row.items() if k != "family"} for row in found["candidates"]]
    console.print(_table([comparing.Row(**row) for row in rows]))


def _drift(topology: Topology) -> dict[str, Any]:
    found = ergodicity.drift(topology)
    return {
        "stationary": None if found is None else found.stationary.tolist(),
        "any_order": None if found is None else found.any_order,
    }


def _facts(topology: Topology, facts: dict[str, Any]) -> Table:
    rows = [sums for mixing in topology.rounds for sums in mixing.row_sums.tolist()]
    columns = [sums for mixing in topology.rounds for sums in mixing.column_sums.tolist()]
    table = Table(
        title=f"{escape(topology.name)}, {count(topology.agents)}",
        title_justify="left",
        show_header=False,
        box=None,
        pad_edge=False,
    )
    table.add_column(style="dim")
    table.add_column()
    factor, rate, gap = facts["factor"], facts["beta"], facts["gap"]
    period = facts["period"]
    schedule = topology.schedule if period == 1 else f"{topology.schedule}, period {period}"
    counted, decay = facts["stationary"], facts["any_order"]
    drifts = {}
    if counted is not None:
        drifts["counts"] = f"each agent {_range(counted)} of the consensus, agent " + (
            f"{counted.index(max(counted))} most"
        )
        drifts["any order"] = (
            "not known: too many rounds"
            if decay is None
            else f"disagreement times {_range(decay)} per mix, in the worst order of rounds"
        )
    for name, value in {
        "edges": f"{facts['edges']}, in-degree {_range(facts['in_degree'])}, "
        f"out-degree {_range(facts['out_degree'])}",
        "connected": "strongly" if facts["strongly_connected"] else "no",
        "diameter": _number(facts["diameter"]),
        "weights": topology.weights,
        "schedule": schedule,
        "row sums": _range(rows),
        "column sums": _range(columns),
        "doubly stochastic": "yes" if facts["doubly_stochastic"] else "no",
        **drifts,
        "beta": "not known" if rate is None else f"{rate:.6g}, gap {gap:.6g}",
        "factor": "no bound of this kind" if factor is None else f"{factor:.6g}",
        "1/1000 after": "not known"
        if rate is None
        else "never"
        if facts["rounds_to_consensus"] is None
        else f"{facts['rounds_to_consensus']} mixes",
        "messages": f"{facts['messages_per_update']:.4g} per agent and update",
    }.items():
        table.add_row(name, escape(value))
    return table


def _table(rows: Sequence[comparing.Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("topology", "agents", "beta", "factor", "hops", "messages", "MB", "mixes"):
        table.add_column(name, justify="left" if name == "topology" else "right", no_wrap=True)
    last = None
    for row in rows:
        name = "" if row.name == last else escape(row.name)
        last = row.name
        size = None if row.bytes_per_update is None else row.bytes_per_update / 1e6
        table.add_row(
            name,
            str(row.agents),
            _number(row.beta, ".4f"),
            _number(row.factor),
            _number(row.diameter),
            _number(row.messages_per_update, ".3g"),
            _number(size, ".3g"),
            _number(row.rounds_to_consensus),
        )
    return table


def _number(value: float | None, form: str = ".4g") -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else format(value, form)


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    if high - low < 1e-9:
        return f"{low:.4g}"
    return f"{low:.4g} to {high:.4g}"
