"""The command lines of ``gala eval`` and ``gala play``; what they do stands beside this."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gala.config.arguments import Parser, at_least_one, integer, whole
from gala.errors import EXIT_OK
from gala.evaluation.kept import POLICIES


def main(arguments: Sequence[str]) -> int:
    """Run ``gala eval``; returns its exit code."""
    parser = Parser(prog="gala eval", description="Play real episodes with a trained run.")
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--episodes", type=at_least_one, default=30, help="full games per result")
    parser.add_argument(
        "--agent",
        help="mean (default; not of --coupling none, distil, repel), best, all, or a rank",
    )
    parser.add_argument("--policy", default="both", choices=(*POLICIES, "both"))
    parser.add_argument(
        "--video", nargs="?", const="", metavar="FILE",
        help="also write an mp4 of one game; without FILE into the run, for the dashboard",
    )  # fmt: skip
    parser.add_argument("--seed", type=integer, default=0, help="seed of the games")
    parser.add_argument("--env-of", metavar="RUN", help="play in the environments of another run")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    from gala.evaluation.command import evaluate  # seconds of torch, which a mistake need not wait

    evaluate(**vars(options))
    return EXIT_OK


def play(arguments: Sequence[str]) -> int:
    """Run ``gala play``; returns its exit code."""
    parser = Parser(prog="gala play", description="Watch a policy of a trained run.")
    parser.add_argument("run", type=Path, help="run folder, or an exported policy")
    parser.add_argument("--agent", default="mean", help="mean (default), best, or a rank")
    parser.add_argument("--step", type=whole, help="not after so many own steps of the agent")
    parser.add_argument("--policy", default="greedy", choices=POLICIES)
    parser.add_argument("--video", type=Path, help="an mp4 of one game instead of a window")
    parser.add_argument("--seed", type=whole, default=0, help="seed of the games")
    options = parser.parse_args(arguments)
    from gala.evaluation.watching import watch

    watch(**vars(options))
    return EXIT_OK
