"""The ``gala`` command: ``gala COMMAND ...``, each command imported only when it is asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from gala import __version__
from gala.errors import EXIT_BAD_INPUT, EXIT_OK, UserError, did_you_mean


class Command(NamedTuple):
    """A command: the function that takes its arguments and returns an exit code, and its line."""

    function: str
    """``MODULE:FUNCTION``; the module has the parser, and imports late what its --help can miss."""
    summary: str
    """Of ``gala --help``."""


COMMANDS: dict[str, Command] = {
    "train": Command(
        "gala.train:start", "Train agents: gala train experiments/pong.yaml --agents 4"
    ),
    "launch": Command(
        "gala.train:launch",
        "Run one agent of a group: gala launch --rank R --size N --store URL experiments/pong.yaml",
    ),
    "algorithms": Command(
        "gala.learning.command:main", "List what agents can learn with: gala algorithms"
    ),
    "eval": Command(
        "gala.evaluation.arguments:main",
        "Play real episodes with a trained run: gala eval runs/NAME --episodes 30",
    ),
    "topology": Command(
        "gala.topology.command:main",
        "Show, convert, compare or suggest graphs: gala topology ring --agents 8",
    ),
    "simulate": Command(
        "gala.simulation.command:main",
        "Predict a cluster under virtual time: gala simulate --topology ring --agents 1000",
    ),
    "dashboard": Command(
        "gala.dashboard.command:main", "Show runs in the browser, live: gala dashboard runs"
    ),
    "watch": Command(
        "gala.watch.command:main", "Show a run in the terminal, live: gala watch runs/NAME"
    ),
    "report": Command(
        "gala.report.command:main",
        "Sum up and draw finished runs: gala report runs/NAME ... -o report.html",
    ),
    "profile": Command(
        "gala.report.profile:main",
        "Show what each agent did when, after --profile: gala profile runs/NAME -o gantt.png",
    ),
    "export": Command(
        "gala.report.export:main",
        "Write the records of runs as tables: gala export runs/NAME --format parquet",
    ),
    "bench": Command(
        "gala.bench.arguments:main",
        "How fast it is on this machine, and where the time goes: gala bench --quick",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(_usage())
            return EXIT_OK
        if arguments[0] == "--version":
            print(f"gala {__version__}")
            return EXIT_OK
        name, rest = arguments[0], arguments[1:]
        if name not in COMMANDS:
            raise UserError(f"no command is named {name!r}", hint=did_you_mean(name, COMMANDS))
        module, _, function = COMMANDS[name].function.partition(":")
        code: int = getattr(importlib.import_module(module), function)(rest)
        return code
    except UserError as error:
        print(f"gala: error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except BrokenPipeError:  # the reader of our output (head, less) has left
        sys.stderr.close()
        return EXIT_OK


def _usage() -> str:
    lines = ["gala: gossip-based actor-learner reinforcement learning", "", "commands:"]
    lines += [f"  {name:11}{command.summary}" for name, command in COMMANDS.items()]
    lines += ["", "gala COMMAND --help tells the options of a command"]
    return "\n".join(lines)
