"""``gala doctor``: check the machine, and a run folder; say what to do."""

from __future__ import annotations

import argparse
import json as encoder
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gala.config.arguments import Parser, at_least_one, whole
from gala.errors import EXIT_OK, UserError
from gala.launch.environment import check_store_address

if TYPE_CHECKING:
    from gala.doctor.finding import Finding

EXIT_WRONG = 1


def main(arguments: Sequence[str]) -> int:
    """Run ``gala doctor``; returns 1 where something is wrong, else 0."""
    parser = Parser(prog="gala doctor", description="Check this machine, and a run folder.")
    add = parser.add_argument
    add("run", type=Path, nargs="?", help="run folder, whose files are checked too")
    add("--json", action="store_true", help="print one JSON object")
    add("--store", help="tcp://host:port: compare clocks with other hosts; rank 0 serves it")
    add("--rank", type=whole, help="this host among them, from 0")
    add("--size", type=at_least_one, help="how many hosts")
    given = parser.parse_args(arguments)
    _require_whole(given)
    findings: list[Finding] = []
    for finding in _examine(given):
        findings.append(finding)
        if not given.json:
            print(finding.line(_WIDTH), flush=True)
    counts = Counter(finding.state for finding in findings)
    if given.json:
        found = {"checks": [each.to_dict() for each in findings], "ok": not counts["wrong"]}
        print(encoder.dumps(found | {"counts": dict(counts)}))
    else:
        told = [f"{counts[state]} {state}" for state in ("ok", "warning", "wrong")]
        print(", ".join(told))
    return EXIT_WRONG if counts["wrong"] else EXIT_OK


_WIDTH = 22
"""Columns of the longest usual name, so that lines appear as they are found."""


def _require_whole(given: argparse.Namespace) -> None:
    """Refuse a comparison of clocks that lacks a part.

    Raises:
        UserError: naming the part.
    """
    parts = {"--store": given.store, "--rank": given.rank, "--size": given.size}
    missing = [name for name, value in parts.items() if value is None]
    if len(missing) == len(parts):
        return
    if missing:
        raise UserError(
            "is needed to compare clocks", field=missing[0], hint="--store URL --rank R --size N"
        )
    check_store_address(given.store)
    if not given.store.startswith("tcp:"):
        raise UserError(
            "compares clocks over tcp:// only", field="--store", hint="tcp://host:29400"
        )
    if given.size < 2:
        raise UserError("must be at least 2, got 1", field="--size")
    if given.rank >= given.size:
        raise UserError(f"must be below --size {given.size}, got {given.rank}", field="--rank")


def _examine(given: argparse.Namespace) -> Iterator[Finding]:
    from gala.doctor.clock import ONE_HOST, compare_clocks
    from gala.doctor.finding import examine
    from gala.doctor.machine import examine_machine
    from gala.doctor.run_folder import examine_run

    of_run: Iterator[Finding] = examine_run(given.run) if given.run is not None else iter(())
    first = next(of_run, None)  # a folder that is no run is said before anything else
    yield from examine_machine(Path.cwd())
    if given.store is None:
        yield ONE_HOST
    else:
        yield examine("clock", lambda: compare_clocks(given.store, given.rank, given.size))
    if first is not None:
        yield first
    yield from of_run
