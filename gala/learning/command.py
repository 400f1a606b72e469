"""``gala algorithms``: what ``--algorithm`` can name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gala.config.arguments import Parser
from gala.errors import EXIT_OK
from gala.learning.table import ALGORITHMS


def main(arguments: Sequence[str]) -> int:
    """Print the table of algorithms; returns the exit code."""
    parser = Parser(prog="gala algorithms", description="What --algorithm can name.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    rows = [
        {
            "name": name,
            "actions": list(entry.actions),
            "source": entry.source,
            "memory": entry.memory,
            "paper": entry.paper,
        }
        for name, entry in ALGORITHMS.items()
    ]
    if options.json:
        print(json.dumps({"algorithms": rows}))
    else:
        _show(rows)
    return EXIT_OK


def _show(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from gala.files.screen import Screen

    table = Table("name", "actions", "learns from", "recurrent", "paper")
    for row in rows:
        memory = "yes" if row["memory"] else "no"
        table.add_row(row["name"], ", ".join(row["actions"]), row["source"], memory, row["paper"])
    console = Screen()
    console.print(table)
    console.print("an own one: --algorithm MODULE:CLASS, see docs/bring-your-own.md")
