"""Agents of a training run: one of them, all of them (``gala train``), one of a group.

torchrun --standalone --nproc-per-node=4 -m gala.train experiments/pong.yaml

As a worker of torchrun this process supervises the agent, which is its child (``--no-supervisor``
is torchrun's own way: one crash ends all). What a supervisor does not need is imported late.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
from collections.abc import Sequence

from gala.config.arguments import Parser, at_least_one, whole
from gala.errors import EXIT_BAD_INPUT, EXIT_CRASH, EXIT_OK, UserError
from gala.files import standard_streams
from gala.launch.environment import (
    EXIT_NOTES_VARIABLE,
    JOIN,
    NOTED,
    STORE_VARIABLE,
    check_agents,
    check_environment,
    check_store_address,
    check_threads,
    keep_freed_memory,
    note_exit,
    share_cores,
)
from gala.launch.store_server import StoreServer
from gala.launch.supervisor import (
    INCARNATION_VARIABLE,
    STANDBY_VARIABLE,
    stand_by,
    supervise,
    supervises,
    tell,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m gala.train``: run one agent, or supervise it; returns the exit code."""
    standard_streams.prepare(forgiving=True)
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        check_environment(os.environ)
    except UserError as error:
        return _complain(error)
    if supervises(arguments, os.environ):
        return _noted(supervise(arguments))
    if INCARNATION_VARIABLE in os.environ:  # the supervisor notes how it ended
        return _train(arguments)
    return _noted(_train(arguments))


def _help(arguments: Sequence[str]) -> int:
    """Print every option, those of an own algorithm that is named beside ``--help`` too."""
    from gala.config.options import parse_options, print_help
    from gala.run.config import config_type
    from gala.run.request import LAUNCH_HELP, LAUNCH_OPTIONS

    try:
        words = [word for word in arguments if word not in ("--help", "-h")]
        _, options = parse_options(config_type(), words, LAUNCH_OPTIONS, strict=False)
        chosen = dict(options).get("algorithm")
        kind = config_type() if chosen is None else config_type(chosen)
    except UserError as error:
        return _complain(error)
    print_help(kind, "gala train", LAUNCH_HELP)
    return EXIT_OK


def _train(arguments: Sequence[str]) -> int:
    """Run the agents of this process; returns the exit code."""
    share_cores(os.environ)
    keep_freed_memory(os.environ)
    from gala.launch.environment import rank_from_environment
    from gala.run.request import read_request

    if {"--help", "-h"} & set(arguments):
        return _help(arguments)
    rank, agents = rank_from_environment()
    try:
        request = read_request(arguments, agents)
    except UserError as error:  # all agents read the same: one of them says it
        return _complain(error) if rank == 0 else EXIT_BAD_INPUT
    limits = request.config.supervisor
    tell(f"limits {limits.first_update_s} {limits.acting_s}")
    from gala.agent.training import train

    if STANDBY_VARIABLE in os.environ:
        stand_by()
    try:
        code = train(request)
    except UserError as error:
        return _complain(error)
    except SystemExit as left:
        if isinstance(left.code, int) and left.code != EXIT_OK:
            return left.code
        if left.code:
            raise
        print("gala: error: sys.exit() was called in the middle of training", file=sys.stderr)
        return EXIT_CRASH
    if threading.active_count() > 1:
        # A thread that hangs in gloo, because its neighbour does, would abort the interpreter's
        # own way out. Everything is saved and closed: leave without it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_noted(code) if INCARNATION_VARIABLE not in os.environ else code)
    return code


def start(arguments: Sequence[str]) -> int:
    """``gala train``: run one agent in this process, or all of a host under torchrun."""
    standard_streams.prepare(forgiving=True)
    rest, agents = take_agents(arguments)
    if "--help" in rest or "-h" in rest:
        return main(rest)
    from gala.launch.torchrun import torchrun
    from gala.run.request import configured_agents, read_request

    check_threads(os.environ)
    agents = agents or configured_agents(rest)
    if agents == 1:
        return main(rest)

    request = read_request(rest, agents=agents)  # a mistake is one line here, a page of torchrun's
    request.security.credentials(0)
    return torchrun(rest, agents // request.agents_per_process)


def take_agents(arguments: Sequence[str]) -> tuple[list[str], int | None]:
    """Split ``--agents N`` off a command line; None where it does not say how many.

    Raises:
        UserError: N is missing, or no number of agents.
    """
    rest = list(arguments)
    for index, token in enumerate(rest):
        flag, has_value, text = token.partition("=")
        if flag != "--agents":
            continue
        if not has_value:
            if index + 1 >= len(rest):
                raise UserError("needs a value", field="--agents")
            text = rest.pop(index + 1)
        del rest[index]
        try:
            return rest, at_least_one(text)
        except argparse.ArgumentTypeError as error:
            raise UserError(str(error), field="--agents") from None
    return rest, None


def launch(arguments: Sequence[str]) -> int:
    """``gala launch``: supervise one agent of a group without torchrun."""
    standard_streams.prepare(forgiving=True)
    parser = Parser(
        prog="gala launch",
        description="Run one agent with a life of its own; all other options are gala train's.",
        allow_abbrev=False,
    )
    parser.add_argument("--rank", type=whole, required=True, help="index of this agent, from 0")
    parser.add_argument("--size", type=at_least_one, required=True, help="agents of the group")
    meets = parser.add_mutually_exclusive_group(required=True)
    meets.add_argument(
        "--store",
        help="where agents meet: tcp://host:port (served by rank 0) or file:///shared/file",
    )
    meets.add_argument(
        "--join",
        metavar="HOST:PORT",
        help="instead, where agents of the run listen (tcp; several: HOST:PORT,HOST:PORT): one of "
        "them tells what the store would",
    )
    options, rest = parser.parse_known_args(arguments)
    if options.rank >= options.size:
        raise UserError(f"must be below --size {options.size}, got {options.rank}", field="--rank")
    from gala.run.request import read_request

    store: str = options.store or f"{JOIN}{options.join}"
    (check_agents if options.store is None else check_store_address)(store)
    check_threads(os.environ)
    request = read_request(rest, agents=options.size)  # a mistake is said before anything starts
    request.security.credentials(options.rank)
    os.environ |= {
        "RANK": str(options.rank),
        "WORLD_SIZE": str(options.size),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        STORE_VARIABLE: store,
    }
    server = None
    if options.rank == 0 and store.startswith("tcp:"):
        server = StoreServer(store)
    try:
        return supervise(rest)
    finally:
        if server is not None:
            server.close()


def _noted(code: int) -> int:
    """Leave ``code`` where ``gala train --agents`` finds it; returns what torchrun is told.

    torchrun would call each of these ends a crash, on a page, and end the others before they have
    saved. A crash it is told as it is.
    """
    notes = os.environ.get(EXIT_NOTES_VARIABLE)
    if notes is None or code not in NOTED:
        return code
    with contextlib.suppress(OSError):
        note_exit(notes, int(os.environ.get("RANK", "0")), code)
        return EXIT_OK
    return code


def _complain(error: UserError) -> int:
    print(f"gala: error: {error}", file=sys.stderr)
    return EXIT_BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
