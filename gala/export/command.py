"""The command line of ``gala export``: tables of records, or a policy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gala.config.arguments import Parser, whole
from gala.errors import EXIT_OK, UserError
from gala.report import export as tables

PROGRAMS = ("torchscript", "onnx")
OF_POLICIES = ("agent", "step", "to")


def main(arguments: Sequence[str]) -> int:
    """Run ``gala export``; returns its exit code."""
    parser = Parser(
        prog="gala export", description="Write the records of runs as tables, or a policy."
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="run", help="run folder")
    parser.add_argument("--format", help="csv or parquet (as the output says, else csv)")
    parser.add_argument(
        "-o", "--output", type=Path, help="folder (./export, ./policy), or file of the metrics"
    )
    parser.add_argument("--policy", action="store_true", help="write the policy of one run")
    parser.add_argument("--agent", help="of a policy: mean (default), best, or a rank")
    parser.add_argument("--step", type=whole, help="of a policy: not after so many own steps")
    parser.add_argument("--to", choices=PROGRAMS, help="of a policy: also as a program of its own")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    if not given.policy:
        for name in OF_POLICIES:
            if getattr(given, name) is not None:
                raise UserError("is of a policy", field=f"--{name}", hint="with --policy")
        written = tables.export(given.runs, form=given.format, output=given.output)
        tables.tell(written, json=given.json)
        return EXIT_OK
    if given.format is not None:
        raise UserError("is of tables, not of a policy", field="--format", hint="--to")
    if len(given.runs) > 1:
        raise UserError(f"takes one run, got {len(given.runs)}", field="--policy")
    from gala.export.policy import export_policy  # seconds of torch

    export_policy(
        given.runs[0],
        given.output or Path("policy"),
        agent="mean" if given.agent is None else given.agent,
        step=given.step,
        to=given.to,
        json=given.json,
    )
    return EXIT_OK
