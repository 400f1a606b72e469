"""The command line of ``gala eval``; what it does is in :mod:`gala.evaluation.command`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gala.config.arguments import Parser, at_least_one
from gala.errors import EXIT_OK


def main(arguments: Sequence[str]) -> int:
    """Run ``gala eval``; returns its exit code."""
    parser = Parser(prog="gala eval", description="Play real episodes with a trained run.")
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--episodes", type=at_least_one, default=30, help="full games per result")
    parser.add_argument("--agent", default="mean", help="mean, best, all, or a rank")
    parser.add_argument("--policy", default="both", choices=("greedy", "stochastic", "both"))
    parser.add_argument("--video", type=Path, help="also write an mp4 of one game")
    parser.add_argument("--seed", type=int, default=0, help="seed of the games")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    from gala.evaluation.command import evaluate  # seconds of torch, which a mistake need not wait

    evaluate(**vars(options))
    return EXIT_OK
