"""The ``gala`` command: ``gala COMMAND ...``, each command imported only when it is asked for."""

from __future__ import annotations

import argparse
import errno
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeGuard

from gala import __version__
from gala.config.arguments import parser_of
from gala.errors import (
    EXIT_BAD_INPUT,
    EXIT_INTERRUPTED,
    EXIT_NOT_WRITTEN,
    EXIT_OK,
    UserError,
    did_you_mean,
)
from gala.files import commands, shipped, standard_streams


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
    "env-worker": Command(
        "gala.actors.command:main",
        "Hold environments for an agent elsewhere: gala env-worker --connect HOST:PORT",
    ),
    "algorithms": Command(
        "gala.learning.command:main", "List what agents can learn with: gala algorithms"
    ),
    "tune": Command(
        "gala.tune.command:main",
        "Search for options by short runs: gala tune cartpole --trials 20 --agents 2",
    ),
    "distil": Command(
        "gala.distil.command:main",
        "Teach one student what several runs do: gala distil runs/A runs/B --into runs/C",
    ),
    "eval": Command(
        "gala.evaluation.arguments:main",
        "Play real episodes with a trained run: gala eval runs/NAME --episodes 30",
    ),
    "play": Command(
        "gala.evaluation.arguments:play",
        "Watch a trained policy: gala play runs/NAME, or --video game.mp4",
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
        "gala.export.command:main",
        "Write records as tables, or a policy: gala export runs/NAME --policy -o DIR",
    ),
    "keys": Command(
        "gala.launch.keys_command:main",
        "Make what agents on several hosts know one another by: gala keys secret FILE",
    ),
    "doctor": Command(
        "gala.doctor.command:main", "Check this machine and a run folder: gala doctor runs/NAME"
    ),
    "bench": Command(
        "gala.bench.arguments:main",
        "How fast it is on this machine, and where the time goes: gala bench --quick",
    ),
}


TRAINS = ("train", "launch", "tune")
"""Commands that take an experiment and the options of a run."""

WITH_OPTIONS = (*TRAINS, "distil")
"""Commands that take options of a run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    standard_streams.prepare()
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except UserError as error:
        print(f"gala: error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (OSError, SystemExit) as error:
        lost = standard_streams.failure(sys.stdout)
        # rich answers a closed pipe by leaving
        if lost is None or lost not in (error, error.__context__):
            if not _is_of_a_path(error, arguments):
                raise
            print(f"gala: error: {error.filename!r:.80}: {error.strerror}", file=sys.stderr)
            return EXIT_BAD_INPUT
        return _unheard(lost)


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return EXIT_OK
    if arguments[0] == "--version":
        print(f"gala {__version__}")
        return EXIT_OK
    if arguments[0].partition("=")[0] == "--print-completion":
        flag, _, shell = arguments[0].partition("=")
        print(_completion(shell or "".join(arguments[1:2])))
        return EXIT_OK
    commands.require_own_package()
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        raise UserError(f"no command is named {name!r}", hint=did_you_mean(name, COMMANDS))
    try:
        code = _function(name)(rest)
    except SystemExit as left:  # argparse's own way after --help
        if left.code not in (None, EXIT_OK):
            raise
        return EXIT_OK
    return code


def _function(name: str) -> Callable[[Sequence[str]], int]:
    module, _, function = COMMANDS[name].function.partition(":")
    found: Callable[[Sequence[str]], int] = getattr(importlib.import_module(module), function)
    return found


def _completion(shell: str) -> str:
    """The completion of all commands; some take the options of a run beside their own."""
    from gala.config.completion import script
    from gala.config.options import add_options
    from gala.run.config import config_type
    from gala.run.request import LAUNCH_OPTIONS

    parsers: dict[str, argparse.ArgumentParser] = {}
    for name in COMMANDS:
        own = [] if name == "train" else [parser_of(_function(name))]
        parsers[name] = argparse.ArgumentParser(
            parents=own, add_help=False, conflict_handler="resolve"
        )
        also: dict[str, type] = {}
        if name in TRAINS:
            parsers[name].add_argument("experiment", choices=shipped.names("experiments"))
            also = {"agents": int, **LAUNCH_OPTIONS}
        if name in WITH_OPTIONS:
            add_options(parsers[name], config_type(), also)
    return script(shell, parsers)


def _is_of_a_path(error: BaseException, arguments: Sequence[str] | None) -> TypeGuard[OSError]:
    """Whether a command cannot look at a path that it was given: nobody may, or it is too long.

    In training it may be anybody's, and is a crash.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    return (
        isinstance(error, OSError)
        and error.errno in (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)
        and error.filename is not None
        and given[0] not in ("train", "launch", "env-worker")
    )


def _unheard(lost: OSError) -> int:
    """Our output could not be written: quietly if its reader (head, less) has left."""
    standard_streams.give_up(sys.stdout)
    if isinstance(lost, BrokenPipeError):
        return EXIT_OK
    print(f"gala: error: standard output: {lost.strerror}", file=sys.stderr)
    return EXIT_NOT_WRITTEN


def _usage() -> str:
    lines = ["gala: gossip-based actor-learner reinforcement learning", "", "commands:"]
    lines += [f"  {name:11}{command.summary}" for name, command in COMMANDS.items()]
    lines += ["", "gala COMMAND --help tells the options of a command"]
    lines += ["gala --print-completion bash|zsh|tcsh|fish: what completes them in a shell"]
    return "\n".join(lines)
