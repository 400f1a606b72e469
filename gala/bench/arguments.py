"""The command line of ``gala bench``; what it does is in :mod:`gala.bench.command`."""

from __future__ import annotations

from collections.abc import Sequence

from gala.config.arguments import Parser, positive
from gala.errors import EXIT_OK


def main(arguments: Sequence[str]) -> int:
    """Run ``gala bench``; returns its exit code."""
    parser = Parser(
        prog="gala bench",
        description="How fast it is on this machine, and where the time goes.",
    )
    parser.add_argument("--quick", action="store_true", help="two cases of a few seconds")
    parser.add_argument("--seconds", type=positive, help="of each case (20, quick: 8)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    from gala.bench.command import bench  # seconds of torch, which a mistake need not wait for

    bench(**vars(options))
    return EXIT_OK
