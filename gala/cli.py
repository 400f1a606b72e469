"""The ``gala`` command: ``gala COMMAND ...``, each command imported only when it is asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from gala import __version__
from gala.errors import EXIT_BAD_INPUT, EXIT_OK, UserError, did_you_mean

Arguments = Sequence[str]


class _Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are a line, like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and exiting."""
        raise UserError(message, hint=f"see {self.prog} --help")


def main(arguments: Arguments | None = None) -> int:
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
        return COMMANDS[name](rest)
    except UserError as error:
        print(f"gala: error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except BrokenPipeError:  # the reader of our output (head, less) has left
        sys.stderr.close()
        return EXIT_OK


def train(arguments: Arguments) -> int:
    """Train agents: gala train experiments/pong.yaml --agents 4"""
    from gala import train as agent

    rest, agents = _take_agents(arguments)
    if "--help" in rest or "-h" in rest or agents == 1:
        return agent.main(rest)
    agent.read_request(rest, agents)  # a mistake is one line here, a page of torchrun's below
    from gala.torchrun import torchrun

    return torchrun(rest, agents)


def evaluate(arguments: Arguments) -> int:
    """Play real episodes with a trained run: gala eval runs/NAME --episodes 30"""
    parser = _Parser(prog="gala eval", description=evaluate.__doc__)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--episodes", type=int, default=30, help="full games per result")
    parser.add_argument("--agent", default="mean", help="mean, best, all, or a rank")
    parser.add_argument("--policy", default="both", choices=("greedy", "stochastic", "both"))
    parser.add_argument("--video", type=Path, help="also write an mp4 of one game")
    parser.add_argument("--seed", type=int, default=0, help="seed of the games")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    from gala.evaluation import command

    command.evaluate(**vars(options))
    return EXIT_OK


def _take_agents(arguments: Arguments) -> tuple[list[str], int]:
    """Split ``--agents N`` off a command line."""
    rest, agents = list(arguments), 1
    for index, token in enumerate(rest):
        flag, has_value, text = token.partition("=")
        if flag != "--agents":
            continue
        if not has_value:
            if index + 1 >= len(rest):
                raise UserError("needs a value", field="--agents")
            text = rest.pop(index + 1)
        del rest[index]
        if not text.isdigit() or int(text) < 1:
            raise UserError(f"must be a whole number of at least 1, got {text!r}", field="--agents")
        return rest, int(text)
    return rest, agents


def _usage() -> str:
    lines = ["gala: gossip-based actor-learner reinforcement learning", "", "commands:"]
    for name, command in COMMANDS.items():
        lines.append(f"  {name:10} {(command.__doc__ or '').strip()}")
    lines += ["", "gala COMMAND --help tells the options of a command"]
    return "\n".join(lines)


COMMANDS: dict[str, Callable[[Arguments], int]] = {
    "train": train,
    "eval": evaluate,
}
